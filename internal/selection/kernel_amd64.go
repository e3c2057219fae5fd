package selection

import "golang.org/x/sys/cpu"

// kernels returns the kernels of this machine, the fastest first.
func kernels() []kernel {
	list := []kernel{plainGo}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		list = append([]kernel{{"avx2", distance2AVX2, tileAVX2}}, list...)
	}
	if cpu.X86.HasAVX512F {
		list = append([]kernel{{"avx512", distance2AVX512, tileAVX512}}, list...)
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

// The sums of distance2 over n > 0 coordinates, in kernel_amd64.s.

//go:noescape
func sumAVX512(x, y *float32, n int) float64

//go:noescape
func sumAVX2(x, y *float32, n int) float64

// See kernel.tile. Only AVX-512F, and AVX2 with FMA, are needed.

//go:noescape
func tileAVX512(t *tile, panel *float32, dim int)

//go:noescape
func tileAVX2(t *tile, panel *float32, dim int)
