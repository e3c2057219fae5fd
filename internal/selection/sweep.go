package selection

import (
	"math/bits"
	"slices"
)

// sweep compares each of the candidates with the centers it has not seen until
// it falls behind the mark. It returns those that do not, and false when the
// caller has canceled.
//
// In order of the centers, that is, except that probes come first. In a warm
// start, candidates see the anchors before them, to have a sensible home.
func (e *lazy) sweep(candidates []int32, m mark) ([]int32, bool) {
	ok := true
	if e.probes.count > 0 && e.warm {
		candidates, ok = e.sweepTo(e.probes.count/lanes, candidates, m)
	}
	if e.probes.count > 0 && ok {
		candidates, ok = e.probe(candidates, m)
	}
	if !ok {
		return nil, false
	}
	return e.sweepTo(len(e.panels.list), candidates, m)
}

// sweepTo is sweep in order, as far as the panel end.
func (e *lazy) sweepTo(end int, candidates []int32, m mark) (before []int32, ok bool) {
	target := int32(min(end*lanes, len(e.seats)))
	for w := range e.workers {
		e.workers[w].list = e.workers[w].list[:0]
	}
	whole, compared := 0, 0
	for len(candidates) > 0 {
		// Those of a chunk start together.
		done := e.sortBy(candidates, end, func(i int32) int {
			if seen := e.seen[i]; seen < target {
				return int(seen / lanes)
			}
			return end
		})
		before = append(before, candidates[done:]...)
		candidates = candidates[:done]
		whole = max(whole, done)
		size := e.chunkRows()
		if share := len(candidates) / (4 * len(e.workers)); share < size {
			size = max(tileRows, share&^(tileRows-1))
		}
		chunks := (len(candidates) + size - 1) / size
		final := chunks <= 8*len(e.workers)
		for w := range e.workers {
			e.workers[w].left = e.workers[w].left[:0]
		}
		ok := e.parallel(chunks, size*e.Embeddings.Dim, func(w *worker, at int) {
			e.sweepChunk(w, candidates[at*size:min(len(candidates), (at+1)*size)], end, m, final)
		})
		if !ok {
			return nil, false
		}
		candidates = candidates[:0]
		for w := range e.workers {
			candidates = append(candidates, e.workers[w].left...)
		}
	}
	for w := range e.workers {
		compared += e.workers[w].compared
		e.workers[w].compared = 0
	}
	e.compared += compared * lanes
	if whole > 0 && end == len(e.panels.list) {
		e.perCandidate = (e.perCandidate + float64(compared*lanes)/float64(whole)) / 2
	}
	for w := range e.workers {
		before = append(before, e.workers[w].list...)
	}
	return before, true
}

// sortBy orders candidates by a key from 0 to last, those of equal keys as they
// were, and returns how many have another key than last. When the caller has
// canceled, the order means nothing.
func (e *lazy) sortBy(candidates []int32, last int, key func(i int32) int) int {
	const block = 1 << 14
	blocks := (len(candidates) + block - 1) / block
	places := make([][]int32, blocks)
	part := func(at int) []int32 { return candidates[at*block : min(len(candidates), (at+1)*block)] }
	ok := e.parallel(blocks, 4*block, func(_ *worker, at int) {
		counts := make([]int32, last+1)
		for _, i := range part(at) {
			counts[key(i)]++
		}
		places[at] = counts
	})
	if !ok {
		return len(candidates) // the caller finds out
	}
	next, others := int32(0), 0
	for k := range last + 1 {
		if k == last {
			others = int(next)
		}
		for _, counts := range places {
			counts[k], next = next, next+counts[k]
		}
	}
	e.parallel(blocks, 4*block, func(_ *worker, at int) {
		places := places[at]
		for _, i := range part(at) {
			k := key(i)
			e.sorted[places[k]] = i
			places[k]++
		}
	})
	copy(candidates, e.sorted)
	return others
}

// sweepChunk is sweepTo for the candidates of a chunk, ordered by what they
// have seen. Unless it is the final round, a chunk in which few are left puts
// them on w.left, to be swept in fuller company.
func (e *lazy) sweepChunk(w *worker, chunk []int32, end int, m mark, final bool) {
	e.load(w, chunk)
	all := int32(len(e.seats))
	live := w.chunk.live[:0] // places in the chunk that are compared now
	next := 0                // the first place that is not yet
	for p := int32(0); int(p) < end && !e.meter.canceled.Load(); p++ {
		if len(live) == 0 {
			if next == len(chunk) {
				return
			}
			p = e.seen[chunk[next]] / lanes
		}
		for next < len(chunk) && e.seen[chunk[next]]/lanes <= p {
			live = append(live, int32(next))
			next++
		}
		if !final && len(live)+len(chunk)-next <= min(len(chunk)/3, chunkFew) {
			for _, at := range live {
				w.left = append(w.left, chunk[at])
			}
			w.left = append(w.left, chunk[next:]...)
			return
		}
		w.compared += len(live)
		e.comparePanel(w, chunk, live, e.panel(w, int(p)))
		live = slices.DeleteFunc(live, func(at int32) bool {
			i := int(chunk[at])
			e.seen[i] = min(all, (p+1)*lanes)
			return !e.beats(i, e.value(i), m)
		})
	}
	for _, at := range live {
		w.list = append(w.list, chunk[at])
	}
}

// comparePanel compares the live points of a chunk with a panel.
func (e *lazy) comparePanel(w *worker, chunk, live []int32, p *panel) {
	w.spend(len(live) * e.Embeddings.Dim)
	for ; len(live) > 0; live = live[min(tileRows, len(live)):] {
		n := min(tileRows, len(live))
		for r := range tileRows {
			w.enter(r, &w.chunk.members[live[min(r, n-1)]].point, p)
		}
		e.multiply(w, p)
		for r := range n {
			if w.tile.hits[r] != 0 {
				at := live[r]
				e.settle(w, int(chunk[at]), &w.chunk.members[at], r, p)
			}
		}
	}
}

// settle computes the distances of candidate i to the centers of panel p that
// the filter lets through, the nearest first.
func (e *lazy) settle(w *worker, i int, m *member, r int, p *panel) {
	limit, x := w.tile.thresholds[r], e.Embeddings.Row(int(m.row))
	values := &w.tile.values[r]
	for hits := w.tile.hits[r]; ; {
		best, most := -1, float32(0)
		for h := hits; h != 0; h &= h - 1 {
			l := bits.TrailingZeros32(h)
			if v := values[l]; v < limit {
				hits &^= 1 << l
			} else if best < 0 || v > most {
				best, most = l, v
			}
		}
		if best < 0 {
			return
		}
		hits &^= 1 << best
		c := p.seat[best]
		if c == m.owner || m.d2 == 0 && e.names[c] >= e.names[m.owner] {
			continue
		}
		d2 := e.kernel.distance2(x, e.Embeddings.Row(int(e.seats[c])))
		if e.bring(i, d2, c) {
			m.owner, m.d2, m.limit = c, d2, e.filter.threshold(d2, m.x2)
			limit = m.threshold(p)
		}
	}
}
