package selection

import (
	"math"
	"slices"
	"sync/atomic"
)

// A squared length this near to 1 is 1.
const unitSlack = 0x1p-20

// directed reports whether directions are compared.
func (q *Query) directed() bool { return q.Cosine && (q.Method == Herding || q.Method == UHerding) }

// directions returns the embeddings with every used row x brought to length 1,
// x/|x|, where |x|² is the sum of distance2, and division and rounding to float32
// are done once a value: the same bits everywhere. A row of zeros has no direction:
// such are refused. A row of length 1 stays what it is; where all rows are, nothing
// is copied. Squared distances are 2 - 2·cos then, from 0 to 4.
func (p *problem) directions(m *meter) (Matrix, error) {
	e, work := p.Embeddings, p.Embeddings.Dim/4
	norm2 := func(row int32) float64 { return fastest.distance2(e.Row(int(row)), p.origin) }
	var some, none atomic.Bool // rows are to be changed, have no direction
	for _, rows := range [][]int32{p.pool, p.centers} {
		if !p.each(len(rows), work, m, func(_, i int) {
			switch n := norm2(rows[i]); {
			case n == 0:
				none.Store(true)
			case math.Abs(n-1) > unitSlack:
				some.Store(true)
			}
		}) {
			return e, ErrCanceled
		}
	}
	switch {
	case none.Load():
		zeros := RowsError{Reason: "have an embedding of zeros, which has no direction: cosine is not for them"}
		for _, row := range slices.Sorted(slices.Values(slices.Concat(p.pool, p.centers))) {
			if norm2(row) == 0 {
				zeros.add(int(row))
			}
		}
		return e, zeros.orNil()
	case !some.Load():
		return e, nil
	}
	unit := Matrix{e.Rows, e.Dim, make([]float32, len(e.Data))} // memory of other rows is never touched
	for _, rows := range [][]int32{p.pool, p.centers} {
		if !p.each(len(rows), 4*work, m, func(_, i int) {
			direct(unit.Row(int(rows[i])), e.Row(int(rows[i])), norm2(rows[i]))
		}) {
			return e, ErrCanceled
		}
	}
	return unit, nil
}

// direct writes x, of squared length norm2, at length 1; zeros stay zeros.
func direct(to, x []float32, norm2 float64) {
	if norm2 == 0 || math.Abs(norm2-1) <= unitSlack {
		copy(to, x)
		return
	}
	length := math.Sqrt(norm2)
	for j, v := range x {
		to[j] = float32(float64(v) / length)
	}
}

// Directions returns the rows as herding with Query.Cosine compares them; other rows
// are zeros.
func Directions(x Matrix, rows ...int) Matrix {
	unit, origin := Matrix{x.Rows, x.Dim, make([]float32, len(x.Data))}, make([]float32, x.Dim)
	for _, row := range rows {
		direct(unit.Row(row), x.Row(row), fastest.distance2(x.Row(row), origin))
	}
	return unit
}
