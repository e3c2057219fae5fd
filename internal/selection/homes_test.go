package selection

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSeatsByHome: with so many labels that they sit by their homes, the engine is the
// brute force, in the first round and in those that recall where they sat.
func TestSeatsByHome(t *testing.T) {
	const rows, labels, picks = 50_000, 9_000, 150
	names := []string{"clusters", "gauss", "duplicates", "far away"}
	if testing.Short() {
		names = names[:1]
	}
	for _, name := range names {
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
				if lie := panelsByHome(got.State); round < 2 && lie < labels/lanes/2 {
					t.Errorf("round %d: %d panels of few homes", round, lie)
				}
				q.State, q.KeepState = got.State, false
				for row := range q.Preselected.Clone().All() { // some labels are withdrawn, in the end of anchors too,
					if r.IntN(20) == 0 && (round > 0 || !slices.Contains(q.State.Centers[:2*lanes], int32(row))) {
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

// TestEvenly: every number is there once, and any part of the order is spread over
// all of them.
func TestEvenly(t *testing.T) {
	for n := range 2000 {
		order := evenly(n)
		for _, part := range [][]int32{order, order[:n/2], order[:n/4], order[:n/10]} {
			sorted := slices.Sorted(slices.Values(part))
			last := -1
			for _, number := range append(sorted, int32(n)) {
				if gap := int(number) - last; gap == 0 || len(part) > 0 && float64(gap) > 3*float64(n+1)/float64(len(part)+1) {
					t.Fatalf("%d numbers below %d: none between %d and %d", len(part), n, last, number)
				}
				last = int(number)
			}
		}
	}
}
