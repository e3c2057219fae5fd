package score

import (
	"errors"
	"fmt"
)

// Keypoints scores images one at a time by how sure their keypoints are:
// mean_uncertainty is 1 minus the mean, over the instances with keypoints, of
// the mean confidence of an instance. An instance with one keypoint weighs as
// much as one with seventeen. An image without such instances scores 0; NaN
// stays NaN.
type Keypoints struct {
	strict bool
	vector Vector
	bad    RowsError
}

// NewKeypoints returns a scorer without images. Keypoints have no rows of
// class probabilities: options other than Strict are an error.
func NewKeypoints(o Options) (*Keypoints, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.normalizes() {
		return nil, errors.New("keypoint confidences cannot be normalized")
	}
	if o.Raw {
		return nil, errRaw
	}
	return &Keypoints{strict: o.Strict, vector: NewVectors(TaskKeypointDetection, 0)[0]}, nil
}

// Add scores the next image. Each instance is [x0, y0, c0, x1, y1, c1, …];
// only the confidences c are looked at. A length that is no multiple of 3 and
// a confidence outside [0, 1] are errors, which leave the scorer as it was; the
// caller names the image.
func (k *Keypoints) Add(instances [][]float64) error {
	var sum float64
	counted := 0
	fault := ""
	for i, points := range instances {
		if len(points)%3 != 0 {
			return fmt.Errorf("instance %d has %d numbers, want x, y and confidence of each keypoint", i, len(points))
		}
		if len(points) == 0 {
			continue
		}
		var total float64
		for j := 2; j < len(points); j += 3 {
			c := points[j]
			if c < 0 || c > 1 {
				return fmt.Errorf("confidence %v of keypoint %d of instance %d is outside [0, 1]", c, j/3, i)
			}
			if k.strict && c != c && fault == "" {
				fault = fmt.Sprintf("instance %d: confidence of keypoint %d is NaN", i, j/3)
			}
			total += c
		}
		sum += total / float64(len(points)/3)
		counted++
	}
	if fault != "" {
		k.bad.add(len(k.vector.Values), fault)
	}
	uncertainty := 0.0
	if counted > 0 {
		uncertainty = 1 - sum/float64(counted)
	}
	k.vector.Values = append(k.vector.Values, uncertainty)
	return nil
}

// Result returns the scores of all images, or a *RowsError where some are bad.
// The scorer must not be used afterwards.
func (k *Keypoints) Result() ([]Vector, error) {
	if err := k.bad.err(len(k.vector.Values)); err != nil {
		return nil, err
	}
	return []Vector{k.vector}, nil
}
