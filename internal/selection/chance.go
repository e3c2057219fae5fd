package selection

import "math"

// exponential returns a number of the exponential distribution of mean 1 that
// belongs to a key (see Key) and to a draw: the same one wherever and in
// whatever order it is asked for.
//
// Among rows with weights w, the one with the largest w/exponential is a draw in
// proportion to w, and the next largest are further draws without replacement
// (Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006; its
// logarithm is log w plus Gumbel noise). So a draw needs no sums over rows, and no
// row has a say in what happens to the others.
func exponential(key uint64, draw int) float64 { return -ln(uniform(key, draw)) }

// uniform returns a number in (0, 1) that belongs to a key and to a draw.
func uniform(key uint64, draw int) float64 {
	h := mix(key + 0x9e3779b97f4a7c15*uint64(draw+1))
	return (float64(h>>12) + 0.5) * 0x1p-52
}

// contest is a draw among rows in proportion to their weights. Ties, also among
// rows of weight 0 where there are no others, go to the row that comes before.
type contest struct {
	draw   int
	before func(i, j int) bool
	best   int // the winner so far, -1 for none
	value  float64
}

// enter lets row i take part, with its key.
func (c *contest) enter(i int, key uint64, weight float64) {
	if weight == 0 {
		c.offer(i, 0)
		return
	}
	u := uniform(key, c.draw)
	if weight < 0.999*c.value*(1-u) { // the exponential is at least 1-u
		return
	}
	c.offer(i, weight/-ln(u))
}

// offer makes row i the winner if its value is the largest.
func (c *contest) offer(i int, value float64) {
	if i >= 0 && (c.best < 0 || value > c.value || value == c.value && c.before(i, c.best)) {
		c.best, c.value = i, value
	}
}

// ln returns the natural logarithm of x, 0 < x < 1. Unlike math.Log it has the
// same bits on every machine: the series of the inverse hyperbolic tangent in
// one order, without fused multiply-add. It is off by at most a few units in the
// last place, and not above 0.
func ln(x float64) float64 {
	m, e := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m, e = 2*m, e-1
	}
	s := (m - 1) / (m + 1) // at most 0.172
	z, sum := float64(s*s), 0.0
	for k := 21; k > 0; k -= 2 {
		sum = float64(sum*z) + 1/float64(k)
	}
	return float64(float64(e)*math.Ln2) + float64(2*s*sum)
}
