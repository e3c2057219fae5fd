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
// start, candidates see the anchors before them, to have a sensible home. Panels that
// are out of sight (look) are passed over.
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
	candidates, ok = e.sweepTo(len(e.panels.list), candidates, m)
	if e.known != nil && ok {
		ok = e.confirm(candidates)
		candidates = slices.DeleteFunc(candidates, func(i int32) bool { return !e.beats(int(i), e.value(int(i)), m) })
	}
	return candidates, ok
}

// sweepTo is sweep in order, as far as the panel end. The candidates it returns
// are where they were given, at the end.
func (e *lazy) sweepTo(end int, candidates []int32, m mark) (before []int32, ok bool) {
	target := int32(min(end*lanes, len(e.seats)))
	first := len(candidates) // candidates[first:] stay before the mark
	keep := func(list []int32) { first -= copy(candidates[first-len(list):], list) }
	whole, compared := 0, 0
	for left := len(candidates); left > 0; { // candidates[:left] are to be compared
		// Those of a chunk start together.
		open := e.sortBy(candidates[:left], end, func(i int32) int {
			if seen := e.seen[i]; seen < target {
				return int(seen / lanes)
			}
			return end
		})
		keep(candidates[open:left])
		whole = max(whole, open)
		if open > 0 && end == len(e.panels.list) && e.probes.open == nil && e.far(candidates[0]) && !e.findBalls() {
			return nil, false
		}
		size := e.chunkRows()
		if words := len(e.probes.open); words > 0 && open > 0 && e.far(candidates[0]) {
			size = max(tileRows, min(size, sightMost/words)&^(tileRows-1))
		}
		if share := open / (4 * len(e.workers)); share < size {
			size = max(tileRows, share&^(tileRows-1))
			if end > e.panels.most { // some are packed for every chunk
				size = max(size, chunkLeast)
			}
		}
		swept := make([]swept, (open+size-1)/size)
		final := len(swept) <= 8*len(e.workers)
		work := size * e.Embeddings.Dim * (1 + int(e.perCandidate)/(4*lanes)) // if they take as much as others lately
		ok := e.parallel(len(swept), work, func(w *worker, at int) {
			swept[at] = e.sweepChunk(w, candidates[at*size:min(open, (at+1)*size)], end, m, final)
		})
		if !ok {
			return nil, false
		}
		left = 0
		stay := e.sorted[:0]
		for at, s := range swept {
			left += copy(candidates[left:], candidates[at*size:][:s.left])
			stay = append(stay, candidates[at*size:][:s.before]...)
		}
		keep(stay)
	}
	for w := range e.workers {
		compared += e.workers[w].compared
		e.workers[w].compared = 0
	}
	e.compared += compared * lanes
	if whole > 0 && end == len(e.panels.list) {
		e.perCandidate = (e.perCandidate + float64(compared*lanes)/float64(whole)) / 2
	}
	return candidates[first:], true
}

// sortBy orders candidates by a key from 0 to last, those of equal keys as they
// were, and returns how many have another key than last. When the caller has
// canceled, the order means nothing.
func (e *lazy) sortBy(candidates []int32, last int, key func(i int32) int) int {
	const block = 1 << 14
	if len(e.sorted) < len(candidates) {
		e.sorted = make([]int32, min(len(e.pool), 2*len(candidates)))
	}
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

// swept says how many of the candidates of a chunk are still to be compared, or
// have been and stay before the mark. They are the first of the chunk now.
type swept struct{ left, before int }

// sweepChunk is sweepTo for the candidates of a chunk, ordered by what they
// have seen. Unless it is the final round, a chunk in which few are left leaves
// them, to be swept in fuller company.
func (e *lazy) sweepChunk(w *worker, chunk []int32, end int, m mark, final bool) swept {
	e.load(w, chunk)
	all := int32(len(e.seats))
	live := w.chunk.live[:0] // places in the chunk that are compared now
	next := 0                // the first place that is not yet
	words := 0               // of each in w.sight
	if end == len(e.panels.list) && e.far(chunk[0]) && e.look(w, w.chunk.members[:len(chunk)]) {
		words = len(e.probes.open)
	}
	for p := int32(0); int(p) < end && !e.meter.canceled.Load(); p++ {
		if len(live) == 0 {
			if next == len(chunk) {
				return swept{}
			}
			p = e.seen[chunk[next]] / lanes
		}
		for next < len(chunk) && e.seen[chunk[next]]/lanes <= p {
			live = append(live, int32(next))
			next++
		}
		if !final && len(live)+len(chunk)-next <= min(len(chunk)/3, chunkFew) {
			for _, at := range live {
				i := chunk[at]
				e.seen[i] = max(e.seen[i], p*lanes)
			}
			n := gather(chunk, live)
			return swept{left: n + copy(chunk[n:], chunk[next:])}
		}
		some := live
		if words > 0 && int(p) < len(e.probes.loose) {
			some = w.inSight(live, int(p), words)
		}
		if len(some) == 0 {
			continue
		}
		w.compared += len(some)
		e.comparePanel(w, chunk, some, e.panel(w, int(p)))
		live = slices.DeleteFunc(live, func(at int32) bool {
			i := int(chunk[at])
			if e.beats(i, e.value(i), m) {
				return false
			}
			e.seen[i] = min(all, (p+1)*lanes)
			return true
		})
	}
	for _, at := range live {
		e.seen[chunk[at]] = min(all, int32(end*lanes))
	}
	return swept{before: gather(chunk, live)}
}

// gather brings the elements at ascending places to the front, and returns how
// many they are.
func gather(list, places []int32) int {
	for n, at := range places {
		list[n] = list[at]
	}
	return len(places)
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
		if c == m.owner || e.seats[c] == nobody || m.d2 == 0 && e.nameOf(c) >= e.nameOf(m.owner) {
			continue
		}
		w.spend(e.Embeddings.Dim)
		d2 := e.kernel.distance2(x, e.Embeddings.Row(int(e.seats[c])))
		if e.bring(i, d2, c) {
			m.owner, m.d2, m.limit = c, d2, e.filter.threshold(d2, m.x2)
			limit = m.threshold(p)
		}
	}
}
