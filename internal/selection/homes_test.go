package selection

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSeatsByHome: with so many labels that they sit by their homes, the engine is the
// brute force, in the first round and in those that recall where they sat.
func TestSeatsByHome(t *testing.T) {
	const rows, labels, picks = 45_000, 4_300, 150
	for _, name := range []string{"gauss", "clusters", "duplicates", "far away"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(8, 8))
			q := query(r, Coreset, data[name](r, rows, 8), labels, picks)
			clearNaN(q, r)
			compareEngines(t, "seats by home", q, kernels()[:1], 2)
			for round := range 3 {
				want := mustSelect(t, q)
				q.KeepState = true
				got := mustSelect(t, q)
				compareStates(t, name, round, want, got)
				if lie := panelsByHome(got.State); lie < labels/lanes/2 {
					t.Errorf("round %d: %d panels of few homes", round, lie)
				}
				q.State, q.KeepState = got.State, false
				for row := range q.Preselected.Clone().All() { // some labels are withdrawn, though none of an anchor,
					if r.IntN(20) == 0 && !slices.Contains(q.State.Centers[:lanes], int32(row)) {
						q.Preselected.Unset(row)
					}
				}
				for row := range q.Pool.Clone().All() { // and more are added than are left to be met in order
					if r.IntN(25) == 0 {
						q.Pool.Unset(row)
						q.Preselected.Set(row)
					}
				}
			}
		})
	}
}

// panelsByHome counts the panels with centers of few homes.
func panelsByHome(s *State) (few int) {
	for part := range slices.Chunk(s.Homes, lanes) {
		part = slices.Sorted(slices.Values(part))
		if len(slices.Compact(part)) <= homesMost {
			few++
		}
	}
	return few
}

// TestStride: a stride visits every place once.
func TestStride(t *testing.T) {
	for n := 1; n < 500; n++ {
		visited := make([]bool, n)
		for b := range n {
			visited[b*stride(n)%n] = true
		}
		if slices.Contains(visited, false) {
			t.Fatalf("a stride of %d through %d places leaves some out", stride(n), n)
		}
	}
}
