package selection

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nextbatch/internal/bitmask"
)

// plainRadius is the definition of fairShareRadius.
func plainRadius(p *problem) float64 {
	order := countTo(len(p.pool))
	slices.SortFunc(order, func(a, b int32) int { return p.compareKeys(int(a), int(b)) })
	rows := slices.Concat(p.pool, p.centers)
	chosen := len(p.centers) + p.k
	k := min((len(rows)+chosen-1)/chosen, len(rows)-1)
	var radii []float64
	for _, i := range order[:min(256, len(order))] {
		var d []float64
		for _, row := range rows {
			if row != p.pool[i] {
				d = append(d, math.Sqrt(distance2(p.Embeddings.Row(int(row)), p.Embeddings.Row(int(p.pool[i])))))
			}
		}
		slices.Sort(d)
		if at := slices.IndexFunc(d, func(d float64) bool { return d > 0 }); at >= 0 {
			radii = append(radii, d[max(at, k-1)])
		}
	}
	if len(radii) == 0 {
		return 1
	}
	slices.Sort(radii)
	return radii[len(radii)/2]
}

func TestFairShareRadius(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for name, make := range data {
		for _, c := range []struct{ rows, dim, preselected, picks int }{{2, 3, 0, 1}, {300, 5, 7, 10}, {4000, 17, 50, 20}, {4000, 17, 0, 3}, {3000, 40, 1000, 1500}} {
			q := query(r, Coreset, make(r, c.rows, c.dim), c.preselected, c.picks)
			p, err := newProblem(q, new(meter))
			if err != nil {
				t.Fatal(err)
			}
			want := plainRadius(p)
			got, err := p.fairShareRadius(new(meter))
			if err != nil || got != want {
				t.Errorf("%s, %+v: radius %v, %v, want %v", name, c, got, err, want)
			}
			p, _ = newProblem(shuffled(q, r.Perm(q.Rows)), new(meter))
			if got, _ := p.fairShareRadius(new(meter)); got != want {
				t.Errorf("%s, %+v, shuffled: radius %v, want %v", name, c, got, want)
			}
		}
	}
}

// Duplicates have no share of their own.
func TestFairShareRadiusOfDuplicates(t *testing.T) {
	for _, c := range []struct {
		distinct int
		want     float64
	}{{1, 1}, {2, 3}, {50, 3}} {
		q := Query{Method: Coreset, Rows: 10 * c.distinct, Filenames: func(row int) string { return fmt.Sprint(row) }, BatchSize: 5 * c.distinct,
			Embeddings: Matrix{10 * c.distinct, 1, nil}, Pool: bitmask.New(0)}
		for row := range q.Rows {
			q.Embeddings.Data = append(q.Embeddings.Data, float32(3*(row/10)))
			q.Pool.Set(row)
		}
		p, err := newProblem(q, new(meter))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.fairShareRadius(new(meter)); got != c.want || err != nil {
			t.Errorf("%d points, ten times each: radius %v, %v, want %v", c.distinct, got, err, c.want)
		}
	}
}
