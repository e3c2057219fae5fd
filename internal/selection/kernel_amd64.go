package selection

import "golang.org/x/sys/cpu"

// kernels returns the kernels of this machine, the fastest first.
func kernels() []kernel {
	list := []kernel{plainGo}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		list = append([]kernel{{name: "avx2", distance2: distance2AVX2, tile: tileAVX2}}, list...)
	}
	if cpu.X86.HasAVX512F {
		list = append([]kernel{{name: "avx512", distance2: distance2AVX512, tile: tileAVX512}}, list...)
	}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512VNNI {
		list = append([]kernel{{"avx512 vnni", distance2AVX512, tileAVX512, quantizeVNNI, tileCodesVNNI}}, list...)
	}
	return list
}

func distance2AVX512(x, y []float32) float64 {
	if len(x) == 0 {
		return 0
	}
	return sumAVX512(&x[0], &y[0], len(x))
}

func distance2AVX2(x, y []float32) float64 {
	if len(x) == 0 {
		return 0
	}
	return sumAVX2(&x[0], &y[0], len(x))
}

func quantizeVNNI(codes []int16, x []float32, most float32, next *float32) (r rounded) {
	quantizeAVX512(&codes[0], &x[0], len(x), most, &r, next)
	return r
}

// In kernel_amd64.s. prefetch asks for the cache lines from x on, and waits for none.
//
//go:noescape
func prefetch(x *float32, bytes int)

// The sums of distance2 over n > 0 coordinates.

//go:noescape
func sumAVX512(x, y *float32, n int) float64

//go:noescape
func sumAVX2(x, y *float32, n int) float64

// See kernel. Only AVX-512F is needed, and VNNI for codes; or AVX2 with FMA.

//go:noescape
func tileAVX512(t *tile, panel *float32, dim int)

//go:noescape
func tileAVX2(t *tile, panel *float32, dim int)

//go:noescape
func quantizeAVX512(codes *int16, x *float32, n int, most float32, r *rounded, next *float32)

//go:noescape
func tileCodesVNNI(t *tile, biases, scales *float32, codes *uint32, steps int)
