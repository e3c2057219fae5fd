package selection

import (
	"cmp"
	"math"
	"slices"
)

// seatWarm seats the centers of a warm start. Where there are many for each
// anchor, the panels are filled by home, so that they belong to anchors, and stand in an
// order in which a candidate meets all parts of the dataset evenly.
func (e *lazy) seatWarm(rows []int32) bool {
	s, count := &e.probes, min(len(rows)/homeCenters, len(e.pool)/homePool, probeMost)/lanes*lanes
	if count == 0 {
		return e.seatAll(rows)
	}
	others, homes, apart, ok := e.seatAnchors(rows, count)
	if !ok {
		return false
	}
	s.next = len(rows) * 7 / 6
	// The others by their homes, the nearest first, in blocks of a panel, and what is left of them.
	byHome := make([]int32, len(others))
	starts := make([]int32, count+1)
	for _, home := range homes {
		starts[home+1]++
	}
	for home := range count {
		starts[home+1] += starts[home]
	}
	for at, home := range homes {
		byHome[starts[home]] = int32(at)
		starts[home]++
	}
	ok = e.parallel(count, 50*lanes*len(others)/count, func(_ *worker, home int) {
		from := int32(0)
		if home > 0 {
			from = starts[home-1]
		}
		slices.SortFunc(byHome[from:starts[home]], func(a, b int32) int { return cmp.Or(cmp.Compare(apart[a], apart[b]), cmp.Compare(a, b)) })
	})
	if !ok {
		return false
	}
	seats := make([]int32, 0, len(others))
	seat := func(block []int32) {
		for _, at := range block {
			seats, s.home = append(seats, others[at]), append(s.home, homes[at])
		}
	}
	blocks := len(others) / lanes
	for _, b := range evenly(blocks) {
		seat(byHome[b*lanes:][:lanes])
	}
	seat(byHome[blocks*lanes:])
	return e.meter.spend(8*len(others)) && e.seatAll(seats) && e.surround()
}

// seatAnchors seats the anchors of a warm start, and returns the other rows with their
// homes, and how far they are apart from those. The first rows are anchors, and others
// that are far from all of these: no group of centers should be without one.
func (e *lazy) seatAnchors(rows []int32, count int) (others, homes []int32, apart []float32, ok bool) {
	s, far := &e.probes, count/homeFar/lanes*lanes
	s.count = count - far
	others = rows[s.count:]
	homes, apart = make([]int32, len(others)), make([]float32, len(others))
	if !e.seatAll(rows[:s.count]) || !e.homesOf(0, others, homes, apart) {
		return nil, nil, nil, false
	}
	anchors, n := e.takeFarthest(others, apart, far), 0
	for at, row := range others {
		if row != nobody {
			others[n], homes[n], apart[n] = row, homes[at], apart[at]
			n++
		}
	}
	others, homes, apart = others[:n], homes[:n], apart[:n]
	s.count += len(anchors)
	s.home = countTo(s.count)
	ok = len(anchors) == 0 || e.seatAll(anchors) && e.homesOf(s.count-len(anchors), others, homes, apart)
	return others, homes, apart, ok
}

// takeFarthest takes so many of some rows, each about the farthest in a sample from the
// anchors and those taken before. It leaves nobody where they were.
func (e *lazy) takeFarthest(rows []int32, apart []float32, count int) []int32 {
	var sample []int32
	for at := 0; at < len(rows); at += 1 + len(rows)/sampleSize {
		sample = append(sample, int32(at))
	}
	if size := farSample * count; size < len(sample) {
		nth(sample, size, func(a, b int32) int { return cmp.Or(cmp.Compare(apart[b], apart[a]), cmp.Compare(a, b)) })
		sample = sample[:size]
	}
	away := make([]float64, len(sample))
	for n, at := range sample {
		away[n] = float64(apart[at])
	}
	taken := make([]int32, 0, count)
	for range min(count, len(sample)) {
		best := 0
		for n := range sample {
			if away[n] > away[best] {
				best = n
			}
		}
		row := rows[sample[best]]
		for n, at := range sample {
			if rows[at] != nobody {
				away[n] = min(away[n], e.kernel.distance2(e.Embeddings.Row(int(row)), e.Embeddings.Row(int(rows[at])))/2)
			}
		}
		taken, rows[sample[best]], away[best] = append(taken, row), nobody, math.Inf(-1)
	}
	return taken
}

// evenly returns the numbers below n in an order that visits all parts evenly: by
// multiples of the golden section (Knuth, The Art of Computer Programming, vol. 3, 6.4).
func evenly(n int) []int32 {
	const section = 2654435769 // of 2³²
	turns := countTo(n)
	slices.SortFunc(turns, func(a, b int32) int { return cmp.Compare(uint32(a)*section, uint32(b)*section) })
	order := make([]int32, n)
	for rank, turn := range turns {
		order[turn] = int32(rank)
	}
	return order
}
