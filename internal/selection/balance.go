package selection

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// balanced is greedy selection by what changes with every pick: which classes
// are still needed. A candidate is worth
//
//	weight · distance^DistanceExponent · Π factor^Strength
//
// over the balances, where distance is to the nearest center or earlier pick, 1
// as long as there is none. With s the shares of the candidate, scaled to sum
// to 1, the factor of a balance is
//
//	max(0.05, Σ s·need / largest need),  need = max(0, target·(n+1) - those selected)
//
// over its classes, where n of the selected are of any class: what a class lacks
// once one more is picked. It is 1 where nothing is needed, as with targets of 0.
// Each pick is one pass over all candidates.
type balanced struct {
	brute
	balances []Balance
	sums     [][]float64 // of the shares of each class among the selected, by balance
	total    []float64   // how many of the selected are of any class
	needs    [][]float64 // in parts of the largest; nil: nothing is needed
}

func (p *problem) balanced(m *meter) (Selection, error) {
	s := Selection{Radius: math.NaN(), LowerBound: math.NaN()}
	e := &balanced{brute: brute{problem: p, d2: make([]float64, len(p.pool)), nearest: make([]int32, len(p.pool))},
		balances: p.Balances, total: make([]float64, len(p.Balances)), needs: make([][]float64, len(p.Balances))}
	for i := range e.d2 {
		e.d2[i], e.nearest[i] = math.Inf(1), -1
	}
	for _, b := range p.Balances {
		e.sums = append(e.sums, make([]float64, len(b.Target)))
	}
	for _, row := range p.centers {
		e.count(int(row))
	}
	distances := p.DistanceExponent > 0 || p.min2 > 0
	if distances {
		for some := range slices.Chunk(p.centers, 64) { // so that progress is reported
			if _, ok := e.pass(some, m); !ok {
				return s, ErrCanceled
			}
		}
	}
	var seen []int32
	for n := 0; ; n++ {
		e.need()
		best, ok := e.pass(seen, m)
		if !ok {
			return s, ErrCanceled
		}
		i := best.candidate
		if n == p.k || i < 0 {
			break
		}
		s.Picks = append(s.Picks, p.pick(i, best.value, int(e.nearest[i])))
		m.done = n + 1
		e.d2[i] = picked
		e.count(int(p.pool[i]))
		if seen = nil; distances {
			seen = p.pool[i : i+1]
		}
	}
	if distances && len(p.centers)+len(s.Picks) > 0 {
		far2 := 0.0
		for _, d2 := range e.d2 {
			far2 = max(far2, d2)
		}
		s.Radius = math.Sqrt(far2)
	}
	return s, nil
}

// count adds a row to the selected.
func (e *balanced) count(row int) {
	for b, balance := range e.balances {
		shares := balance.Shares.Row(row)
		if all := sum(shares); all > 0 {
			e.total[b]++
			for k, v := range shares {
				e.sums[b][k] += float64(v) / all
			}
		}
	}
}

// need works out which classes the selection lacks.
func (e *balanced) need() {
	for b, balance := range e.balances {
		need, top := make([]float64, len(balance.Target)), 0.0
		for k, target := range balance.Target {
			need[k] = max(0, float64(target*(e.total[b]+1))-e.sums[b][k])
			top = max(top, need[k])
		}
		if e.needs[b] = nil; top > 0 {
			for k := range need {
				need[k] /= top
			}
			e.needs[b] = need
		}
	}
}

// factor is what the balances make of a row.
func (e *balanced) factor(row int) float64 {
	f := 1.0
	for b, need := range e.needs {
		if need == nil {
			continue
		}
		shares := e.balances[b].Shares.Row(row)
		got := 0.0
		if all := sum(shares); all > 0 {
			for k, v := range shares {
				got += float64(float64(v) / all * need[k])
			}
		}
		f *= pow(min(1, max(factorFloor, got)), e.balances[b].Strength)
	}
	return f
}

// worth is what a candidate is worth now.
func (e *balanced) worth(i int) float64 {
	v := e.value[i] * e.factor(int(e.pool[i]))
	if d2 := e.d2[i]; e.DistanceExponent > 0 && !math.IsInf(d2, 1) {
		v *= pow(math.Sqrt(d2), e.DistanceExponent)
	}
	return v
}

// pass compares all candidates with new centers and returns the best one, whose
// number is -1 if there is none. It reports false when the caller has canceled.
func (e *balanced) pass(seen []int32, m *meter) (mark, bool) {
	const block = 1 << 10
	n := len(e.pool)
	blocks := (n + block - 1) / block
	found := make([]mark, blocks)
	var next atomic.Int64
	loop := func(spend func(units int) bool) {
		for {
			at := int(next.Add(1)) - 1
			if at >= blocks {
				return
			}
			best := mark{-1, -1}
			for i := at * block; i < min(n, (at+1)*block); i++ {
				if e.d2[i] == picked {
					continue
				}
				for _, c := range seen {
					e.approach(i, c)
				}
				if e.d2[i] < e.min2 {
					continue
				}
				if v := e.worth(i); v > best.value || v == best.value && e.before(i, best.candidate) {
					best = mark{v, i}
				}
			}
			found[at] = best
			if !spend(block * (8 + len(seen)*e.Embeddings.Dim)) {
				return
			}
		}
	}
	var others sync.WaitGroup
	for range min(blocks, runtime.GOMAXPROCS(0)) - 1 {
		others.Go(func() { loop(func(int) bool { return !m.canceled.Load() }) })
	}
	loop(m.spend)
	others.Wait()
	best := mark{-1, -1}
	for _, b := range found {
		if b.candidate >= 0 && (b.value > best.value || b.value == best.value && e.before(b.candidate, best.candidate)) {
			best = b
		}
	}
	return best, !m.canceled.Load()
}

func sum(values []float32) (s float64) {
	for _, v := range values {
		s += float64(v)
	}
	return s
}

// ClassShares returns the share of each class among some rows, 0 for all if no
// row is of any class. The order of the rows does not matter.
func ClassShares(shares Matrix, set []int) []float64 {
	const unit = 1 << 31 // whole numbers have the same sum in any order
	of, total := make([]int64, shares.Dim), 0
	for _, row := range set {
		if all := sum(shares.Row(row)); all > 0 {
			total++
			for k, v := range shares.Row(row) {
				of[k] += int64(float64(v) / all * unit)
			}
		}
	}
	result := make([]float64, shares.Dim)
	for k, n := range of {
		result[k] = float64(n) / unit / float64(max(1, total))
	}
	return result
}
