package selection

import "math"

// exactRows is up to how many pool rows all are landmarks, and nothing is left out.
const exactRows = 30_000

// The lists of all candidates may take so much memory, or so much for each
// candidate where that is more: 128 entries.
const (
	listsMost = 768 << 20
	listsEach = 128 * entryBytes
)

// landmarksEach is how many landmarks there are for each selected row, at least:
// with fewer, the picks are no better than those of a score alone.
const landmarksEach = 20

// chooseLandmarks decides how many pool rows are landmarks: all, if the lists can
// hold them, else as many as the lists can hold in the mean, and at least
// landmarksEach for each selected row. The limit is for candidates that cover
// more than the mean. How many a candidate covers is estimated from rows of low
// Key.
func (h *herd) chooseLandmarks() bool {
	const samples, others = 64, 1 << 16
	low := h.lowest(others, h.meter)
	reached, pairs := 0, 0
	for _, a := range low[:min(samples, len(low))] {
		for _, b := range low {
			if h.kernel.distance2(h.Embeddings.Row(int(a)), h.Embeddings.Row(int(b))) < h.reach2 {
				reached++
			}
			pairs++
		}
		if !h.meter.spend(len(low) * h.Embeddings.Dim / 4) {
			return false
		}
	}
	n := len(h.pool)
	if n <= exactRows {
		h.budget, h.pairs = listsMost, math.Inf(1)
		h.order = h.byKey(n, h.meter)
		h.landmarks = h.rowsOf(h.order)
		return true
	}
	count, each := n, max(listsEach, listsMost/max(1, n))
	landmark := min(kernelBytes, entryBytes*float64(reached)/float64(max(1, pairs))) // bytes that it takes of a list in the mean
	if fit := float64(each) / max(landmark, 1e-9); fit < float64(n) {
		count = min(n, max(int(fit), landmarksEach*(len(h.centers)+h.k)))
	}
	if h.limit = 0; each < kernelBytes*count {
		h.limit = each / entryBytes
	}
	h.order = h.byKey(count+validated, h.meter)
	h.landmarks = h.rowsOf(h.order[:count])
	return true
}

// coversDirectly reports whether every landmark is compared with every preselected
// row: it is, unless there are very many pairs.
func (h *herd) coversDirectly() bool {
	return float64(len(h.centers))*float64(len(h.landmarks)) <= h.pairs
}

// coverBefore finds how far the landmarks are covered by the preselected rows.
func (h *herd) coverBefore(c *cells) bool {
	if h.coversDirectly() {
		panels, ok := h.packAll(h.centers)
		return ok && h.blocks(h.landmarks, func(w *worker, from, end int) {
			found, d2 := h.nearest(w, h.landmarks[from:end], panels, nearestRule{before: firstSeat})
			for n, seat := range found {
				if seat >= 0 {
					h.state[from+n].covered = h.at(d2[n])
				}
			}
		})
	}
	parts := make([][]uint16, len(h.workers))
	ok := h.eachBlock(c, c.centers, func(w *worker, _ int, members []int32, panels []panel) {
		rows := make([]int32, len(members))
		for n, at := range members {
			rows[n] = h.centers[at]
		}
		h.raise(w, &parts[w.number], len(h.landmarks), rows, panels)
	})
	for _, part := range parts {
		for n, k := range part {
			h.state[n].covered = max(h.state[n].covered, k)
		}
	}
	return ok
}

// raise raises what a block of rows covers among size seats; it makes them at
// first.
func (h *herd) raise(w *worker, covered *[]uint16, size int, rows []int32, panels []panel) {
	if *covered == nil {
		*covered = make([]uint16, size)
	}
	found, _ := h.gather(w, &h.spaces[w.number], rows, panels, nil, 0)
	for _, list := range found {
		for _, e := range list {
			(*covered)[e.landmark()] = max((*covered)[e.landmark()], e.kernel())
		}
	}
}

// validated is how many pool rows that are no landmarks tell what the selection
// is worth, at most.
const validated = 8192

// validate measures on pool rows that are no landmarks what the selection is
// worth. They are the next by Key.
func (h *herd) validate(r *herded, chosen []int32) bool {
	low := h.order[len(h.landmarks):]
	rows, mass, total := make([]int32, len(low)), make([]uint32, len(low)), uint64(0)
	for n, i := range low {
		rows[n], mass[n] = h.pool[i], h.mass(i)
		total += uint64(mass[n])
	}
	panels, ok := h.packAll(rows)
	if !ok {
		return false
	}
	covered := make([]uint16, len(rows))
	sum := func() (s uint64) {
		for n, k := range covered {
			s += uint64(mass[n]) * uint64(k)
		}
		return s
	}
	before, ok := uint64(0), h.coverBy(covered, chosen[:len(h.centers)], panels)
	if before = sum(); ok {
		ok = h.coverBy(covered, chosen[len(h.centers):], panels)
	}
	r.report.Before, r.report.After = share(before, total), share(sum(), total)
	if seen := share(r.after-r.before, r.total); seen > 0 {
		r.report.Loss = max(0, 1-(r.report.After-r.report.Before)/seen)
	}
	return ok
}

// coverBy raises covered, of the rows in the panels, to what the chosen rows
// cover.
func (h *herd) coverBy(covered []uint16, chosen []int32, panels []panel) bool {
	parts := make([][]uint16, len(h.workers))
	blocks := (len(chosen) + blockRows - 1) / blockRows
	ok := h.parallel(blocks, blockRows*len(covered)*h.Embeddings.Dim/32, func(w *worker, at int) {
		h.raise(w, &parts[w.number], len(covered), chosen[at*blockRows:min(len(chosen), (at+1)*blockRows)], panels)
	})
	for _, part := range parts {
		for n, k := range part {
			covered[n] = max(covered[n], k)
		}
	}
	return ok
}
