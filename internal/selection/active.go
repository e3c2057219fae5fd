package selection

import "slices"

// pickAmong is greedy selection among the active candidates of a level, whose
// distances are exact, as long as the best of them beats the mark.
//
// Which active candidate may come nearer through which other one is computed at
// once, by tiles: bit l of near[p][a] says that the candidate at place a has to
// be compared when the one at place p·lanes+l is picked.
func (e *lazy) pickAmong(active []int32, m mark) {
	active = slices.Clone(active) // other lists use its space
	near := e.neighbors(active)
	for len(e.steps) < e.k && e.meter.spend(8*len(active)) {
		best := -1
		for at, i := range active {
			if v := e.value(int(i)); e.beats(int(i), v, m) && (best < 0 || e.beats(int(i), v, e.markAt(active[best]))) {
				best = at
			}
		}
		if best < 0 {
			break
		}
		i := int(active[best])
		e.pick(i)
		c := int32(len(e.seats) - 1)
		row := e.Embeddings.Row(int(e.pool[i]))
		for at, bits := range near[best/lanes] {
			if bits>>(best%lanes)&1 == 0 {
				continue
			}
			j := int(active[at])
			e.bring(j, e.kernel.distance2(e.Embeddings.Row(int(e.pool[j])), row), c)
		}
	}
	for _, i := range active {
		e.seen[i] = int32(len(e.seats))
	}
}

// neighbors returns near for the active candidates.
func (e *lazy) neighbors(active []int32) [][]uint32 {
	dim := e.Embeddings.Dim
	n := (len(active) + tileRows - 1) / tileRows * tileRows
	if e.actives.empty() {
		e.actives = e.newSpace(activeMost)
	}
	points, biases := make([]point, n), make([]float32, n)
	rows := make([]int32, len(active))
	for at, i := range active {
		x := e.Embeddings.Row(int(e.pool[i]))
		rows[at], biases[at] = e.pool[i], e.biasOf(x)
		points[at] = e.point(&e.actives, at, x, x)
		points[at].limit = e.filter.threshold(e.d2[i], points[at].x2)
	}
	for at := len(active); at < n; at++ {
		points[at] = points[0] // the last tile is full
	}
	near := make([][]uint32, (len(active)+lanes-1)/lanes)
	e.parallel(len(near), n*lanes*dim/32, func(w *worker, p int) {
		end := min(len(rows), (p+1)*lanes)
		e.fill(w, &w.panel, rows[p*lanes:end], biases[p*lanes:end])
		near[p] = make([]uint32, n)
		for at := 0; at < n; at += tileRows {
			for r := range tileRows {
				w.enter(r, &points[at+r], &w.panel)
			}
			e.multiply(w, &w.panel)
			copy(near[p][at:], w.tile.hits[:])
		}
		near[p] = near[p][:len(active)]
	})
	return near
}
