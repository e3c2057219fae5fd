package score

import "math"

// logTable is what log2 needs. With v = 2^e · m, 1 ≤ m < 2, and i the first
// three bits of m after the leading one,
//
//	log2 v = e + log[i] + r · q(r),  r = m · inverse[i] - 1,  -1/16 ≤ r < 0.055
//
// where inverse[i] is near the inverse of the middle of the i-th eighth, log[i]
// is -log2 of it, and q interpolates log2(1+r)/r at Chebyshev points. The
// error is below 3e-14. inverse[0] makes r = -1/16 of m = 1, and log[0] is
// -r·q(r) to the bit: powers of two are exact up to 2^255.
type logTable struct {
	inverse, log [8]float64
	q            [8]float64 // highest power first
}

var table = logTable{
	inverse: [8]float64{0.9375, 0.841796875, 0.76171875, 0.6953125, 0.6396484375, 0.5927734375, 0.5517578125, 0.5166015625},
	log: [8]float64{
		0.09310940439146954, 0.24845594091090187, 0.3926696862503893, 0.5242665690336022,
		0.6446489035751873, 0.754447293744318, 0.85789294269745, 0.9528760878859742,
	},
	q: [8]float64{
		-0.1864570201366341, 0.20714173987075166, -0.24042110520545865, 0.28853685728377815,
		-0.36067379834952595, 0.48089834840942985, -0.7213475204318125, 1.4426950408888084,
	},
}

// smallestNormal is the smallest number that log2 tells from smaller ones.
const smallestNormal = 0x1p-1022

// log2 returns the binary logarithm of v > 0, in the order of operations that
// the assembly has too: the same bits on every machine. A subnormal v counts
// as the smallest normal number; times v the difference is nothing.
func log2(v float64) float64 {
	if v > math.MaxFloat64 {
		return v
	}
	const mantissa, one = 1<<52 - 1, 1023 << 52
	b := math.Float64bits(max(v, smallestNormal))
	i := b >> 49 & 7
	r := math.FMA(math.Float64frombits(b&mantissa|one), table.inverse[i], -1)
	q := table.q[0]
	for _, c := range table.q[1:] {
		q = math.FMA(q, r, c)
	}
	return math.FMA(q, r, float64(int(b>>52)-1023)+table.log[i])
}
