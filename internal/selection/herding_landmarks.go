package selection

import (
	"math"
	"slices"
	"sync/atomic"
)

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

// labelPairs are as many pairs of landmarks and labels as are worth a State: at 128
// dimensions they take about a third of a second.
const labelPairs = 1 << 28

// chooseLandmarks decides how many pool rows are landmarks: all of up to
// exactRows, else as many as the lists can hold in the mean and all candidates be
// compared with, and at least landmarksEach for each selected row. The limit is
// for candidates that cover more than the mean.
func (h *herd) chooseLandmarks() bool {
	n := len(h.pool)
	if n <= exactRows {
		h.budget, h.pairs = listsMost, math.Inf(1)
		return h.takeLandmarks(n)
	}
	count, each := landmarksEach*(len(h.centers)+h.k), max(listsEach, listsMost/n)
	if count < n {
		bytes, ok := h.bytesEach()
		if !ok {
			return false
		}
		count = max(count, int(min(float64(each)/max(bytes, 1e-9), wholeCells*h.pairs/float64(n))))
	}
	count = min(count, n)
	if h.limit = 0; each < kernelBytes*count {
		h.limit = each / entryBytes
	}
	return h.takeLandmarks(count)
}

// takeLandmarks makes the rows of lowest Key landmarks.
func (h *herd) takeLandmarks(n int) bool {
	h.order = h.byKey(n+validated, h.meter)
	h.landmarks = h.rowsOf(h.order[:min(n, len(h.pool))])
	h.state = make([]landmark, len(h.landmarks))
	for n := range h.state {
		h.state[n].mass = h.mass(h.order[n])
	}
	return !h.meter.canceled.Load()
}

// bytesEach estimates how much memory one landmark takes of a list in the mean.
// For that the first rows by Key are landmarks, and some of them candidates.
func (h *herd) bytesEach() (float64, bool) {
	const samples, others, pairs = 256, 1 << 15, 1 << 27
	if !h.takeLandmarks(max(samples, min(others, pairs/max(1, len(h.centers))))) || !h.coverDirectly(nil) {
		return 0, false
	}
	panels, ok := h.packAll(h.landmarks)
	if !ok {
		return 0, false
	}
	var reached atomic.Int64
	ok = h.parallel(samples/tileRows, tileRows*len(h.landmarks)*h.Embeddings.Dim/8, func(w *worker, at int) {
		found, _ := h.gather(w, &h.spaces[w.number], h.landmarks[at*tileRows:(at+1)*tileRows], panels, h.state, 0)
		for _, list := range found {
			reached.Add(int64(len(list)))
		}
	})
	return min(kernelBytes, entryBytes*float64(reached.Load())/float64(samples*len(h.landmarks))), ok
}

// coversDirectly reports whether every landmark is compared with every preselected
// row: it is, unless there are very many pairs.
func (h *herd) coversDirectly() bool {
	return float64(len(h.centers))*float64(len(h.landmarks)) <= h.pairs
}

// coverDirectly finds how far the landmarks are covered by the preselected rows.
// What it learns goes to learned, unless that is nil.
func (h *herd) coverDirectly(learned *Nearest) bool {
	labels := slices.Sorted(slices.Values(h.centers)) // in an order that does not depend on the seed
	return h.eachNearest(h.landmarks, labels, &h.past.Labels, learned, func(at, _ int32, d2 float64) {
		h.state[at].covered = h.at(d2)
	})
}

// coverBefore is coverDirectly, nearly where that takes too long.
func (h *herd) coverBefore(c *cells) bool {
	if h.coversDirectly() {
		var learned *Nearest
		if h.KeepState && float64(len(h.centers))*float64(len(h.landmarks)) >= h.worthKeeping {
			learned = &h.next.Labels
		}
		return h.coverDirectly(learned)
	}
	return h.eachBlock(c, c.landmarks.of, &c.centers, func(w *worker, block []int32, panels []panel) {
		rows := make([]int32, len(block))
		for n, at := range block {
			rows[n] = h.landmarks[at]
		}
		found, d2 := h.nearest(w, rows, panels, nearestRule{before: firstSeat})
		for n, seat := range found {
			if seat >= 0 {
				h.state[block[n]].covered = h.at(d2[n])
			}
		}
	})
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
		if parts[w.number] == nil {
			parts[w.number] = make([]uint16, len(covered))
		}
		part := parts[w.number]
		found, _ := h.gather(w, &h.spaces[w.number], chosen[at*blockRows:min(len(chosen), (at+1)*blockRows)], panels, nil, 0)
		for _, list := range found {
			for _, e := range list {
				part[e.landmark()] = max(part[e.landmark()], e.kernel())
			}
		}
	})
	for _, part := range parts {
		for n, k := range part {
			covered[n] = max(covered[n], k)
		}
	}
	return ok
}
