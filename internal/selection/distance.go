package selection

import "math"

// distance2 returns the squared Euclidean distance of two rows of equal
// length. Its bits are part of the contract of Select: every faster version
// (other instruction sets, other languages) must give the same ones.
//
// Differences are taken in float64. Lane l of 16 sums the squares of the
// differences l, l+16, l+32, … in this order, without fused multiply-add (the
// conversions forbid it, where the compiler would fuse otherwise); then the
// upper half of the lanes is added to the lower half until one is left. The sum
// can neither overflow nor, unless the rows are equal, underflow.
func distance2(x, y []float32) float64 {
	var s [16]float64
	whole := len(x) &^ 15
	for l := 0; l < 16; l += 4 { // four lanes at a time stay in registers
		var a, b, c, d float64
		for i := l; i < whole; i += 16 {
			u, v := (*[4]float32)(x[i:]), (*[4]float32)(y[i:])
			p, q := float64(u[0])-float64(v[0]), float64(u[1])-float64(v[1])
			r, t := float64(u[2])-float64(v[2]), float64(u[3])-float64(v[3])
			a += float64(p * p)
			b += float64(q * q)
			c += float64(r * r)
			d += float64(t * t)
		}
		s[l], s[l+1], s[l+2], s[l+3] = a, b, c, d
	}
	for l := range len(x) - whole {
		d := float64(x[whole+l]) - float64(y[whole+l])
		s[l] += float64(d * d)
	}
	for half := 8; half > 0; half /= 2 {
		for l := range half {
			s[l] += s[l+half]
		}
	}
	return s[0]
}

// ahead is how many turns before its own a row is asked for from memory.
const ahead = 6

// ask is for a row of a matrix that is read a few turns later, and lies far from those
// before it.
func (m Matrix) ask(row int32) {
	prefetch(&m.Data[int(row)*m.Dim], min(4*m.Dim, 1<<10)) // what follows comes by itself
}

// pow returns x^e for x, e ≥ 0; 0^0 is 1. Unlike math.Pow it has the same bits
// on every machine, because it only multiplies and takes roots, and a larger x
// never has a smaller power. It is exact in the cases that matter (e = 1, 0.5)
// and off by at most about 1e-14 relative.
func pow(x, e float64) float64 {
	whole, part := math.Modf(e)
	p := 1.0
	for n, sq := uint64(whole), x; n > 0; n >>= 1 {
		if n&1 == 1 {
			p *= sq
		}
		sq *= sq
	}
	for root := x; part > 0; {
		root = math.Sqrt(root)
		if part *= 2; part >= 1 {
			p *= root
			part--
		}
	}
	return p
}
