package selection

import "math/bits"

// references are vectors that rows are compared with.
type references struct {
	rows   [][]float32
	panels []panel
}

// refer packs vectors into panels.
func (t *tiles) refer(rows [][]float32) references {
	dim := t.Embeddings.Dim
	r := references{rows, make([]panel, (len(rows)+lanes-1)/lanes)}
	spare := make([]float32, dim)
	for at := range r.panels {
		p := newPanel(dim)
		for l, x := range rows[at*lanes : min(len(rows), (at+1)*lanes)] {
			p.seat[l], p.data[l] = int32(at*lanes+l), t.biasOf(x)
			for j, v := range t.filter.copyRow(spare, x) {
				p.data[(j+1)*lanes+l] = v
			}
		}
		r.panels[at] = p
	}
	return r
}

// visit says what a scan is for. Places are those of its points; both functions
// are called from several goroutines, but for one place from one only.
type visit struct {
	begin func(at int) (bound float64)                        // the squared distance above which nothing matters
	near  func(at int, ref int32, d2 float64) (bound float64) // a reference that may not be above it
}

// scan visits, for each point, every reference that is not farther than the
// bound, by tiles: few of those that are farther. Which tiles, threads and
// instruction set do the work changes in what order references come, and how
// many too many, but no distance.
func (t *tiles) scan(points []int32, refs references, v visit) bool {
	size := t.chunkRows()
	if share := len(points) / (4 * len(t.workers)); share < size {
		size = max(tileRows, share&^(tileRows-1))
	}
	return t.parallel((len(points)+size-1)/size, size*t.Embeddings.Dim, func(w *worker, chunk int) {
		t.scanChunk(w, points, chunk*size, min(len(points), (chunk+1)*size), refs, v)
	})
}

// scanChunk scans the points from one place to another, at most a full chunk.
func (t *tiles) scanChunk(w *worker, points []int32, from, to int, refs references, v visit) {
	dim, n := t.Embeddings.Dim, to-from
	if w.copy == nil && t.filter.mean != nil {
		w.copy = make([]float32, t.chunkRows()*dim)
	}
	x2 := make([]float32, n)
	for at := range n {
		x := t.Embeddings.Row(int(points[from+at]))
		x2[at] = below(t.norm2of(x))
		w.point[at] = &t.filter.copyRow(slot(w.copy, at, dim), x)[0]
		w.limit[at] = t.filter.threshold(v.begin(from+at), x2[at])
	}
	for p := range refs.panels {
		if w.spend(n * dim); t.meter.canceled.Load() {
			return
		}
		for at := 0; at < n; at += tileRows {
			for r := range tileRows {
				w.tile.points[r], w.tile.thresholds[r] = w.point[min(at+r, n-1)], w.limit[min(at+r, n-1)]
			}
			t.kernel.tile(&w.tile, &refs.panels[p].data[0], dim)
			for r := range min(tileRows, n-at) {
				if w.tile.hits[r] != 0 {
					t.visitHits(w, points, from, at+r, r, x2[at+r], p*lanes, refs, v)
				}
			}
		}
	}
}

// visitHits visits the references of a panel that the filter lets through, the
// nearest first.
func (t *tiles) visitHits(w *worker, points []int32, from, at, r int, x2 float32, first int, refs references, v visit) {
	x := t.Embeddings.Row(int(points[from+at]))
	for hits := w.tile.hits[r]; hits != 0; {
		best, most := -1, float32(0)
		for h := hits; h != 0; h &= h - 1 {
			l := bits.TrailingZeros32(h)
			if value := w.tile.values[r][l]; value < w.limit[at] {
				hits &^= 1 << l
			} else if best < 0 || value > most {
				best, most = l, value
			}
		}
		if best < 0 {
			return
		}
		hits &^= 1 << best
		w.spend(t.Embeddings.Dim)
		d2 := t.kernel.distance2(x, refs.rows[first+best])
		w.limit[at] = t.filter.threshold(v.near(from+at, int32(first+best), d2), x2)
	}
}
