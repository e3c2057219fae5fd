package selection

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
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

// goCodes has the codes of the fastest kernel in plain Go.
var goCodes = kernel{"go codes", distance2, tileGo, quantizeGo, tileCodesGo}

// everyKernel is that of this machine, and one with codes on all machines.
func everyKernel() []kernel { return append(kernels(), goCodes) }

// TestQuantize: the same codes on every instruction set, of which as much is
// missing as they say, at most.
func TestQuantize(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, k := range everyKernel() {
		if k.quantize == nil {
			continue
		}
		for _, dim := range []int{1, 2, 15, 16, 17, 33, 128, 300, 5000} {
			for _, scale := range []float64{1, 1e-6, 1e-20, 1e-29, 1e-35, 0, 1e14} {
				x, most := make([]float32, dim), codesMost(dim)
				for j := range x {
					x[j] = float32(scale * r.NormFloat64() * math.Pow(10, float64(r.IntN(3))))
				}
				room := (dim + codeBlock - 1) / codeBlock * codeBlock
				codes, want := make([]int16, room), make([]int16, room)
				for j := range codes {
					codes[j] = 99
				}
				got := k.quantize(codes, x, most, &x[0])
				if w := quantizeGo(want, x, most, nil); !slices.Equal(codes, want) || got.scale != w.scale {
					t.Fatalf("%s, dim %d, scale %g: codes or scale differ", k.name, dim, scale)
				}
				size2, rest2, coded2, sum := 0.0, 0.0, 0.0, 0
				for j, v := range x {
					code := float64(got.scale) * float64(codes[j])
					size2, coded2, rest2 = size2+float64(v)*float64(v), coded2+code*code, rest2+(float64(v)-code)*(float64(v)-code)
					sum += int(codes[j]) * int(codes[j])
				}
				size, rest := got.norms(dim)
				if float64(size) < math.Sqrt(max(size2, coded2)) || float64(rest) < math.Sqrt(rest2) {
					t.Errorf("%s, dim %d, scale %g: norms %g and %g, want %g and %g or more", k.name, dim, scale, size, rest, math.Sqrt(max(size2, coded2)), math.Sqrt(rest2))
				}
				if float64(rest) > 1.02*math.Sqrt(rest2)+1e-6*math.Sqrt(size2)+1e-18 {
					t.Errorf("%s, dim %d, scale %g: codes are said to miss %g, and miss %g", k.name, dim, scale, rest, math.Sqrt(rest2))
				}
				n := float64(dim+16) * 0x1p-24
				gamma, tiny := n/(1-n), float64(dim+2)*0x1p-147 // of filter
				if x2 := float64(got.size2); size2 < (1-gamma)*x2-tiny || x2 < (1-gamma)*size2-tiny {
					t.Errorf("%s, dim %d, scale %g: squared norm is %g, want %g", k.name, dim, scale, x2, size2)
				}
				if sum > math.MaxInt32 {
					t.Errorf("dim %d: a sum of products is %d", dim, sum)
				}
			}
		}
	}
}

// TestTileCodes compares with exact sums; a hit is what the values say.
func TestTileCodes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, k := range everyKernel() {
		if k.tileCodes == nil {
			continue
		}
		for _, dim := range []int{1, 2, 3, 15, 16, 17, 100, 128, 300} {
			pairs, most := (dim+1)/2, int(codesMost(dim))
			random := func(n int) []int16 {
				x := make([]int16, n)
				for j := range x {
					x[j] = int16(r.IntN(2*most+1) - most)
				}
				return x
			}
			codes := random(2 * pairs * lanes)
			var in tile
			var points [tileRows][]int16
			for i := range points {
				points[i] = random(2 * pairs)
				in.points[i] = (*float32)(unsafe.Pointer(&points[i][0]))
				in.scales[i], in.thresholds[i] = float32(r.ExpFloat64()), float32(r.NormFloat64())
			}
			biases, scales := normals(r, lanes), normals(r, lanes)
			biases[31] = float32(math.Inf(-1))
			k.tileCodes(&in, &biases[0], &scales[0], (*uint32)(unsafe.Pointer(&codes[0])), pairs)
			for i := range points {
				for l := range lanes {
					sum := 0
					for j, x := range points[i] {
						sum += int(x) * int(codes[2*(j/2*lanes+l)+j%2])
					}
					want := float64(sum)*float64(in.scales[i])*float64(scales[l]) + float64(biases[l])
					size := math.Abs(float64(sum)*float64(in.scales[i])*float64(scales[l])) + math.Abs(float64(biases[l]))
					if got := float64(in.values[i][l]); !(math.Abs(got-want) <= size*0x1p-22) && got != want {
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
