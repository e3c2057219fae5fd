package score

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// plainRow is the slow and obvious twin of kernel: the definitions as they are
// written down, for one row of at least two classes.
func plainRow(p []float64, raw bool) [uncertainties]float64 {
	lc, mg, h := math.NaN(), math.NaN(), math.NaN()
	if !slices.ContainsFunc(p, math.IsNaN) {
		sorted := slices.Clone(p)
		slices.Sort(sorted)
		p1, p2 := sorted[len(p)-1], sorted[len(p)-2]
		lc, mg, h = 1-p1, 1-(p1-p2), 0
		for _, v := range p {
			l := 0.0
			if v > 0 {
				l = math.Log2(v)
			}
			h += -v * l
		}
	}
	u := [uncertainties]float64{lc, mg, h}
	classes := float64(len(p))
	for k, most := range []float64{1 - 1/classes, 1, math.Log2(classes)} {
		switch {
		case math.IsNaN(u[k]):
			u[k] = 0
		case math.IsInf(u[k], 1):
			u[k] = math.MaxFloat64
		case math.IsInf(u[k], -1):
			u[k] = -math.MaxFloat64
		}
		if !raw {
			u[k] = math.Min(math.Max(u[k]/most, 0), 1)
		}
	}
	return u
}

// near allows for another base of the logarithm, and treats what overflows in
// one order of operations and not in the other as equal.
func near(a, b float64) bool {
	return math.Abs(a-b) <= 1e-12*max(1, math.Abs(a)) || max(math.Abs(a), math.Abs(b)) > 1e300
}

func checkKernel[F Float](t *rapid.T, data []F, cols int, raw bool) {
	rows := len(data) / cols
	dst := [uncertainties][]float64{make([]float64, rows), make([]float64, rows), make([]float64, rows)}
	kernel(dst, data, cols, newScale(float64(cols), raw))
	for i := range rows {
		row := data[i*cols : (i+1)*cols]
		wide := make([]float64, cols)
		for j, v := range row {
			wide[j] = float64(v)
		}
		for k, want := range plainRow(wide, raw) {
			if got := dst[k][i]; !near(got, want) {
				t.Fatalf("score %d of %v (raw %v) = %v, want %v", k, row, raw, got, want)
			}
		}
	}
}

// entries are what a row may hold, the strange ones included.
func entries() *rapid.Generator[float64] {
	return rapid.OneOf(
		rapid.Float64Range(0, 1),
		rapid.SampledFrom([]float64{0, 0, 1, 0.5, 0.25, 1e-300, 5e-324, -0.2, 3, 1e300, math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1)}),
	)
}

func TestKernelAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cols := rapid.IntRange(2, 40).Draw(t, "cols")
		rows := rapid.IntRange(0, 5).Draw(t, "rows")
		data := rapid.SliceOfN(entries(), rows*cols, rows*cols).Draw(t, "data")
		raw := rapid.Bool().Draw(t, "raw")
		checkKernel(t, data, cols, raw)
		narrow := make([]float32, len(data))
		for i, v := range data {
			narrow[i] = float32(v)
		}
		checkKernel(t, narrow, cols, raw)
	})
}

// The rows that the definitions single out, with their scores.
func TestSingularRows(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, test := range []struct {
		row  []float64
		want [uncertainties]float64
	}{
		{[]float64{0.7, 0.2, 0.1}, [3]float64{0.45, 0.5, 0.7298466991620977}},
		{[]float64{0.4, 0.5, 0.1}, [3]float64{0.75, 0.9, 0.8586727110732553}},
		{[]float64{0.5, 0.5, 0}, [3]float64{0.75, 1, 0.6309297535714575}},
		{[]float64{0, 1, 0}, [3]float64{0, 0, 0}},
		{[]float64{2, 1, 0}, [3]float64{0, 0, 0}},
		{[]float64{0.1, 0.1, 0.1}, [3]float64{1, 1, 0.6287709822868155}},
		{[]float64{0, 0, 0}, [3]float64{1, 1, 0}},
		{[]float64{nan, 0.5, 0.5}, [3]float64{0, 0, 0}},
		{[]float64{0.5, 0.5, nan}, [3]float64{0, 0, 0}},
		{[]float64{inf, 0, 0}, [3]float64{0, 0, 0}},
		{[]float64{-inf, 0.5, 0.5}, [3]float64{0.75, 1, 0}},
		{[]float64{-inf, 0.7}, [3]float64{0.6, 0, 0}},
		{[]float64{-inf, -inf}, [3]float64{1, 0, 0}},
		{[]float64{inf, inf}, [3]float64{0, 0, 0}},
		{[]float64{0.5}, [3]float64{1, 1, 1}},
		{[]float64{1}, [3]float64{0, 0, 0}},
		{[]float64{nan}, [3]float64{0, 0, 0}},
	} {
		vectors, err := Classify(Matrix[float64]{1, len(test.row), test.row}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range vectors {
			if !same(v.Values[0], test.want[k], 1e-12) {
				t.Errorf("%s of %v = %v, want %v", v.Name, test.row, v.Values[0], test.want[k])
			}
		}
	}
	for classes := 2; classes < 2000; classes += 7 {
		row := slices.Repeat([]float64{1 / float64(classes)}, classes)
		vectors, _ := Classify(Matrix[float64]{1, classes, row}, Options{})
		for _, v := range vectors {
			if !same(v.Values[0], 1, 1e-12) {
				t.Errorf("%s of the uniform row of %d classes = %v, want 1", v.Name, classes, v.Values[0])
			}
		}
	}
}

func softmaxMatrix[F Float](rows, cols int) Matrix[F] {
	m := Matrix[F]{rows, cols, make([]F, rows*cols)}
	state := uint64(1)
	row := make([]float64, cols)
	for i := range rows {
		for j := range row {
			state = state*6364136223846793005 + 1442695040888963407
			row[j] = 4 * float64(state>>11) / (1 << 53)
		}
		softmax(row)
		for j, v := range row {
			m.Data[i*cols+j] = F(v)
		}
	}
	return m
}

func BenchmarkClassify(b *testing.B) {
	for _, size := range [][2]int{{1_000_000, 10}, {100_000, 1000}} {
		m := softmaxMatrix[float32](size[0], size[1])
		for _, strict := range []bool{false, true} {
			b.Run(fmt.Sprintf("n=%d/c=%d/strict=%v", m.Rows, m.Cols, strict), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(4 * len(m.Data)))
				for b.Loop() {
					if _, err := Classify(m, Options{Strict: strict}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
