package score

import (
	"math"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// best is the fastest kind that this machine can run. The kernels for AVX-512
// need BMI2 too.
var best = func() instructions {
	x := &cpu.X86
	switch {
	case !x.HasAVX2 || !x.HasFMA:
		return plainGo
	case !x.HasBMI2 || !x.HasAVX512F || !x.HasAVX512DQ || !x.HasAVX512VL:
		return avx2
	}
	return avx512
}()

// scoreGroups calls the vector kernel of that kind. (Calls through a function
// value would move gs to the heap.)
func scoreGroups[F Float](with instructions, gs *groups, data *F, n int) (done int, odd uint64) {
	if sizeof[F]() == 4 {
		data := (*float32)(unsafe.Pointer(data))
		if with == avx512 {
			return groups32AVX512(gs, data, n)
		}
		return groups32AVX2(gs, data, n)
	}
	wide := (*float64)(unsafe.Pointer(data))
	if with == avx512 {
		return groups64AVX512(gs, wide, n)
	}
	return groups64AVX2(gs, wide, n)
}

// The vector kernels, see groups.

//go:noescape
func groups32AVX512(gs *groups, data *float32, n int) (done int, odd uint64)

//go:noescape
func groups64AVX512(gs *groups, data *float64, n int) (done int, odd uint64)

//go:noescape
func groups32AVX2(gs *groups, data *float32, n int) (done int, odd uint64)

//go:noescape
func groups64AVX2(gs *groups, data *float64, n int) (done int, odd uint64)

// lanes4 is the table of log2 as AVX2 needs it: 64-bit entries are looked up
// by halves, and only the high half of inverse is not zero.
var lanes4 = func() (l struct {
	tiny, one, magic, bias   [4]float64
	inverse, logLow, logHigh [8]uint32
	q                        [8][4]float64
}) {
	const magic = 1 << 52 // its mantissa holds an exponent as an integer
	for i := range 4 {
		l.tiny[i], l.one[i], l.magic[i], l.bias[i] = smallestNormal, 1, magic, magic+1023
	}
	for i := range 8 {
		l.inverse[i] = uint32(math.Float64bits(table.inverse[i]) >> 32)
		l.logLow[i] = uint32(math.Float64bits(table.log[i]))
		l.logHigh[i] = uint32(math.Float64bits(table.log[i]) >> 32)
		for j := range l.q[i] {
			l.q[i][j] = table.q[i]
		}
	}
	return l
}()
