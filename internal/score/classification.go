package score

import "fmt"

// Classify scores a matrix with one row per image.
func Classify[F Float](m Matrix[F], o Options) ([]Vector, error) {
	vectors := NewVectors(TaskClassification, m.Rows)
	if err := ClassifyRows(vectors, 0, m, o); err != nil {
		return nil, err
	}
	return vectors, nil
}

// ClassifyRows scores the rows of m, which are those from first on of a larger
// matrix, into those rows of dst, which NewVectors made for classification and
// all rows. Parts that do not overlap may be scored at the same time, and any
// partition gives the same scores. Bad rows make it return a *RowsError with
// indices of and the Total of the larger matrix: JoinRows combines those of
// several parts.
func ClassifyRows[F Float](dst []Vector, first int, m Matrix[F], o Options) error {
	if err := o.check(); err != nil || m.Rows == 0 {
		return err
	}
	s := rowScorer{Options: o}
	if err := s.setCols(m.Cols); err != nil {
		return err
	}
	var part [uncertainties][]float64
	for k := range part {
		part[k] = dst[k].Values[first : first+m.Rows]
	}
	bad := RowsError{Bad: scoreRows(&s, part, m.Data)}
	if bad.Bad > 0 {
		bad.First = badRows(o, m.Data, m.Cols, first, maxFirst)
	}
	return bad.err(len(dst[0].Values))
}

// Classification scores images one at a time, each by its row of class
// probabilities.
type Classification struct {
	rows    rowScorer
	vectors []Vector
	bad     RowsError
}

// NewClassification returns a scorer without images.
func NewClassification(o Options) (*Classification, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return &Classification{rows: rowScorer{Options: o}, vectors: NewVectors(TaskClassification, 0)}, nil
}

// Add scores the next image. It is an error, which leaves the scorer as it
// was, if the row is empty or not as long as the first one; the caller names
// the image. The row is not kept.
func (c *Classification) Add(row []float64) error {
	if c.rows.cols != 0 && len(row) != c.rows.cols {
		return fmt.Errorf("row of %d class probabilities, the first has %d", len(row), c.rows.cols)
	}
	if err := c.rows.setCols(len(row)); err != nil {
		return err
	}
	u, ok := c.rows.scoreRow(row)
	if !ok {
		c.bad.add(len(c.vectors[0].Values), explain(c.rows.Options, row))
	}
	appendImage(c.vectors, u[:]...)
	return nil
}

// Result returns the scores of all images, or a *RowsError where some are bad.
// The scorer must not be used afterwards.
func (c *Classification) Result() ([]Vector, error) {
	if err := c.bad.err(len(c.vectors[0].Values)); err != nil {
		return nil, err
	}
	return c.vectors, nil
}
