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
					for _, radius := range []float64{radius, radius / 8, 3 * radius} {
						want, err := p.bruteHerd(radius, new(meter))
						if err != nil {
							t.Fatal(err)
						}
						for threads, k := range kernels() {
							got, err := p.lazyHerd(radius, k, 1+threads, new(meter))
							if err != nil {
								t.Fatal(err)
							}
							if diff := cmp.Diff(want, got, cmp.AllowUnexported(herded{}, herdStep{})); diff != "" {
								t.Fatalf("%s, %+v, radius %v, %s (-brute force +lazy):\n%s", method, c, radius, k.name, diff)
							}
						}
					}
				}
			}
		})
	}
}

// smallHerd is an engine that has few landmarks, short lists and cells, as the
// others have with many rows.
func smallHerd(p *problem, radius float64, k kernel, threads, landmarks, limit int) *herd {
	h := &herd{tiles: p.newTiles(k, threads, new(meter)), kernelOf: newKernel(radius), around: 4, pairs: 1, limit: limit}
	h.landmarks = p.lowest(landmarks)
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
