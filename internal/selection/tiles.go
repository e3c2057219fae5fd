package selection

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// tiles is what every engine has that compares many rows with many others: the
// rows, the arithmetic, the float32 test and the goroutines.
type tiles struct {
	*problem
	kernel  kernel
	filter  filter
	meter   *meter
	workers []worker
}

// newTiles returns tiles with so many workers.
func (p *problem) newTiles(k kernel, threads int, m *meter) tiles {
	t := p.newBlind(k, threads, m)
	t.filter = p.newFilter(k)
	return t
}

// newBlind returns tiles that have no filter yet.
func (p *problem) newBlind(k kernel, threads int, m *meter) tiles {
	t := p.goroutines(threads, m)
	t.kernel = k
	for w := range t.workers {
		t.workers[w].point, t.workers[w].limit = make([]*float32, t.chunkRows()), make([]float32, t.chunkRows())
		t.workers[w].panel = newPanel(p.Embeddings.Dim)
	}
	return t
}

// goroutines returns tiles that can do nothing but work in parallel.
func (p *problem) goroutines(threads int, m *meter) tiles {
	t := tiles{problem: p, meter: m, workers: make([]worker, threads)}
	for w := range t.workers {
		t.workers[w].number = w
	}
	t.workers[0].meter = m
	return t
}

// A worker compares the points of a chunk with one panel after the other. They
// stay in its cache: chunkBytes is half of what today's cores have as their own.
const (
	chunkBytes = 512 << 10
	chunkMost  = 1024 // rows
	chunkLeast = 128
	chunkFew   = 32 // so few are better swept in the company of others
)

// chunkRows is the size of a full chunk.
func (t *tiles) chunkRows() int {
	return min(max(chunkBytes/(4*t.Embeddings.Dim), chunkLeast), chunkMost) &^ (tileRows - 1)
}

// worker is what a goroutine has for itself.
type worker struct {
	number int
	around []int32  // centers around an anchor
	near   []nearby // those of them that are nearest to it
	tile   tile
	panel  panel      // that is packed for this worker
	copy   []float32  // of the points of a chunk, where they need copies
	rows   []float32  // of the centers of a panel, likewise
	point  []*float32 // of a block of rows
	limit  []float32  // and their filter thresholds
	chunk  chunk
	spare  space // of a center

	unseen   []int32   // places of candidates to compare
	sight    []uint64  // see look: for each point of a chunk, a bit for each panel in order
	away     []float64 // from each anchor, of the points of a tile
	looked   int       // points
	hidden   int       // panels that they need not meet
	compared int       // candidates times panels, in order
	met      int       // and out of order

	meter  *meter     // of the calling goroutine; nil for the others,
	worked chan<- int // who send their units there
	units  int
}

// norm2of returns |x'|², see filter.
func (t *tiles) norm2of(x []float32) float64 {
	origin := t.filter.mean
	if origin == nil {
		origin = t.origin
	}
	return t.kernel.distance2(x, origin) * (t.filter.scale * t.filter.scale)
}

// biasOf a center, see filter.
func (t *tiles) biasOf(x []float32) float32 { return t.filter.bias(t.norm2of(x)) }

// pack fills a panel with rows and their biases, in blocks of coordinates that
// stay in the nearest cache. The place of nobody has an empty bias.
func (t *tiles) pack(w *worker, p *panel, rows []int32, biases []float32) {
	const block = 16
	dim := t.Embeddings.Dim
	if w.rows == nil && t.filter.mean != nil {
		w.rows = make([]float32, lanes*dim)
	}
	p.clear()
	copy(p.data, biases)
	var copies [lanes][]float32
	for l, row := range rows {
		copies[l] = t.origin
		if row != nobody {
			copies[l] = t.filter.copyRow(slot(w.rows, l, dim), t.Embeddings.Row(int(row)))
		}
	}
	for from := 0; from < dim; from += block {
		to := min(from+block, dim)
		for l, c := range copies[:len(rows)] {
			out := p.data[(from+1)*lanes+l:]
			for j, v := range c[from:to] {
				out[j*lanes] = v
			}
		}
	}
}

// blocks calls do for blocks of the rows that a worker can load at once.
func (t *tiles) blocks(rows []int32, do func(w *worker, from, end int)) bool {
	size := t.chunkRows()
	return t.parallel((len(rows)+size-1)/size, size*t.Embeddings.Dim, func(w *worker, at int) {
		do(w, at*size, min(len(rows), (at+1)*size))
	})
}

// norms returns x2 of filter for each of the rows, nil when the caller has
// canceled.
func (t *tiles) norms(rows []int32) []float32 {
	x2 := make([]float32, len(rows))
	ok := t.blocks(rows, func(_ *worker, from, end int) {
		for at := from; at < end; at++ {
			x2[at] = below(t.norm2of(t.Embeddings.Row(int(rows[at]))))
		}
	})
	if !ok {
		return nil
	}
	return x2
}

// compare computes the tiles of a block of rows against a panel, and calls do
// for each row that passes its limit somewhere; nil limits let all pass. At is
// the place of the row in the block.
func (t *tiles) compare(w *worker, rows []int32, limits []float32, p *panel, do func(at int, hits uint32, values *[lanes]float32)) {
	t.loadRows(w, rows)
	t.compareLoaded(w, len(rows), limits, p, do)
}

// loadRows prepares a block of rows for compareLoaded.
func (t *tiles) loadRows(w *worker, rows []int32) {
	dim := t.Embeddings.Dim
	if w.copy == nil && t.filter.mean != nil {
		w.copy = make([]float32, t.chunkRows()*dim)
	}
	for at, row := range rows {
		w.point[at] = &t.filter.copyRow(slot(w.copy, at, dim), t.Embeddings.Row(int(row)))[0]
	}
}

// compareLoaded is compare for the n rows of a block that are loaded.
func (t *tiles) compareLoaded(w *worker, n int, limits []float32, p *panel, do func(at int, hits uint32, values *[lanes]float32)) {
	for at := 0; at < n; at += tileRows {
		for r := range tileRows {
			i := min(at+r, n-1)
			w.tile.points[r], w.tile.thresholds[r] = w.point[i], empty
			if limits != nil {
				w.tile.thresholds[r] = limits[i]
			}
		}
		t.kernel.tile(&w.tile, &p.data[0], t.Embeddings.Dim)
		for r := range min(tileRows, n-at) {
			if w.tile.hits[r] != 0 {
				do(at+r, w.tile.hits[r], &w.tile.values[r])
			}
		}
	}
}

// processors is how many goroutines work at a time.
func processors() int { return runtime.GOMAXPROCS(0) }

const wakingTime = 100_000 // nanoseconds

// parallel calls do for every number below n, from as many goroutines as there
// are workers, and reports false when the caller has canceled. A call costs at
// least work nanoseconds: where waking the others takes longer, they sleep on.
// The meter runs on this goroutine: the others tell it what they have done,
// also while it waits.
func (t *tiles) parallel(n, work int, do func(w *worker, i int)) bool {
	if n < 2 || n*work < wakingTime {
		for i := range n {
			if do(&t.workers[0], i); !t.meter.spend(work) {
				return false
			}
		}
		return true
	}
	var next atomic.Int64
	loop := func(w *worker) {
		for !t.meter.canceled.Load() {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			do(w, i)
			w.spend(work)
		}
	}
	var others sync.WaitGroup
	worked := make(chan int, len(t.workers))
	for w := 1; w < min(n, len(t.workers)); w++ {
		t.workers[w].meter, t.workers[w].worked = nil, worked
		others.Go(func() { loop(&t.workers[w]) })
	}
	loop(&t.workers[0])
	ended := make(chan struct{})
	go func() {
		others.Wait()
		close(ended)
	}()
	for {
		select {
		case units := <-worked:
			t.meter.spend(units)
		case <-ended:
			return !t.meter.canceled.Load()
		}
	}
}

// spend counts units of work of this worker. One without the meter sends them
// to who has it, who counts them when it has nothing to do itself.
func (w *worker) spend(units int) {
	if w.meter != nil {
		w.meter.spend(units)
		return
	}
	if w.units += units; w.units >= reportEvery {
		select {
		case w.worked <- w.units:
		default: // others are counted
		}
		w.units = 0
	}
}
