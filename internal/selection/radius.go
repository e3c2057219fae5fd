package selection

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// fairShareRadius returns the distance within which a row has its fair share of
// the others. With N rows, pool and preselected, and L preselected ones, every
// one that is selected after a batch of b stands for
//
//	K = ceil(N / (L + b))
//
// rows. The radius is the median, over the 256 pool rows of lowest Key, of the
// distance from such a row to the K-th nearest of all other rows. So it needs
// no labels, and shrinks as batches come and as they grow.
//
// Of a row with K exact duplicates or more, the distance to the nearest row that
// is no duplicate counts. Where there is none, nor any other row, the radius is
// 1: all distances are 0, and any radius does.
//
// Distances are those of distance2, Euclidean, and of 2n values the (n+1)-th is
// the median. The result does not depend on the order of rows, threads or
// instruction set. The cost is that of comparing each row with 256 others, unless a
// State knows the nearest rows of the samples.
//
// The query must have embeddings, and p.centers must be filled. The error is
// ErrCanceled.
func (p *problem) fairShareRadius(m *meter) (float64, error) {
	const most = 256
	samples := p.lowest(most, m)
	rows := len(p.pool) + len(p.centers)
	chosen := max(1, len(p.centers)+p.k)
	k := min((rows+chosen-1)/chosen, rows-1)
	if k < 1 || len(samples) == 0 {
		return 1, nil
	}
	r := radii{tiles: p.newTiles(fastest, processors(), m), rows: slices.Concat(p.pool, p.centers), rank: k}
	d2, ok := r.all(samples)
	if !ok {
		return 0, ErrCanceled
	}
	d2 = slices.DeleteFunc(d2, func(d2 float64) bool { return d2 == 0 })
	if len(d2) == 0 {
		return 1, nil
	}
	slices.Sort(d2)
	return math.Sqrt(d2[len(d2)/2]), nil
}

// lowest returns the rows of the n candidates of lowest Key, in that order.
func (p *problem) lowest(n int, m *meter) []int32 {
	order := p.byKey(n, m)
	for at, i := range order {
		order[at] = p.pool[i]
	}
	return order
}

// byKey returns the n candidates of lowest Key, or all, in that order. When the
// caller has canceled, the order means nothing.
func (p *problem) byKey(n int, m *meter) []int32 {
	order := countTo(len(p.pool))
	n = min(n, len(order))
	compare := func(a, b int32) int {
		m.spend(10)
		return p.compareKeys(int(a), int(b))
	}
	if n < len(order) {
		nth(order, n, compare)
	}
	order = slices.Clone(order[:n])
	slices.SortFunc(order, compare)
	return order
}

// radii finds the distances of samples to their nearest rows of a rank: first a
// bound that is hardly too small, from a histogram of float32 distances to some of
// the rows, then exactly, among the rows that the filter lets through at that.
type radii struct {
	tiles
	rank int
	rows []int32   // pool and preselected
	x2   []float32 // of each, for the filter
}

const (
	radiusStore = 2 << 20 // neighbors kept at a time
	binShift    = 18      // bins are wide by 1/32 of their value
	bins        = 1 << (31 - binShift)
	radiusSome  = 13 // one of so many rows is in the histogram
)

// neighbor is a row near a sample.
type neighbor struct {
	d2  float64
	row int32
}

func compareNeighbors(a, b neighbor) int {
	switch {
	case a.d2 < b.d2:
		return -1
	case a.d2 > b.d2:
		return 1
	}
	return cmp.Compare(a.row, b.row)
}

// all returns the squared distance of each sample to its rank-th nearest other
// row, or its nearest at a distance above 0 if that is farther; 0 without any.
func (r *radii) all(samples []int32) ([]float64, bool) {
	result := make([]float64, len(samples))
	dim := r.Embeddings.Dim
	if len(r.rows)*len(samples)*dim > 1<<22 && dim <= maxFilterDim && !r.allNear(samples, result) {
		return nil, false
	}
	return result, r.parallel(len(samples), min(len(r.rows), 1024)*dim/4, func(w *worker, at int) {
		if result[at] == 0 { // few rows, or many duplicates
			result[at] = r.plain(w, samples[at])
		}
	})
}

// allNear is all for most samples, and leaves 0 for the others.
func (r *radii) allNear(samples []int32, result []float64) bool {
	found, rows := make([][]neighbor, len(samples)), []uint32(nil)
	worth := len(r.rows) > r.worthRows && (r.KeepState || r.State != nil)
	if worth {
		var ok bool
		if rows, ok = r.prints(); ok {
			found, ok = r.recall(samples, rows)
		}
		if !ok {
			return false
		}
	}
	var left []int
	for at, list := range found {
		if result[at] = r.atRank(list); len(list) < r.rank {
			left = append(left, at)
		}
	}
	if len(left) > 0 {
		if r.x2 = r.norms(r.rows); r.x2 == nil {
			return false
		}
	}
	for group := range slices.Chunk(left, max(4, radiusStore/r.rank)) {
		part, lists := make([]int32, len(group)), make([][]neighbor, len(group))
		for n, at := range group {
			part[n] = samples[at]
		}
		if !r.near(part, lists) || !r.parallel(len(group), 50*r.rank, func(_ *worker, n int) {
			slices.SortFunc(lists[n], compareNeighbors)
		}) {
			return false
		}
		for n, at := range group {
			result[at], found[at] = r.atRank(lists[n]), nil
			if worth {
				found[at] = slices.Clone(lists[n][:min(len(lists[n]), nearMost)])
			}
		}
	}
	if worth {
		r.share(samples, found, rows)
	}
	return true
}

// atRank returns the squared distance to the neighbor of the rank, or to the
// first after it that is above 0; 0 where there is none.
func (r *radii) atRank(sorted []neighbor) float64 {
	for at := r.rank - 1; at < len(sorted); at++ {
		if d2 := sorted[at].d2; d2 > 0 {
			return d2
		}
	}
	return 0
}

// plain is all for one sample, by comparing it with every row.
func (r *radii) plain(w *worker, sample int32) float64 {
	x := r.Embeddings.Row(int(sample))
	var values []float64
	for n, row := range r.rows {
		if n%1024 == 1023 {
			if w.spend(1024 * r.Embeddings.Dim / 4); r.meter.canceled.Load() {
				return 0
			}
		}
		if row != sample {
			values = append(values, r.kernel.distance2(x, r.Embeddings.Row(int(row))))
		}
	}
	slices.Sort(values)
	for _, d2 := range values[r.rank-1:] {
		if d2 > 0 {
			return d2
		}
	}
	return 0
}

// near lists for each sample its rank-th nearest other row and all that are
// nearer, or in rare cases fewer, in no order.
func (r *radii) near(samples []int32, found [][]neighbor) bool {
	panels, ok := r.packAll(samples)
	if !ok {
		return false
	}
	var some []int32
	for n := 0; n < len(r.rows); n += radiusSome {
		some = append(some, r.rows[n])
	}
	bounds := make([]float64, len(samples)) // of squared distances
	widest := make([]float64, len(panels))
	for n := range panels {
		part := bounds[n*lanes : min(len(samples), (n+1)*lanes)]
		if !r.bound(some, &panels[n], part) {
			return false
		}
		widest[n] = slices.Max(part)
	}
	lists := make([][][]neighbor, len(r.workers))
	ok = r.blocks(r.rows, func(w *worker, from, end int) {
		if lists[w.number] == nil {
			lists[w.number] = make([][]neighbor, len(samples))
		}
		limits := w.limit[:end-from]
		r.loadRows(w, r.rows[from:end])
		for n := range panels {
			for at := range limits {
				limits[at] = r.filter.threshold(widest[n], r.x2[from+at])
			}
			r.compareLoaded(w, end-from, limits, &panels[n], func(at int, hits uint32, values *[lanes]float32) {
				row := r.rows[from+at]
				for ; hits != 0; hits &= hits - 1 {
					l := bits.TrailingZeros32(hits)
					sample := n*lanes + l
					if row == samples[sample] || values[l] < r.filter.threshold(bounds[sample], r.x2[from+at]) {
						continue
					}
					d2 := r.kernel.distance2(r.Embeddings.Row(int(row)), r.Embeddings.Row(int(samples[sample])))
					if d2 <= bounds[sample] {
						lists[w.number][sample] = append(lists[w.number][sample], neighbor{d2, row})
					}
				}
			})
			w.spend((end - from) * r.Embeddings.Dim)
		}
	})
	for _, list := range lists {
		for l := range list {
			found[l] = append(found[l], list[l]...)
		}
	}
	return ok
}

// bound returns for each sample of a panel a squared distance within which there
// are almost surely as many rows as the rank, and not many more, from some of the
// rows.
func (r *radii) bound(some []int32, p *panel, bounds []float64) bool {
	counts := make([][]uint32, len(r.workers)) // rows by sample and distance
	ok := r.blocks(some, func(w *worker, from, end int) {
		if counts[w.number] == nil {
			counts[w.number] = make([]uint32, len(bounds)*bins)
		}
		r.compare(w, some[from:end], nil, p, func(at int, _ uint32, values *[lanes]float32) {
			x2 := r.x2[(from+at)*radiusSome]
			for l, v := range values[:len(bounds)] {
				counts[w.number][l*bins+int(math.Float32bits(max(0, x2-2*v))>>binShift)]++
			}
		})
	})
	if !ok {
		return false
	}
	slack, scale2 := 8*r.filter.gamma*r.norm2, r.filter.scale*r.filter.scale
	share := float64(r.rank) / radiusSome
	enough := min(int(share+6*math.Sqrt(share))+4, len(some)-1) // the sample itself is one
	for l := range bounds {
		bin := 0
		for total := 0; ; bin++ {
			for _, c := range counts {
				if c != nil {
					total += int(c[l*bins+bin])
				}
			}
			if total > enough {
				break
			}
		}
		edge := math.Float32frombits(uint32(bin+1) << binShift)
		bounds[l] = min(float64(edge), math.MaxFloat32)/scale2 + slack
	}
	return true
}
