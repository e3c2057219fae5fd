package selection

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"nextbatch/internal/bitmask"
)

// TestKmeans is large enough for many tiles and rounds, and for centers that
// are found on a sample.
func TestKmeans(t *testing.T) {
	sizes := []struct{ rows, dim, k int }{{300, 6, 400}, {600, 2, 7}, {2000, 6, 60}, {40_000, 3, 6}}
	if testing.Short() {
		sizes = sizes[:3]
	}
	for name, make := range data {
		for _, size := range sizes {
			r := rand.New(rand.NewPCG(uint64(size.rows), 22))
			q := query(r, FilterCluster, make(r, size.rows, size.dim), 0, -1)
			pool := q.Pool.Indices()
			weight := func(row int) float64 { return q.Scores[row] }
			want, centers := q.kmeans(pool, weight, size.k)
			p, err := newProblem(q, new(meter))
			if err != nil {
				t.Fatal(err)
			}
			onEveryKernel(func(k string, threads int) {
				c, _ := p.cloudOf(p.pool, new(meter))
				for _, row := range c.rows {
					c.weight = append(c.weight, q.Scores[row])
				}
				tiles := p.newTiles(fastest, threads, new(meter))
				s, _ := tiles.cluster(c, size.k)
				if !slices.EqualFunc(centers, s.centers, slices.Equal) {
					t.Fatalf("%s, %v, %s: centers %v, want %v", name, size, k, s.centers, centers)
				}
				got := slices.Repeat([][]int{nil}, len(centers))
				for i, of := range s.of {
					got[of] = append(got[of], int(c.rows[i]))
				}
				if !slices.EqualFunc(want, got, slices.Equal) {
					t.Fatalf("%s, %v, %s: clusters %v, want %v", name, size, k, got, want)
				}
			})
		}
	}
}

// TestNearestCenter: a row as near to two centers belongs to the first, also
// where it was of the other.
func TestNearestCenter(t *testing.T) {
	q := Query{Method: Typicality, Rows: 3, Embeddings: Matrix{3, 1, []float32{0, 1, 2}}, Filenames: strconv.Itoa, Pool: bitmask.FromIndices(0, 1, 2)}
	p, err := newProblem(q, new(meter))
	if err != nil {
		t.Fatal(err)
	}
	tiles := p.newTiles(fastest, 1, new(meter))
	s := clusters{centers: [][]float32{{0}, {2}}, of: []int32{1, 1, 1}, d2: make([]float64, 3)}
	if moved, _ := tiles.assign(cloud{rows: []int32{0, 1, 2}}, s); !moved || !slices.Equal(s.of, []int32{0, 0, 1}) || !slices.Equal(s.d2, []float64{0, 1, 0}) {
		t.Errorf("moved %t, centers %v at %v", moved, s.of, s.d2)
	}
}

// TestTypicalSample has more rows than neighbors are sought among.
func TestTypicalSample(t *testing.T) {
	if testing.Short() {
		return
	}
	for _, method := range []Method{Typicality, TypiClust} {
		r := rand.New(rand.NewPCG(1, 23))
		q := query(r, method, data["gauss"](r, 11_500, 3), 0, 1)
		if method == Typicality {
			q.BatchSize = 300
		}
		if got, want := pickedRows(mustSelect(t, q)), twins[method](q); !slices.Equal(got, want) {
			t.Errorf("%s: picks %v, want %v", method, got, want)
		}
	}
}

// TestMore: to ask for some and then, with these preselected, for more gives
// what asking for all at once does; for TYPICLUST where that makes as many
// clusters.
func TestMore(t *testing.T) {
	for name, make := range data {
		for _, method := range Methods() {
			pre, n := 5, 400
			switch method {
			case FilterCluster, Herding, UHerding:
				continue // another filter and other clusters, or another radius
			case TypiClust:
				pre, n = typicalClusters, 1500
			}
			r := rand.New(rand.NewPCG(1, 24))
			q := query(r, method, make(r, n, 4), pre, 40)
			want := pickedRows(mustSelect(t, q))
			q.BatchSize = 15
			first := pickedRows(mustSelect(t, q))
			for _, row := range first {
				q.Pool.Unset(row)
				q.Preselected.Set(row)
			}
			q.BatchSize = 25
			if got := append(first, pickedRows(mustSelect(t, q))...); !slices.Equal(got, want) {
				t.Errorf("%s on %s: %v, want %v", method, name, got, want)
			}
		}
	}
}

// TestDraws: rows are drawn in proportion to their weights, and ln is the
// logarithm.
func TestDraws(t *testing.T) {
	const seeds = 40_000
	weights := []float64{0, 1, 2, 5}
	var won [4]int
	for seed := range uint64(seeds) {
		c := contest{draw: 3, before: func(i, j int) bool { return i < j }, best: -1}
		for i, w := range weights {
			c.enter(i, Key(seed, fmt.Sprint("img", i)), w)
		}
		won[c.best]++
	}
	for i, w := range weights {
		share := w / 8
		if math.Abs(float64(won[i])-seeds*share) > 5*math.Sqrt(seeds*share*(1-share)) {
			t.Errorf("weight %v of 8 won %d of %d draws", w, won[i], seeds)
		}
	}
	r := rand.New(rand.NewPCG(1, 25))
	for range 100_000 {
		x := math.Exp(-40 * r.Float64() * r.Float64() * r.Float64())
		for _, x := range []float64{x, 1 - x, 0x1p-53, 1 - 0x1p-53} {
			if x > 0 && x < 1 && math.Abs(ln(x)-math.Log(x)) > 1e-15*math.Abs(math.Log(x)) {
				t.Fatalf("ln(%v) = %v, want %v", x, ln(x), math.Log(x))
			}
		}
	}
}

// onEveryKernel calls do for every instruction set and several numbers of
// cores. No other test may run.
func onEveryKernel(do func(k string, threads int)) {
	before, threads := fastest, runtime.GOMAXPROCS(0)
	defer func() {
		fastest = before
		runtime.GOMAXPROCS(threads)
	}()
	for at, k := range kernels() {
		fastest = k
		runtime.GOMAXPROCS(1 + at)
		do(k.name, 1+at)
	}
}
