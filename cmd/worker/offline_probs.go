package main

import (
	"context"
	"fmt"
	"math"

	"nextbatch/internal/blob"
	"nextbatch/internal/score"
	"nextbatch/internal/selection"
	"nextbatch/internal/worker"
)

// probabilities reads class probabilities in the order of the samples, NaN
// where a sample has none. A file without filenames has one row per sample.
func (s *samples) probabilities(ctx context.Context, path string) (m selection.Matrix, err error) {
	f, err := blob.OpenPath(ctx, path, "")
	if err != nil {
		return m, err
	}
	defer f.Close()
	names, read, err := worker.Probabilities(ctx, f, score.Options{Strict: true})
	if err != nil {
		return m, err
	}
	if names == nil {
		if read.Rows != len(s.names) {
			return m, fmt.Errorf("%s: %d rows without filenames for %d samples", path, read.Rows, len(s.names))
		}
		return read, nil
	}
	m = selection.Matrix{Rows: len(s.names), Dim: read.Dim, Data: make([]float32, len(s.names)*read.Dim)}
	for i := range m.Data {
		m.Data[i] = float32(math.NaN())
	}
	for i, name := range names {
		row, ok := s.rows[name]
		if !ok {
			return m, fmt.Errorf("%s: filename %q is not among the samples", path, name)
		}
		copy(m.Row(row), read.Row(i))
	}
	return m, nil
}
