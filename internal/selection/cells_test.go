package selection

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestCells(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	const n = 300
	x := data["grid"](r, n, 3) // many at one distance
	order := r.Perm(n)
	centers, set := order[:7], order[7:]
	cells, err := Cells(x, centers, set, 3, func() bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	all := 0
	for c, cell := range cells {
		var mine []int
		for _, row := range set {
			near := 0
			for o := range centers {
				if distance2(x.Row(row), x.Row(centers[o])) < distance2(x.Row(row), x.Row(centers[near])) {
					near = o
				}
			}
			if near == c {
				mine = append(mine, row)
			}
		}
		d := func(row int) float64 { return math.Sqrt(distance2(x.Row(row), x.Row(centers[c]))) }
		slices.SortStableFunc(mine, func(a, b int) int {
			switch {
			case d(a) < d(b):
				return -1
			case d(a) > d(b):
				return 1
			}
			return 0
		})
		if cell.Size != len(mine) || !slices.Equal(cell.Nearest, mine[:min(3, len(mine))]) || len(mine) > 0 && cell.Median != d(mine[(len(mine)-1)/2]) {
			t.Errorf("center %d: %+v, want %d rows, first %v", c, cell, len(mine), mine[:min(3, len(mine))])
		}
		all += cell.Size
	}
	if all != len(set) {
		t.Errorf("%d of %d rows are in cells", all, len(set))
	}
	if _, err := Cells(x, centers, set, 3, func() bool { return false }); !errors.Is(err, ErrCanceled) {
		t.Error(err)
	}
	if none, err := Cells(x, nil, set, 3, func() bool { return true }); err != nil || len(none) != 0 {
		t.Error(none, err)
	}
	if alone, err := Cells(x, centers, nil, 3, func() bool { return true }); err != nil || alone[0].Size != 0 || !math.IsNaN(alone[0].Median) {
		t.Error(alone, err)
	}
}
