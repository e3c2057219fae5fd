package selection

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"nextbatch/internal/bitmask"
)

// naive is greedy selection in the words of the documentation: everything is
// computed again for every pick. It returns the rows in order and the radius.
func naive(q Query) (order []int, radius float64) {
	chosen := q.Preselected.Indices()
	near := func(row int) float64 {
		d2 := math.Inf(1)
		for _, c := range chosen {
			d2 = min(d2, distance2(q.Embeddings.Row(row), q.Embeddings.Row(c)))
		}
		return d2
	}
	left := q.Pool.Indices()
	for q.BatchSize < 0 || len(order) < q.BatchSize {
		best, most := -1, -1.0
		for i, row := range left {
			d2, v := near(row), 0.0
			if math.IsInf(d2, 1) {
				d2 = 1
			}
			if v = d2; q.Method == Coral {
				s := max(q.Scores[row], q.ScoreFloor, 0)
				v = s * s * d2 // both exponents are 1
				if q.DistanceCap > 0 {
					v = s * s * min(d2, q.DistanceCap*q.DistanceCap)
				}
			}
			if d2 := near(row); q.MinDistance > 0 && d2 < q.MinDistance*q.MinDistance {
				continue
			}
			if v > most || v == most && CompareKeys(q.Seed, q.Filenames(row), q.Filenames(left[best])) < 0 {
				best, most = i, v
			}
		}
		if best < 0 {
			break
		}
		order, chosen = append(order, left[best]), append(chosen, left[best])
		left = slices.Delete(left, best, best+1)
	}
	for _, row := range left {
		radius = max(radius, near(row))
	}
	return order, math.Sqrt(radius)
}

// data makes test matrices by name. Scores are multiples of 1/8 so that
// products tie as well.
var data = map[string]func(r *rand.Rand, n, dim int) Matrix{
	"gauss":     fill(func(r *rand.Rand, _, _ int) float32 { return float32(r.NormFloat64()) }),
	"far away":  fill(func(r *rand.Rand, _, _ int) float32 { return 1e4 + float32(r.NormFloat64()) }),
	"farther":   fill(func(r *rand.Rand, _, _ int) float32 { return 1e7 + float32(5*r.NormFloat64()) }),
	"huge":      fill(func(r *rand.Rand, _, _ int) float32 { return 1e38 * float32(r.Float64()-0.5) }),
	"tiny":      fill(func(r *rand.Rand, _, _ int) float32 { return 1e-42 * float32(r.IntN(100)) }),
	"mixed":     fill(func(r *rand.Rand, i, _ int) float32 { return float32(math.Pow(10, float64(i%70-35)) * r.NormFloat64()) }),
	"grid":      fill(func(r *rand.Rand, _, _ int) float32 { return float32(r.IntN(4)) }),
	"all equal": fill(func(*rand.Rand, int, int) float32 { return 0.1 }),
	"duplicates": fill(func(r *rand.Rand, i, j int) float32 {
		return float32(math.Sin(float64(i%7*31 + j)))
	}),
	"clusters": fill(func(r *rand.Rand, i, j int) float32 {
		return float32(10*math.Sin(float64(i%9*31+j)) + 0.01*r.NormFloat64())
	}),
	"one-hot": func(_ *rand.Rand, n, dim int) Matrix {
		m := Matrix{n, dim, make([]float32, n*dim)}
		for i := range n {
			m.Data[i*dim+i%dim] = 1
		}
		return m
	},
}

func fill(f func(r *rand.Rand, i, j int) float32) func(*rand.Rand, int, int) Matrix {
	return func(r *rand.Rand, n, dim int) Matrix {
		m := Matrix{n, dim, make([]float32, n*dim)}
		for i := range n {
			for j := range dim {
				m.Data[i*dim+j] = f(r, i, j)
			}
		}
		return m
	}
}

// query makes a query on n rows of which pre are preselected and a few unused.
func query(r *rand.Rand, method Method, x Matrix, pre, k int) Query {
	n := x.Rows
	names := make([]string, n)
	for row := range names {
		names[row] = fmt.Sprintf("images/%05d.png", row)
	}
	q := Query{Method: method, Rows: n, Embeddings: x, BatchSize: k, Seed: r.Uint64(),
		Filenames:     func(row int) string { return names[row] },
		Pool:          bitmask.New(n),
		Preselected:   bitmask.New(n),
		Scores:        make([]float64, n),
		ScoreExponent: 1, DistanceExponent: 1, ScoreFloor: 0.05,
		Probabilities: Matrix{n, 3, make([]float32, 3*n)},
	}
	other := rand.New(rand.NewPCG(q.Seed, 3))
	for row := range n {
		q.Scores[row] = float64(r.IntN(9)) / 8
		p := q.Probabilities.Row(row)
		a, b := other.IntN(9), other.IntN(9)
		p[0], p[1], p[2] = float32(a)/16, float32(b)/16, 1-float32(a+b)/16
	}
	for at, row := range r.Perm(n) {
		switch {
		case at < pre:
			q.Preselected.Set(row)
		case at < n-n/10:
			q.Pool.Set(row)
		default: // such rows are never read
			for j := range x.Dim {
				x.Data[row*x.Dim+j] = float32(math.NaN())
			}
			q.Scores[row] = math.NaN()
			q.Probabilities.Row(row)[other.IntN(3)] = float32(math.NaN())
		}
	}
	return q
}

// someDistance is one at which CORESET would make a pick: a cap there has rows
// below, on and above it. It is 0 where there is none.
func someDistance(t testing.TB, r *rand.Rand, q Query) float64 {
	q.Method, q.MinDistance, q.BatchSize = Coreset, 0, 50
	var gains []float64
	for _, p := range mustSelect(t, q).Picks {
		if p.Gain > 0 {
			gains = append(gains, p.Gain)
		}
	}
	if len(gains) == 0 {
		return 0
	}
	return gains[r.IntN(len(gains))]
}

func pickedRows(s Selection) []int {
	list := make([]int, len(s.Picks))
	for i, p := range s.Picks {
		list[i] = p.Row
	}
	return list
}

func mustSelect(t testing.TB, q Query) Selection {
	t.Helper()
	s, err := Select(q)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestGreedyAgainstNaive is the definition of CORESET and CORAL.
func TestGreedyAgainstNaive(t *testing.T) {
	for name, make := range data {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(8) {
				r := rand.New(rand.NewPCG(seed, 1))
				for _, dim := range []int{1, 2, 7, 16, 33} {
					n := 30 + r.IntN(40)
					for _, method := range []Method{Coreset, Coral} {
						pre := []int{0, 1, 10}[r.IntN(3)]
						q := query(r, method, make(r, n, dim), pre, []int{-1, 0, 1, 10, n}[r.IntN(5)])
						if r.IntN(3) == 0 {
							q.ScoreFloor = 0 // weights of zero
						}
						if method == Coral && r.IntN(2) == 0 {
							q.DistanceCap = someDistance(t, r, q)
						}
						if want, _ := naive(q); r.IntN(3) == 0 && len(want) > 0 {
							if gain := mustSelect(t, q).Picks[len(want)/2].Gain; gain > 0 {
								q.MinDistance = gain // not for the first pick of all
							}
						}
						want, radius := naive(q)
						s := mustSelect(t, q)
						if got := pickedRows(s); !slices.Equal(got, want) {
							t.Fatalf("seed %d, dim %d, %s, %d preselected: picks %v, want %v", seed, dim, method, pre, got, want)
						}
						if len(want)+pre > 0 && s.Radius != radius {
							t.Fatalf("seed %d, dim %d, %s: radius %v, want %v", seed, dim, method, s.Radius, radius)
						}
					}
				}
			}
		})
	}
}

// TestPicksExplained checks what a pick says about itself.
func TestPicksExplained(t *testing.T) {
	for name, make := range data {
		r := rand.New(rand.NewPCG(3, 3))
		for _, method := range []Method{Coreset, Coral} {
			for _, pre := range []int{0, 5} {
				q := query(r, method, make(r, 60, 5), pre, 20)
				q.ScoreExponent, q.DistanceExponent = 2, 0.5
				q.DistanceCap = max(someDistance(t, r, q), 1e-100)
				chosen := q.Preselected.Indices()
				for rank, p := range mustSelect(t, q).Picks {
					distance := math.Inf(1)
					for _, c := range chosen {
						distance = min(distance, math.Sqrt(distance2(q.Embeddings.Row(p.Row), q.Embeddings.Row(c))))
					}
					gain := distance
					if method == Coral {
						s := max(q.Scores[p.Row], q.ScoreFloor)
						gain = s * s * math.Sqrt(min(distance, q.DistanceCap))
					}
					if len(chosen) == 0 {
						gain = math.NaN()
					}
					if diff := cmp.Diff(gain, p.Gain, cmpopts.EquateNaNs(), cmpopts.EquateApprox(1e-13, 0)); diff != "" {
						t.Errorf("%s, %s, rank %d: gain (-want +got):\n%s", name, method, rank, diff)
					}
					if p.Score != q.Scores[p.Row] {
						t.Errorf("%s, %s, rank %d: score %v, want %v", name, method, rank, p.Score, q.Scores[p.Row])
					}
					if len(chosen) == 0 && p.Nearest != -1 {
						t.Errorf("%s, %s: first pick has nearest %d", name, method, p.Nearest)
					}
					if len(chosen) > 0 && math.Sqrt(distance2(q.Embeddings.Row(p.Row), q.Embeddings.Row(p.Nearest))) != distance {
						t.Errorf("%s, %s, rank %d: nearest %d is not at distance %v", name, method, rank, p.Nearest, distance)
					}
					chosen = append(chosen, p.Row)
				}
			}
		}
	}
}

// TestRowOrder: shuffled rows give the same filenames in the same order.
func TestRowOrder(t *testing.T) {
	for name, make := range data {
		for _, method := range Methods() {
			r := rand.New(rand.NewPCG(7, 7))
			q := query(r, method, make(r, 80, 3), 4, 30)
			if method != Coreset {
				q.MinDistance = 1e-3
			}
			q.DistanceCap = someDistance(t, r, q)
			want := mustSelect(t, q)
			for range 20 {
				perm := r.Perm(q.Rows) // new row of an old row
				got := mustSelect(t, shuffled(q, perm))
				for i, p := range got.Picks {
					got.Picks[i].Row = slices.Index(perm, p.Row)
					if p.Nearest >= 0 {
						got.Picks[i].Nearest = slices.Index(perm, p.Nearest)
					}
				}
				if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
					t.Fatalf("%s, %s: shuffled rows (-want +got):\n%s", name, method, diff)
				}
			}
		}
	}
}

// TestPrefix: a smaller batch is the beginning of a larger one.
func TestPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		name := rapid.SampledFrom(kinds()).Draw(t, "data")
		method := rapid.SampledFrom([]Method{Random, Coreset, Coral, ActiveLearning, Badge, Power, Typicality}).Draw(t, "method")
		n := rapid.IntRange(2, 60).Draw(t, "n")
		q := query(r, method, data[name](r, n, rapid.IntRange(1, 20).Draw(t, "dim")), rapid.IntRange(0, n/2).Draw(t, "preselected"), -1)
		q.MinDistance = rapid.SampledFrom([]float64{0, 0, 0.5, 3}).Draw(t, "min distance")
		q.ScoreExponent = rapid.Float64Range(0, 3).Draw(t, "a")
		q.DistanceExponent = rapid.Float64Range(0.1, 3).Draw(t, "b")
		q.DistanceCap = rapid.SampledFrom([]float64{0, 0.5, 3}).Draw(t, "cap")
		all, err := Select(q)
		if err != nil {
			t.Fatal(err)
		}
		q.BatchSize = rapid.IntRange(0, n).Draw(t, "k")
		some, err := Select(q)
		if err != nil {
			t.Fatal(err)
		}
		want := all.Picks[:min(q.BatchSize, len(all.Picks))]
		if diff := cmp.Diff(want, some.Picks, cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("batch of %d (-beginning of all +got):\n%s", q.BatchSize, diff)
		}
		for i, p := range all.Picks {
			if !q.Pool.Has(p.Row) || slices.Contains(pickedRows(all)[:i], p.Row) {
				t.Fatalf("pick %d: row %d is not in the pool or was picked before", i, p.Row)
			}
		}
		if some.LowerBound > some.Radius {
			t.Fatalf("lower bound %v above radius %v", some.LowerBound, some.Radius)
		}
	})
}

func kinds() []string {
	var list []string
	for name := range data {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// TestLowerBound compares with the best radius of all selections of two rows.
func TestLowerBound(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 5))
		method := []Method{Coreset, Coral}[seed%2]
		q := query(r, method, data[[]string{"gauss", "grid", "clusters"}[seed%3]](r, 14, 2), int(seed%3), 2)
		if seed%4 == 1 {
			q.DistanceCap = someDistance(t, r, q)
		}
		best := math.Inf(1)
		pool := q.Pool.Indices()
		for _, a := range pool {
			for _, b := range pool {
				radius := 0.0
				for _, row := range pool {
					d2 := math.Inf(1)
					for _, c := range append(q.Preselected.Indices(), a, b) {
						d2 = min(d2, distance2(q.Embeddings.Row(row), q.Embeddings.Row(c)))
					}
					radius = max(radius, d2)
				}
				best = min(best, math.Sqrt(radius))
			}
		}
		s := mustSelect(t, q)
		if s.LowerBound > best || s.Radius < best {
			t.Fatalf("seed %d: lower bound %v, best radius %v, radius %v: out of order", seed, s.LowerBound, best, s.Radius)
		}
		if method == Coreset && s.LowerBound != s.Radius/2 {
			t.Fatalf("seed %d: lower bound %v, want half the radius %v", seed, s.LowerBound, s.Radius)
		}
	}
}

// TestRanked: RANDOM by key, ACTIVE_LEARNING by score, and both with a minimum
// distance.
func TestRanked(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 9))
		for _, method := range []Method{Random, ActiveLearning, Coral} {
			q := query(r, method, data["gauss"](r, 70, 2), 5, 20)
			q.DistanceExponent = 0 // CORAL by score alone
			for _, distance := range []float64{0, 0.3, 5} {
				q.MinDistance = distance
				order := q.Pool.Indices()
				slices.SortFunc(order, func(a, b int) int {
					x, y := max(q.Scores[a], q.ScoreFloor), max(q.Scores[b], q.ScoreFloor)
					if method == ActiveLearning {
						x, y = q.Scores[a], q.Scores[b]
					}
					if method != Random && x != y {
						return int(math.Copysign(1, y-x))
					}
					return CompareKeys(q.Seed, q.Filenames(a), q.Filenames(b))
				})
				var want []int
				for _, row := range order {
					far := true
					for _, c := range append(q.Preselected.Indices(), want...) {
						far = far && distance2(q.Embeddings.Row(row), q.Embeddings.Row(c)) >= distance*distance
					}
					if far && len(want) < 20 {
						want = append(want, row)
					}
				}
				s := mustSelect(t, q)
				if got := pickedRows(s); !slices.Equal(got, want) {
					t.Fatalf("%s at least %v: picks %v, want %v", method, distance, got, want)
				}
				if !math.IsNaN(s.Radius) || !math.IsNaN(s.LowerBound) {
					t.Fatalf("%s: radius %v, lower bound %v, want NaN", method, s.Radius, s.LowerBound)
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	base := func() Query {
		r := rand.New(rand.NewPCG(1, 1))
		q := query(r, Coral, data["gauss"](r, 20, 3), 2, 5)
		return q
	}
	nan, inf := math.NaN(), math.Inf(1)
	tests := []struct {
		name   string
		change func(q *Query)
		want   string
	}{
		{"method", func(q *Query) { q.Method = "coreset" }, `unknown selection method "coreset"; known: RANDOM, CORESET, CORAL, ACTIVE_LEARNING, HERDING, UHERDING, TYPICLUST, BADGE, POWER, FILTER_CLUSTER, TYPICALITY`},
		{"no scores", func(q *Query) { q.Scores = nil }, ErrNoScores.Error()},
		{"no embeddings", func(q *Query) { q.Embeddings = Matrix{} }, ErrNoEmbeddings.Error()},
		{"no embeddings for a distance", func(q *Query) { q.Method, q.MinDistance, q.Embeddings = Random, 1, Matrix{} }, ErrNoEmbeddings.Error()},
		{"few scores", func(q *Query) { q.Scores = q.Scores[:19] }, "19 scores for 20 rows"},
		{"few rows", func(q *Query) { q.Embeddings.Rows = 19 }, "embeddings of 19 × 3 with 60 values for 20 rows"},
		{"few values", func(q *Query) { q.Embeddings.Data = q.Embeddings.Data[:59] }, "embeddings of 20 × 3 with 59 values for 20 rows"},
		{"no dimension", func(q *Query) { q.Embeddings = Matrix{20, 0, []float32{}} }, "embeddings of 20 × 0 with 0 values for 20 rows"},
		{"pool beyond", func(q *Query) { q.Pool.Set(20) }, "row 20 is beyond a dataset of 20 rows"},
		{"center beyond", func(q *Query) { q.Preselected.Set(99) }, "row 99 is beyond a dataset of 20 rows"},
		{"both", func(q *Query) { q.Preselected.Union(q.Pool) }, "16 rows are in the pool and preselected (first [0 1 2 3 5])"},
		{"NaN score", func(q *Query) { q.Scores[1], q.Scores[5] = nan, inf }, "2 rows have a score that is not a finite number (first [1 5])"},
		{"NaN vector", func(q *Query) { q.Embeddings.Data[3*3] = float32(nan) }, "1 rows have an embedding with values that are not finite numbers (first [3])"},
		{"infinite vector", func(q *Query) { q.Embeddings.Data[3*3+2] = float32(-inf) }, "1 rows have an embedding with values that are not finite numbers (first [3])"},
		{"NaN center", func(q *Query) { q.Embeddings.Data[q.Preselected.Indices()[0]*3] = float32(nan) }, "1 rows have an embedding with values that are not finite numbers (first [4])"},
		{"negative score", func(q *Query) { q.Method, q.Scores[1], q.Scores[5] = Power, -1, -0.5 }, "2 rows have a score below 0, in proportion to which nothing can be drawn (first [1 5])"},
		{"no scores to draw by", func(q *Query) { q.Method, q.Scores = Power, nil }, ErrNoScores.Error()},
		{"no scores to filter by", func(q *Query) { q.Method, q.Scores = FilterCluster, nil }, ErrNoScores.Error()},
		{"no embeddings to cluster", func(q *Query) { q.Method, q.Embeddings = TypiClust, Matrix{} }, ErrNoEmbeddings.Error()},
		{"no embeddings to be typical in", func(q *Query) { q.Method, q.Embeddings = Typicality, Matrix{} }, ErrNoEmbeddings.Error()},
		{"no embeddings for gradients", func(q *Query) { q.Method, q.Embeddings = Badge, Matrix{} }, ErrNoEmbeddings.Error()},
		{"no probabilities", func(q *Query) { q.Method, q.Probabilities = Badge, Matrix{} }, ErrNoProbabilities.Error()},
		{"few probabilities", func(q *Query) { q.Probabilities.Rows = 19 }, "probabilities of 19 × 3 with 60 values for 20 rows"},
		{"NaN probabilities", func(q *Query) { q.Method, q.Probabilities.Data[3*3+1] = Badge, float32(nan) }, "1 rows have no class probabilities that are finite numbers (first [3])"},
		{"NaN distance", func(q *Query) { q.MinDistance = nan }, "the minimum distance is not a number"},
		{"NaN exponent", func(q *Query) { q.ScoreExponent = nan }, "score exponent NaN and distance exponent 1: both must be between 0 and 100, and the first at most 100 times the second"},
		{"negative exponent", func(q *Query) { q.DistanceExponent = -1 }, "score exponent 1 and distance exponent -1: both must be between 0 and 100, and the first at most 100 times the second"},
		{"steep exponents", func(q *Query) { q.DistanceExponent = 1e-9 }, "score exponent 1 and distance exponent 1e-09: both must be between 0 and 100, and the first at most 100 times the second"},
		{"NaN cap", func(q *Query) { q.DistanceCap = nan }, "the distance cap is NaN: want a distance, 0 for none, or AutoCap"},
		{"NaN radius", func(q *Query) { q.Method, q.HerdingRadius = UHerding, nan }, "the radius of herding is NaN, not a finite number"},
		{"NaN score of herding", func(q *Query) { q.Method, q.Scores[1] = UHerding, nan }, "1 rows have a score that is not a finite number (first [1])"},
		{"herding without scores", func(q *Query) { q.Method, q.Scores = UHerding, nil }, ErrNoScores.Error()},
		{"herding without embeddings", func(q *Query) { q.Method, q.Embeddings = Herding, Matrix{} }, ErrNoEmbeddings.Error()},
		{"NaN floor", func(q *Query) { q.ScoreFloor = nan }, "the score floor is NaN, not a finite number"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := base()
			test.change(&q)
			if _, err := Select(q); err == nil || err.Error() != test.want {
				t.Errorf("Select: %v, want %s", err, test.want)
			}
		})
	}
	q := base()
	q.Method, q.Scores, q.BatchSize = Coreset, nil, 3
	if s := mustSelect(t, q); len(s.Picks) != 3 || !math.IsNaN(s.Picks[0].Score) {
		t.Errorf("CORESET without scores: %v", s.Picks)
	}
	q.Method, q.Embeddings = Random, Matrix{}
	if s := mustSelect(t, q); len(s.Picks) != 3 || s.Picks[0].Nearest != -1 {
		t.Errorf("RANDOM without embeddings: %v", s.Picks)
	}
	if s := mustSelect(t, Query{Method: Coreset, BatchSize: 4}); len(s.Picks) != 0 || !math.IsNaN(s.Radius) {
		t.Errorf("nothing to select from: %v", s)
	}
}

// TestLeastDistance: a smallest distance whose square is no float64 is one all the
// same, and so are scores whose powers are none.
func TestLeastDistance(t *testing.T) {
	x := Matrix{6, 1, []float32{0, 0, 1, 1, 3, 3}}
	q := Query{Rows: 6, Filenames: func(row int) string { return string(rune('a' + row)) }, Embeddings: x, BatchSize: -1, MinDistance: 1e-300,
		Pool: bitmask.New(6), Scores: make([]float64, 6), ScoreExponent: 1, DistanceExponent: 1}
	q.Pool.Invert(6)
	for _, q.Method = range []Method{Coreset, Coral, Herding, UHerding, Random} {
		if s := mustSelect(t, q); len(s.Picks) != 3 {
			t.Errorf("%s: %d picks, want one of each two that are equal", q.Method, len(s.Picks))
		}
	}
	// Scores to the power of 40 are 1, 1e-80, 1e-160 and 0: those below 2^-350 are ordered by distance.
	q.Method, q.MinDistance, q.ScoreExponent, q.Preselected, q.Embeddings = Coral, 0, 40, bitmask.FromIndices(0), Matrix{6, 1, []float32{0, 5, 6, 9, 7, 8}}
	q.Pool.Difference(q.Preselected)
	q.Scores = []float64{0, 1, 0.01, 1e-4, 1e-4, 0}
	var rows []int
	for _, p := range mustSelect(t, q).Picks {
		rows = append(rows, p.Row)
	}
	if want := []int{1, 2, 3, 4, 5}; !slices.Equal(rows, want) {
		t.Errorf("picked %v, want %v", rows, want)
	}
}

func TestCancel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, method := range Methods() {
		rows := 30000
		if method == Herding || method == UHerding || method == TypiClust || method == Badge || method == FilterCluster {
			rows = 8000
		}
		q := query(r, method, data["gauss"](r, rows, 64), 5, 2500)
		q.MinDistance = 1e-9
		calls, last := 0, 0
		q.Progress = func(done, total int) bool {
			if calls++; done < last || done > total || total != 2500 {
				t.Fatalf("%s: progress %d of %d after %d", method, done, total, last)
			}
			last = done
			return true
		}
		mustSelect(t, q)
		if calls < 3 || last != 2500 {
			t.Errorf("%s: %d calls of Progress, the last with %d picks", method, calls, last)
		}
		for _, stop := range []int{1, 2} {
			n := 0
			q.Progress = func(int, int) bool { n++; return n < stop }
			if _, err := Select(q); !errors.Is(err, ErrCanceled) || n != stop {
				t.Errorf("%s canceled at call %d: %v after %d calls", method, stop, err, n)
			}
		}
	}
}
