package selection

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestHerdingPaper reads a selection against the formulas of docs/methods.md, in
// float64 and with nothing of the engine: each pick is worth as much as any sample
// could be, but for what whole numbers for kernels and scores lose, and what it
// covers is what the selection says.
func TestHerdingPaper(t *testing.T) {
	for name, make := range data {
		for n, method := range []Method{UHerding, Herding, UHerding} {
			r := rand.New(rand.NewPCG(31, uint64(n)))
			q := query(r, method, make(r, 240, 6), []int{0, 0, 25}[n], 20)
			s := mustSelect(t, q)
			d := func(a, b int) float64 {
				sum := 0.0
				for j, v := range q.Embeddings.Row(a) {
					sum += (float64(v) - float64(q.Embeddings.Row(b)[j])) * (float64(v) - float64(q.Embeddings.Row(b)[j]))
				}
				return math.Sqrt(sum)
			}
			u := func(row int) float64 {
				if method == Herding {
					return 1
				}
				return q.Scores[row]
			}
			pool, centers := q.Pool.Indices(), q.Preselected.Indices()
			all := slices.Concat(pool, centers)

			// The fair share of each selected sample, and how far it reaches.
			share := (len(all) + len(centers) + 20 - 1) / (len(centers) + 20)
			var radii []float64
			for _, x := range pool {
				var to []float64
				for _, y := range all {
					if y != x {
						to = append(to, d(x, y))
					}
				}
				slices.Sort(to)
				for _, far := range to[share-1:] { // the first that is not the same vector
					if far > 0 {
						radii = append(radii, far)
						break
					}
				}
			}
			radius := 1.0
			if slices.Sort(radii); len(radii) > 0 {
				radius = radii[len(radii)/2]
			}
			if math.Abs(s.Herding.Radius-radius) > 1e-9*radius {
				t.Fatalf("%s, %s %d: radius %v, want %v", name, method, n, s.Herding.Radius, radius)
			}
			kernel := func(a, b int) float64 {
				far := d(a, b) / (2.1 * radius)
				return max(0, 1-far*far) * max(0, 1-far*far)
			}

			covered, whole := map[int]float64{}, 0.0
			cover := func(c int) (gain float64) {
				for _, x := range pool {
					if k := kernel(x, c); k > covered[x] {
						gain += u(x) * (k - covered[x])
						covered[x] = k
					}
				}
				return gain
			}
			worth := func(c int) (v float64) {
				for _, x := range pool {
					v += u(x) * max(0, kernel(x, c)-covered[x])
				}
				return v * math.Sqrt(u(c))
			}
			for _, x := range pool {
				whole += u(x)
			}
			for _, c := range centers {
				cover(c)
			}
			slack := whole * 2 / 2047
			picked := map[int]bool{}
			for at, p := range s.Picks {
				best := 0.0
				for _, c := range pool {
					if !picked[c] {
						best = max(best, worth(c))
					}
				}
				if got := worth(p.Row); got < best-slack {
					t.Fatalf("%s, %s %d, pick %d: worth %v, another is worth %v", name, method, n, at, got, best)
				}
				if gain := cover(p.Row); math.Abs(p.Gain*whole-gain) > slack {
					t.Fatalf("%s, %s %d, pick %d: gain %v, want %v", name, method, n, at, p.Gain, gain/whole)
				}
				picked[p.Row] = true
			}
			done := 0.0
			for _, x := range pool {
				done += u(x) * covered[x]
			}
			if math.Abs(s.Herding.After*whole-done) > slack {
				t.Errorf("%s, %s %d: covered %v, want %v", name, method, n, s.Herding.After, done/whole)
			}
		}
	}
}
