package score

import "fmt"

// Box is an upright rectangle relative to its image: (0, 0) is one corner of
// the image and (1, 1) the opposite one. It has no influence on any score.
type Box struct{ X0, Y0, X1, Y1 float64 }

// Clip returns the part of the box inside the image. It is an error if a
// coordinate is NaN or the clipped box has no area.
func (b Box) Clip() (Box, error) {
	c := b
	for _, v := range []*float64{&c.X0, &c.Y0, &c.X1, &c.Y1} {
		if *v != *v {
			return Box{}, fmt.Errorf("box %v has a coordinate that is NaN", b)
		}
		*v = min(max(*v, 0), 1)
	}
	if c.X0 >= c.X1 || c.Y0 >= c.Y1 {
		return Box{}, fmt.Errorf("box %v has no area inside the image, want x0 < x1 and y0 < y1 in [0, 1]", b)
	}
	return c, nil
}

// checkBoxes checks n boxes, where they are known.
func checkBoxes(boxes []Box, n int) error {
	if boxes != nil && len(boxes) != n {
		return fmt.Errorf("%d boxes and predictions for %d", len(boxes), n)
	}
	for i, b := range boxes {
		if _, err := b.Clip(); err != nil {
			return fmt.Errorf("box %d: %w", i, err)
		}
	}
	return nil
}
