package score

import (
	"fmt"
	"math"
)

// Segmentation scores images one at a time, each by its pixels: the score of
// an image is the mean of the scores of its pixels, which are normalized and
// clamped one by one. A pixel that contains NaN counts as 0, and an image
// without pixels scores NaN. Classes and sizes may differ between images.
type Segmentation struct {
	rows    rowScorer
	vectors []Vector // nil before the first image
	bad     RowsError
	block   [uncertainties][]float64 // scores of some pixels
}

// pixelBlock is how many pixels are scored before their scores are added up.
const pixelBlock = 256

// NewSegmentation returns a scorer without images.
func NewSegmentation(o Options) (*Segmentation, error) {
	if o.Raw {
		return nil, errRaw
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &Segmentation{rows: rowScorer{Options: o}}
	for k := range s.block {
		s.block[k] = make([]float64, pixelBlock)
	}
	return s, nil
}

// AddPixels scores the next image from one row per pixel, as NewPixels gives
// them, in any order. An error leaves the scorer as it was; the caller names
// the image. The matrix is not kept. (A function, because methods cannot have
// type parameters.)
func AddPixels[F Float](s *Segmentation, m Matrix[F]) error {
	if m.Rows > 0 {
		if err := s.rows.setCols(m.Cols); err != nil {
			return err
		}
	}
	var sum [uncertainties]float64
	bad := false
	for first := 0; first < m.Rows; first += pixelBlock {
		n := min(pixelBlock, m.Rows-first)
		part := s.block
		for k := range part {
			part[k] = part[k][:n]
		}
		data := m.Data[first*m.Cols : (first+n)*m.Cols]
		if scoreRows(&s.rows, part, data) > 0 && !bad {
			bad = true
			found := badRows(s.rows.Options, data, m.Cols, first, 1)[0]
			s.bad.add(s.images(), fmt.Sprintf("pixel %d: %s", found.Row, found.Reason))
		}
		for k := range sum {
			for _, v := range part[k] {
				sum[k] += v
			}
		}
	}
	s.append(sum, float64(m.Rows))
	return nil
}

// Region is a set of pixels that share one row of class probabilities, such as
// a run-length encoded mask.
type Region struct {
	Pixels        int // ≥ 0
	Probabilities []float64
}

// AddRegions scores the next image from regions that do not overlap: the same
// scores as from its pixels, up to rounding,
//
//	Σ pixels · u(probabilities) / Σ pixels
//
// It is an error, which leaves the scorer as it was, if a region has a negative
// number of pixels, or pixels but no probabilities, or if such rows differ in
// length. Regions without pixels are not looked at.
func (s *Segmentation) AddRegions(regions []Region) error {
	cols := 0
	for i, r := range regions {
		switch {
		case r.Pixels < 0:
			return fmt.Errorf("region %d has %d pixels", i, r.Pixels)
		case r.Pixels == 0:
			continue
		case cols != 0 && cols != len(r.Probabilities):
			return fmt.Errorf("region %d has %d class probabilities, the first has %d", i, len(r.Probabilities), cols)
		}
		cols = len(r.Probabilities)
		if err := s.rows.setCols(cols); err != nil {
			return fmt.Errorf("region %d: %w", i, err)
		}
	}
	var sum [uncertainties]float64
	pixels := 0.0
	bad := false
	for i, r := range regions {
		if r.Pixels == 0 {
			continue
		}
		u, ok := s.rows.scoreRow(r.Probabilities)
		if !ok && !bad {
			bad = true
			s.bad.add(s.images(), fmt.Sprintf("region %d: %s", i, explain(s.rows.Options, r.Probabilities)))
		}
		for k := range sum {
			sum[k] += float64(float64(r.Pixels) * u[k])
		}
		pixels += float64(r.Pixels)
	}
	s.append(sum, pixels)
	return nil
}

// Result returns the scores of all images, or a *RowsError where some are bad.
// Without images there are no vectors at all, not even empty ones. The scorer
// must not be used afterwards.
func (s *Segmentation) Result() ([]Vector, error) {
	if err := s.bad.err(s.images()); err != nil {
		return nil, err
	}
	return s.vectors, nil
}

func (s *Segmentation) images() int {
	if s.vectors == nil {
		return 0
	}
	return len(s.vectors[0].Values)
}

// append adds the means of one image: NaN where it has no pixels, and not 0/0,
// whose sign depends on the machine.
func (s *Segmentation) append(sum [uncertainties]float64, pixels float64) {
	if s.vectors == nil {
		s.vectors = NewVectors(TaskSemanticSegmentation, 0)
	}
	for k := range sum {
		if sum[k] /= pixels; pixels == 0 {
			sum[k] = math.NaN()
		}
	}
	appendImage(s.vectors, sum[:]...)
}
