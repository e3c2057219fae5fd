package score

import "math"

// This file is all the arithmetic on rows of class probabilities. Whatever
// replaces kernel by something faster is tested against plainRow in
// kernel_test.go.

// kernel scores the rows of data, which have cols ≥ 2 columns each: least
// confidence, margin and entropy of row i go to dst[0][i], dst[1][i] and
// dst[2][i]. There are as many rows as dst[0] is long.
func kernel[F Float](dst [uncertainties][]float64, data []F, cols int, s scale) {
	for i := range dst[0] {
		dst[0][i], dst[1][i], dst[2][i] = s.apply(rawRow(data[i*cols : (i+1)*cols]))
	}
}

// rawRow returns the unscaled scores of one row p of at least two columns,
//
//	1 - p1,  1 - (p1 - p2),  -Σ p·L(p),  L(v) = ln v if v > 0, else 0
//
// where p1 ≥ p2 are its two largest entries. The entropy is in nats. A row
// that contains NaN gives NaN for all three. An entry ≤ 0 is multiplied by
// L = 0 and not left out, because -∞ · 0 has to become NaN.
func rawRow[F Float](row []F) (lc, mg, nats float64) {
	p1, p2 := math.Inf(-1), math.Inf(-1)
	nan := false
	for _, f := range row {
		v, l := float64(f), 0.0
		if v > 0 {
			l = math.Log(v)
		}
		nats -= v * l
		switch {
		case v > p1:
			p1, p2 = v, p1
		case v > p2:
			p2 = v
		case v != v:
			nan = true
		}
	}
	if nan {
		return math.NaN(), math.NaN(), math.NaN()
	}
	return 1 - p1, 1 - (p1 - p2), nats
}

// scale brings raw scores to what is reported.
type scale struct {
	maxLC, maxNats float64 // scores of the uniform row, or the units of raw scores
	raw            bool    // clean only; do not clamp
}

// newScale returns the scale for rows of the given number of classes ≥ 2: to
// [0, 1], or where raw is set, to least confidence as it is and entropy in
// bits. The number is a float because detection makes up classes from labels
// of any size.
func newScale(classes float64, raw bool) scale {
	if raw {
		return scale{maxLC: 1, maxNats: math.Ln2, raw: true}
	}
	return scale{maxLC: 1 - 1/classes, maxNats: math.Log(classes)}
}

func (s scale) apply(lc, mg, nats float64) (float64, float64, float64) {
	lc, nats = lc/s.maxLC, nats/s.maxNats
	if s.raw {
		return clean(lc), clean(mg), clean(nats)
	}
	return clamp(lc), clamp(mg), clamp(nats)
}

// clamp moves v to [0, 1]; NaN becomes 0.
func clamp(v float64) float64 {
	if !(v > 0) {
		return 0
	}
	return min(v, 1)
}

// clean replaces NaN by 0 and infinities by the largest finite numbers.
func clean(v float64) float64 {
	if v != v {
		return 0
	}
	return max(-math.MaxFloat64, min(v, math.MaxFloat64))
}
