package selection

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"nextbatch/internal/bitmask"
)

// problem is a checked query in the form that the methods work on. Pool rows
// are numbered from 0 in row order; such a number is called a candidate.
type problem struct {
	*Query
	pool    []int32   // dataset row of each candidate
	keys    []uint32  // the upper half of the Key of each candidate, or 0: ask keyOf
	centers []int32   // preselected rows in key order, as given where Query.searches; empty where no distance is needed
	value   []float64 // what ranks the candidates: nil for RANDOM and CORESET, else score or weight (see weigh)
	clipped int       // scores that UHERDING took for 0 or 1
	k       int       // picks to make at most
	min2    float64   // squared minimum distance, 0 for none
	cap2    float64   // squared distance above which CORAL gains nothing, +Inf for none
	norm2   float64   // no squared norm of a used row is larger
	middle  []float32 // a used row, nil if nothing is known of it:
	within  float64   // no used row is farther from it
	given   Matrix    // the embeddings of the query, which min2 is about
	origin  []float32 // dim zeros

	past, next State // what is known from earlier selections, and what the next one will know
	worthRows  int   // of so many rows at most, Shares take longer than starting anew
}

// newProblem checks the query.
func newProblem(q Query, m *meter) (*problem, error) {
	p := &problem{Query: &q, worthRows: exactRows, min2: leastSquare(q.MinDistance), cap2: math.Inf(1)}
	if err := q.checkShape(); err != nil {
		return nil, err
	}
	if q.State != nil {
		p.past, p.next = *q.State, *q.State
	}
	p.pool = rows(q.Pool)
	p.k = len(p.pool)
	if q.BatchSize >= 0 {
		p.k = min(p.k, q.BatchSize)
	}
	m.total = p.k
	if q.byDistance() || p.min2 > 0 {
		if q.Embeddings.Data == nil && q.Rows > 0 {
			return nil, ErrNoEmbeddings
		}
		p.centers = rows(q.Preselected)
	}
	if q.Method == Combined {
		p.centers = rows(q.Preselected)
	}
	if err := p.checkRows(m); err != nil {
		return nil, err
	}
	if q.byDistance() || p.min2 > 0 {
		p.origin = make([]float32, q.Embeddings.Dim)
		if !q.searches() {
			if err := p.checkVectors(m); err != nil {
				return nil, err
			}
		}
	}
	p.keys = make([]uint32, len(p.pool))
	if !(q.searches() && len(p.centers) > 0) && !p.each(len(p.pool), 100, m, func(_, i int) { p.keyOf(i) }) {
		return nil, ErrCanceled
	}
	if !q.searches() {
		if _, ok := p.sortByKey(p.centers, m); !ok {
			return nil, ErrCanceled
		}
	}
	p.given = q.Embeddings
	if q.directed() {
		var err error
		if p.Embeddings, err = p.directions(m); err != nil {
			return nil, err
		}
		p.norm2 = 1 + unitSlack
	}
	if q.byScore() && !p.weigh(m) {
		return nil, ErrCanceled
	}
	if q.Method == Coral && q.DistanceExponent > 0 && q.DistanceCap != 0 {
		return p, p.setCap(m)
	}
	return p, nil
}

// leastSquare is the square of a smallest distance: above 0 if that is.
func leastSquare(x float64) float64 {
	if !(x > 0) {
		return 0
	}
	return max(x*x, math.SmallestNonzeroFloat64)
}

// searches reports whether the fast engine, which looks at all vectors anyway, checks
// them and sorts the centers that it needs sorted.
func (q *Query) searches() bool {
	return (q.Method == Coreset || q.Method == Coral && q.DistanceCap != AutoCap) && q.byDistance()
}

// sortByKey brings dataset rows into key order and returns their keys. It reports
// false when the caller has canceled.
func (p *problem) sortByKey(rows []int32, m *meter) (keys []uint64, ok bool) {
	type entry struct {
		key uint64
		row int32
	}
	sorted, keys := make([]entry, len(rows)), make([]uint64, len(rows))
	ok = p.each(len(sorted), 100, m, func(_, i int) {
		sorted[i] = entry{Key(p.Seed, p.Filenames(int(rows[i]))), rows[i]}
	})
	slices.SortFunc(sorted, func(a, b entry) int {
		if ok = ok && m.spend(10); !ok {
			return 0 // all equal: sorted at once
		}
		if c := cmp.Compare(a.key, b.key); c != 0 || a.row == b.row {
			return c
		}
		return strings.Compare(p.Filenames(int(a.row)), p.Filenames(int(b.row)))
	})
	for i, e := range sorted {
		rows[i], keys[i] = e.row, e.key
	}
	return keys, ok
}

// checkShape checks everything but the values of single rows.
func (q *Query) checkShape() error {
	if err := q.Method.Check(); err != nil {
		return err
	}
	if q.Rows < 0 || q.Rows > math.MaxInt32 {
		return fmt.Errorf("a dataset of %d rows; at most %d can be selected from", q.Rows, math.MaxInt32)
	}
	for _, m := range []*bitmask.Mask{q.Pool, q.Preselected} {
		if m != nil && m.Len() > q.Rows {
			return fmt.Errorf("row %d is beyond a dataset of %d rows", m.Len()-1, q.Rows)
		}
	}
	if q.byScore() && q.Scores == nil && q.Rows > 0 {
		return ErrNoScores
	}
	if q.Scores != nil && len(q.Scores) != q.Rows {
		return fmt.Errorf("%d scores for %d rows", len(q.Scores), q.Rows)
	}
	e := q.Embeddings
	if e.Data != nil && (e.Rows != q.Rows || e.Dim < 1 || len(e.Data)/e.Dim != e.Rows || len(e.Data)%e.Dim != 0) {
		return fmt.Errorf("embeddings of %d × %d with %d values for %d rows", e.Rows, e.Dim, len(e.Data), q.Rows)
	}
	if err := q.checkProbabilities(); err != nil {
		return err
	}
	if math.IsNaN(q.MinDistance) {
		return fmt.Errorf("the minimum distance is not a number")
	}
	if !finite(q.HerdingRadius) {
		return fmt.Errorf("the radius of herding is %g, not a finite number", q.HerdingRadius)
	}
	if q.Method == Coral {
		a, b := q.ScoreExponent, q.DistanceExponent
		if !(a >= 0 && a <= 100 && b >= 0 && b <= 100) || b > 0 && a/b > 100 {
			return fmt.Errorf("score exponent %g and distance exponent %g: both must be between 0 and 100, and the first at most 100 times the second", a, b)
		}
		if math.IsNaN(q.ScoreFloor) || math.IsInf(q.ScoreFloor, 1) {
			return fmt.Errorf("the score floor is %g, not a finite number", q.ScoreFloor)
		}
		if !(q.DistanceCap >= 0 || q.DistanceCap == AutoCap) {
			return fmt.Errorf("the distance cap is %g: want a distance, 0 for none, or AutoCap", q.DistanceCap)
		}
	}
	return nil
}

// checkRows refuses rows that are both pool and preselected, and rows whose
// needed numbers beside the embedding are not finite.
func (p *problem) checkRows(m *meter) error {
	both := RowsError{Reason: "are in the pool and preselected"}
	scores := RowsError{Reason: "have a score that is not a finite number"}
	negative := RowsError{Reason: "have a score below 0, in proportion to which nothing can be drawn"}
	probabilities := RowsError{Reason: "have no class probabilities that are finite numbers"}
	if p.Pool != nil && p.Preselected != nil {
		common := p.Pool.Clone()
		common.Intersect(p.Preselected)
		for row := range common.All() {
			both.add(row)
		}
	}
	for _, row := range p.pool {
		if !p.byScore() && p.Method != Badge {
			break
		}
		if !m.spend(10 + p.Probabilities.Dim) {
			return ErrCanceled
		}
		if p.byScore() && !finite(p.Scores[row]) {
			scores.add(int(row))
		}
		if p.Method == Power && p.Scores[row] < 0 {
			negative.add(int(row))
		}
		if p.Method == Badge && !allFinite(p.Probabilities.Row(int(row))) {
			probabilities.add(int(row))
		}
	}
	return cmp.Or(both.orNil(), scores.orNil(), negative.orNil(), probabilities.orNil())
}

// checkVectors refuses rows whose embeddings are not finite, and finds norm2.
func (p *problem) checkVectors(m *meter) error {
	most := make([]float64, processors())
	var bad atomic.Bool
	for _, rows := range [][]int32{p.pool, p.centers} {
		ok := p.each(len(rows), p.Embeddings.Dim/4, m, func(worker, i int) {
			// The sum of squares of finite float32 values is finite in float64.
			norm2 := fastest.distance2(p.Embeddings.Row(int(rows[i])), p.origin)
			if !finite(norm2) {
				bad.Store(true)
			}
			most[worker] = max(most[worker], norm2)
		})
		if !ok {
			return ErrCanceled
		}
	}
	if p.norm2 = slices.Max(most); bad.Load() {
		return p.badVectors()
	}
	return nil
}

// badVectors names the rows whose embeddings are not finite.
func (p *problem) badVectors() error {
	vectors := RowsError{Reason: "have an embedding with values that are not finite numbers"}
	for _, row := range slices.Sorted(slices.Values(slices.Concat(p.pool, p.centers))) {
		if !allFinite(p.Embeddings.Row(int(row))) {
			vectors.add(int(row))
		}
	}
	return vectors.orNil()
}

// each calls do for every number below n, in blocks, from several goroutines,
// and reports false when the caller has canceled. A call costs work nanoseconds.
func (p *problem) each(n, work int, m *meter, do func(worker, i int)) bool {
	const block = 1024
	t := p.goroutines(processors(), m)
	return t.parallel((n+block-1)/block, block*work, func(w *worker, at int) {
		for i := at * block; i < min(n, (at+1)*block); i++ {
			do(w.number, i)
		}
	})
}

// weigh sets what the candidates are ranked by: the score, for UHERDING clipped
// to [0, 1], or for CORAL the floored score^(a/b), in [0, 1]. The scores are first scaled by the power of
// two that brings the largest to [0.5, 1), so that neither powers nor products
// overflow. It reports false when the caller has canceled.
func (p *problem) weigh(m *meter) bool {
	p.value = make([]float64, len(p.pool))
	if !p.each(len(p.pool), 10, m, func(_, i int) { p.value[i] = p.Scores[p.pool[i]] }) {
		return false
	}
	if p.Method == UHerding {
		for i, s := range p.value {
			if p.value[i] = min(max(s, 0), 1); p.value[i] != s {
				p.clipped++
			}
		}
	}
	if p.Method != Coral || len(p.pool) == 0 {
		return true
	}
	most := make([]float64, processors())
	if !p.each(len(p.pool), 10, m, func(worker, i int) {
		p.value[i] = max(p.value[i], p.ScoreFloor, 0)
		most[worker] = max(most[worker], p.value[i])
	}) {
		return false
	}
	exponent := p.ScoreExponent
	if p.DistanceExponent > 0 {
		exponent /= p.DistanceExponent
	}
	_, scale := math.Frexp(slices.Max(most))
	return p.each(len(p.pool), 50, m, func(_, i int) { p.value[i] = pow(math.Ldexp(p.value[i], -scale), exponent) })
}

// before is the order of candidates of equal value.
func (p *problem) before(i, j int) bool { return p.compareKeys(i, j) < 0 }

func (p *problem) compareKeys(i, j int) int {
	if c := cmp.Compare(p.keyOf(i), p.keyOf(j)); c != 0 || i == j {
		return c
	}
	return CompareKeys(p.Seed, p.Filenames(int(p.pool[i])), p.Filenames(int(p.pool[j])))
}

// keyOf returns the upper half of the Key of a candidate.
func (p *problem) keyOf(i int) uint32 {
	k := atomic.LoadUint32(&p.keys[i])
	if k == 0 {
		k = uint32(p.key(i) >> 32)
		atomic.StoreUint32(&p.keys[i], k)
	}
	return k
}

// key returns the Key of a candidate.
func (p *problem) key(i int) uint64 { return Key(p.Seed, p.Filenames(int(p.pool[i]))) }

// pick fills what every method reports of a chosen candidate.
func (p *problem) pick(i int, gain float64, nearest int) Pick {
	c := Pick{Row: int(p.pool[i]), Gain: gain, Score: math.NaN(), Nearest: nearest}
	if p.Scores != nil {
		c.Score = p.Scores[c.Row]
	}
	return c
}

// rows lists a set, which may be nil.
func rows(m *bitmask.Mask) []int32 {
	if m == nil {
		return nil
	}
	list := make([]int32, 0, m.Count())
	for row := range m.All() {
		list = append(list, int32(row))
	}
	return list
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
