package selection

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
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

// TestStateIsTrue: of each row that is left in the pool, the owner is as near as
// the nearest of the centers before Seen, what is known of other rows stays, and no row
// of which something is known is longer than is said.
func TestStateIsTrue(t *testing.T) {
	for name, make := range data {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(7, 7))
			q := query(r, Coreset, make(r, 6000, 8), 300, 100)
			q.KeepState = true
			clearNaN(q, r)
			for row := range q.Rows {
				if r.IntN(10) == 0 {
					q.Pool.Unset(row)
				}
			}
			first := mustSelect(t, q)
			checkState(t, q, first, nil)
			label(q, first.Picks)
			for row := range q.Rows {
				if !q.Preselected.Has(row) {
					q.Pool.Set(row) // those that were outside have not been seen
				}
				if r.IntN(3) == 0 {
					q.Pool.Unset(row)
				}
			}
			q.State = first.State
			checkState(t, q, mustSelect(t, q), first.State)
		})
	}
}

func checkState(t *testing.T, q Query, of Selection, last *State) {
	t.Helper()
	picked, s := map[int]bool{}, of.State
	if s.Sum != s.sum() {
		t.Fatal("the sum is wrong")
	}
	for _, p := range of.Picks {
		picked[p.Row] = true
	}
	for row := range q.Rows {
		if x := q.Embeddings.Row(row); s.Seen[row] > 0 && distance2(x, make([]float32, len(x))) > s.Norm2 {
			t.Fatalf("row %d is longer than √%g", row, s.Norm2)
		}
		switch {
		case picked[row]:
			if s.Seen[row] != 0 {
				t.Fatalf("row %d was picked, and has seen %d centers", row, s.Seen[row])
			}
		case q.Pool.Has(row):
			x := q.Embeddings.Row(row)
			to := func(at int32) float64 { return distance2(x, q.Embeddings.Row(int(s.Centers[at]))) }
			d2 := to(s.Owner[row])
			for at := range s.Seen[row] {
				if to(at) < d2 {
					t.Fatalf("row %d is said to be nearest to center %d of the first %d, and is nearer to %d", row, s.Owner[row], s.Seen[row], at)
				}
			}
			if b := float64(s.Bounds[row]); s.Seen[row] < 1 || b*b < d2 || b > math.Sqrt(d2)*(1+0x1p-22)+0x1p-148 {
				t.Fatalf("row %d: bound %g of owner %d, first %d, at %g", row, b, s.Owner[row], s.Seen[row], d2)
			}
		case last != nil:
			if s.Owner[row] != last.Owner[row] || s.Seen[row] != last.Seen[row] || s.Bounds[row] != last.Bounds[row] {
				t.Fatalf("row %d is outside the pool, and what was known of it has changed", row)
			}
		case s.Seen[row] != 0:
			t.Fatalf("row %d is outside the pool, and has seen %d centers", row, s.Seen[row])
		}
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
	switch a, b := r.IntN(len(z.Centers)), r.IntN(len(z.Centers)); r.IntN(9) {
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
			z.Seen[i] = int32(len(z.Centers))
		}
	case 5:
		z.Centers[a] = -7
	case 6:
		z.Bounds[r.IntN(len(z.Bounds))] = float32(math.NaN())
	case 7: // as if the vectors were others, which the sum does not say
		for i := range z.Bounds {
			z.Bounds[i] /= 2
		}
		z.Sum = z.sum()
	case 8: // what is where does not matter to the centers, but to the rows
		z.Centers[a], z.Centers[b] = z.Centers[b], z.Centers[a]
		z.Prints[a], z.Prints[b] = z.Prints[b], z.Prints[a]
	}
	return z
}

// TestStateMixed: rows are believed only with the centers they were compared with, in
// their order, also where many distances are the same.
func TestStateMixed(t *testing.T) {
	for _, name := range []string{"grid", "one-hot", "duplicates", "all equal"} {
		for seed := range uint64(12) {
			r := rand.New(rand.NewPCG(seed, 15))
			q := query(r, Coreset, data[name](r, 3000, 40), 30, 12)
			clearNaN(q, r)
			want := mustSelect(t, q)
			var states []*State
			for range 2 { // of other centers each: a part of them
				other := q
				other.KeepState, other.BatchSize, other.Preselected = true, 1, bitmask.New(q.Rows)
				for row := range q.Preselected.All() {
					if r.IntN(4) > 0 {
						other.Preselected.Set(row)
					}
				}
				states = append(states, mustSelect(t, other).State)
			}
			mixed, swapped := cloneState(states[1]), cloneState(states[0])
			mixed.Centers, mixed.Prints, mixed.Homes = states[0].Centers, states[0].Prints, states[0].Homes
			for range 5 {
				a, b := r.IntN(len(swapped.Centers)), r.IntN(len(swapped.Centers))
				swapped.Centers[a], swapped.Centers[b] = swapped.Centers[b], swapped.Centers[a]
				swapped.Prints[a], swapped.Prints[b] = swapped.Prints[b], swapped.Prints[a]
			}
			for _, s := range []*State{states[0], mixed, swapped} {
				q.State = s
				compareStates(t, name, int(seed), want, mustSelect(t, q))
			}
		}
	}
}

// TestStateOfARow: where a state says of a row that is picked next that it is at another
// distance, or near to another center, this is noticed when the row is picked.
func TestStateOfARow(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 15))
	q := query(r, Coreset, data["gauss"](r, 20_000, 8), 30, 300)
	clearNaN(q, r)
	q.KeepState = true
	first := mustSelect(t, q)
	label(q, first.Picks)
	want := mustSelect(t, q)
	for n, p := range want.Picks {
		q.State = cloneState(first.State)
		if q.State.Seen[p.Row] == 0 {
			t.Fatalf("nothing is known of row %d", p.Row)
		}
		if n%2 == 0 {
			q.State.Bounds[p.Row] *= 1.5
		} else {
			q.State.Owner[p.Row]++
		}
		q.State.Sum = q.State.sum()
		compareStates(t, "gauss", n, want, mustSelect(t, q))
	}
	q.State = cloneState(first.State)
	for row := range q.State.Seen {
		q.State.Seen[row] = int32(len(q.State.Centers)) // which only the sum can tell
	}
	compareStates(t, "gauss", 0, want, mustSelect(t, q))
}

// TestStateRounds: distances that float32 cannot tell apart, and the farthest row is picked
// all the same.
func TestStateRounds(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 19))
	x := Matrix{20_000, 8, make([]float32, 20_000*8)}
	for row := range x.Rows {
		x.Row(row)[0], x.Row(row)[1] = 1000, float32(row)/(1<<20)
	}
	q := query(r, Coreset, x, 16, 0)
	clearNaN(q, r)
	for row := range q.Preselected.All() {
		clear(x.Row(row))
	}
	q.KeepState = true
	q.State = mustSelect(t, q).State
	if distinct := slices.Compact(slices.Sorted(slices.Values(q.State.Bounds))); len(distinct) > 3 {
		t.Fatalf("bounds %v", distinct)
	}
	q.BatchSize = 200
	last := q.Pool.Len() - 1
	if got := mustSelect(t, q); got.Picks[0].Row != last {
		t.Errorf("row %d was picked, the last is %d", got.Picks[0].Row, last)
	}
}

// TestStateOfANaN: a row that the state knows is not finite any more, which is refused as
// soon as it is read, beside centers that are none any more.
func TestStateOfANaN(t *testing.T) {
	r := rand.New(rand.NewPCG(14, 14))
	q := query(r, Coreset, data["gauss"](r, 20_000, 12), 300, 100)
	clearNaN(q, r)
	q.KeepState = true
	first := mustSelect(t, q)
	for _, p := range first.Picks {
		q.Pool.Unset(p.Row)
		if r.IntN(3) > 0 {
			q.Preselected.Set(p.Row)
		}
	}
	next := mustSelect(t, q).Picks
	q.State = first.State
	for _, p := range next {
		values := q.Embeddings.Row(p.Row)
		old := values[3]
		values[3] = float32(math.NaN())
		if _, err := Select(q); err == nil || !strings.Contains(err.Error(), "1 rows have an embedding") {
			t.Errorf("row %d: %v", p.Row, err)
		}
		values[3] = old
	}
}

// TestStateOfACenter: the vector of a label that is no row's nearest is another now, the
// one of the next pick, and nothing is believed that was compared with it.
func TestStateOfACenter(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 16))
	q := query(r, Coreset, data["gauss"](r, 20_000, 3), 3000, 10)
	clearNaN(q, r)
	q.KeepState = true
	first := mustSelect(t, q)
	label(q, first.Picks)
	owns := make([]bool, len(first.State.Centers))
	for row := range q.Pool.All() {
		owns[first.State.Owner[row]] = true
	}
	moved := slices.Index(owns, false)
	if moved < 0 {
		t.Fatal("every label is the nearest of a row")
	}
	next := mustSelect(t, q).Picks[0].Row
	copy(q.Embeddings.Row(int(first.State.Centers[moved])), q.Embeddings.Row(next))
	want := mustSelect(t, q)
	q.State = first.State
	compareStates(t, "gauss", 0, want, mustSelect(t, q))
}

// TestStateOutgrown: a label far longer than everything else is withdrawn, and the state
// still knows of rows that are as long: nothing else is selected.
func TestStateOutgrown(t *testing.T) {
	for _, long := range []float32{1e4, 1e20, 1e37} {
		r := rand.New(rand.NewPCG(8, 17))
		x := data["gauss"](r, 5000, 6)
		for i := range x.Data {
			x.Data[i] += 100
		}
		q := query(r, Coreset, x, 100, 20)
		clearNaN(q, r)
		q.KeepState = true
		for label := range q.Preselected.All() {
			q.Embeddings.Row(label)[0] = long
			first := mustSelect(t, q)
			q.Preselected.Unset(label)
			want := mustSelect(t, q)
			q.State = first.State
			got := mustSelect(t, q)
			compareStates(t, "outgrown", 0, want, got)
			if got.State.Norm2 < first.State.Norm2 {
				t.Errorf("norm² %g, was %g", got.State.Norm2, first.State.Norm2)
			}
			break
		}
	}
}

// label makes picks preselected.
func label(q Query, picks []Pick) {
	for _, p := range picks {
		q.Pool.Unset(p.Row)
		q.Preselected.Set(p.Row)
	}
}

func cloneState(s *State) *State {
	z := *s
	for _, list := range z.parts() {
		*list = slices.Clone(*list)
	}
	for _, list := range z.hashes() {
		*list = slices.Clone(*list)
	}
	z.Bounds = slices.Clone(z.Bounds)
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
	if rows, centers := q.Rows, len(want.Centers); file.Len() != 92+12*rows+12*centers {
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
	at := len(stateMark) + 12
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
