package selection

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// weights returns what greedy passes to an engine.
func weights(p *problem) []float64 {
	if p.Method != Coral {
		return nil
	}
	weight := make([]float64, len(p.value))
	for i, w := range p.value {
		weight[i] = w * w
	}
	return weight
}

// compareEngines checks that search and bruteForce take the same steps.
func compareEngines(t *testing.T, what string, q Query, all []kernel, threads ...int) {
	t.Helper()
	p, err := newProblem(q, new(meter))
	if err != nil {
		t.Fatal(err)
	}
	steps, far2, _ := bruteForce(p, weights(p), new(meter))
	for _, k := range all {
		for _, threads := range threads {
			got, gotFar2, _, _ := search(p, weights(p), k, threads, new(meter))
			if diff := cmp.Diff(steps, got, cmp.AllowUnexported(step{})); diff != "" {
				t.Fatalf("%s, %s, %d threads (-brute force +search):\n%s", what, k.name, threads, diff)
			}
			if far2 != gotFar2 {
				t.Fatalf("%s, %s, %d threads: largest distance left %v, want %v", what, k.name, threads, gotFar2, far2)
			}
		}
	}
}

// TestSearch: the fast engine is the brute force, step by step.
func TestSearch(t *testing.T) {
	for name, make := range data {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(4) {
				r := rand.New(rand.NewPCG(seed, 2))
				for _, dim := range []int{1, 3, 16, 40} {
					n := []int{40, 300, 1000}[r.IntN(3)]
					pre := []int{0, 1, n / 3}[r.IntN(3)]
					k := []int{1, 10, n / 4, -1}[r.IntN(4)]
					method := []Method{Coreset, Coral}[r.IntN(2)]
					q := query(r, method, make(r, n, dim), pre, k)
					if r.IntN(3) == 0 {
						q.ScoreFloor = 0
					}
					what := fmt.Sprintf("seed %d, %s, %d × %d, %d preselected, batch of %d", seed, method, n, dim, pre, k)
					compareEngines(t, what, q, kernels(), 1+int(seed))
					if s := mustSelect(t, q); len(s.Picks) > 3 {
						q.MinDistance = max(1e-300, s.Picks[len(s.Picks)/2].Gain)
						compareEngines(t, what+", minimum distance", q, kernels()[:1], 2)
					}
				}
			}
		})
	}
}

// TestSearchLarge is large enough for many levels, probes and stale bounds.
func TestSearchLarge(t *testing.T) {
	for name, make := range data {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(9, 9))
			for _, method := range []Method{Coreset, Coral} {
				for _, pre := range []int{0, 700} {
					q := query(r, method, make(r, 3000, 12), pre, 700)
					what := fmt.Sprintf("%s, %d preselected", method, pre)
					compareEngines(t, what, q, kernels()[:1], 2)
				}
			}
		})
	}
}
