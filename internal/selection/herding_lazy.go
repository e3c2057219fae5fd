package selection

import "slices"

// herd is greedy selection by gain, from lists of the landmarks that each
// candidate covers.
//
// Gains only fall as more is covered, so one that was computed earlier is an
// upper bound. A candidate whose gain is up to date and comes before all others
// by their bounds is the next pick; until then the first by its bound is brought
// up to date. So the picks are those of computing every gain before every pick.
type herd struct {
	tiles
	kernelOf
	order     []int32 // candidates by ascending Key: the landmarks and some more
	landmarks []int32 // dataset rows of the first
	state     []landmark
	lists     lists
	limit     int     // entries of a list, 0 for no limit
	pairs     float64 // of rows and landmarks that are compared, about; where there are more, cells decide
	cut       int     // lists that would have been longer

	queue []int32  // candidates, a heap: the first by its bound on top
	gain  []uint64 // of each candidate, as it was
	known []int32  // after so many picks
}

// landmark is what greedy selection knows of one.
type landmark struct {
	mass    uint32
	covered uint16
}

// lazyHerd is bruteHerd, faster, and where there are too many rows for lists of
// all, nearly.
func (p *problem) lazyHerd(radius float64, k kernel, threads int, m *meter) (*herded, error) {
	h := &herd{tiles: p.newTiles(k, threads, m), kernelOf: newKernel(radius), pairs: pairsMost}
	if !h.chooseLandmarks() {
		return nil, ErrCanceled
	}
	return h.run()
}

// run selects, with the landmarks as they are.
func (h *herd) run() (*herded, error) {
	r := &herded{report: HerdingReport{Landmarks: len(h.landmarks), ListLimit: h.limit}}
	h.state = make([]landmark, len(h.landmarks))
	for n, i := range h.order[:len(h.landmarks)] {
		h.state[n].mass = h.mass(i)
		r.total += uint64(h.state[n].mass)
	}
	if !h.makeLists() {
		return nil, ErrCanceled
	}
	r.before, r.report.Cut = h.covered(), h.cut
	if !h.firstGains() {
		return nil, ErrCanceled
	}
	chosen := slices.Clone(h.centers)
	for len(r.steps) < h.k && len(h.queue) > 0 {
		i := h.queue[0]
		if _, kernel := h.lists.of(i); !h.meter.spend(2*len(kernel) + 100) {
			return nil, ErrCanceled
		}
		if h.known[i] < int32(len(r.steps)) && h.gain[i] > 0 {
			h.gain[i], h.known[i] = h.gainOf(i), int32(len(r.steps))
			h.sink(0)
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
		r.steps = append(r.steps, herdStep{int(i), h.gain[i], h.cover(i)})
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

// gainOf returns what candidate i would add to the covered mass.
func (h *herd) gainOf(i int32) (gain uint64) {
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

// cover makes candidate i a pick, and returns how many landmarks it covers
// better than anything before.
func (h *herd) cover(i int32) (n int) {
	at, kernel := h.lists.of(i)
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
	return n
}

// firstGains puts all candidates into the queue.
func (h *herd) firstGains() bool {
	const block = 1024
	h.gain, h.known, h.queue = make([]uint64, len(h.pool)), make([]int32, len(h.pool)), countTo(len(h.pool))
	ok := h.parallel((len(h.pool)+block-1)/block, block*200, func(_ *worker, at int) {
		for i := at * block; i < min(len(h.pool), (at+1)*block); i++ {
			h.gain[i] = h.gainOf(int32(i))
		}
	})
	for at := len(h.queue)/2 - 1; at >= 0 && ok; at-- {
		h.sink(at)
		ok = at%1024 != 0 || h.meter.spend(1024*100)
	}
	return ok
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

// makeLists finds what each candidate covers, and what is covered already.
func (h *herd) makeLists() bool {
	c, ok := h.divide()
	if !ok {
		return false
	}
	h.lists = lists{landmarks: len(h.landmarks), pieces: make([]piece, c.blocks), where: make([]place, len(h.pool))}
	spaces, cut := make([]gatherSpace, len(h.workers)), make([]int, len(h.workers))
	covered := make([][]uint16, len(h.workers))
	ok = h.eachBlock(c, func(w *worker, number int, places []int32, panels []panel) {
		first := len(places) // of the preselected ones, which come last
		for first > 0 && int(places[first-1]) >= len(h.pool) {
			first--
		}
		found, long := h.gather(w, &spaces[w.number], h.rowsOf(places[:first]), panels, h.limit)
		h.lists.keep(places[:first], int32(number), found)
		for _, is := range long {
			if is {
				cut[w.number]++
			}
		}
		if first == len(places) {
			return
		}
		if covered[w.number] == nil {
			covered[w.number] = make([]uint16, len(h.landmarks))
		}
		found, _ = h.gather(w, &spaces[w.number], h.rowsOf(places[first:]), panels, 0)
		for _, list := range found {
			for _, e := range list {
				covered[w.number][e.landmark()] = max(covered[w.number][e.landmark()], e.kernel())
			}
		}
	})
	if ok && h.coversDirectly() {
		ok = h.coverDirectly()
	}
	for w := range h.workers {
		h.cut += cut[w]
		for n, k := range covered[w] {
			h.state[n].covered = max(h.state[n].covered, k)
		}
	}
	return ok
}

// rowsOf returns the dataset rows of places in the pool and, behind it, the
// preselected ones.
func (h *herd) rowsOf(places []int32) []int32 {
	rows := make([]int32, len(places))
	for n, at := range places {
		if int(at) < len(h.pool) {
			rows[n] = h.pool[at]
		} else {
			rows[n] = h.centers[int(at)-len(h.pool)]
		}
	}
	return rows
}
