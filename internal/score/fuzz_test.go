package score

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"
)

// values reads float64s from fuzzed bytes, so that every bit pattern occurs.
func values(data []byte) []float64 {
	var out []float64
	for ; len(data) >= 8; data = data[8:] {
		out = append(out, math.Float64frombits(binary.LittleEndian.Uint64(data)))
	}
	return out
}

func bytesOf(values ...float64) []byte {
	var out []byte
	for _, v := range values {
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
	}
	return out
}

// FuzzClassify: whatever the bits, scores are in [0, 1] without NaN, strict
// scores are the same or refused, and streaming agrees with the bulk path.
func FuzzClassify(f *testing.F) {
	f.Add(uint8(3), uint8(0), bytesOf(0.7, 0.2, 0.1, nan, inf, -inf))
	f.Add(uint8(2), uint8(1), bytesOf(1000, -1000, 0, 5e-324))
	f.Add(uint8(1), uint8(0), bytesOf(0.3, 1.7, nan))
	f.Add(uint8(4), uint8(2), bytesOf(1e308, 1e308, 1e308, -1))
	f.Fuzz(func(t *testing.T, cols, kind uint8, data []byte) {
		if cols == 0 {
			return
		}
		m := Matrix[float64]{Cols: int(cols), Data: values(data)}
		m.Rows = len(m.Data) / m.Cols
		m.Data = m.Data[:m.Rows*m.Cols]
		o := Options{Normalization: []string{"", "softmax", "sum"}[kind%3]}
		whole, err := Classify(m, o)
		s, newErr := NewClassification(o)
		if newErr != nil {
			t.Fatal(newErr)
		}
		for i := range m.Rows {
			if err := s.Add(m.Data[i*m.Cols : (i+1)*m.Cols]); err != nil {
				if m.Cols == 1 && o.normalizes() {
					return
				}
				t.Fatal(err)
			}
		}
		streamed, streamErr := s.Result()
		if (err == nil) != (streamErr == nil) {
			t.Fatalf("at once: %v, streamed: %v", err, streamErr)
		}
		strict, strictErr := Classify(m, Options{Normalization: o.Normalization, Strict: true})
		if err != nil {
			if bad, ok := errors.AsType[*RowsError](err); ok && (bad.Bad < 1 || len(bad.First) != min(bad.Bad, maxFirst) || strictErr == nil) {
				t.Fatalf("%#v; strict: %v", bad, strictErr)
			}
			return
		}
		if err := differ(whole, streamed); err != nil {
			t.Fatalf("at once and streamed: %v", err)
		}
		if strictErr == nil {
			if err := differ(whole, strict); err != nil {
				t.Fatalf("lenient and strict: %v", err)
			}
		}
		for _, v := range whole {
			for i, x := range v.Values {
				if !(x >= 0 && x <= 1) {
					t.Fatalf("%s of row %d = %v", v.Name, i, x)
				}
			}
		}
	})
}

// FuzzDetection: no input panics, and with scores the results stay in [0, 1].
func FuzzDetection(f *testing.F) {
	f.Add(bytesOf(0.5, 0.9, 1), bytesOf(0, 4, 2), uint8(1))
	f.Add(bytesOf(nan, 0), bytesOf(1e18, 7), uint8(2))
	f.Fuzz(func(t *testing.T, scoreBits, labelBits []byte, cols uint8) {
		scores := values(scoreBits)
		var labels []int
		for ; len(labelBits) >= 8; labelBits = labelBits[8:] {
			labels = append(labels, int(binary.LittleEndian.Uint64(labelBits)))
		}
		d, err := NewDetection(DefaultDetection(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		images := 0
		if d.AddScored(nil, scores, labels) == nil {
			images++
		}
		if n := int(cols); n > 0 {
			b := Boxes{}
			for rest := scores; len(rest) > n; rest = rest[n+1:] {
				b.ObjectProbabilities = append(b.ObjectProbabilities, rest[0])
				b.ClassProbabilities = append(b.ClassProbabilities, rest[1:n+1])
			}
			if d.Add(b) == nil {
				images++
			}
		}
		vectors, err := d.Result()
		if (err == nil) != (images > 0) {
			t.Fatalf("%d images: %v", images, err)
		}
		for _, v := range vectors {
			if len(v.Values) != images {
				t.Fatalf("%s has %d values for %d images", v.Name, len(v.Values), images)
			}
			for i, x := range v.Values {
				bounded := v.Name != "objectness_least_confidence"
				if x != x || math.IsInf(x, 0) || bounded && !(x >= 0 && x <= 1) {
					t.Fatalf("%s of image %d = %v", v.Name, i, x)
				}
			}
		}
	})
}

// FuzzPixels: no shape makes the scorer read beyond the data or allocate by it.
func FuzzPixels(f *testing.F) {
	f.Add(2, 3, 2, bytesOf(0.5, 0.5, 1, 0, nan, 1, 0.1, 0.9, 0.2, 0.8, 0.3, 0.7))
	f.Add(0, math.MaxInt, 0, []byte{})
	f.Add(1<<62, 4, 1, bytesOf(1))
	f.Fuzz(func(t *testing.T, height, width, classes int, data []byte) {
		m, err := NewPixels([]int{height, width, classes}, values(data))
		if err != nil {
			return
		}
		s, err := NewSegmentation(Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := AddPixels(s, m); err != nil {
			t.Fatal(err)
		}
		vectors, err := s.Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range vectors {
			x := v.Values[0]
			if empty := height == 0 || width == 0; (x != x) != empty || !empty && !(x >= 0 && x <= 1) {
				t.Fatalf("%s of %d × %d pixels = %v", v.Name, height, width, x)
			}
		}
	})
}
