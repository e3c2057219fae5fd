package selection

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"nextbatch/internal/bitmask"
)

// TestState runs rounds of selection and labeling in which labels are
// withdrawn, rows appended and states mixed up: with the state
// of the round before, or with a broken one, each round selects what it selects
// without any.
func TestState(t *testing.T) {
	for name, make := range data {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(1) {
				r := rand.New(rand.NewPCG(seed, 4))
				const n = 5000
				full := query(r, Coreset, make(r, n, 9), 20, 60)
				clearNaN(full, r)
				var states []*State
				preselected := full.Preselected
				for round := range 8 {
					q := full
					q.Rows = n/2 + round*n/16 // grows
					q.Embeddings = Matrix{q.Rows, 9, slices.Clone(full.Embeddings.Data[:q.Rows*9])}
					q.Scores = full.Scores[:q.Rows]
					q.Pool, q.Preselected = bitmask.New(n), bitmask.New(n)
					for row := range q.Rows {
						if preselected.Has(row) {
							q.Preselected.Set(row)
						} else if r.IntN(10) > 0 {
							q.Pool.Set(row)
						}
					}
					q.Seed = r.Uint64()
					q.Method = []Method{Coreset, Coral}[r.IntN(2)]
					want := mustSelect(t, q)
					q.KeepState = true
					for _, s := range states[max(0, len(states)-2):] {
						q.State = s
						compareStates(t, name, round, want, mustSelect(t, q))
					}
					q.State = nil
					if len(states) > 0 {
						q.State = states[len(states)-1]
					}
					got := mustSelect(t, q)
					compareStates(t, name, round, want, got)
					if got.State == nil {
						t.Fatal("no state")
					}
					states = append(states, got.State, corrupt(r, got.State))

					for _, p := range got.Picks {
						preselected.Set(p.Row)
					}
					for row := range preselected.Clone().All() {
						if r.IntN(8) == 0 {
							preselected.Unset(row) // a label is withdrawn
						}
					}
				}
			}
		})
	}
}

func compareStates(t *testing.T, name string, round int, want, got Selection) {
	t.Helper()
	want.State, got.State = nil, nil
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
		t.Fatalf("%s, round %d (-without +with state):\n%s", name, round, diff)
	}
}

// corrupt damages a copy of a state in a way that can be noticed.
func corrupt(r *rand.Rand, s *State) *State {
	z := &State{slices.Clone(s.Centers), slices.Clone(s.Prints), slices.Clone(s.Homes), slices.Clone(s.Owner), slices.Clone(s.Seen), slices.Clone(s.Checks)}
	switch r.IntN(6) {
	case 0:
		z.Seen = z.Seen[:len(z.Seen)/2]
	case 1:
		z.Prints = nil
	case 2:
		z.Prints[r.IntN(len(z.Prints))]++
	case 3:
		for i := range z.Owner {
			z.Owner[i] = r.Uint32()
		}
	case 4:
		for i := range z.Seen {
			z.Seen[i] += uint32(r.IntN(len(z.Centers)))
		}
	case 5:
		z.Centers[r.IntN(len(z.Centers))] = -7
	}
	return z
}

func clearNaN(q Query, r *rand.Rand) {
	for i, v := range q.Embeddings.Data {
		if v != v {
			q.Embeddings.Data[i] = float32(r.IntN(3))
		}
	}
	for i, s := range q.Scores {
		if s != s {
			q.Scores[i] = 0.5
		}
	}
}
