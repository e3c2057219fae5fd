package selection

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"nextbatch/internal/bitmask"
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
					if r.IntN(2) == 0 {
						q.DistanceCap = someDistance(t, r, q)
					}
					what := fmt.Sprintf("seed %d, %s, %d × %d, %d preselected, batch of %d, cap %v", seed, method, n, dim, pre, k, q.DistanceCap)
					compareEngines(t, what, q, everyKernel(), 1+int(seed))
					if s := mustSelect(t, q); len(s.Picks) > 3 {
						q.MinDistance = max(1e-300, s.Picks[len(s.Picks)/2].Gain)
						compareEngines(t, what+", minimum distance", q, kernels()[:1], 2)
					}
				}
			}
		})
	}
}

// TestCopies: what the proof of filter rests on where it has copies, that none of the
// rows is longer than 1.
func TestCopies(t *testing.T) {
	centered := 0
	for name, kind := range data {
		r := rand.New(rand.NewPCG(9, 12))
		p := mustProblem(t, query(r, Coreset, kind(r, 2000, 9), 300, 1))
		n := len(p.pool)
		e := &lazy{tiles: p.newBlind(fastest, 1, new(meter)), d2: make([]float64, n), owner: make([]int32, n), seen: make([]int32, n)}
		centers, _ := e.plan()
		if err := e.seeFirst(centers, -1); err != nil {
			t.Fatal(err)
		}
		f := e.newFilter(fastest)
		if f.mean == nil {
			continue
		}
		centered++
		for _, row := range slices.Concat(p.pool, p.centers) {
			x := f.copyRow(make([]float32, 9), e.Embeddings.Row(int(row)))
			if n2 := distance2(x, e.origin); !(n2 <= 1+0x1p-20) {
				t.Fatalf("%s: a copy of squared norm %v", name, n2)
			}
		}
	}
	if centered < 3 {
		t.Errorf("%d kinds of data have copies", centered)
	}
}

// TestSearchWide: rows as long as embeddings of images mostly are.
func TestSearchWide(t *testing.T) {
	dims := []int{128, 100, 512, 784}
	if testing.Short() {
		dims = dims[:1]
	}
	for name, make := range data {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(9, 10))
			for n, dim := range dims {
				q := query(r, []Method{Coreset, Coral}[n%2], make(r, 60_000/dim+1200, dim), []int{0, 1, 200}[r.IntN(3)], 150)
				compareEngines(t, fmt.Sprint(dim, " dimensions"), q, everyKernel(), 2)
			}
		})
	}
}

// TestManyLabels starts from 100,000 centers.
func TestManyLabels(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out 2,000,000,000 distances")
	}
	for _, name := range []string{"gauss", "clusters"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(9, 11))
			q := query(r, Coreset, data[name](r, 110_000, 16), 100_000, 200)
			clearNaN(q, r)
			compareEngines(t, name, q, kernels()[:1], 2)
		})
	}
}

// TestSearchLarge is large enough for many levels, probes, stale bounds and
// panels that are not kept.
func TestSearchLarge(t *testing.T) {
	sizes := []struct{ rows, preselected, picks int }{{20_000, 0, 700}, {20_000, 700, 700}, {6_000, 2_500, 2_000}}
	if testing.Short() {
		sizes = sizes[2:]
	}
	for name, make := range data {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(9, 9))
			for n, method := range []Method{Coreset, Coral, Coral} {
				for _, size := range sizes {
					q := query(r, method, make(r, size.rows, 12), size.preselected, size.picks)
					if n == 2 {
						q.DistanceCap = someDistance(t, r, q)
					}
					compareEngines(t, fmt.Sprintf("%s, cap %v, %v", method, q.DistanceCap, size), q, kernels()[:1], 2)
				}
			}
		})
	}
}

// TestShuffled: the same samples in any order of rows, on any instruction set
// and number of cores, are picked in the same order, to the last bit.
func TestShuffled(t *testing.T) {
	shuffles, rows := 20, 20_000
	if testing.Short() {
		shuffles, rows = 3, 4_000
	}
	for name, make := range data {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(5, 5))
			q := query(r, Coreset, make(r, rows, 10), 50, 300)
			for _, method := range []Method{Coreset, Coral} {
				if q.Method = method; method == Coral {
					q.DistanceCap = someDistance(t, r, q)
				}
				p, err := newProblem(q, new(meter))
				if err != nil {
					t.Fatal(err)
				}
				steps, far2, _ := bruteForce(p, weights(p), new(meter))
				want := describeSteps(p, steps, far2)
				for n := range shuffles {
					z := shuffled(q, r.Perm(q.Rows))
					k, threads := kernels()[n%len(kernels())], 1+n/len(kernels())%2
					p, err := newProblem(z, new(meter))
					if err != nil {
						t.Fatal(err)
					}
					steps, far2, _, _ := search(p, weights(p), k, threads, new(meter))
					if diff := cmp.Diff(want, describeSteps(p, steps, far2)); diff != "" {
						t.Fatalf("%s, shuffle %d, %s, %d threads (-brute force +search):\n%s", method, n, k.name, threads, diff)
					}
				}
			}
		})
	}
}

// TestAutoCap: AutoCap is 0.7 of the fair-share radius, and the selection says so.
func TestAutoCap(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	q := query(r, Coral, data["gauss"](r, 900, 5), 30, 40)
	p, err := newProblem(q, new(meter))
	if err != nil {
		t.Fatal(err)
	}
	radius, err := p.fairShareRadius(new(meter))
	if err != nil {
		t.Fatal(err)
	}
	plain := mustSelect(t, q)
	q.DistanceCap = 0.7 * radius
	want := mustSelect(t, q)
	q.DistanceCap = AutoCap
	got := mustSelect(t, q)
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" || got.DistanceCap != 0.7*radius {
		t.Errorf("cap %v, want %v (-given +auto):\n%s", got.DistanceCap, 0.7*radius, diff)
	}
	if slices.Equal(pickedRows(plain), pickedRows(got)) || plain.DistanceCap != 0 {
		t.Errorf("the cap changed nothing: %v", pickedRows(got))
	}
}

// describeSteps names the samples, which rows do not when they are shuffled.
func describeSteps(p *problem, steps []step, far2 float64) (lines []string) {
	for _, s := range steps {
		nearest := "none"
		if s.nearest >= 0 {
			nearest = p.Filenames(s.nearest)
		}
		lines = append(lines, fmt.Sprintf("%s near %s at %x", p.Filenames(int(p.pool[s.candidate])), nearest, s.d2))
	}
	return append(lines, fmt.Sprintf("left at %x", far2))
}

// shuffled is the query with row i moved to row perm[i].
func shuffled(q Query, perm []int) Query {
	z := q
	old := make([]int, len(perm))
	for row, at := range perm {
		old[at] = row
	}
	z.Filenames = func(row int) string { return q.Filenames(old[row]) }
	z.Pool, z.Preselected = bitmask.New(q.Rows), bitmask.New(q.Rows)
	z.Scores = make([]float64, q.Rows)
	z.Embeddings.Data = make([]float32, len(q.Embeddings.Data))
	z.Probabilities.Data = make([]float32, len(q.Probabilities.Data))
	for row, from := range old {
		z.Scores[row] = q.Scores[from]
		copy(z.Embeddings.Row(row), q.Embeddings.Row(from))
		copy(z.Probabilities.Row(row), q.Probabilities.Row(from))
		if q.Pool.Has(from) {
			z.Pool.Set(row)
		}
		if q.Preselected.Has(from) {
			z.Preselected.Set(row)
		}
	}
	return z
}

// TestMillion: the first 500 picks of a million rows, as brute force makes
// them.
func TestMillion(t *testing.T) {
	if testing.Short() {
		return // the race detector finds nothing in size
	}
	*benchK = 500
	for _, kind := range benchKinds[1:] {
		q := benchQuery(Coreset, kind.make(1_000_000, 32))
		compareEngines(t, kind.name, q, kernels()[:1], 2)
	}
}

func TestNth(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for n := 1; n < 200; n++ {
		list := make([]int32, n)
		for i, v := range r.Perm(n) {
			list[i] = int32(v)
		}
		at := r.IntN(n)
		nth(list, at, func(a, b int32) int { return int(a - b) })
		for i, v := range list {
			if i < at && v >= list[at] || i > at && v <= list[at] || int(list[at]) != at {
				t.Fatalf("place %d of %v", at, list)
			}
		}
	}
}
