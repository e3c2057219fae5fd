package score

import "math"

// This file is all the arithmetic on rows of class probabilities, in one order
// of operations: the vector kernels give the same bits as rawRow, and so do
// all machines, partitions and element types that hold the same values.

// kernel scores the rows of data, which have cols ≥ 2 columns each: least
// confidence, margin and entropy of row i go to dst[0][i], dst[1][i] and
// dst[2][i]. There are as many rows as dst[0] is long. Where strict is set it
// returns how many of them are not valid.
func kernel[F Float](dst [uncertainties][]float64, data []F, cols int, s scale, strict bool) (bad int) {
	return kernelWith(best, dst, data, cols, s, strict)
}

// kernelWith is kernel with the instructions that the caller chooses.
func kernelWith[F Float](with instructions, dst [uncertainties][]float64, data []F, cols int, s scale, strict bool) (bad int) {
	if with == plainGo {
		return byRows(dst, data, cols, s, strict)
	}
	return byGroups(with, dst, data, cols, s, strict)
}

// byRows is kernel for every machine.
func byRows[F Float](dst [uncertainties][]float64, data []F, cols int, s scale, strict bool) (bad int) {
	for i := range dst[0] {
		row := data[i*cols : (i+1)*cols]
		dst[0][i], dst[1][i], dst[2][i] = s.apply(rawRow(row))
		if strict && !valid(row) {
			bad++
		}
	}
	return bad
}

// rawRow returns the unscaled scores of one row p of at least two columns,
//
//	1 - p1,  1 - (p1 - p2),  -Σ p·L(p),  L(v) = log2 v if v > 0, else 0
//
// where p1 ≥ p2 are its two largest entries. A row that contains NaN gives NaN
// for all three. An entry ≤ 0 is multiplied by L = 0 and not left out, because
// -∞ · 0 has to become NaN.
func rawRow[F Float](row []F) (lc, mg, bits float64) {
	p1, p2 := math.Inf(-1), math.Inf(-1)
	nan := false
	for _, f := range row {
		v, l := float64(f), 0.0
		if v > 0 {
			l = log2(v)
		}
		bits = math.FMA(-v, l, bits)
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
	return 1 - p1, 1 - (p1 - p2), bits
}

// scale brings raw scores to what is reported.
type scale struct {
	maxLC, maxBits float64 // scores of the uniform row, or 1
	raw            bool    // clean only; do not clamp
}

// newScale returns the scale for rows of the given number of classes ≥ 2: to
// [0, 1], or where raw is set, to least confidence as it is and entropy in
// bits. The number is a float because detection makes up classes from labels
// of any size.
func newScale(classes float64, raw bool) scale {
	if raw {
		return scale{maxLC: 1, maxBits: 1, raw: true}
	}
	return scale{maxLC: 1 - 1/classes, maxBits: log2(classes)}
}

func (s scale) apply(lc, mg, bits float64) (float64, float64, float64) {
	lc, bits = lc/s.maxLC, bits/s.maxBits
	if s.raw {
		return clean(lc), clean(mg), clean(bits)
	}
	return clamp(lc), clamp(mg), clamp(bits)
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
