package selection

import (
	"cmp"
	"slices"
)

// cells divide rows by the nearest of some seeds, so that not every row has to
// be compared with every landmark: only with those in the cells around its own.
// The seeds are the landmarks of lowest Key. One cell holds everything where
// there are few pairs.
type cells struct {
	around     [][]int32 // the cells around each, itself among them
	candidates [][]int32 // of each cell
	landmarks  settled
	centers    settled // preselected rows, unless they cover directly
}

// settled is what is known of rows that others are compared with in cells.
type settled struct {
	rows []int32
	bias []float32 // of each row
	of   [][]int32 // numbers of the rows of each cell
}

const (
	pairsMost   = 3 << 30 // of candidates and landmarks that are compared, about
	wholeCells  = 2       // times as many where they are all: they take no packing, and lose nothing
	cellsAround = 16      // at least
	cellsLeast  = 64
	cellsMost   = 4096
	blockRows   = chunkLeast // rows whose lists are gathered at a time, at most
	blockLeast  = 2 * tileRows
	blockSpace  = 1 << 19 // entries that they may have
)

// divide makes the cells of all rows.
func (h *herd) divide() (*cells, bool) {
	rows := h.pool
	if !h.coversDirectly() {
		rows = slices.Concat(h.pool, h.centers)
	}
	all := float64(len(rows)) * float64(len(h.landmarks))
	if all <= wholeCells*h.pairs {
		var ok bool
		h.panels, ok = h.packAll(h.landmarks)
		return &cells{candidates: [][]int32{countTo(len(h.pool))}}, ok
	}
	// A row is compared with count seeds and cellsAround/count of the landmarks:
	// together that is least at 4·√landmarks.
	count := cellsLeast
	for count < cellsMost && count*count < 8*len(h.landmarks) {
		count *= 2
	}
	count = min(count, len(h.landmarks))
	home, ok := h.homes(rows, h.landmarks[:count])
	if !ok {
		return nil, false
	}
	cellOf := make([]int32, h.Rows)
	for n, row := range rows {
		cellOf[row] = home[n]
	}
	c := &cells{candidates: byCell(h.pool, cellOf, count)}
	if c.around, ok = h.around(h.landmarks[:count], min(count, max(cellsAround, int(float64(count)*h.pairs/all)))); !ok {
		return nil, false
	}
	if c.landmarks, ok = h.settle(h.landmarks, cellOf, count); ok && !h.coversDirectly() {
		c.centers, ok = h.settle(h.centers, cellOf, count)
	}
	return c, ok
}

// homes returns the nearest seed of each row, by number.
func (h *herd) homes(rows, seeds []int32) ([]int32, bool) {
	home := make([]int32, len(rows))
	var learned *Nearest
	if h.KeepState {
		learned = &h.next.Cells
	}
	return home, h.eachNearest(rows, seeds, &h.past.Cells, learned, func(at, seed int32, _ float64) { home[at] = seed })
}

// around lists so many of the nearest seeds of each, the nearest first.
func (h *herd) around(seeds []int32, most int) ([][]int32, bool) {
	lists := make([][]int32, len(seeds))
	return lists, h.parallel(len(seeds), len(seeds)*h.Embeddings.Dim, func(_ *worker, at int) {
		order, d2 := countTo(len(seeds)), make([]float64, len(seeds))
		for other := range order {
			d2[other] = h.kernel.distance2(h.Embeddings.Row(int(seeds[at])), h.Embeddings.Row(int(seeds[other])))
		}
		compare := func(a, b int32) int { return cmp.Or(cmp.Compare(d2[a], d2[b]), cmp.Compare(a, b)) }
		nth(order, most-1, compare)
		lists[at] = slices.Clone(order[:most])
		slices.SortFunc(lists[at], compare)
	})
}

// settle divides rows by their cells.
func (h *herd) settle(rows, cellOf []int32, count int) (settled, bool) {
	s := settled{rows, make([]float32, len(rows)), byCell(rows, cellOf, count)}
	return s, h.blocks(rows, func(_ *worker, from, end int) {
		for n := from; n < end; n++ {
			s.bias[n] = h.biasOf(h.Embeddings.Row(int(rows[n])))
		}
	})
}

// byCell lists the numbers of the rows of each cell.
func byCell(rows, cellOf []int32, count int) [][]int32 {
	lists := make([][]int32, count)
	for n, row := range rows {
		lists[cellOf[row]] = append(lists[cellOf[row]], int32(n))
	}
	return lists
}

// firstSeat is the order of seats.
func firstSeat(a, b int32) bool { return a < b }

// block is how many rows are gathered at a time.
func (h *herd) block() int {
	long := len(h.landmarks)
	if h.limit > 0 {
		long = min(long, 2*h.limit)
	}
	return min(max(blockLeast, blockSpace/max(1, long)), blockRows)
}

// eachBlock calls do for blocks of the members of each cell, with what has
// settled around it, or with all landmarks where there is one cell.
func (h *herd) eachBlock(c *cells, members [][]int32, others *settled, do func(w *worker, block []int32, panels []panel)) bool {
	size := h.block()
	if c.around == nil {
		all := members[0]
		return h.parallel((len(all)+size-1)/size, wakingTime, func(w *worker, at int) {
			do(w, all[at*size:min(len(all), (at+1)*size)], h.panels)
		})
	}
	// The largest first, so that the last ones are small.
	order := countTo(len(members))
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(len(members[b]), len(members[a])) })
	packed := make([][]panel, len(h.workers))
	return h.parallel(len(order), wakingTime, func(w *worker, at int) {
		left := members[order[at]]
		if len(left) == 0 {
			return
		}
		var near []int32
		for _, cell := range c.around[order[at]] {
			near = append(near, others.of[cell]...)
		}
		panels := h.packNear(w, &packed[w.number], others, near)
		for len(left) > 0 && !h.meter.canceled.Load() {
			n := min(len(left), size)
			do(w, left[:n], panels)
			left = left[n:]
		}
	})
}

// packNear packs rows by number into panels of a store that grows.
func (h *herd) packNear(w *worker, store *[]panel, from *settled, numbers []int32) []panel {
	rows, bias := make([]int32, len(numbers)), make([]float32, len(numbers))
	for at, n := range numbers {
		rows[at], bias[at] = from.rows[n], from.bias[n]
	}
	count := (len(rows) + lanes - 1) / lanes
	for len(*store) < count {
		*store = append(*store, newPanel(h.Embeddings.Dim))
	}
	panels := (*store)[:count]
	for at := range panels {
		p, from, end := &panels[at], at*lanes, min(len(rows), (at+1)*lanes)
		p.rows = rows[from:end]
		copy(p.seat[:], numbers[from:end])
		h.pack(w, p, p.rows, bias[from:end])
		w.spend(lanes * h.Embeddings.Dim)
	}
	return panels
}
