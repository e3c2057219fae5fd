package selection

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestDistanceKernels: the same bits on every instruction set.
func TestDistanceKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, k := range kernels() {
		for n := range 200 {
			x, y := make([]float32, n), make([]float32, n)
			for range 20 {
				for i := range n {
					scale := math.Pow(10, float64(r.IntN(60)-30))
					x[i], y[i] = float32(scale*r.NormFloat64()), float32(scale*r.NormFloat64())
				}
				if got, want := k.distance2(x, y), distance2(x, y); got != want {
					t.Fatalf("%s: distance2 of %d coordinates = %x, want %x", k.name, n, got, want)
				}
			}
		}
	}
}

// TestTileKernels compares with float64 sums; a hit is what the values say.
func TestTileKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, k := range kernels() {
		for _, dim := range []int{1, 2, 3, 15, 16, 17, 100, 128, 300} {
			panel := make([]float32, (dim+1)*lanes)
			for i := range panel {
				panel[i] = float32(r.NormFloat64())
			}
			panel[5] = float32(math.NaN())
			panel[31] = float32(math.Inf(-1))
			var in tile
			var points [tileRows][]float32
			for i := range points {
				points[i] = make([]float32, dim)
				for j := range dim {
					points[i][j] = float32(r.NormFloat64())
				}
				in.points[i] = &points[i][0]
				in.thresholds[i] = float32(r.NormFloat64())
			}
			k.tile(&in, &panel[0], dim)
			for i := range points {
				for l := range lanes {
					want, size := float64(panel[l]), math.Abs(float64(panel[l]))
					for j, x := range points[i] {
						product := float64(x) * float64(panel[(j+1)*lanes+l])
						want += product
						size += math.Abs(product)
					}
					got := float64(in.values[i][l])
					if !(math.Abs(got-want) <= size*float64(dim+2)/(1<<24)) && got != want && want == want {
						t.Fatalf("%s, dim %d: value of point %d, lane %d = %v, want %v", k.name, dim, i, l, got, want)
					}
					if hit := !(in.values[i][l] < in.thresholds[i]); hit != (in.hits[i]>>l&1 == 1) {
						t.Fatalf("%s, dim %d: hits of point %d = %032b, lane %d has %v at threshold %v", k.name, dim, i, in.hits[i], l, in.values[i][l], in.thresholds[i])
					}
				}
			}
		}
	}
}

func BenchmarkTile(b *testing.B) {
	const dim = 128
	x := make([]float32, tileRows*dim)
	panel := make([]float32, (dim+1)*lanes)
	for _, k := range kernels() {
		b.Run(k.name, func(b *testing.B) {
			var t tile
			for i := range tileRows {
				t.points[i] = &x[i*dim]
			}
			for b.Loop() {
				k.tile(&t, &panel[0], dim)
			}
			b.ReportMetric(2*dim*tileRows*lanes*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
		})
	}
}

func BenchmarkDistance2(b *testing.B) {
	x, y := make([]float32, 128), make([]float32, 128)
	for _, k := range kernels() {
		b.Run(k.name, func(b *testing.B) {
			for b.Loop() {
				k.distance2(x, y)
			}
		})
	}
}
