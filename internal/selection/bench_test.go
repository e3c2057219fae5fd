package selection

import (
	"flag"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"nextbatch/internal/bitmask"
)

// The large runs: go test -run - -bench Greedy -benchtime 1x -args -n 1000000 -dim 128 -k 10000
var (
	benchN   = flag.Int("n", 20000, "rows of the benchmarks")
	benchDim = flag.Int("dim", 64, "dimensions of the benchmarks")
	benchK   = flag.Int("k", 500, "picks of the benchmarks")
	benchPre = flag.Int("pre", 0, "preselected rows of the benchmarks")
)

// benchData makes rows in parallel, each from its own generator.
func benchData(n, dim int, row func(r *rand.Rand, x []float32)) Matrix {
	m := Matrix{n, dim, make([]float32, n*dim)}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				row(rand.New(rand.NewPCG(1, uint64(i))), m.Row(i))
			}
		})
	}
	wg.Wait()
	return m
}

func normals(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

var benchKinds = []struct {
	name string
	make func(n, dim int) Matrix
}{
	{"gauss", func(n, dim int) Matrix {
		return benchData(n, dim, func(r *rand.Rand, x []float32) { copy(x, normals(r, dim)) })
	}},
	{"clusters", func(n, dim int) Matrix { // 200 clusters, 10 dimensions inside, a little noise
		r := rand.New(rand.NewPCG(2, 2))
		const clusters, inside = 200, 10
		center, basis := make([][]float32, clusters), make([][]float32, clusters)
		for c := range clusters {
			center[c], basis[c] = normals(r, dim), normals(r, dim*inside)
		}
		return benchData(n, dim, func(r *rand.Rand, x []float32) {
			c := r.IntN(clusters)
			z := normals(r, inside)
			for j := range x {
				x[j] = center[c][j] + float32(0.02*r.NormFloat64())
				for l, v := range z {
					x[j] += 0.1 * v * basis[c][j*inside+l]
				}
			}
		})
	}},
	{"long tail", func(n, dim int) Matrix { // 1,000 clusters, cluster c with a share like 1/√c, 12 dimensions inside
		const clusters, inside = 1000, 12
		r := rand.New(rand.NewPCG(5, 5))
		center, basis, upTo := make([][]float32, clusters), make([][]float32, clusters), make([]float64, clusters)
		total := 0.0
		for c := range clusters {
			center[c], basis[c] = normals(r, dim), normals(r, dim*inside)
			total += 1 / math.Sqrt(float64(c+1))
			upTo[c] = total
		}
		return benchData(n, dim, func(r *rand.Rand, x []float32) {
			c, _ := slices.BinarySearch(upTo, total*r.Float64())
			z := normals(r, inside)
			for j := range x {
				x[j] = center[c][j] + float32(0.02*r.NormFloat64())
				for l, v := range z {
					x[j] += 0.1 * v * basis[c][j*inside+l]
				}
			}
		})
	}},
	{"power law", func(n, dim int) Matrix { // 500 clusters, eigenvalues like 1/i, reflected, of length 1
		r := rand.New(rand.NewPCG(3, 3))
		const clusters = 500
		center, mirror := make([][]float32, clusters), make([][]float32, clusters)
		for c := range clusters {
			center[c], mirror[c] = normals(r, dim), unit(normals(r, dim))
			for j := range dim {
				center[c][j] /= float32(math.Sqrt(float64(j + 1)))
			}
		}
		return benchData(n, dim, func(r *rand.Rand, x []float32) {
			c := r.IntN(clusters)
			z := normals(r, dim)
			dot := float32(0)
			for j := range z {
				z[j] *= 0.7 / float32(math.Sqrt(float64(j+1)))
				dot += z[j] * mirror[c][j]
			}
			for j := range x {
				x[j] = center[c][j] + z[j] - 2*dot*mirror[c][j]
			}
			unit(x)
		})
	}},
}

func unit(x []float32) []float32 {
	s := 0.0
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	for j := range x {
		x[j] /= float32(math.Sqrt(s))
	}
	return x
}

// benchQuery has every row in the pool but the first, which are preselected.
func benchQuery(method Method, x Matrix) Query { return benchQueryOf(method, x, *benchPre, *benchK) }

func benchQueryOf(method Method, x Matrix, pre, k int) Query {
	q := Query{Method: method, Rows: x.Rows, Embeddings: x, BatchSize: k, Filenames: strconv.Itoa,
		Pool: bitmask.New(x.Rows), Preselected: bitmask.New(pre), Scores: make([]float64, x.Rows),
		ScoreExponent: 1, DistanceExponent: 1, ScoreFloor: 0.05}
	q.Pool.Invert(x.Rows)
	q.Preselected.Invert(pre)
	q.Pool.Difference(q.Preselected)
	r := rand.New(rand.NewPCG(4, 4))
	for row := range q.Scores {
		q.Scores[row] = r.Float64()
	}
	return q
}

func BenchmarkGreedy(b *testing.B) {
	for _, kind := range benchKinds {
		b.Run(kind.name, func(b *testing.B) {
			x := kind.make(*benchN, *benchDim)
			share := shareRadius(x, *benchK)
			for _, c := range []struct {
				name   string
				method Method
				cap    float64
			}{{"CORESET", Coreset, 0}, {"CORAL", Coral, 0}, {"CORAL capped", Coral, 0.7 * share}, {"CORAL auto", Coral, AutoCap}} {
				b.Run(c.name, func(b *testing.B) {
					q := benchQuery(c.method, x)
					q.DistanceCap = c.cap
					runtime.GC()
					before := cpuTime()
					for b.Loop() {
						mustSelect(b, q)
					}
					b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N**benchK), "µs/pick")
					b.ReportMetric((cpuTime()-before).Seconds()/float64(b.N), "cpu-s/op")
				})
			}
		})
	}
}

// BenchmarkMethods are the others, BADGE with ten classes.
func BenchmarkMethods(b *testing.B) {
	for _, kind := range benchKinds {
		b.Run(kind.name, func(b *testing.B) {
			x := kind.make(*benchN, *benchDim)
			probabilities := benchData(*benchN, 10, func(r *rand.Rand, p []float32) {
				sum := float32(0)
				for c := range p {
					p[c] = float32(math.Exp(3 * r.NormFloat64()))
					sum += p[c]
				}
				for c := range p {
					p[c] /= sum
				}
			})
			for _, method := range []Method{TypiClust, Badge, Power, FilterCluster, Typicality} {
				b.Run(string(method), func(b *testing.B) {
					q := benchQuery(method, x)
					q.Probabilities = probabilities
					before := cpuTime()
					for b.Loop() {
						mustSelect(b, q)
					}
					b.ReportMetric((cpuTime()-before).Seconds()/float64(b.N), "cpu-s/op")
				})
			}
		})
	}
}

// shareRadius is the distance of a row to as many others as there are rows for
// each pick, the median of a few.
func shareRadius(x Matrix, picks int) float64 {
	var radii []float64
	for i := range 33 {
		d2 := make([]float64, x.Rows)
		for j := range d2 {
			d2[j] = fastest.distance2(x.Row(i*(x.Rows/33)), x.Row(j))
		}
		slices.Sort(d2)
		radii = append(radii, math.Sqrt(d2[min(len(d2)-1, (x.Rows+picks-1)/picks)]))
	}
	slices.Sort(radii)
	return radii[len(radii)/2]
}

// cpuTime is what this process has used on all cores: on a busy machine it
// says more than the clock.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkNextRound is the round after one that started with -pre preselected
// rows, from its state and without.
func BenchmarkNextRound(b *testing.B) {
	for _, kind := range benchKinds {
		for _, method := range []Method{Coreset, Coral, UHerding} {
			b.Run(kind.name+"/"+string(method), func(b *testing.B) {
				q := benchQuery(method, kind.make(*benchN, *benchDim))
				q.KeepState, q.DistanceCap = true, AutoCap // of CORAL
				var s Selection
				b.Run("before", func(b *testing.B) { cpuOf(b, func() { s = mustSelect(b, q) }) })
				for _, p := range s.Picks {
					q.Pool.Unset(p.Row)
					q.Preselected.Set(p.Row)
				}
				b.Run("without", func(b *testing.B) { cpuOf(b, func() { mustSelect(b, q) }) })
				q.State = s.State
				b.Run("with state", func(b *testing.B) { cpuOf(b, func() { mustSelect(b, q) }) })
			})
		}
	}
}

// cpuOf measures the time on all cores.
func cpuOf(b *testing.B, do func()) {
	runtime.GC()
	before := cpuTime()
	for b.Loop() {
		do()
	}
	b.ReportMetric((cpuTime()-before).Seconds()/float64(b.N), "cpu-s/op")
}

// BenchmarkBruteForce is one pass per center, as fast as it goes on one thread.
func BenchmarkBruteForce(b *testing.B) {
	q := benchQuery(Coreset, benchKinds[0].make(*benchN, *benchDim))
	q.BatchSize = 50
	p, err := newProblem(q, new(meter))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		bruteForce(p, nil, new(meter))
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*50), "µs/pick")
}

// BenchmarkRadius is what the scale of UHERDING costs, without and with the state of
// a round before.
func BenchmarkRadius(b *testing.B) {
	for _, kind := range benchKinds {
		b.Run(kind.name, func(b *testing.B) {
			q := benchQuery(Coreset, kind.make(*benchN, *benchDim))
			q.KeepState = true
			p := mustProblem(b, q)
			b.Run("without", func(b *testing.B) { cpuOf(b, func() { p.fairShareRadius(new(meter)) }) })
			for row := range *benchK { // is preselected now
				q.Pool.Unset(*benchPre + row)
				q.Preselected.Set(*benchPre + row)
			}
			q.State = &p.next
			p = mustProblem(b, q)
			b.Run("with state", func(b *testing.B) { cpuOf(b, func() { p.fairShareRadius(new(meter)) }) })
		})
	}
}

// BenchmarkHerding runs UHERDING; uncertain are the rows near the border between
// clusters: few, and together.
func BenchmarkHerding(b *testing.B) {
	for _, kind := range benchKinds {
		b.Run(kind.name, func(b *testing.B) {
			q := benchQuery(UHerding, kind.make(*benchN, *benchDim))
			runtime.GC()
			before := cpuTime()
			for b.Loop() {
				s := mustSelect(b, q)
				b.Logf("%+v", *s.Herding)
			}
			b.ReportMetric((cpuTime()-before).Seconds()/float64(b.N), "cpu-s/op")
			b.ReportMetric(float64(peakMemory())/1e6, "MB-peak")
		})
	}
}

// peakMemory is the most that this process has held.
func peakMemory() int64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Maxrss << 10
}

// BenchmarkReport measures the longest time between two calls of Progress. Rows are
// short, where units of work say least about time.
func BenchmarkReport(b *testing.B) {
	q := randomQuery(*benchN, *benchDim, *benchPre, *benchK)
	q.ScoreExponent, q.DistanceExponent, q.Scores = 1, 1, make([]float64, q.Rows)
	for row := range q.Scores {
		q.Scores[row] = float64(row*7919%1000) / 1000
	}
	for _, q.Method = range []Method{Coreset, Coral, Random, ActiveLearning, Power, Herding} {
		q.KeepState = q.Method.KeepsState()
		b.Run(string(q.Method), func(b *testing.B) {
			longest := time.Duration(0)
			for b.Loop() {
				last := time.Now()
				q.Progress = func(int, int) bool {
					now := time.Now()
					longest, last = max(longest, now.Sub(last)), now
					return true
				}
				mustSelect(b, q)
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "ms-between-reports")
		})
	}
}
