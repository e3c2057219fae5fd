package selection

import (
	"math"
	"slices"
)

// The bounds of k-means. Beyond clusterSample·k rows and sampleLeast rows the
// centers are found on the rows of lowest Key, and the others join the nearest.
const (
	clusterSample = 128
	sampleLeast   = 1 << 15
	clusterRounds = 10
)

// cloud is rows to cluster, by ascending key.
type cloud struct {
	rows   []int32   // of the dataset
	keys   []uint64  // of each
	weight []float64 // of each, ≥ 0; nil: all 1
}

// clusters is a partition of a cloud.
type clusters struct {
	centers [][]float32
	of      []int32   // the center that is nearest to each row, the first if several are
	d2      []float64 // and its squared distance
}

// cloudOf is some rows by ascending key. It reports false when the caller has
// canceled.
func (p *problem) cloudOf(rows []int32, m *meter) (c cloud, ok bool) {
	c.rows = slices.Clone(rows)
	c.keys, ok = p.sortByKey(c.rows, m)
	return c, ok
}

// first is the n rows of lowest key.
func (c cloud) first(n int) cloud {
	if n >= len(c.rows) {
		return c
	}
	c.rows, c.keys = c.rows[:n], c.keys[:n]
	if c.weight != nil {
		c.weight = c.weight[:n]
	}
	return c
}

func (c cloud) weightOf(i int) float64 {
	if c.weight == nil {
		return 1
	}
	return c.weight[i]
}

// cluster is k-means (Lloyd, Least squares quantization in PCM, 1982) from the
// centers of k-means++ (Arthur and Vassilvitskii, 2007), at most clusterRounds
// rounds. It makes at most k clusters, fewer where there are not as many different
// rows of positive weight.
//
// The result is the same for any order of rows, number of threads and
// instruction set: draws belong to names, sums run by ascending key, and each row
// has the center that is nearest by distance2. It is false when the caller has
// canceled.
func (t *tiles) cluster(c cloud, k int) (clusters, bool) {
	some := c.first(max(clusterSample*k, sampleLeast))
	s, ok := t.seed(some, k)
	for round := 0; ok && len(s.centers) > 0 && round < clusterRounds; round++ {
		var moved bool
		if ok = t.center(some, s); ok {
			moved, ok = t.assign(some, s)
		}
		if !moved {
			break
		}
	}
	if n := len(some.rows); ok && n < len(c.rows) {
		s.of = append(s.of, make([]int32, len(c.rows)-n)...)
		for range c.rows[n:] {
			s.d2 = append(s.d2, math.Inf(1))
		}
		rest := clusters{s.centers, s.of[n:], s.d2[n:]}
		_, ok = t.assign(cloud{rows: c.rows[n:]}, rest)
	}
	return s, ok
}

// seed draws the first centers: each in proportion to weight times the squared
// distance to the nearest before it.
func (t *tiles) seed(c cloud, k int) (clusters, bool) {
	n := len(c.rows)
	s := clusters{of: make([]int32, n), d2: slices.Repeat([]float64{1}, n)}
	seen := make([]int32, n) // how many of the centers
	see := func(w *worker, i int) {
		x := t.Embeddings.Row(int(c.rows[i]))
		for at := int(seen[i]); at < len(s.centers); at++ {
			if d2 := t.kernel.distance2(x, s.centers[at]); at == 0 || d2 < s.d2[i] {
				s.d2[i], s.of[i] = d2, int32(at)
			}
		}
		w.spend((len(s.centers) - int(seen[i])) * t.Embeddings.Dim / 8)
		seen[i] = int32(len(s.centers))
	}
	l := lottery{tiles: t, keys: c.keys, before: func(i, j int) bool { return i < j }, // by ascending key
		bound: func(i int) float64 { return c.weightOf(i) * s.d2[i] },
		fresh: func(i int) bool { return int(seen[i]) == len(s.centers) }, update: see}
	for len(s.centers) < min(k, n) {
		next, ok := l.draw(len(s.centers))
		if !ok {
			return s, false
		}
		if l.bound(next) == 0 {
			break // every row of positive weight is a center
		}
		s.centers = append(s.centers, slices.Clone(t.Embeddings.Row(int(c.rows[next]))))
		if len(s.centers) == 1 && !t.each(n, see) || !t.meter.spend(1) {
			return s, false
		}
	}
	_, ok := t.assign(c, s)
	return s, ok
}

// each calls do for every number below n, from several goroutines.
func (t *tiles) each(n int, do func(w *worker, i int)) bool {
	const block = 1024
	return t.parallel((n+block-1)/block, block*t.Embeddings.Dim/8, func(w *worker, b int) {
		for i := b * block; i < min(n, (b+1)*block); i++ {
			do(w, i)
		}
	})
}

// center moves each center to the weighted mean of its rows. One whose rows have
// no weight stays.
func (t *tiles) center(c cloud, s clusters) bool {
	from, members := s.members()
	return t.parallel(len(s.centers), 4*len(c.rows)/len(s.centers)*t.Embeddings.Dim, func(_ *worker, at int) {
		sums, total := make([]float64, t.Embeddings.Dim), 0.0
		for _, i := range members[from[at]:from[at+1]] {
			w := c.weightOf(int(i))
			total += w
			for j, v := range t.Embeddings.Row(int(c.rows[i])) {
				sums[j] += float64(w * float64(v))
			}
		}
		if total > 0 {
			for j, sum := range sums {
				s.centers[at][j] = float32(sum / total)
			}
		}
	})
}

// members lists the places of the rows of each cluster, ascending: those of
// cluster c are from[c] to from[c+1].
func (s clusters) members() (from []int, list []int32) {
	from = make([]int, len(s.centers)+2)
	for _, c := range s.of {
		from[c+2]++
	}
	for c := range s.centers {
		from[c+2] += from[c+1]
	}
	list = make([]int32, len(s.of))
	for i, c := range s.of {
		list[from[c+1]] = int32(i)
		from[c+1]++
	}
	return from[:len(s.centers)+1], list
}

// assign gives each row its nearest center. It reports whether one has another
// than before, and false when the caller has canceled.
func (t *tiles) assign(c cloud, s clusters) (moved, ok bool) {
	if len(s.centers) == 0 {
		return false, true
	}
	before := slices.Clone(s.of)
	ok = t.scan(c.rows, t.refer(s.centers), visit{
		begin: func(at int) float64 {
			if !math.IsInf(s.d2[at], 1) {
				s.d2[at] = t.kernel.distance2(t.Embeddings.Row(int(c.rows[at])), s.centers[s.of[at]])
			}
			return s.d2[at]
		},
		near: func(at int, ref int32, d2 float64) float64 {
			if d2 < s.d2[at] || d2 == s.d2[at] && ref < s.of[at] {
				s.d2[at], s.of[at] = d2, ref
			}
			return s.d2[at]
		},
	})
	return !slices.Equal(before, s.of), ok
}
