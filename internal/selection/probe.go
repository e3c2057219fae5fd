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
	built  int       // centers when they were built
	home   []int32   // anchor of each center
	panels [][]panel // of each anchor, the nearest centers first
}

const (
	probePanels = 2
	probeShare  = 8    // centers per anchor
	probeLeast  = 8    // anchors
	probeMost   = 1024 // anchors
	probeGrowth = 1.15 // growth of the number of centers after which probes are renewed
)

// follow gives a new center the home of its owner.
func (s *probes) follow(owner int) {
	if s.count > 0 {
		s.home = append(s.home, s.home[owner])
	}
}

// renewProbes builds the probes when there are enough new centers. It reports
// false when the caller has canceled.
func (e *lazy) renewProbes() bool {
	dim, n := e.Embeddings.Dim, len(e.seats)
	anchors := min(n/probeShare, probeMost)
	if anchors < probeLeast || float64(n) < probeGrowth*float64(e.probes.built) {
		return true
	}
	type nearest struct {
		d2   float32
		seat int32
	}
	s := &e.probes
	s.count, s.built = anchors, n
	s.home = make([]int32, n)
	s.panels = make([][]panel, anchors)
	panels := (anchors + lanes - 1) / lanes
	closest := make([][]float32, panels) // of each panel of anchors, for each center
	homes := make([][]int32, panels)
	copies := make([]float32, 0)
	points, x2 := make([]*float32, n), make([]float32, n)
	if e.filter.mean != nil {
		copies = make([]float32, n*dim)
	}
	for c, row := range e.seats {
		x := e.Embeddings.Row(int(row))
		dst := copies
		if e.filter.mean != nil {
			dst = copies[c*dim : (c+1)*dim]
		}
		points[c] = e.filter.copyRow(dst, x)
		x2[c] = float32(e.norm2of(x))
	}
	ok := e.parallel(panels, n*lanes*dim/16, func(w *worker, at int) {
		var list [lanes][]nearest
		used := min(lanes, anchors-at*lanes)
		closest[at], homes[at] = make([]float32, n), make([]int32, n)
		for c := 0; c < n; c += tileRows {
			for r := range tileRows {
				w.tile.points[r] = points[min(c+r, n-1)]
			}
			e.kernel.tile(&w.tile, &e.panels[at].data[0], dim)
			for r := range min(tileRows, n-c) {
				best, most := 0, float32(math.Inf(-1))
				for l, v := range w.tile.values[r][:used] {
					if v > most {
						best, most = l, v
					}
					d2 := x2[c+r] - 2*v
					k := list[l]
					if len(k) == probePanels*lanes {
						if !(d2 < k[len(k)-1].d2) {
							continue
						}
						k = k[:len(k)-1]
					}
					place := len(k)
					for place > 0 && d2 < k[place-1].d2 {
						place--
					}
					list[l] = slices.Insert(k, place, nearest{d2, int32(c + r)})
				}
				closest[at][c+r], homes[at][c+r] = x2[c+r]-2*most, int32(at*lanes+best)
			}
		}
		spare := make([]float32, dim)
		for l := range used {
			own := make([]panel, 0, probePanels)
			for place, near := range list[l] {
				if place%lanes == 0 {
					own = append(own, newPanel(dim))
				}
				e.setLane(&own[len(own)-1], place%lanes, near.seat, e.seats[near.seat], spare)
			}
			s.panels[at*lanes+l] = own
		}
	})
	if !ok {
		return false
	}
	for c := range n {
		best := 0
		for at := range closest {
			if closest[at][c] < closest[best][c] {
				best = at
			}
		}
		s.home[c] = homes[best][c]
	}
	return true
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
	sorted := make([]int32, len(candidates))
	for _, i := range candidates {
		h := e.probes.home[e.owner[i]]
		sorted[at[h]] = i
		at[h]++
	}
	chunks := (len(candidates) + chunkRows - 1) / chunkRows
	for w := range e.workers {
		e.workers[w].left = e.workers[w].left[:0]
	}
	ok := e.parallel(chunks, chunkRows*probePanels*lanes*e.Embeddings.Dim/16, func(w *worker, at int) {
		e.probeChunk(w, sorted[at*chunkRows:min(len(sorted), (at+1)*chunkRows)], m)
	})
	candidates = candidates[:0]
	for w := range e.workers {
		candidates = append(candidates, e.workers[w].left...)
	}
	return append(candidates, done...), ok
}

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
