package selection

import (
	"slices"
)

// probes find near centers out of order. Around each of count anchors, the
// first centers picked, lie copies of the centers nearest to it. A candidate
// whose owner is at home there is likely to meet among them one that puts it
// behind the mark, long before its turn in the order of picks comes. What is
// seen there counts for the bound but not as seen.
type probes struct {
	count  int
	next   int       // how many centers there are when they are built again
	home   []int32   // anchor of each center
	panels [][]panel // of each anchor, the nearest centers first
	store  []panel   // probePanels for each anchor

	tried, solved int // candidates since they were built
}

const (
	probePanels    = 2
	probeNeighbors = 4
	probeShare     = 8    // centers per anchor, about: the panels of an anchor should be full
	probeLeast     = 8    // anchors
	probePool      = 2048 // candidates per anchor, at least: building has to pay, and takes memory
	probeMost      = 512  // anchors
	probeTrial     = 4096 // candidates after which probes must have paid
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
	return float64(s.solved)*others - float64(s.tried*probePanels*lanes)
}

// renewProbes builds the probes when there are enough new centers: soon, where
// the last ones saved more than building takes, else after twice as many. It
// reports false when the caller has canceled.
func (e *lazy) renewProbes() bool {
	s, n := &e.probes, len(e.seats)
	anchors := min(n/probeShare, len(e.pool)/probePool, probeMost)
	if anchors < probeLeast || n < s.next {
		return true
	}
	if s.next = 2 * n; s.saved(e.perCandidate) > 3*float64(n*anchors) {
		s.next = n + n/6
	}
	s.count, s.home = anchors, s.home[:0]
	return e.findHomes() && e.surround()
}

// recallProbes builds the probes around the homes that the centers had in an
// earlier selection, if it had probes and their anchors are centers still.
func (e *lazy) recallProbes() bool {
	count := 0
	for _, home := range e.known.Homes {
		if home < 0 || home >= probeMost || e.seats[home] == nobody {
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

// findHomes finds the nearest anchor of every center that has none.
func (e *lazy) findHomes() bool {
	s, n, block := &e.probes, len(e.seats), e.chunkRows()
	first := len(s.home)
	s.home = append(s.home, make([]int32, n-first)...)
	return e.parallel((n-first+block-1)/block, block*s.count*e.Embeddings.Dim/16, func(w *worker, at int) {
		from, end := first+at*block, min(n, first+(at+1)*block)
		c := e.chunk(w)
		points, most := c.members[:end-from], make([]float32, end-from)
		for i := range points {
			x := e.origin
			if row := e.seats[from+i]; row != nobody {
				x = e.Embeddings.Row(int(row))
			}
			points[i].point, most[i] = e.point(&c.space, i, x, x), empty
		}
		for p := 0; p*lanes < s.count; p++ {
			anchors := e.panel(w, p)
			for i := 0; i < len(points); i += tileRows {
				for r := range tileRows {
					w.enter(r, &points[min(i+r, len(points)-1)].point, anchors)
				}
				e.multiply(w, anchors)
				for r := range min(tileRows, len(points)-i) {
					for l, v := range w.tile.values[r][:min(lanes, s.count-p*lanes)] {
						if v > most[i+r] {
							most[i+r], s.home[from+i+r] = v, int32(p*lanes+l)
						}
					}
				}
			}
		}
	})
}

// surround packs the centers around each anchor: the nearest of those at home
// there or with a neighbor.
func (e *lazy) surround() bool {
	s, dim := &e.probes, e.Embeddings.Dim
	s.tried, s.solved = 0, 0
	s.panels = make([][]panel, s.count)
	for len(s.store) < s.count*probePanels {
		s.store = append(s.store, e.newPanel())
	}
	all, members := countTo(s.count), e.byHome()
	return e.parallel(s.count, 2*(s.count+probePanels*lanes)*dim, func(w *worker, a int) {
		w.around = w.around[:0]
		for _, b := range e.nearest(w, int32(a), all, probeNeighbors) {
			w.around = append(w.around, members[b.seat]...)
		}
		near := e.nearest(w, int32(a), w.around, probePanels*lanes)
		own := s.store[a*probePanels:][:(len(near)+lanes-1)/lanes]
		for p := range own {
			var rows [lanes]int32
			var biases [lanes]float32
			part := near[p*lanes : min(len(near), (p+1)*lanes)]
			for place, c := range part {
				own[p].seat[place], rows[place], biases[place] = c.seat, e.seats[c.seat], e.bias[c.seat]
			}
			e.fill(w, &own[p], rows[:len(part)], biases[:len(part)])
		}
		s.panels[a] = own
	})
}

// byHome returns the centers at home with each anchor, in order.
func (e *lazy) byHome() [][]int32 {
	counts := make([]int, e.probes.count)
	for c, row := range e.seats {
		if row != nobody {
			counts[e.probes.home[c]]++
		}
	}
	members, space := make([][]int32, len(counts)), make([]int32, len(e.seats))
	for a, n := range counts {
		members[a], space = space[:0:n], space[n:]
	}
	for c, row := range e.seats {
		if row != nobody {
			a := e.probes.home[c]
			members[a] = append(members[a], int32(c))
		}
	}
	return members
}

// A nearby center, and its squared distance to another.
type nearby struct {
	seat int32
	d2   float64
}

// nearest returns the count centers among those given that are nearest to
// center a, itself perhaps included, the nearest first; if a is none any more,
// the first of them. The next call with the same worker reuses the memory.
func (e *lazy) nearest(w *worker, a int32, centers []int32, count int) []nearby {
	near := slices.Grow(w.near[:0], count+1)
	for _, c := range centers {
		row, d2 := e.seats[c], 0.0
		if e.seats[a] != nobody {
			if row == nobody {
				continue
			}
			d2 = e.kernel.distance2(e.Embeddings.Row(int(e.seats[a])), e.Embeddings.Row(int(row)))
		}
		if len(near) == count && d2 >= near[count-1].d2 {
			continue
		}
		at := len(near)
		for at > 0 && d2 < near[at-1].d2 {
			at--
		}
		near = slices.Insert(near, at, nearby{c, d2})[:min(len(near)+1, count)]
	}
	w.near = near
	return near
}

func countTo(n int) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = int32(i)
	}
	return list
}

// probe compares candidates with the centers around the homes of their owners.
// It returns those that stay before the mark, at the front of where they were.
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
	e.probes.solved += many - left
	if e.probes.tried > probeTrial && e.probes.saved(e.perCandidate) < 0 {
		e.probes.count = 0 // until they are built again
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
		for p := range e.probes.panels[home] {
			if e.meter.canceled.Load() {
				return 0
			}
			e.comparePanel(w, part, live, &e.probes.panels[home][p])
			live = slices.DeleteFunc(live, func(at int32) bool {
				i := int(part[at])
				return !e.beats(i, e.value(i), m)
			})
		}
		before += copy(chunk[before:], part[:gather(part, live)])
		from += n
	}
	return before
}
