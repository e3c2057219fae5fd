package score

import (
	"fmt"
	"math"
	"unsafe"
)

// Float is the element type of predictions. All arithmetic is in float64.
type Float interface{ float32 | float64 }

// sizeof returns the bytes of one element.
func sizeof[F Float]() int { return int(unsafe.Sizeof(*new(F))) }

// Matrix is a row-major matrix of class probabilities, one row per image or
// pixel. One column stands for the probability of the first of two classes.
type Matrix[F Float] struct {
	Rows, Cols int
	Data       []F // len = Rows*Cols; only read
}

// NewMatrix returns data as a matrix with one row per image. It is an error if
// the shape is not rows × columns, has no columns, or is not that of the data.
// A shape without rows is an empty matrix, whatever else it says.
func NewMatrix[F Float](shape []int, data []F) (Matrix[F], error) {
	if len(shape) > 0 && shape[0] == 0 && len(data) == 0 {
		return Matrix[F]{}, nil
	}
	if len(shape) != 2 {
		return Matrix[F]{}, fmt.Errorf("predictions have shape %v, want rows × classes", shape)
	}
	return newMatrix(shape, data)
}

// NewPixels returns data as a matrix with one row per pixel of one image. It
// is an error if the shape is not height × width × classes, has pixels but no
// classes, or is not that of the data.
func NewPixels[F Float](shape []int, data []F) (Matrix[F], error) {
	if len(shape) != 3 {
		return Matrix[F]{}, fmt.Errorf("segmentation has shape %v, want height × width × classes", shape)
	}
	return newMatrix(shape, data)
}

// newMatrix makes the last axis the columns and all others the rows.
func newMatrix[F Float](shape []int, data []F) (Matrix[F], error) {
	m := Matrix[F]{Rows: 1, Cols: shape[len(shape)-1], Data: data}
	for i, n := range shape {
		if n < 0 {
			return Matrix[F]{}, fmt.Errorf("shape %v has a negative axis", shape)
		}
		if i == len(shape)-1 {
			break
		}
		if n > 0 && m.Rows > math.MaxInt/n {
			return Matrix[F]{}, fmt.Errorf("shape %v is too large", shape)
		}
		m.Rows *= n
	}
	switch {
	case m.Rows > 0 && m.Cols == 0:
		return Matrix[F]{}, fmt.Errorf("shape %v has no classes", shape)
	case m.Rows == 0 && len(data) != 0,
		m.Rows > 0 && (len(data)%m.Cols != 0 || len(data)/m.Cols != m.Rows):
		return Matrix[F]{}, fmt.Errorf("%d values do not fill shape %v", len(data), shape)
	}
	return m, nil
}
