package selection

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"nextbatch/internal/bitmask"
)

// TestCosine compares herding by direction with herding of rows that were brought
// to length 1 beforehand, value by value.
func TestCosine(t *testing.T) {
	for name, make := range data {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(11, 11))
			for _, c := range []struct{ rows, dim, preselected, picks int }{{40, 1, 2, 10}, {200, 17, 0, 30}, {300, 33, 40, 20}} {
				for _, method := range []Method{Herding, UHerding} {
					q := query(r, method, make(r, c.rows, c.dim), c.preselected, c.picks)
					for row := range c.rows {
						if x := q.Embeddings.Row(row); !slices.ContainsFunc(x, func(v float32) bool { return v != 0 }) {
							x[0] = 3
						}
					}
					before := slices.Clone(q.Embeddings.Data)
					q.KeepState = true
					want := q
					want.Embeddings.Data = slices.Clone(q.Embeddings.Data)
					for row := range c.rows {
						toLength1(want.Embeddings.Row(row))
					}
					q.Cosine = true
					expected := mustSelect(t, want)
					for _, q := range []Query{q, {}} {
						if q.Rows == 0 { // what has length 1 stays as it is
							q = want
							q.Cosine = true
						}
						if diff := cmp.Diff(expected, mustSelect(t, q), cmpopts.EquateNaNs()); diff != "" {
							t.Fatalf("%s %+v (-of length 1 before, +by direction):\n%s", method, c, diff)
						}
					}
					if !slices.EqualFunc(before, q.Embeddings.Data, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
						t.Fatal("the embeddings of the caller were changed")
					}
				}
			}
		})
	}
}

func toLength1(x []float32) {
	length := math.Sqrt(distance2(x, make([]float32, len(x))))
	for j, v := range x {
		x[j] = float32(float64(v) / length)
	}
}

// TestCosineApart: directions are compared, but the minimum distance is about the
// vectors as they are.
func TestCosineApart(t *testing.T) {
	x := Matrix{4, 2, []float32{1, 0, 100, 0, 0, 3, 0, 4}}
	q := Query{Method: Herding, Rows: 4, Filenames: func(row int) string { return string(rune('a' + row)) }, Embeddings: x, BatchSize: -1, Cosine: true, MinDistance: 2, Pool: bitmask.New(4)}
	q.Pool.Invert(4)
	s := mustSelect(t, q)
	rows := make([]int, len(s.Picks))
	for i, p := range s.Picks {
		rows[i] = p.Row
	}
	slices.Sort(rows)
	if len(rows) != 3 || !slices.Contains(rows, 0) || !slices.Contains(rows, 1) {
		t.Errorf("picked rows %v, want 0, 1 and one of 2 and 3, which are nearer to each other than 2", rows)
	}
}

// TestNoDirection: rows of zeros are named, of the pool and of what is selected,
// but not others.
func TestNoDirection(t *testing.T) {
	x := Matrix{5, 2, []float32{1, 0, 0, 0, 0, 3, 0, 0, 0, 0}}
	q := Query{Method: Herding, Rows: 5, Filenames: func(row int) string { return string(rune('a' + row)) }, Embeddings: x, BatchSize: 1, Cosine: true,
		Pool: bitmask.FromIndices(0, 1, 2), Preselected: bitmask.FromIndices(3)}
	_, err := Select(q)
	rows, ok := errors.AsType[*RowsError](err)
	if !ok || rows.Count != 2 || !slices.Equal(rows.Rows, []int{1, 3}) || !strings.Contains(err.Error(), "no direction") {
		t.Errorf("error %v, want one that names rows 1 and 3", err)
	}
	q.Pool, q.Preselected = bitmask.FromIndices(0, 2), nil
	if s := mustSelect(t, q); len(s.Picks) != 1 {
		t.Errorf("picked %v", s.Picks)
	}
}
