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
	panels  [][]panel // landmarks around each cell, packed; nil: to be packed from near
	near    [][]int32 // and their numbers
	members [][]int32 // candidates of each cell
	centers [][]int32 // preselected rows of each cell, by their number, unless they cover directly
	blocks  int       // of all members
}

const (
	pairsMost   = 3 << 30 // of candidates and landmarks that are compared, about
	cellsAround = 16      // at least
	cellsLeast  = 64
	cellsMost   = 4096
	blockRows   = 256 // rows whose lists are gathered at a time, at most
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
	if all <= h.pairs {
		var ok bool
		h.panels, ok = h.packAll(h.landmarks)
		return &cells{panels: [][]panel{h.panels}, near: [][]int32{countTo(len(h.landmarks))}, members: [][]int32{countTo(len(h.pool))}, blocks: h.blocksOf(len(h.pool))}, ok
	}
	// A row is compared with count seeds and cellsAround/count of the landmarks:
	// together that is least at 4·√landmarks.
	count := cellsLeast
	for count < cellsMost && count*count < 8*len(h.landmarks) {
		count *= 2
	}
	count = min(count, len(h.landmarks))
	around := min(count, max(cellsAround, int(float64(count)*h.pairs/all)))
	seeds := h.landmarks[:count]
	panels, ok := h.packAll(seeds)
	if !ok {
		return nil, false
	}
	home := make([]int32, len(rows))
	ok = h.blocks(rows, func(w *worker, from, end int) {
		found, _ := h.nearest(w, rows[from:end], panels, nearestRule{before: firstSeat})
		copy(home[from:end], found)
	})
	if !ok {
		return nil, false
	}
	c := &cells{panels: make([][]panel, count), near: make([][]int32, count), members: make([][]int32, count), centers: make([][]int32, count)}
	for at, cell := range home {
		if n := at - len(h.pool); n < 0 {
			c.members[cell] = append(c.members[cell], int32(at))
		} else {
			c.centers[cell] = append(c.centers[cell], int32(n))
		}
	}
	for _, members := range c.members {
		c.blocks += h.blocksOf(len(members))
	}
	settled := make([][]int32, count) // landmarks of each cell
	cellOf := make([]int32, h.Rows)
	for at, row := range h.pool {
		cellOf[row] = home[at]
	}
	for n, row := range h.landmarks {
		settled[cellOf[row]] = append(settled[cellOf[row]], int32(n))
	}
	ok = h.parallel(count, count*h.Embeddings.Dim/4, func(_ *worker, at int) {
		order, d2 := countTo(count), make([]float64, count)
		for other := range order {
			d2[other] = h.kernel.distance2(h.Embeddings.Row(int(seeds[at])), h.Embeddings.Row(int(seeds[other])))
		}
		slices.SortFunc(order, func(a, b int32) int { return cmp.Or(cmp.Compare(d2[a], d2[b]), cmp.Compare(a, b)) })
		for _, other := range order[:around] {
			c.near[at] = append(c.near[at], settled[other]...)
		}
	})
	return c, ok
}

// block is how many rows are gathered at a time.
func (h *herd) block() int {
	long := len(h.landmarks)
	if h.limit > 0 {
		long = min(long, 2*h.limit)
	}
	return min(max(blockLeast, blockSpace/max(1, long)), blockRows)
}

func (h *herd) blocksOf(rows int) int { return (rows + h.block() - 1) / h.block() }

// eachBlock calls do for blocks of the members of all cells, with the landmarks
// around them.
func (h *herd) eachBlock(c *cells, cells [][]int32, do func(w *worker, number int, members []int32, panels []panel)) bool {
	type job struct{ cell, from, number int }
	var jobs []job
	number, size := 0, h.block()
	for cell, members := range cells {
		if whole := c.panels[cell] != nil; !whole {
			jobs = append(jobs, job{cell, -1, number})
			number += h.blocksOf(len(members))
			continue
		}
		for from := 0; from < len(members); from += size {
			jobs = append(jobs, job{cell, from, number})
			number++
		}
	}
	// The largest first, so that the last ones are small.
	slices.SortStableFunc(jobs, func(a, b job) int {
		return cmp.Compare(len(cells[b.cell])*len(c.near[b.cell]), len(cells[a.cell])*len(c.near[a.cell]))
	})
	packed := make([][]panel, len(h.workers))
	return h.parallel(len(jobs), wakingTime, func(w *worker, at int) {
		j := jobs[at]
		members := cells[j.cell]
		if j.from >= 0 {
			do(w, j.number, members[j.from:min(len(members), j.from+size)], c.panels[j.cell])
			return
		}
		panels := h.packNear(w, &packed[w.number], c.near[j.cell])
		for from := 0; from < len(members) && !h.meter.canceled.Load(); from += size {
			do(w, j.number, members[from:min(len(members), from+size)], panels)
			j.number++
		}
	})
}

// firstSeat is the order of seats.
func firstSeat(a, b int32) bool { return a < b }

// packNear packs landmarks by number into panels of a store that grows.
func (h *herd) packNear(w *worker, store *[]panel, landmarks []int32) []panel {
	rows := make([]int32, len(landmarks))
	for at, n := range landmarks {
		rows[at] = h.landmarks[n]
	}
	count := (len(rows) + lanes - 1) / lanes
	for len(*store) < count {
		*store = append(*store, newPanel(h.Embeddings.Dim))
	}
	panels := (*store)[:count]
	for at := range panels {
		h.packSeats(w, &panels[at], rows, at*lanes)
		for l := range panels[at].rows {
			panels[at].seat[l] = landmarks[at*lanes+l]
		}
		if at%16 == 0 {
			w.spend(16 * lanes * h.Embeddings.Dim)
		}
	}
	return panels
}
