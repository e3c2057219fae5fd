package selection

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustProblem(t testing.TB, q Query) *problem {
	t.Helper()
	p, err := newProblem(q, new(meter))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestHerding compares the engine with the definition, pick by pick: gains are
// integers, so every one must be equal.
func TestHerding(t *testing.T) {
	for name, make := range data {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(6, 6))
			for n, c := range []struct{ rows, dim, preselected, picks int }{{1, 2, 0, 1}, {12, 1, 3, 12}, {60, 3, 0, 60}, {150, 17, 20, 25}, {320, 33, 5, 8}} {
				for _, method := range []Method{Herding, UHerding} {
					q := query(r, method, make(r, c.rows, c.dim), c.preselected, c.picks)
					p := mustProblem(t, q)
					radius, err := p.fairShareRadius(new(meter))
					if err != nil {
						t.Fatal(err)
					}
					if n%2 == 1 {
						p.min2 = radius * radius / 2
					}
					for _, radius := range []float64{radius, radius / 8, 3 * radius, 1e-300, 1e300}[:3+2*min(1, max(0, 2-n))] {
						want, err := p.bruteHerd(radius, new(meter))
						if err != nil {
							t.Fatal(err)
						}
						for threads, k := range kernels() {
							for _, budget := range []int64{listsMost, 64 * int64(c.rows), 0} { // all lists are kept, some, none
								h := p.newHerd(radius, k, 1+threads, new(meter))
								h.pairs = 0 // as if there were too many of them: in pools that are exact that does not count
								h.chooseLandmarks()
								h.budget = budget
								got, err := h.run()
								if err != nil {
									t.Fatal(err)
								}
								if diff := cmp.Diff(want, got, cmp.AllowUnexported(herded{}, herdStep{})); diff != "" {
									t.Fatalf("%s, %+v, radius %v, %s, %d bytes of lists (-brute force +lazy):\n%s", method, c, radius, k.name, budget, diff)
								}
							}
						}
					}
				}
			}
		})
	}
}

// TestHerdingBudget is TestHerding with so many landmarks that what is not kept is
// found again in several parts.
func TestHerdingBudget(t *testing.T) {
	var kept, all [3]int
	for name, make := range data {
		r := rand.New(rand.NewPCG(9, 9))
		p := mustProblem(t, query(r, UHerding, make(r, 1400, 5), 4, 6))
		radius, err := p.fairShareRadius(new(meter))
		if err != nil {
			t.Fatal(err)
		}
		want, err := p.bruteHerd(radius, new(meter))
		if err != nil {
			t.Fatal(err)
		}
		for n, budget := range []int64{listsMost, 1 << 17, 0} {
			h := p.newHerd(radius, fastest, 3, new(meter))
			h.chooseLandmarks()
			h.budget = budget
			got, err := h.run()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(herded{}, herdStep{})); diff != "" {
				t.Errorf("%s, %d bytes of lists (-brute force +lazy):\n%s", name, budget, diff)
			}
			for i := range p.pool {
				if h.lists.kept(int32(i)) {
					kept[n]++
				}
				all[n]++
			}
		}
	}
	if kept[0] != all[0] || kept[1] == 0 || kept[1] == all[1] || kept[2] > kept[1]/2 {
		t.Errorf("of %d lists %d are kept, want all, some and few", all, kept)
	}
}

// smallHerd is an engine that has few landmarks, short lists and cells, as the
// others have with many rows.
func smallHerd(p *problem, radius float64, k kernel, threads, landmarks, limit int) *herd {
	h := p.newHerd(radius, k, threads, new(meter))
	h.pairs, h.limit = 1e4, limit
	h.takeLandmarks(landmarks)
	return h
}

// TestHerdingLandmarks says that approximate selections too are the same for
// every order of the rows, instruction set and number of threads.
func TestHerdingLandmarks(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for name, make := range data {
		q := query(r, UHerding, make(r, 3000, 9), 40, 60)
		p := mustProblem(t, q)
		radius, err := p.fairShareRadius(new(meter))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for n := range 4 {
			k := kernels()[n%len(kernels())]
			h, err := smallHerd(p, radius, k, 1+n%3, 500, 12).run()
			if err != nil {
				t.Fatal(err)
			}
			got := describeHerd(p, h)
			if n == 0 {
				want = got
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s, shuffle %d, %s (-first +now):\n%s", name, n, k.name, diff)
			}
			p = mustProblem(t, shuffled(q, r.Perm(q.Rows)))
		}
	}
}

func describeHerd(p *problem, h *herded) []string {
	lines := []string{fmt.Sprintf("%+v, %d + %d of %d", h.report, h.before, h.after, h.total)}
	for _, s := range h.steps {
		lines = append(lines, fmt.Sprintf("%s gains %d, covers %d", p.Filenames(int(p.pool[s.candidate])), s.gain, s.covers))
	}
	return lines
}

// With a fixed radius, a small batch is the beginning of a large one, and two
// batches of 25 are one of 50.
func TestHerdingPrefix(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	q := query(r, UHerding, data["clusters"](r, 900, 12), 10, 50)
	q.HerdingRadius = 2
	whole := pickedRows(mustSelect(t, q))
	q.BatchSize = 25
	half := pickedRows(mustSelect(t, q))
	if !slices.Equal(half, whole[:25]) {
		t.Errorf("a batch of 25 is %v, of 50 %v", half, whole)
	}
	for _, row := range half {
		q.Pool.Unset(row)
		q.Preselected.Set(row)
	}
	if next := pickedRows(mustSelect(t, q)); !slices.Equal(next, whole[25:]) {
		t.Errorf("the next 25 are %v, want %v", next, whole[25:])
	}
}

// Scores outside [0, 1] count as 0 and 1, without any uncertainty the score and
// then the Key decide, and without scores UHERDING would be HERDING.
func TestHerdingScores(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	q := query(r, UHerding, data["clusters"](r, 300, 6), 5, 20)
	want := mustSelect(t, q)
	clipped := 0
	for row := range q.Scores {
		if s := q.Scores[row]; s == 0 || s == 1 {
			q.Scores[row] = 3*s - 1
			if q.Pool.Has(row) {
				clipped++
			}
		}
	}
	got := mustSelect(t, q)
	if !slices.Equal(pickedRows(got), pickedRows(want)) || got.Herding.Clipped != clipped || want.Herding.Clipped != 0 {
		t.Errorf("clipped scores: %v, %d clipped, want %v, %d", pickedRows(got), got.Herding.Clipped, pickedRows(want), clipped)
	}
	for row := range q.Scores {
		q.Scores[row] = 0
	}
	random := q
	random.Method = Random
	none := mustSelect(t, q)
	if !slices.Equal(pickedRows(none), pickedRows(mustSelect(t, random))) || none.Herding.After != 0 {
		t.Errorf("nothing is uncertain: %v, %+v", pickedRows(none), none.Herding)
	}
	for row := range q.Scores {
		q.Scores[row] = 1
	}
	certain := mustSelect(t, q)
	if q.Method = Herding; !slices.Equal(pickedRows(certain), pickedRows(mustSelect(t, q))) {
		t.Errorf("all is uncertain: %v, HERDING %v", pickedRows(certain), pickedRows(mustSelect(t, q)))
	}
}

// Of many dimensions only few rows have room for copies at a time, and copies are
// needed where the data lie far from the origin.
func TestHerdingWide(t *testing.T) {
	q := randomQuery(400, 1100, 130, 5)
	q.Method = Herding
	for i := range q.Embeddings.Data {
		q.Embeddings.Data[i] += 100
	}
	p := mustProblem(t, q)
	radius, err := p.fairShareRadius(new(meter))
	if err != nil {
		t.Fatal(err)
	}
	want, err := p.bruteHerd(radius, new(meter))
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.lazyHerd(radius, fastest, 2, new(meter))
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(herded{}, herdStep{})); diff != "" || err != nil {
		t.Fatalf("%v (-brute force +lazy):\n%s", err, diff)
	}
	if _, err := smallHerd(p, radius, fastest, 2, 200, 3).run(); err != nil {
		t.Fatal(err)
	}
}
