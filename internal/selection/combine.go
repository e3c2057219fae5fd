package selection

import (
	"fmt"
	"math"
	"slices"
)

// Factor is one wish of a COMBINED selection: a number per row, the larger the
// better, raised to a strength. A negative strength wishes the opposite, 0
// nothing. See Scale for numbers of any range.
type Factor struct {
	Name     string    // for errors
	Values   []float64 // one per row, in (0, 1]
	Strength float64   // in [-maxStrength, maxStrength]
}

// Balance wishes that the selection, preselected rows included, consists of
// classes in given shares.
type Balance struct {
	Name     string
	Shares   Matrix    // Rows × classes, ≥ 0: how much of a row is of each class; a row of zeros is of none
	Target   []float64 // wanted share of each class, ≥ 0, together at most 1
	Strength float64   // in [0, maxStrength]
}

const (
	maxStrength = 20
	factorFloor = 0.05 // of what a factor can be: nothing is barred for ever
	targetSlack = 1e-6 // by which shares may sum to more than 1
)

// Scale maps values of any range to factors in [0.05, 1], linearly from the
// smallest to the largest of the given rows. Equal values become 1; NaN stays
// NaN, and values of other rows are left as they fall.
func Scale(values []float64, rows []int) []float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for _, row := range rows {
		if v := values[row]; v == v {
			low, high = min(low, v), max(high, v)
		}
	}
	half := float64(low / 2) // halves do not overflow
	width := float64(high/2) - half
	scaled := make([]float64, len(values))
	for i, v := range values {
		switch {
		case v != v:
			scaled[i] = v
		case !(high > low):
			scaled[i] = 1
		default:
			share := (float64(v/2) - half) / width
			scaled[i] = factorFloor + float64((1-factorFloor)*share)
		}
	}
	return scaled
}

// checkCombined checks what only a COMBINED query has, but for single rows.
func (q *Query) checkCombined() error {
	if b := q.DistanceExponent; !(b == 0 || b >= 0.01 && b <= maxStrength) {
		return fmt.Errorf("the strength of diversity is %g: want 0, or 0.01 … %d", b, maxStrength)
	}
	all := 0.0
	for _, f := range q.Factors {
		if len(f.Values) != q.Rows {
			return fmt.Errorf("%s: %d values for %d rows", f.Name, len(f.Values), q.Rows)
		}
		if !(math.Abs(f.Strength) <= maxStrength) {
			return fmt.Errorf("%s: a strength of %g is not in %d … %d", f.Name, f.Strength, -maxStrength, maxStrength)
		}
		all += math.Abs(f.Strength)
	}
	if all > 5*maxStrength { // so that no product overflows
		return fmt.Errorf("the strengths sum to %g, more than %d", all, 5*maxStrength)
	}
	for _, b := range q.Balances {
		if b.Shares.Rows != q.Rows || b.Shares.Dim != len(b.Target) || len(b.Shares.Data) != b.Shares.Rows*b.Shares.Dim {
			return fmt.Errorf("%s: %d × %d shares with %d values, for %d rows and %d classes", b.Name, b.Shares.Rows, b.Shares.Dim, len(b.Shares.Data), q.Rows, len(b.Target))
		}
		if !(b.Strength >= 0 && b.Strength <= maxStrength) {
			return fmt.Errorf("%s: a strength of %g is not in 0 … %d", b.Name, b.Strength, maxStrength)
		}
		sum := 0.0
		for _, t := range b.Target {
			if !(t >= 0) {
				return fmt.Errorf("%s: a target of %g is not a share", b.Name, t)
			}
			sum += t
		}
		if !(sum <= 1+targetSlack) {
			return fmt.Errorf("%s: the targets sum to %g, more than 1", b.Name, sum)
		}
	}
	return nil
}

// combine checks what only a COMBINED query has and replaces its factors by
// one score per row,
//
//	score = Π value ^ strength
//
// in the order in which they are given. Without balances nothing else is left
// of them, and the query becomes one of CORAL.
func (q *Query) combine() error {
	if q.Rows < 0 || q.Rows > math.MaxInt32 {
		return nil // checkShape will tell
	}
	if err := q.checkCombined(); err != nil {
		return err
	}
	q.Scores = make([]float64, q.Rows)
	bad := RowsError{Reason: "have a value that is not in (0, 1]"}
	for _, row := range rows(q.Pool) {
		if int(row) >= q.Rows {
			return nil // checkShape will tell
		}
		w := 1.0
		for _, f := range q.Factors {
			v := f.Values[row]
			if !(v > 0 && v <= 1) {
				bad.add(int(row))
				break
			}
			if power := pow(v, math.Abs(f.Strength)); f.Strength < 0 {
				w /= power
			} else {
				w *= power
			}
		}
		q.Scores[row] = w
	}
	if err := bad.orNil(); err != nil {
		return err
	}
	if len(q.Balances) == 0 {
		q.Method, q.ScoreExponent, q.ScoreFloor = Coral, 1, 0
	}
	return q.checkShares()
}

// checkShares refuses rows whose shares are no numbers, or below 0.
func (q *Query) checkShares() error {
	for _, b := range q.Balances {
		bad := RowsError{Reason: "have a share of a class that is not a number of at least 0 (" + b.Name + ")"}
		for _, row := range append(rows(q.Pool), rows(q.Preselected)...) {
			if int(row) < q.Rows && slices.ContainsFunc(b.Shares.Row(int(row)), func(v float32) bool { return !(v >= 0 && v <= math.MaxFloat32) }) {
				bad.add(int(row))
			}
		}
		if err := bad.orNil(); err != nil {
			return err
		}
	}
	return nil
}
