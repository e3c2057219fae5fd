package score

import "math"

// exp returns e^x for x ≤ 0, with the same bits on every machine, which
// math.Exp does not promise: it has other instructions, and other last bits,
// where there is fused multiply-add. With k the integer nearest to x/ln 2,
//
//	e^x = 2^k · e^r,  r = x - k·ln 2,  |r| < 0.35
//
// and e^r is its series. The error is below 2 units in the last place; e^0 is 1.
// Below -708 the result is 0: beside the largest entry of a row, which is 1,
// it is nothing.
func exp(x float64) float64 {
	if x < -708 {
		return 0
	}
	const high, low = 6.93147180369123816490e-01, 1.90821492927058770002e-10 // ln 2 in two parts; k·high is exact
	k := int(float64(x*math.Log2E) - 0.5)
	r := math.FMA(-float64(k), low, math.FMA(-float64(k), high, x)) // never fused with what x is a product of
	p := inverseFactorials[0]
	for _, c := range inverseFactorials[1:] {
		p = math.FMA(p, r, c)
	}
	return p * math.Float64frombits(uint64(k+1023)<<52)
}

// inverseFactorials are the coefficients of e^r, the highest power first.
var inverseFactorials = [14]float64{
	1. / 6227020800, 1. / 479001600, 1. / 39916800, 1. / 3628800, 1. / 362880, 1. / 40320, 1. / 5040,
	1. / 720, 1. / 120, 1. / 24, 1. / 6, 1. / 2, 1, 1,
}
