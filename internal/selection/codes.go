package selection

import (
	"math"
	"unsafe"
)

// Codes are rows rounded to integers of about 12 bits: x is about scale · codes.
// The processor multiplies two of them in the time of one float32. As x″ is what
// the codes of x say, the product of two rows is off by at most
//
//	|x·c - x″·c″| ≤ |x - x″|·|c| + |x″|·|c - c″|
//
// by Cauchy and Schwarz. The threshold of filter is lowered by at least that much
// (point.threshold), and its proof holds: the sum itself is exact, and making a
// value of it and lowering the threshold take fewer roundings than the 16 that γ
// has room for.

// rounded says how a row was rounded.
type rounded struct {
	scale        float32
	size2, rest2 float32 // about the squared norms of the row, and of what its codes miss
}

// norms returns norms that are not below those of the row, or of its codes, and
// of what the codes miss. The sums that rounded holds are off by a share of
// dim · 2⁻²⁴ at most, far less than a hundredth, and miss values below 2⁻⁷⁰; where
// nothing is fused, each coordinate is rounded by 2⁻²⁴ of itself.
func (r rounded) norms(dim int) (size, rest float32) {
	least := math.Sqrt(float64(dim)) * 0x1p-70
	norm := math.Sqrt(float64(r.size2))*1.01 + least
	rest = float32(math.Sqrt(float64(r.rest2))*1.01 + norm*0x1p-22 + least)
	return float32(norm) + rest, rest
}

// codeBlock is how many codes are written at a time.
const codeBlock = 16

// codesMost is the largest code in rows of dim coordinates: sums of so many
// products have 32 bits.
func codesMost(dim int) float32 {
	return float32(min(math.MaxInt16, math.Floor(math.Sqrt(math.MaxInt32/float64(dim)))))
}

// quantizeGo is kernel.quantize. Rows of values below 2⁻¹⁰⁰ have codes 0.
func quantizeGo(codes []int16, x []float32, most float32, _ *float32) (r rounded) {
	largest, inverse := float32(0), float32(0)
	for _, v := range x {
		largest = max(largest, v, -v)
	}
	if largest >= 0x1p-100 {
		r.scale, inverse = largest/most, most/largest
	}
	clear(codes[:(len(x)+codeBlock-1)/codeBlock*codeBlock])
	for j, v := range x {
		q := math.RoundToEven(float64(v * inverse))
		codes[j] = int16(q)
		miss := v - float32(q)*r.scale
		r.size2, r.rest2 = r.size2+v*v, r.rest2+miss*miss
	}
	return r
}

// tileCodesGo is kernel.tileCodes.
func tileCodesGo(t *tile, biases, scales *float32, codes *uint32, steps int) {
	bias, scale := floats(biases, lanes), floats(scales, lanes)
	c := unsafe.Slice((*[2]int16)(unsafe.Pointer(codes)), steps*lanes)
	for r := range tileRows {
		x := unsafe.Slice((*[2]int16)(unsafe.Pointer(t.points[r])), steps)
		t.hits[r] = 0
		for l := range lanes {
			sum := int32(0)
			for j, x := range x {
				y := c[j*lanes+l]
				sum += int32(x[0])*int32(y[0]) + int32(x[1])*int32(y[1])
			}
			v := float32(sum)*(t.scales[r]*scale[l]) + bias[l]
			if t.values[r][l] = v; !(v < t.thresholds[r]) {
				t.hits[r] |= 1 << l
			}
		}
	}
}
