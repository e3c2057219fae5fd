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

// TestFarAnchors: some anchors of many labels are sought far from the others, also where
// all labels are on an anchor: everything is at distance 0 then, and the keys decide.
func TestFarAnchors(t *testing.T) {
	const rows, labels, dim = 340_000, 34_000, 8
	if testing.Short() {
		t.Skip("runs in make test")
	}
	r := rand.New(rand.NewPCG(8, 18))
	x := Matrix{rows, dim, make([]float32, rows*dim)}
	for row := range rows {
		x.Row(row)[r.IntN(dim)] = 2000
	}
	q := query(r, Coreset, x, labels, 40)
	want := q.Pool.Indices()
	slices.SortFunc(want, func(a, b int) int { return CompareKeys(q.Seed, q.Filenames(a), q.Filenames(b)) })
	for _, k := range kernels() {
		p := mustProblem(t, q)
		steps, far2, _, err := search(p, nil, k, 2, new(meter))
		if err != nil || far2 != 0 || len(steps) != 40 {
			t.Fatalf("%s: %d picks, %g, %v", k.name, len(steps), far2, err)
		}
		for n, s := range steps {
			if row := int(p.pool[s.candidate]); row != want[n] || s.d2 != 0 {
				t.Fatalf("%s: pick %d is row %d at %g, want %d", k.name, n, row, s.d2, want[n])
			}
		}
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
