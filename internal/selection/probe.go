package selection

import (
	"math"
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
	probePanels = 2
	probeShare  = 8    // centers per anchor
	probeLeast  = 8    // anchors
	probePool   = 2048 // candidates per anchor, at least: building has to pay, and takes memory
	probeMost   = 1024 // anchors
	probeTrial  = 4096 // candidates after which probes must have paid
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
// the last ones saved more than building takes, else after twice as many. Where
// most bounds are known from an earlier selection, the first ones wait until
// comparing without them has taken as long. It reports false when the caller
// has canceled.
func (e *lazy) renewProbes() bool {
	s, n := &e.probes, len(e.seats)
	anchors := min(n/probeShare, len(e.pool)/probePool, probeMost)
	building := 3 * n * anchors // comparisons that take as long
	if anchors < probeLeast || n < s.next || e.known != nil && e.compared < building {
		return true
	}
	if s.next = 2 * n; s.saved(e.perCandidate) > float64(building) {
		s.next = n + n/6
	}
	s.count, s.tried, s.solved = anchors, 0, 0
	s.home = make([]int32, n)
	s.panels = make([][]panel, anchors)
	for len(s.store) < anchors*probePanels {
		s.store = append(s.store, newPanel(e.Embeddings.Dim))
	}

	points, x2 := e.copyCenters()
	groups := make([]group, (anchors+lanes-1)/lanes)
	ok := e.parallel(len(groups), n*lanes*e.Embeddings.Dim/16, func(w *worker, at int) {
		groups[at] = e.surround(w, at*lanes, min(lanes, anchors-at*lanes), points, x2)
	})
	if !ok {
		return false
	}
	for c := range n {
		best := 0
		for at := range groups {
			if groups[at].d2[c] < groups[best].d2[c] {
				best = at
			}
		}
		s.home[c] = groups[best].anchor[c]
	}
	return true
}

// copyCenters returns the copies of all centers and their squared norms. These
// are infinite for nobody, who is far from all anchors then.
func (e *lazy) copyCenters() (points []*float32, x2 []float32) {
	n, dim := len(e.seats), e.Embeddings.Dim
	points, x2 = make([]*float32, n), make([]float32, n)
	var copies []float32
	if e.filter.mean != nil {
		copies = make([]float32, n*dim)
	}
	for c, row := range e.seats {
		if row == nobody {
			points[c], x2[c] = &e.origin[0], float32(math.Inf(1))
			continue
		}
		x := e.Embeddings.Row(int(row))
		points[c], x2[c] = &e.filter.copyRow(slot(copies, c, dim), x)[0], float32(e.norm2of(x))
	}
	return points, x2
}

// group tells of every center which anchor of one panel is nearest, and about
// how far.
type group struct {
	anchor []int32
	d2     []float32
}

// neighbor is a center near an anchor.
type neighbor struct {
	d2   float32
	seat int32
}

// surround builds the probes of count anchors, which share a panel and begin
// with the given one.
func (e *lazy) surround(w *worker, first, count int, points []*float32, x2 []float32) group {
	n, dim := len(points), e.Embeddings.Dim
	anchors := e.panel(w, first/lanes)
	g := group{make([]int32, n), make([]float32, n)}
	var near [lanes][]neighbor
	for c := 0; c < n; c += tileRows {
		for r := range tileRows {
			w.tile.points[r] = points[min(c+r, n-1)]
		}
		e.kernel.tile(&w.tile, &anchors.data[0], dim)
		for r := range min(tileRows, n-c) {
			best, most := 0, float32(math.Inf(-1))
			for l, v := range w.tile.values[r][:count] {
				if v > most {
					best, most = l, v
				}
				near[l] = insert(near[l], neighbor{x2[c+r] - 2*v, int32(c + r)})
			}
			g.anchor[c+r], g.d2[c+r] = int32(first+best), x2[c+r]-2*most
		}
	}
	for l := range count {
		own := e.probes.store[(first+l)*probePanels:][:(len(near[l])+lanes-1)/lanes]
		for p := range own {
			var rows [lanes]int32
			var biases [lanes]float32
			part := near[l][p*lanes : min(len(near[l]), (p+1)*lanes)]
			for place, c := range part {
				own[p].seat[place], rows[place], biases[place] = c.seat, e.seats[c.seat], e.bias[c.seat]
			}
			e.pack(w, &own[p], rows[:len(part)], biases[:len(part)])
		}
		e.probes.panels[first+l] = own
	}
	return g
}

// insert keeps the nearest centers that fit into probePanels, in order.
func insert(near []neighbor, c neighbor) []neighbor {
	const most = probePanels * lanes
	if !(c.d2 < math.MaxFloat32) || len(near) == most && c.d2 >= near[most-1].d2 {
		return near
	}
	near = near[:min(len(near), most-1)]
	at := len(near)
	for at > 0 && c.d2 < near[at-1].d2 {
		at--
	}
	return slices.Insert(near, at, c)
}

// probe compares candidates with the centers around the homes of their owners.
// It returns those that stay before the mark.
func (e *lazy) probe(candidates []int32, m mark) ([]int32, bool) {
	var done []int32
	candidates = slices.DeleteFunc(candidates, func(i int32) bool {
		few := len(e.seats)-int(e.seen[i]) < probePanels*lanes
		if few {
			done = append(done, i)
		}
		return few
	})
	at := make([]int32, e.probes.count+1)
	for _, i := range candidates {
		at[e.probes.home[e.owner[i]]+1]++
	}
	for h := range e.probes.count {
		at[h+1] += at[h]
	}
	sorted := e.sorted[:len(candidates)]
	for _, i := range candidates {
		h := e.probes.home[e.owner[i]]
		sorted[at[h]] = i
		at[h]++
	}
	size := e.chunkRows()
	chunks := (len(candidates) + size - 1) / size
	for w := range e.workers {
		e.workers[w].left = e.workers[w].left[:0]
	}
	ok := e.parallel(chunks, 0, func(w *worker, at int) {
		e.probeChunk(w, sorted[at*size:min(len(sorted), (at+1)*size)], m)
	})
	candidates = candidates[:0]
	for w := range e.workers {
		candidates = append(candidates, e.workers[w].left...)
	}
	e.probes.tried += len(sorted)
	e.probes.solved += len(sorted) - len(candidates)
	if e.probes.tried > probeTrial && e.probes.saved(e.perCandidate) < 0 {
		e.probes.count = 0 // until they are built again
	}
	return append(candidates, done...), ok
}

// probeChunk is probe for some candidates; those who stay go to w.left.
func (e *lazy) probeChunk(w *worker, chunk []int32, m mark) {
	for len(chunk) > 0 {
		home := e.probes.home[e.owner[chunk[0]]]
		n := 1
		for n < len(chunk) && e.probes.home[e.owner[chunk[n]]] == home {
			n++
		}
		e.load(w, chunk[:n])
		live := w.where[:0]
		for at := range n {
			live = append(live, int32(at))
		}
		for p := range e.probes.panels[home] {
			if e.meter.canceled.Load() {
				return
			}
			e.comparePanel(w, chunk, live, &e.probes.panels[home][p])
			live = slices.DeleteFunc(live, func(at int32) bool {
				i := int(chunk[at])
				return !e.beats(i, e.value(i), m)
			})
		}
		for _, at := range live {
			w.left = append(w.left, chunk[at])
		}
		chunk = chunk[n:]
	}
}
