package selection

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"testing"

	"nextbatch/internal/bitmask"
)

// FuzzSelect throws any numbers at Select: it must refuse them, or agree with
// the naive selection.
func FuzzSelect(f *testing.F) {
	f.Add([]byte("\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x80\x3f"), uint64(1), uint64(6), 0, 0.0, byte(1))
	f.Add([]byte("\x00\x00\x80\x7f\x00\x00\x00\x40\x00\x00\xc0\x7f"), uint64(0), uint64(7), 3, 1.5, byte(2))
	f.Fuzz(func(t *testing.T, values []byte, preselected, pool uint64, k int, distance float64, dim byte) {
		values = values[:min(len(values), 4*40)]
		x := Matrix{Dim: int(dim)}
		for ; len(values) >= 4; values = values[4:] {
			x.Data = append(x.Data, math.Float32frombits(binary.LittleEndian.Uint32(values)))
		}
		if dim > 0 {
			x.Rows = len(x.Data) / x.Dim
		}
		q := Query{Method: Coral, Rows: x.Rows, Embeddings: x, BatchSize: k, MinDistance: distance, Seed: pool,
			Filenames: strconv.Itoa, Pool: bitmask.New(0), Preselected: bitmask.New(0),
			ScoreExponent: 1, DistanceExponent: 1, ScoreFloor: 0.25, DistanceCap: float64(preselected % 4)}
		for row := range min(64, x.Rows) {
			q.Scores = append(q.Scores, float64(row%3)/2)
			if pool>>row&1 == 1 {
				q.Pool.Set(row)
			} else if preselected>>row&1 == 1 {
				q.Preselected.Set(row)
			}
		}
		s, err := Select(q)
		if err != nil {
			return
		}
		if want, _ := naive(q); !slices.Equal(pickedRows(s), want) {
			t.Fatalf("picks %v, want %v", pickedRows(s), want)
		}
		compareEngines(t, "fuzz", q, kernels()[:1], 1) // Select takes bruteForce at this size
	})
}
