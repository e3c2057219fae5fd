package selection

import "sync/atomic"

// gainOf returns what a candidate with these entries would add to the covered
// mass.
func (h *herd) gainOf(list []entry) (gain uint64) {
	for _, e := range list {
		l := h.state[e.landmark()]
		gain += uint64(l.mass) * uint64(max(e.kernel(), l.covered)-l.covered)
	}
	return gain
}

// keptGain is gainOf for candidate i, whose list is kept.
func (h *herd) keptGain(i int32) (gain uint64) {
	at, kernel := h.lists.of(i)
	if at == nil {
		for x, k := range kernel {
			l := h.state[x]
			gain += uint64(l.mass) * uint64(max(k, l.covered)-l.covered)
		}
		return gain
	}
	for n, x := range at {
		l := h.state[x]
		gain += uint64(l.mass) * uint64(max(kernel[n], l.covered)-l.covered)
	}
	return gain
}

// refresh brings the gain of the first candidate up to date. If its list is not
// kept, so are those of others near the top of the heap without one: to a tile
// eight are as one.
func (h *herd) refresh(picks int32) bool {
	if i := h.queue[0]; h.lists.kept(i) {
		_, kernel := h.lists.of(i)
		h.gain[i], h.known[i] = h.keptGain(i), picks
		h.sink(0)
		return h.meter.spend(2*len(kernel) + 1000) // the rest is waiting for memory
	}
	var places []int
	var candidates []int32
	for at, i := range h.queue[:min(len(h.queue), 4*tileRows)] {
		if len(places) < tileRows && h.known[i] < picks && !h.lists.kept(i) {
			places, candidates = append(places, at), append(candidates, i)
		}
	}
	gains := make([]atomic.Uint64, len(candidates))
	ok := h.again(candidates, func(found [][]entry) {
		for n, list := range found {
			gains[n].Add(h.gainOf(list))
		}
	})
	for n := range candidates {
		h.gain[candidates[n]], h.known[candidates[n]] = gains[n].Load(), picks
	}
	for n := len(places) - 1; n >= 0; n-- { // those below a place are in order before it
		h.sink(places[n])
	}
	return ok
}

// again finds what up to tileRows candidates cover that nothing does better, and
// hands it over in parts, each for other landmarks, from several goroutines.
func (h *herd) again(candidates []int32, do func(found [][]entry)) bool {
	const part = 32 // panels
	rows := h.rowsOf(candidates)
	return h.parallel((len(h.panels)+part-1)/part, part*tileRows*h.Embeddings.Dim, func(w *worker, at int) {
		panels := h.panels[at*part : min(len(h.panels), (at+1)*part)]
		found, _ := h.gather(w, &h.spaces[w.number], rows, panels, h.state, 0)
		do(found)
	})
}

// cover makes candidate i a pick, and returns how many landmarks it covers
// better than anything before.
func (h *herd) cover(i int32) (int, bool) {
	var covers atomic.Int64
	if !h.lists.kept(i) {
		ok := h.again([]int32{i}, func(found [][]entry) {
			for _, e := range found[0] {
				h.state[e.landmark()].covered = e.kernel()
			}
			covers.Add(int64(len(found[0])))
		})
		return int(covers.Load()), ok
	}
	at, kernel := h.lists.of(i)
	n := 0
	for e, k := range kernel {
		x := int32(e)
		if at != nil {
			x = at[e]
		}
		if l := &h.state[x]; k > l.covered {
			l.covered = k
			n++
		}
	}
	return n, true
}
