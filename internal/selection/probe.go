package selection

import "slices"

// probes find near centers out of order. Around each of count anchors, the
// first centers, lie panels of centers that are near to it. A candidate whose owner
// is at home there is likely to meet among them one that puts it behind the mark,
// long before its turn in the order of centers comes. What is seen there counts
// for the bound but not as seen.
type probes struct {
	count  int
	next   int       // how many centers there are when they are built again
	home   []int32   // anchor of each center
	around [][]int32 // of each anchor, panels in order that belong to it and its neighbors
	loose  []bool    // of each panel in order: it belongs to no anchor
	balls  []ball    // of those that do
	open   []uint64  // a bit for each panel that has none
	seated bool      // some panels belong to anchors: building again keeps those, and all homes
	near   [][]panel // of each anchor, copies of the nearest loose centers, the nearest first
	store  []panel   // probePanels for each anchor

	tried, solved int // candidates since they were built
	met           int // candidates times panels
}

const (
	probePanels    = 2    // of copies around an anchor
	probeMeets     = 64   // other panels there, at most
	probeNeighbors = 4    // anchors whose centers they are, itself included
	probeMost      = 512  // anchors
	probeTrial     = 4096 // candidates after which probes must have paid

	// Where there are copies: building has to pay, and takes memory.
	probeShare = 8    // centers per anchor, about: the panels of an anchor should be full
	probeLeast = 8    // anchors
	probePool  = 2048 // candidates per anchor, at least
	probeLoose = 7    // one in so many centers is loose, at least

	// Where centers sit by their homes.
	homeCenters = 128  // centers per anchor, at least
	homePool    = 1024 // candidates per anchor, at least
	homesMost   = 4    // in a panel that belongs to anchors
	homeFar     = 8    // one in so many anchors is one far from others
	farSample   = 16   // rows among which each is sought
)

// follow gives a new center the home of its owner.
func (s *probes) follow(owner int) {
	if s.count > 0 {
		s.home = append(s.home, s.home[owner])
	}
}

// saved is how many comparisons the probes have saved since they were built,
// if a candidate that they solved would have taken as many as the others did.
func (s *probes) saved(others float64) float64 {
	return float64(s.solved)*others - float64(s.met*lanes)
}

// renewProbes builds the probes when there are enough new centers: soon, where
// the last ones saved more than building takes, else after twice as many. It
// reports false when the caller has canceled.
func (e *lazy) renewProbes() bool {
	s, n := &e.probes, len(e.seats)
	anchors := e.anchors(n)
	if anchors < probeLeast || n < s.next {
		return true
	}
	if s.next = 2 * n; s.saved(e.perCandidate) > 3*float64(n*anchors) {
		s.next = n + n/6
	}
	if !s.seated {
		s.count, s.home = anchors, s.home[:0]
	}
	return e.findHomes() && e.surround()
}

// anchors returns how many there are among so many centers.
func (e *lazy) anchors(centers int) int {
	return min(centers/probeShare, len(e.pool)/probePool, probeMost)
}

// recallProbes builds the probes around the homes that the centers had in an
// earlier selection, if it had probes and their anchors are centers still.
func (e *lazy) recallProbes() bool {
	count := 0
	for _, home := range e.known.Homes {
		if home < 0 || int(home) >= min(probeMost, len(e.seats)) || e.seats[home] == nobody {
			return true
		}
		count = max(count, int(home)+1)
	}
	if count == 0 {
		return true
	}
	e.probes.count, e.probes.home = count, slices.Clone(e.known.Homes)
	e.probes.next = len(e.seats) * 7 / 6
	return e.findHomes() && e.surround()
}

// probe compares candidates with the centers around the homes of their owners, but
// for panels they have seen. It returns those that stay before the mark, at the front of where they were.
func (e *lazy) probe(candidates []int32, m mark) ([]int32, bool) {
	many := e.sortBy(candidates, e.probes.count, func(i int32) int {
		if len(e.seats)-int(e.seen[i]) < probePanels*lanes {
			return e.probes.count
		}
		return int(e.probes.home[e.owner[i]])
	})
	size := e.chunkRows()
	before := make([]int, (many+size-1)/size) // of each chunk
	ok := e.parallel(len(before), size*e.Embeddings.Dim, func(w *worker, at int) {
		before[at] = e.probeChunk(w, candidates[at*size:min(many, (at+1)*size)], m)
	})
	left := 0
	for at, n := range before {
		left += copy(candidates[left:], candidates[at*size:][:n])
	}
	e.probes.tried += many
	for w := range e.workers {
		e.probes.met += e.workers[w].met
		e.workers[w].met = 0
	}
	e.probes.solved += many - left
	if e.probes.tried > probeTrial && e.perCandidate > 0 && e.probes.saved(e.perCandidate) < 0 {
		e.probes.count, e.probes.seated = 0, false // until they are built again
	}
	return append(candidates[:left], candidates[many:]...), ok
}

// probeChunk is probe for some candidates, ordered by their homes. Those that
// stay come to the front of the chunk; it returns how many.
func (e *lazy) probeChunk(w *worker, chunk []int32, m mark) (before int) {
	for from := 0; from < len(chunk); {
		part := chunk[from:]
		home := e.probes.home[e.owner[part[0]]]
		n := 1
		for n < len(part) && e.probes.home[e.owner[part[n]]] == home {
			n++
		}
		e.load(w, part[:n])
		live := w.chunk.live[:0]
		for at := range n {
			live = append(live, int32(at))
		}
		meet := func(p *panel, some []int32) {
			e.comparePanel(w, part, some, p)
			live = slices.DeleteFunc(live, func(at int32) bool {
				i := int(part[at])
				return !e.beats(i, e.value(i), m)
			})
		}
		for p := range e.probes.near[home] {
			w.met += n // as if all met all: building copies too often costs more
			meet(&e.probes.near[home][p], live)
		}
		for _, p := range e.probes.around[home] {
			unseen := w.unseen[:0]
			for _, at := range live {
				if e.seen[part[at]] < min((p+1)*lanes, int32(len(e.seats))) {
					unseen = append(unseen, at)
				}
			}
			if w.unseen = unseen; len(unseen) > 0 && !e.meter.canceled.Load() {
				w.met += len(unseen)
				meet(e.panel(w, int(p)), unseen)
			}
		}
		before += copy(chunk[before:], part[:gather(part, live)])
		from += n
	}
	return before
}
