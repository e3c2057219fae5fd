package selection

import (
	"math"
	"slices"
)

// herd is greedy selection by priority, from lists of the landmarks that each
// candidate covers.
//
// Gains only fall as more is covered, so the priority of one that was computed
// earlier is an upper bound. A candidate whose gain is up to date and comes before all others
// by their bounds is the next pick; until then the first by its bound is brought
// up to date. So the picks are those of computing every gain before every pick.
// A list that is not kept is made again where it is needed: it has no say in them.
type herd struct {
	tiles
	kernelOf
	order     []int32 // candidates by ascending Key: the landmarks and some more
	landmarks []int32 // dataset rows of the first
	state     []landmark
	lists     lists
	limit     int     // entries of a list, 0 for no limit
	budget    int64   // bytes of lists that are kept
	pairs     float64 // of rows and landmarks that are compared, about; where there are more, cells decide
	cut       int     // lists that would have been longer
	panels    []panel // all landmarks, where no cells decide
	spaces    []gatherSpace

	worthKeeping float64 // pairs of landmarks and labels: of so many the outcome goes to the State

	queue []int32  // candidates, a heap: the first by its bound on top
	gain  []uint64 // of each candidate, as it was
	known []int32  // after so many picks
}

// landmark is what greedy selection knows of one.
type landmark struct {
	mass    uint32
	covered uint16
}

// lazyHerd is bruteHerd, faster, and where there are too many rows, nearly.
func (p *problem) lazyHerd(radius float64, k kernel, threads int, m *meter) (*herded, error) {
	h := p.newHerd(radius, k, threads, m)
	if !h.chooseLandmarks() {
		return nil, ErrCanceled
	}
	return h.run()
}

// newHerd returns a herd without landmarks.
func (p *problem) newHerd(radius float64, k kernel, threads int, m *meter) *herd {
	return &herd{tiles: p.newTiles(k, threads, m), kernelOf: newKernel(radius), pairs: pairsMost, worthKeeping: labelPairs, budget: math.MaxInt64, spaces: make([]gatherSpace, threads)}
}

// run selects, with the landmarks as they are.
func (h *herd) run() (*herded, error) {
	r := &herded{report: HerdingReport{Landmarks: len(h.landmarks), ListLimit: h.limit}}
	for _, l := range h.state {
		r.total += uint64(l.mass)
	}
	if !h.makeLists() || !h.heapify() {
		return nil, ErrCanceled
	}
	r.before, r.report.Cut = h.covered(), h.cut
	chosen := slices.Clone(h.centers)
	for len(r.steps) < h.k && len(h.queue) > 0 {
		i := h.queue[0]
		if h.known[i] < int32(len(r.steps)) && h.gain[i] > 0 {
			if !h.refresh(int32(len(r.steps))) {
				return nil, ErrCanceled
			}
			continue
		}
		h.queue[0] = h.queue[len(h.queue)-1]
		h.queue = h.queue[:len(h.queue)-1]
		h.sink(0)
		row := h.pool[i]
		if h.min2 > 0 {
			if _, near := h.tooNear(int(row), chosen); near {
				continue
			}
			h.meter.spend(len(chosen) * h.Embeddings.Dim)
		}
		chosen = append(chosen, row)
		covers, ok := h.cover(i)
		if !ok {
			return nil, ErrCanceled
		}
		r.steps = append(r.steps, herdStep{int(i), h.gain[i], covers})
		h.meter.done = len(r.steps)
	}
	r.after = h.covered()
	r.report.Before, r.report.After = share(r.before, r.total), share(r.after, r.total)
	if len(h.landmarks) < len(h.pool) && !h.validate(r, chosen) {
		return nil, ErrCanceled
	}
	return r, nil
}

// covered returns the mass that is covered.
func (h *herd) covered() (sum uint64) {
	for _, l := range h.state {
		sum += uint64(l.mass) * uint64(l.covered)
	}
	return sum
}

// heapify puts all candidates into the queue.
func (h *herd) heapify() bool {
	h.known, h.queue = make([]int32, len(h.pool)), countTo(len(h.pool))
	for at := len(h.queue)/2 - 1; at >= 0; at-- {
		if h.sink(at); at%1024 == 0 && !h.meter.spend(1024*100) {
			return false
		}
	}
	return true
}

// sink restores the heap below a place whose candidate has become worse.
func (h *herd) sink(at int) {
	q := h.queue
	for {
		next := 2*at + 1
		if next >= len(q) {
			return
		}
		if right := next + 1; right < len(q) && h.first(q[right], q[next]) {
			next = right
		}
		if !h.first(q[next], q[at]) {
			return
		}
		q[at], q[next] = q[next], q[at]
		at = next
	}
}

// first reports whether candidate i comes before j by their bounds.
func (h *herd) first(i, j int32) bool { return h.herdOrder(i, j, h.gain[i], h.gain[j]) }

// makeLists finds what is covered already, and what each candidate would cover.
func (h *herd) makeLists() bool {
	c, ok := h.divide()
	if !ok || !h.coverBefore(c) {
		return false
	}
	h.gain = make([]uint64, len(h.pool))
	h.lists.landmarks, h.lists.where, h.lists.left = len(h.landmarks), make([]place, len(h.pool)), h.budget
	cut := make([]int, len(h.workers))
	ok = h.eachBlock(c, c.candidates, &c.landmarks, func(w *worker, candidates []int32, panels []panel) {
		found, long := h.gather(w, &h.spaces[w.number], h.rowsOf(candidates), panels, h.state, h.limit)
		for n, list := range found {
			if h.gain[candidates[n]] = h.gainOf(list); long[n] {
				cut[w.number]++
			}
		}
		h.lists.keep(candidates, found)
	})
	for _, n := range cut {
		h.cut += n
	}
	return ok
}

// rowsOf returns the dataset rows of candidates.
func (h *herd) rowsOf(candidates []int32) []int32 {
	rows := make([]int32, len(candidates))
	for n, i := range candidates {
		rows[n] = h.pool[i]
	}
	return rows
}
