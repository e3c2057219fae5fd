package selection

import (
	"bytes"
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
					q.Probabilities = Matrix{}
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
					q.DistanceCap = []float64{0, someDistance(t, r, q)}[r.IntN(2)]
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
	z := cloneState(s)
	switch r.IntN(6) {
	case 0:
		z.Seen = z.Seen[:len(z.Seen)/2]
	case 1:
		z.Prints = nil
	case 2:
		z.Prints[r.IntN(len(z.Prints))]++
	case 3:
		for i := range z.Owner {
			z.Owner[i] = r.Int32()
		}
	case 4:
		for i := range z.Seen {
			z.Seen[i] += int32(r.IntN(len(z.Centers)))
		}
	case 5:
		z.Centers[r.IntN(len(z.Centers))] = -7
	}
	return z
}

func cloneState(s *State) *State {
	z := *s
	for _, list := range z.parts() {
		*list = slices.Clone(*list)
	}
	for _, list := range z.hashes() {
		*list = slices.Clone(*list)
	}
	return &z
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

// TestEncodeState: what was written is read, and nothing else is taken for a state.
func TestEncodeState(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	q := query(r, Coreset, data["gauss"](r, 20_000, 8), 40, 500)
	q.KeepState = true
	want := mustSelect(t, q).State
	if len(want.Homes) == 0 {
		t.Fatal("no probes, so no homes")
	}
	var file bytes.Buffer
	if err := want.Encode(&file); err != nil {
		t.Fatal(err)
	}
	if rows, centers := q.Rows, len(want.Centers); file.Len() != 80+12*rows+12*centers {
		t.Errorf("%d bytes for %d rows and %d centers", file.Len(), rows, centers)
	}
	shifted := append([]byte{0}, file.Bytes()...)[1:] // not aligned
	for _, data := range [][]byte{file.Bytes(), shifted} {
		got, err := DecodeState(data)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("%v (-encoded +decoded):\n%s", err, diff)
		}
	}
	for n := range 40 {
		if _, err := DecodeState(file.Bytes()[:n*file.Len()/40]); err == nil {
			t.Fatalf("the first %d of 40 parts were taken for a state", n)
		}
	}
	at := len(stateMark)
	for _, list := range want.parts() {
		for n := range 4 {
			bad := bytes.Clone(file.Bytes())
			bad[at+n]--
			if _, err := DecodeState(bad); err == nil {
				t.Fatalf("byte %d of the length of a list does not matter", n)
			}
		}
		at += 4 + 4*len(*list)
	}
}
