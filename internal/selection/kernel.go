package selection

import "math"

// The shape of a tile: tileRows points against a panel of lanes centers.
const (
	tileRows = 8
	lanes    = 32
)

// kernel is the arithmetic for one instruction set. All have the same
// distance2, bit for bit; the sums of tile differ, within the error that filter
// allows for.
type kernel struct {
	name string

	// distance2 is the function of that name, for rows of equal length.
	distance2 func(x, y []float32) float64

	// tile computes values[r][l] = panel[l] + Σ points[r][j] · panel[(j+1)·lanes+l]
	// over the dim coordinates j, in float32. Bit l of hits[r] says that
	// values[r][l] is not below thresholds[r] (so NaN counts as a hit).
	tile func(t *tile, panel *float32, dim int)

	// Where an instruction set multiplies integers faster, tileCodes takes the
	// place of tile, for rows rounded by quantize (see codes); else both are nil.
	//
	// quantize writes len(x) integers of at most most, and zeros up to the next
	// multiple of codeBlock. Next points to as many values that are read soon.
	// tileCodes computes, with the codes of two coordinates
	// in each of steps numbers,
	//
	//	values[r][l] = biases[l] + t.scales[r] · scales[l] · Σ points[r][j] · codes[j·lanes+l]
	//
	// where the sum is exact, and hits like tile.
	quantize  func(codes []int16, x []float32, most float32, next *float32) rounded
	tileCodes func(t *tile, biases, scales *float32, codes *uint32, steps int)
}

// tile is the input and output of kernel.tile. Assembly knows the layout.
type tile struct {
	points     [tileRows]*float32
	thresholds [tileRows]float32
	hits       [tileRows]uint32
	values     [tileRows][lanes]float32
	scales     [tileRows]float32 // of codes
}

// plainGo is the kernel that needs no instruction set.
var plainGo = kernel{name: "go", distance2: distance2, tile: tileGo}

// fastest is the best kernel of this machine.
var fastest = kernels()[0]

// tileGo works on blocks of 4 × 4, whose sums stay in registers.
func tileGo(t *tile, panel *float32, dim int) {
	c := floats(panel, (dim+1)*lanes)
	bias, c := c[:lanes], c[lanes:]
	for r := 0; r < tileRows; r += 4 {
		x0, x1 := floats(t.points[r], dim), floats(t.points[r+1], dim)
		x2, x3 := floats(t.points[r+2], dim), floats(t.points[r+3], dim)
		for l := 0; l < lanes; l += 4 {
			a0, a1, a2, a3 := bias[l], bias[l+1], bias[l+2], bias[l+3]
			b0, b1, b2, b3 := a0, a1, a2, a3
			c0, c1, c2, c3 := a0, a1, a2, a3
			d0, d1, d2, d3 := a0, a1, a2, a3
			for j := range dim {
				y := (*[4]float32)(c[j*lanes+l:])
				x := x0[j]
				a0, a1, a2, a3 = a0+x*y[0], a1+x*y[1], a2+x*y[2], a3+x*y[3]
				x = x1[j]
				b0, b1, b2, b3 = b0+x*y[0], b1+x*y[1], b2+x*y[2], b3+x*y[3]
				x = x2[j]
				c0, c1, c2, c3 = c0+x*y[0], c1+x*y[1], c2+x*y[2], c3+x*y[3]
				x = x3[j]
				d0, d1, d2, d3 = d0+x*y[0], d1+x*y[1], d2+x*y[2], d3+x*y[3]
			}
			*(*[4]float32)(t.values[r][l:]) = [4]float32{a0, a1, a2, a3}
			*(*[4]float32)(t.values[r+1][l:]) = [4]float32{b0, b1, b2, b3}
			*(*[4]float32)(t.values[r+2][l:]) = [4]float32{c0, c1, c2, c3}
			*(*[4]float32)(t.values[r+3][l:]) = [4]float32{d0, d1, d2, d3}
		}
	}
	for r := range tileRows {
		t.hits[r] = 0
		for l, v := range t.values[r] {
			if !(v < t.thresholds[r]) {
				t.hits[r] |= 1 << l
			}
		}
	}
}

// below returns the largest float32 that is not above x, and at least the
// smallest finite one.
func below(x float64) float32 {
	f := float32(x)
	if float64(f) > x { // one step down
		switch bits := math.Float32bits(f); {
		case f > 0:
			f = math.Float32frombits(bits - 1)
		case f < 0:
			f = math.Float32frombits(bits + 1)
		default:
			f = -math.SmallestNonzeroFloat32
		}
	}
	return max(f, -math.MaxFloat32)
}
