package selection

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"nextbatch/internal/bitmask"
)

// naiveCombined is COMBINED in the words of the documentation.
func naiveCombined(q Query) (order []int) {
	chosen, left := q.Preselected.Indices(), q.Pool.Indices()
	slices.SortFunc(chosen, func(a, b int) int { return CompareKeys(q.Seed, q.Filenames(a), q.Filenames(b)) })
	share := func(b Balance, row, k int) float64 {
		all := 0.0
		for _, v := range b.Shares.Row(row) {
			all += float64(v)
		}
		if all == 0 {
			return 0
		}
		return float64(b.Shares.Row(row)[k]) / all
	}
	value := func(row int) float64 {
		v := 1.0
		for _, f := range q.Factors {
			if f.Strength < 0 {
				v /= pow(f.Values[row], -f.Strength)
			} else {
				v *= pow(f.Values[row], f.Strength)
			}
		}
		classes := 1.0
		for _, b := range q.Balances {
			of := 0.0
			for _, c := range chosen {
				for _, v := range b.Shares.Row(c) {
					if v > 0 {
						of++
						break
					}
				}
			}
			needs, most := make([]float64, len(b.Target)), 0.0
			for k, t := range b.Target {
				have := 0.0
				for _, c := range chosen {
					have += share(b, c, k)
				}
				needs[k] = max(0, float64(t*(of+1))-have)
				most = max(most, needs[k])
			}
			if most == 0 {
				continue
			}
			got := 0.0
			for k := range needs {
				got += float64(share(b, row, k) * (needs[k] / most)) // not fused
			}
			classes *= pow(min(1, max(0.05, got)), b.Strength)
		}
		v *= classes
		if q.DistanceExponent == 0 || len(chosen) == 0 {
			return v
		}
		d2 := math.Inf(1)
		for _, c := range chosen {
			d2 = min(d2, distance2(q.Embeddings.Row(row), q.Embeddings.Row(c)))
		}
		return v * pow(math.Sqrt(d2), q.DistanceExponent)
	}
	near := func(row int) bool {
		return slices.ContainsFunc(chosen, func(c int) bool {
			return distance2(q.Embeddings.Row(row), q.Embeddings.Row(c)) < q.MinDistance*q.MinDistance
		})
	}
	for len(order) < q.BatchSize {
		best, most := -1, -1.0
		for i, row := range left {
			if q.MinDistance > 0 && near(row) {
				continue
			}
			if v := value(row); v > most || v == most && CompareKeys(q.Seed, q.Filenames(row), q.Filenames(left[best])) < 0 {
				best, most = i, v
			}
		}
		if best < 0 {
			break
		}
		order, chosen = append(order, left[best]), append(chosen, left[best])
		left = slices.Delete(left, best, best+1)
	}
	return order
}

// combined makes a query of n rows with factors in eighths, so that many tie,
// and two balances, one of categories and one of mixtures.
func combined(r *rand.Rand, n int) Query {
	q := Query{Method: Combined, Rows: n, Filenames: func(row int) string { return fmt.Sprint("img", row) }, Pool: bitmask.New(n), Preselected: bitmask.New(n),
		BatchSize: n / 3, Embeddings: data["grid"](r, n, 3), Seed: r.Uint64()}
	for range 2 {
		f := Factor{Name: "f", Values: make([]float64, n), Strength: float64(r.IntN(7)-3) / 2}
		for i := range f.Values {
			f.Values[i] = float64(1+r.IntN(8)) / 8
		}
		q.Factors = append(q.Factors, f)
	}
	classes := 3
	one, mixed := make([]float32, n*classes), make([]float32, n*classes)
	for i := range n {
		if k := r.IntN(classes + 1); k < classes { // some are of no class
			one[i*classes+k] = 1
		}
		for k := range classes {
			mixed[i*classes+k] = float32(r.IntN(4))
		}
		if r.IntN(6) == 0 {
			q.Preselected.Set(i)
		} else {
			q.Pool.Set(i)
		}
	}
	q.Balances = []Balance{{"one", Matrix{n, classes, one}, []float64{0.5, 0.3, 0}, 1}, {"mixed", Matrix{n, classes, mixed}, []float64{0, 0.25, 0.75}, 2}}
	return q
}

func TestCombined(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		q := combined(r, 20+r.IntN(60))
		q.DistanceExponent = []float64{0, 1, 0.5, 2}[seed%4]
		q.MinDistance = []float64{0, 0, 1.2}[seed%3]
		if seed%5 == 0 {
			q.Preselected = bitmask.New(q.Rows)
		}
		switch seed % 7 {
		case 0:
			// It is CORAL then, which compares squares: with powers of two the same tie.
			q.Balances = nil
			for i := range q.Factors {
				q.Factors[i].Strength = float64(2*i - 1)
				for row, v := range q.Factors[i].Values {
					q.Factors[i].Values[row] = math.Ldexp(1, -int(8*v)%4)
				}
			}
		case 1:
			q.Factors = nil
		}
		if q.Balances == nil && q.DistanceExponent != 1 {
			q.DistanceExponent = 0 // CORAL takes roots of scores instead, and ties differ
		}
		got, err := Select(q)
		if err != nil {
			t.Fatal(err)
		}
		want := naiveCombined(q)
		if order := rowsOf(got); !slices.Equal(order, want) {
			t.Fatalf("seed %d: %v, want %v", seed, order, want)
		}
		k := len(want) / 2
		q.BatchSize = k
		if got, err = Select(q); err != nil || !slices.Equal(rowsOf(got), want[:k]) {
			t.Fatalf("seed %d: a smaller batch is %v, want the beginning of %v, %v", seed, rowsOf(got), want, err)
		}
	}
}

func rowsOf(s Selection) (order []int) {
	for _, p := range s.Picks {
		order = append(order, p.Row)
	}
	return order
}

// Many blocks, threads and another order of rows change nothing.
func TestCombinedShuffled(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	r := rand.New(rand.NewPCG(3, 3))
	q := combined(r, 5000)
	q.BatchSize, q.DistanceExponent = 60, 1
	var want []string
	for turn := range 4 {
		runtime.GOMAXPROCS(1 + turn%3)
		to := r.Perm(q.Rows)
		if turn == 0 {
			for i := range to {
				to[i] = i
			}
		}
		s := q
		s.Pool, s.Preselected, s.Factors, s.Balances = bitmask.New(q.Rows), bitmask.New(q.Rows), slices.Clone(q.Factors), slices.Clone(q.Balances)
		names := make([]string, q.Rows)
		s.Filenames = func(row int) string { return names[row] }
		move := func(m Matrix) Matrix {
			out := Matrix{m.Rows, m.Dim, make([]float32, len(m.Data))}
			for i := range m.Rows {
				copy(out.Row(to[i]), m.Row(i))
			}
			return out
		}
		s.Embeddings = move(q.Embeddings)
		for b := range s.Balances {
			s.Balances[b].Shares = move(q.Balances[b].Shares)
		}
		for f := range s.Factors {
			values := make([]float64, q.Rows)
			for i, v := range q.Factors[f].Values {
				values[to[i]] = v
			}
			s.Factors[f].Values = values
		}
		for i, at := range to {
			names[at] = q.Filenames(i)
			if q.Pool.Has(i) {
				s.Pool.Set(at)
			}
			if q.Preselected.Has(i) {
				s.Preselected.Set(at)
			}
		}
		got, err := Select(s)
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		for _, p := range got.Picks {
			order = append(order, s.Filenames(p.Row))
		}
		if want == nil {
			want = order
		}
		if !slices.Equal(order, want) {
			t.Fatalf("turn %d: another selection", turn)
		}
	}
}

// Balance reaches its target where the pool allows it.
func TestBalanceReachesTarget(t *testing.T) {
	const n, classes = 4000, 4
	r := rand.New(rand.NewPCG(5, 5))
	shares := Matrix{n, classes, make([]float32, n*classes)}
	class := make([]int, n)
	for i := range n {
		class[i] = min(classes-1, int(r.ExpFloat64())) // the last classes are rare
		shares.Data[i*classes+class[i]] = 1
	}
	pool := bitmask.New(n)
	pool.Invert(n)
	q := Query{Method: Combined, Rows: n, Filenames: func(row int) string { return fmt.Sprint(row) }, Pool: pool, BatchSize: 200,
		Embeddings: data["gauss"](r, n, 8), DistanceExponent: 1, Balances: []Balance{{"classes", shares, []float64{0.25, 0.25, 0.25, 0.25}, 4}}}
	s, err := Select(q)
	if err != nil {
		t.Fatal(err)
	}
	var count [classes]int
	for _, p := range s.Picks {
		count[class[p.Row]]++
	}
	for k, c := range count {
		if c < 45 || c > 55 {
			t.Errorf("class %d: %d of 200, want about 50", k, c)
		}
	}
}

func TestCombinedRefuses(t *testing.T) {
	good := func() Query { return combined(rand.New(rand.NewPCG(1, 1)), 30) }
	for name, c := range map[string]struct {
		spoil func(q *Query)
		want  string
	}{
		"a factor of 0":              {func(q *Query) { q.Factors[0].Values[q.Pool.Indices()[0]] = 0 }, "1 rows have a value that is not in (0, 1]"},
		"a factor that is no number": {func(q *Query) { q.Factors[1].Values[q.Pool.Indices()[3]] = math.NaN() }, "1 rows have a value"},
		"too few values":             {func(q *Query) { q.Factors[0].Values = q.Factors[0].Values[1:] }, "29 values for 30 rows"},
		"a strength too large":       {func(q *Query) { q.Factors[0].Strength = 21 }, "not in -20 … 20"},
		"no strength":                {func(q *Query) { q.Factors[0].Strength = math.NaN() }, "not in -20 … 20"},
		"strengths too large together": {func(q *Query) {
			for range 6 {
				q.Factors = append(q.Factors, Factor{"g", q.Factors[0].Values, 20})
			}
		}, "more than 100"},
		"a negative balance":   {func(q *Query) { q.Balances[0].Strength = -1 }, "not in 0 … 20"},
		"a negative target":    {func(q *Query) { q.Balances[0].Target[0] = -0.1 }, "not a share"},
		"targets above 1":      {func(q *Query) { q.Balances[0].Target[0] = 0.9 }, "sum to 1.2"},
		"shares of other rows": {func(q *Query) { q.Balances[0].Shares.Rows-- }, "29 × 3 shares"},
		"a negative share":     {func(q *Query) { q.Balances[1].Shares.Data[0] = -1 }, "1 rows have a share"},
		"diversity below 0":    {func(q *Query) { q.DistanceExponent = -1 }, "strength of diversity"},
		"no embeddings":        {func(q *Query) { q.DistanceExponent, q.Embeddings = 1, Matrix{} }, ErrNoEmbeddings.Error()},
		"rows below 0":         {func(q *Query) { q.Rows = -1 }, "dataset of -1 rows"},
	} {
		q := good()
		c.spoil(&q)
		if _, err := Select(q); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	q := good()
	q.Progress = func(done, _ int) bool { return done < 3 }
	if _, err := Select(q); !errors.Is(err, ErrCanceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestScale(t *testing.T) {
	got := Scale([]float64{5, -5, 0, math.NaN(), 99}, []int{0, 1, 2, 3})
	want := []float64{1, 0.05, 0.525, math.NaN(), 0}
	for i := range 4 {
		if !(math.Abs(got[i]-want[i]) < 1e-12) && got[i] == got[i] {
			t.Errorf("%d: %g, want %g", i, got[i], want[i])
		}
	}
	if huge := Scale([]float64{-math.MaxFloat64, math.MaxFloat64}, []int{0, 1}); huge[0] != 0.05 || huge[1] != 1 {
		t.Error(huge)
	}
	if same := Scale([]float64{3, 3}, []int{0, 1}); same[0] != 1 || same[1] != 1 {
		t.Error(same)
	}
}

func TestDensity(t *testing.T) {
	const n, k = 120, 4
	r := rand.New(rand.NewPCG(2, 2))
	x := data["gauss"](r, n, 3)
	copy(x.Row(1), x.Row(0)) // twins
	pool := bitmask.New(n)
	pool.Invert(n)
	pool.Unset(7)
	got, err := Density(Query{Rows: n, Filenames: func(row int) string { return fmt.Sprint(row) }, Pool: pool, Embeddings: x}, k)
	if err != nil {
		t.Fatal(err)
	}
	mean := make([]float64, n)
	least := math.Inf(1)
	for i := range n {
		var d []float64
		for j := range n {
			if i != j && j != 7 {
				d = append(d, math.Sqrt(distance2(x.Row(i), x.Row(j))))
			}
		}
		slices.Sort(d)
		for _, v := range d[:k] {
			mean[i] += v
		}
		if mean[i] /= k; i != 7 {
			least = min(least, mean[i])
		}
	}
	for i, v := range got {
		if want := least / mean[i]; i == 7 && v == v || i != 7 && math.Abs(v-want) > 1e-12 {
			t.Errorf("row %d: %g, want %g", i, v, want)
		}
	}
}
