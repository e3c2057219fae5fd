package score

import (
	"errors"
	"fmt"
	"math"
)

// Normalizations, as predictions.ready names them. The empty string is none.
const (
	NormalizeNone    = "none"    // rows are scored as they are
	NormalizeSoftmax = "softmax" // rows are logits: p = exp(z - max) / Σ exp(z - max)
	NormalizeSum     = "sum"     // rows are counts or weights: p = v / Σ v
)

// Options say how rows of class probabilities are read. The zero value is the
// reference's behavior: rows are scored as they are, and a row that contains
// NaN scores 0, which looks certain.
type Options struct {
	// Normalization is done to each row first. Where a row has only one
	// column both kinds are an error, because they would make 1 of it. A row
	// that cannot be normalized is bad with or without Strict: to softmax one
	// with NaN, +∞ or only -∞, to sum one whose sum is not a positive number.
	Normalization string

	// Strict makes a row bad, after normalization, if it contains NaN or an
	// infinity or an entry outside [0, 1], or if its sum is further than 1e-3
	// from 1 (not asked of rows of one column). Other probabilities and
	// confidences must lie in [0, 1] too. Entries may be outside by 1e-6,
	// which float32 rounding explains.
	Strict bool

	// Raw leaves the scores as they come, entropy in bits. Classification only.
	Raw bool
}

const (
	sumTolerance   = 1e-3
	entryTolerance = 1e-6
)

func (o Options) check() error {
	switch o.Normalization {
	case "", NormalizeNone, NormalizeSoftmax, NormalizeSum:
		return nil
	}
	return fmt.Errorf("unknown normalization %q, want none, softmax or sum", o.Normalization)
}

func (o Options) normalizes() bool {
	return o.Normalization == NormalizeSoftmax || o.Normalization == NormalizeSum
}

// rowScorer scores rows of any number of columns. Its zero value with options
// is ready; it reuses its buffer.
type rowScorer struct {
	Options
	cols  int // columns of the rows that follow
	scale scale
	buf   []float64 // rows that had to be changed
	one   [uncertainties][1]float64
}

// setCols prepares for rows of cols columns.
func (s *rowScorer) setCols(cols int) error {
	switch {
	case cols == s.cols && cols > 0:
		return nil
	case cols < 1:
		return errors.New("a row of class probabilities without classes")
	case cols == 1 && s.normalizes():
		return fmt.Errorf("normalization %s of one column gives always 1: give both classes, or the probability of the first with normalization none", s.Normalization)
	}
	s.cols = cols
	s.scale = newScale(float64(max(cols, 2)), s.Raw)
	return nil
}

// blockValues is about how many values are normalized before they are scored:
// few enough for the first-level cache, where they make up a group at all.
const blockValues = 2048

// scoreRows scores all rows of data into dst, as kernel does, and returns how
// many are bad. Bad rows get some value. Columns are those of setCols.
func scoreRows[F Float](s *rowScorer, dst [uncertainties][]float64, data []F) (bad int) {
	cols, wide := s.cols, max(s.cols, 2)
	if cols > 1 && !s.normalizes() {
		return kernel(dst, data, cols, s.scale, s.Strict)
	}
	block := max(1, blockValues/wide/groupSize) * groupSize
	if size := min(block, len(dst[0])) * wide; len(s.buf) < size {
		s.buf = make([]float64, size)
	}
	for first := 0; first < len(dst[0]); first += block {
		n := min(block, len(dst[0])-first)
		part := dst
		for k := range part {
			part[k] = dst[k][first : first+n]
		}
		for i := range n {
			row := data[(first+i)*cols : (first+i+1)*cols]
			if !load(s.Options, s.buf[i*wide:(i+1)*wide], row) {
				bad++
			}
		}
		kernel(part, s.buf[:n*wide], wide, s.scale, false)
	}
	return bad
}

// scoreRow scores one row and reports whether it is good.
func (s *rowScorer) scoreRow(row []float64) (u [uncertainties]float64, ok bool) {
	bad := scoreRows(s, [uncertainties][]float64{s.one[0][:], s.one[1][:], s.one[2][:]}, row)
	return [uncertainties]float64{s.one[0][0], s.one[1][0], s.one[2][0]}, bad == 0
}

// load writes the row to score to dst: normalized, and with the probability of
// the second class where only that of the first is given. It reports whether
// the row is good.
func load[F Float](o Options, dst []float64, row []F) bool {
	for i, v := range row {
		dst[i] = float64(v)
	}
	if len(row) == 1 {
		dst[1] = 1 - dst[0]
	}
	switch o.Normalization {
	case NormalizeSoftmax:
		if !softmax(dst) {
			return false
		}
	case NormalizeSum:
		if !divideBySum(dst) {
			return false
		}
	}
	return !o.Strict || valid(dst)
}

// Probabilities writes the class probabilities of a matrix to dst, row by row:
// normalized, and two where only that of the first class is given. Bad rows get
// some values: ClassifyRows refuses them.
func Probabilities[F Float](dst []float32, m Matrix[F], o Options) {
	wide := make([]float64, max(m.Cols, 2))
	for row := range m.Rows {
		load(o, wide, m.Data[row*m.Cols:(row+1)*m.Cols])
		for c, p := range wide {
			dst[row*len(wide)+c] = float32(p)
		}
	}
}

// Top writes the most probable class of each row of a matrix to dst, by its
// place, the first if several are; where only the probability of the first of
// two classes is given it is 0 or 1. What is normalized, or not, does not
// matter. Bad rows get some value: ClassifyRows refuses them.
func Top[F Float](dst []float64, m Matrix[F]) {
	for row := range m.Rows {
		p := m.Data[row*m.Cols : (row+1)*m.Cols]
		top := 0
		for c, v := range p {
			if v > p[top] {
				top = c
			}
		}
		if len(p) == 1 && p[0] < 0.5 {
			top = 1
		}
		dst[row] = float64(top)
	}
}

// softmax turns logits into probabilities. It returns false, and leaves the
// row alone, if a logit is NaN or the largest is infinite.
func softmax(row []float64) bool {
	top := math.Inf(-1)
	for _, z := range row {
		if z != z {
			return false
		}
		top = max(top, z)
	}
	if math.IsInf(top, 0) {
		return false
	}
	var sum float64
	for i, z := range row {
		row[i] = exp(z - top)
		sum += row[i]
	}
	for i := range row {
		row[i] /= sum
	}
	return true
}

// divideBySum returns false, and leaves the row alone, if the sum is not a
// positive finite number.
func divideBySum(row []float64) bool {
	var sum float64
	for _, v := range row {
		sum += v
	}
	if !(sum > 0) || math.IsInf(sum, 1) {
		return false
	}
	for i := range row {
		row[i] /= sum
	}
	return true
}

// valid reports whether a row of two or more entries is a row of
// probabilities, within the tolerances of Strict.
func valid[F Float](row []F) bool {
	var sum float64
	for _, f := range row {
		v := float64(f)
		if !validProbability(v) {
			return false
		}
		sum += v
	}
	return math.Abs(sum-1) <= sumTolerance
}

// validProbability is false for NaN.
func validProbability(v float64) bool {
	return v >= -entryTolerance && v <= 1+entryTolerance
}

// badRows returns the first few bad rows of data, at most limit. The index of
// its first row is given.
func badRows[F Float](o Options, data []F, cols, index, limit int) []BadRow {
	var found []BadRow
	scratch := make([]float64, max(cols, 2))
	for ; len(data) > 0 && len(found) < limit; index++ {
		if row := data[:cols]; !load(o, scratch, row) {
			found = append(found, BadRow{index, explain(o, row)})
		}
		data = data[cols:]
	}
	return found
}

// explain says what makes a bad row bad.
func explain[F Float](o Options, row []F) string {
	wide := make([]float64, max(len(row), 2))
	normalized := load(Options{Normalization: o.Normalization}, wide, row)
	var sum float64
	for i, v := range row {
		if v != v {
			return fmt.Sprintf("entry %d is NaN", i)
		}
		sum += float64(v)
	}
	switch {
	case !normalized && o.Normalization == NormalizeSum:
		return fmt.Sprintf("sums to %v: cannot be divided by it", sum)
	case !normalized:
		return "logits without a finite maximum"
	}
	sum = 0
	for i, v := range wide {
		if !validProbability(v) {
			return fmt.Sprintf("entry %d is %v, outside [0, 1]", i, v)
		}
		sum += v
	}
	return fmt.Sprintf("sums to %v, not 1", sum)
}
