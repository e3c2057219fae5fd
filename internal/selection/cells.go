package selection

import (
	"cmp"
	"math"
	"runtime"
	"slices"
	"sync"
)

// Cell is the part of a set of rows that is nearer to one center than to any
// other: what the center stands for.
type Cell struct {
	Size    int
	Median  float64 // distance of its rows to the center, the lower of two; NaN of none
	Nearest []int   // its rows that are nearest to the center, nearest first
}

// Cells divides a set of rows among centers, which are rows too, and shows so
// many of the nearest of each. A row as near to two centers goes to the first
// of them; rows at one distance stay in the order of the set. It compares every
// row with every center, asking going before each, and returns ErrCanceled when
// it says no.
func Cells(x Matrix, centers, set []int, show int, going func() bool) ([]Cell, error) {
	type member struct {
		row, center int
		d2          float64
	}
	members := make([]member, len(set))
	threads := runtime.GOMAXPROCS(0)
	divide := func(first int, going func() bool) bool {
		for i := first; i < len(set); i += threads {
			if !going() {
				return false
			}
			best := member{set[i], -1, math.Inf(1)}
			for c, center := range centers {
				if d2 := fastest.distance2(x.Row(set[i]), x.Row(center)); d2 < best.d2 {
					best.center, best.d2 = c, d2
				}
			}
			members[i] = best
		}
		return true
	}
	var others sync.WaitGroup
	for t := 1; t < threads; t++ {
		others.Go(func() { divide(t, func() bool { return true }) })
	}
	whole := divide(0, going)
	others.Wait()
	if !whole {
		return nil, ErrCanceled
	}
	slices.SortStableFunc(members, func(a, b member) int { return cmp.Or(cmp.Compare(a.center, b.center), cmp.Compare(a.d2, b.d2)) })
	cells := make([]Cell, len(centers))
	for c := range cells {
		cells[c].Median = math.NaN()
	}
	for i := 0; i < len(members); {
		end := i
		for end < len(members) && members[end].center == members[i].center {
			end++
		}
		if c := members[i].center; c >= 0 {
			cells[c] = Cell{Size: end - i, Median: math.Sqrt(members[i+(end-i-1)/2].d2)}
			for _, m := range members[i:min(end, i+show)] {
				cells[c].Nearest = append(cells[c].Nearest, m.row)
			}
		}
		i = end
	}
	return cells, nil
}
