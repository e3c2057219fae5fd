package selection

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Similarity returns for each row of a set how similar its vector is to the
// nearest of some vectors,
//
//	1 / (1 + distance/m),
//
// in (0, 1], where m is the median distance over the set (the lower of two), or
// the least above 0 if that is 0. Other rows are NaN. It asks going before each
// block of rows and returns ErrCanceled when it says no.
func Similarity(x Matrix, set []int, to Matrix, going func() bool) ([]float64, error) {
	const block = 256
	values := make([]float64, x.Rows)
	for i := range values {
		values[i] = math.NaN()
	}
	if len(set) == 0 || to.Rows == 0 {
		return values, nil
	}
	blocks := (len(set) + block - 1) / block
	var next atomic.Int64
	var stopped atomic.Bool
	work := func(going func() bool) {
		for {
			at := int(next.Add(1)) - 1
			if at >= blocks || stopped.Load() {
				return
			}
			if !going() {
				stopped.Store(true)
				return
			}
			for _, row := range set[at*block : min(len(set), (at+1)*block)] {
				d2 := math.Inf(1)
				for c := range to.Rows {
					d2 = min(d2, fastest.distance2(x.Row(row), to.Row(c)))
				}
				values[row] = math.Sqrt(d2)
			}
		}
	}
	var others sync.WaitGroup
	for range min(blocks, runtime.GOMAXPROCS(0)) - 1 {
		others.Go(func() { work(func() bool { return true }) })
	}
	work(going)
	others.Wait()
	if stopped.Load() {
		return nil, ErrCanceled
	}
	distances := make([]float64, len(set))
	for i, row := range set {
		distances[i] = values[row]
	}
	slices.Sort(distances)
	unit := distances[(len(distances)-1)/2]
	if unit == 0 {
		if i, _ := slices.BinarySearchFunc(distances, 0, func(d, _ float64) int {
			if d > 0 {
				return 1
			}
			return -1
		}); i < len(distances) {
			unit = distances[i]
		} else {
			unit = 1
		}
	}
	for _, row := range set {
		values[row] = 1 / (1 + values[row]/unit)
	}
	return values, nil
}
