package selection

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/bitmask"
)

// stateRound is one selection with cells, in which labels cover landmarks
// directly or not.
func stateRound(t *testing.T, q Query, directly bool) ([]string, *State) {
	t.Helper()
	p := mustProblem(t, q)
	p.worthRows = 0
	radius, err := p.fairShareRadius(new(meter))
	if err != nil {
		t.Fatal(err)
	}
	h := smallHerd(p, radius, fastest, 2, 300, 12)
	if h.worthKeeping = 0; directly {
		h.pairs = 1e5
	}
	if h.coversDirectly() != directly {
		t.Fatal("too many or too few labels")
	}
	got, err := h.run()
	if err != nil {
		t.Fatal(err)
	}
	return append(describeHerd(p, got), fmt.Sprintf("radius %v", radius)), &p.next
}

// TestHerdingState runs rounds of selection and labeling in which labels are
// withdrawn, rows appended, left out and given other vectors, the seed is another,
// and states are mixed up: with any state each round selects what it selects without.
func TestHerdingState(t *testing.T) {
	for name, make := range data {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(11, 4))
			const n, dim = 1600, 16
			full := query(r, UHerding, make(r, n, dim), 120, 40)
			clearNaN(full, r)
			var states []*State
			labels, out := full.Preselected, bitmask.New(n)
			rows := n - 300
			for round := range 10 {
				rows += []int{0, 10, 10, 0, 100}[round%5]
				for range 5 * (round % 2) {
					out.Set(r.IntN(rows))
				}
				if round%3 == 2 {
					for range 3 {
						row := r.IntN(rows)
						copy(full.Embeddings.Row(row), full.Embeddings.Row(r.IntN(rows)))
					}
				}
				if round == 6 {
					full.Seed++
				}
				q := full
				q.Rows, q.Embeddings, q.Scores, q.Probabilities = rows, Matrix{rows, dim, full.Embeddings.Data[:rows*dim]}, full.Scores[:rows], Matrix{}
				q.Pool, q.Preselected = bitmask.New(n), bitmask.New(n)
				for row := range rows {
					if labels.Has(row) {
						q.Preselected.Set(row)
					} else if !out.Has(row) {
						q.Pool.Set(row)
					}
				}
				directly := round%4 != 3
				want, _ := stateRound(t, q, directly)
				q.KeepState = true
				for _, s := range append([]*State{nil}, states[max(0, len(states)-2):]...) {
					q.State = s
					got, next := stateRound(t, q, directly)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("%s, round %d (-without +with state):\n%s", name, round, diff)
					}
					if s == nil {
						states = append(states, next)
					} else if r.IntN(2) == 0 {
						states = append(states, damaged(r, next, r.IntN(herdingDamages)))
					}
				}
				for row := range labels.Clone().All() {
					if r.IntN(20) == 0 {
						labels.Unset(row) // a label is withdrawn
					}
				}
				for range 10 {
					labels.Set(r.IntN(rows))
				}
			}
		})
	}
}

// TestHerdingStateDamaged: a state damaged in any list is as good as none.
func TestHerdingStateDamaged(t *testing.T) {
	r := rand.New(rand.NewPCG(14, 4))
	q := query(r, UHerding, data["clusters"](r, 1600, 16), 120, 40)
	clearNaN(q, r)
	q.KeepState = true
	want, s := stateRound(t, q, true)
	for damage := range herdingDamages {
		q.State = damaged(r, s, damage)
		if got, _ := stateRound(t, q, true); !slices.Equal(got, want) {
			t.Errorf("damage %d (-without +with state):\n%s", damage, cmp.Diff(want, got))
		}
	}
}

const herdingDamages = 3 * 12

// damaged is a copy of a state with one of so many damages.
func damaged(r *rand.Rand, s *State, damage int) *State {
	z := cloneState(s)
	lists := z.parts()[4:]
	for _, hashes := range z.hashes()[1:] {
		list := valuesOf[int32](bytesOf(*hashes))
		defer func() { *hashes = valuesOf[uint32](bytesOf(list)) }()
		lists = append(lists, &list)
	}
	list := lists[damage/3]
	switch damage % 3 {
	case 0:
		*list = (*list)[:len(*list)/2]
	case 1:
		for i := range *list {
			(*list)[i] = r.Int32() - math.MaxInt32/2
		}
	case 2:
		for i := range *list {
			(*list)[i] += int32(r.IntN(3))
		}
	}
	return z
}

// TestEachNearest: ties go to the first of the others, in whatever order they were
// when the nearest became known.
func TestEachNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 4))
	q := query(r, Herding, data["grid"](r, 900, 2), 0, 10)
	clearNaN(q, r)
	p := mustProblem(t, q)
	tiles := p.newTiles(fastest, 2, new(meter))
	all := func(others []int32, known *Nearest) ([]int32, Nearest) {
		places, learned := make([]int32, len(p.pool)), Nearest{}
		tiles.eachNearest(p.pool, others, known, &learned, func(at, place int32, _ float64) { places[at] = place })
		return places, learned
	}
	others := slices.Clone(p.pool[:70])
	_, known := all(others, new(Nearest))
	for _, change := range []func(){
		func() {},
		func() { others = slices.Delete(others, 3, 9) },
		func() { others = slices.Concat(p.pool[200:210], others, p.pool[80:90]) },
		func() { slices.Reverse(others) },
		func() { others = nil },
	} {
		change()
		want, _ := all(others, new(Nearest))
		if got, _ := all(others, &known); !slices.Equal(got, want) {
			t.Errorf("among %v: with what was known %v, without %v", others, got, want)
		}
	}
}

// counting is a kernel that counts its tiles.
func counting(tiles *atomic.Int64) kernel {
	k := fastest
	k.tile = func(t *tile, panel *float32, dim int) {
		tiles.Add(1)
		fastest.tile(t, panel, dim)
	}
	return k
}

// TestHerdingStateSaves: what is known is not computed again.
func TestHerdingStateSaves(t *testing.T) {
	r := rand.New(rand.NewPCG(12, 4))
	q := query(r, UHerding, data["gauss"](r, 6000, 9), 500, 60)
	clearNaN(q, r)
	q.KeepState = true
	var taken [2][3]int64 // without and with state: tiles for cells, labels and shares
	for n := range taken {
		p := mustProblem(t, q)
		p.worthRows = 0
		var tiles atomic.Int64
		h := smallHerd(p, 1, counting(&tiles), 2, 2500, 12)
		h.pairs, h.worthKeeping = 3e6, 0
		if c, ok := h.divide(); !ok || len(c.around) != 256 {
			t.Fatal("no cells")
		}
		taken[n][0] = tiles.Swap(0)
		if !h.coverBefore(nil) {
			t.Fatal("canceled")
		}
		taken[n][1] = tiles.Swap(0)
		radii := radii{tiles: h.tiles, rows: slices.Concat(p.pool, p.centers), rank: 40 - 10*n}
		samples := p.lowest(256, new(meter))
		got, _ := radii.all(samples)
		for at, d2 := range got {
			if want := radii.plain(&h.workers[0], samples[at]); d2 != want {
				t.Fatalf("sample %d: squared distance %v to rank %d, want %v", at, d2, radii.rank, want)
			}
		}
		taken[n][2] = tiles.Load()
		q.State = &p.next
		for at := range 5 { // a seed, and others
			row := int(h.landmarks[at*at*at])
			q.Pool.Unset(row)
			q.Preselected.Set(row)
		}
	}
	for part, without := range taken[0] {
		if with := taken[1][part]; without == 0 || 4*with > without {
			t.Errorf("%d tiles, %d with a state", without, with)
		}
	}
	t.Log(taken)
}
