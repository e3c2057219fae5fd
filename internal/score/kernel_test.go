package score

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// plainRow is the slow and obvious twin of rawRow: the definitions as they are
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

// kinds returns the instructions that this machine has, plainGo first.
func kinds() []instructions {
	var list []instructions
	for with := plainGo; with <= best; with++ {
		list = append(list, with)
	}
	return list
}

// scoreWith is kernelWith into new vectors. Beyond
// them nothing may be written.
func scoreWith[F Float](t rapid.TB, with instructions, data []F, cols int, raw, strict bool) (dst [uncertainties][]float64, bad int) {
	const guard = 12.5
	rows := len(data) / cols
	for k := range dst {
		dst[k] = slices.Repeat([]float64{guard}, rows+2*groupSize)
	}
	part := dst
	for k := range part {
		part[k] = dst[k][groupSize : groupSize+rows]
	}
	bad = kernelWith(with, part, data, cols, newScale(float64(cols), raw), strict)
	for k := range dst {
		for i, v := range dst[k] {
			if (i < groupSize || i >= groupSize+rows) != (v == guard) {
				t.Fatalf("kernel %d, %d x %d: score %d of row %d is %v", with, rows, cols, k, i-groupSize, v)
			}
		}
	}
	return part, bad
}

// checkKernel compares rawRow with its twin, and the bits that each kind of
// kernel gives with those of rawRow.
func checkKernel[F Float](t rapid.TB, data []F, cols int, raw, strict bool) {
	want, wantBad := scoreWith(t, plainGo, data, cols, raw, strict)
	for i := range want[0] {
		row := data[i*cols : (i+1)*cols]
		wide := make([]float64, cols)
		for j, v := range row {
			wide[j] = float64(v)
		}
		for k, twin := range plainRow(wide, raw) {
			if !near(want[k][i], twin) {
				t.Fatalf("score %d of %v (raw %v) = %v, want %v", k, row, raw, want[k][i], twin)
			}
		}
	}
	for _, with := range kinds()[1:] {
		got, bad := scoreWith(t, with, data, cols, raw, strict)
		if bad != wantBad {
			t.Fatalf("kernel %d, %d columns: %d bad rows, want %d", with, cols, bad, wantBad)
		}
		for k := range want {
			for i := range want[k] {
				if math.Float64bits(got[k][i]) != math.Float64bits(want[k][i]) {
					t.Fatalf("kernel %d: score %d of row %d, %v (raw %v) = %v, want %v",
						with, k, i, data[i*cols:(i+1)*cols], raw, got[k][i], want[k][i])
				}
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
		rows := rapid.IntRange(0, 20).Draw(t, "rows")
		odd := rapid.SampledFrom([]int{0, 1, rows * cols}).Draw(t, "odd")
		data := make([]float64, rows*cols)
		state := rapid.Uint64().Draw(t, "seed")
		for i := range data {
			data[i] = random(&state)
		}
		for range min(odd, len(data)) {
			i := rapid.IntRange(0, len(data)-1).Draw(t, "where")
			data[i] = entries().Draw(t, "entry")
		}
		raw := rapid.Bool().Draw(t, "raw")
		strict := rapid.Bool().Draw(t, "strict")
		checkKernel(t, data, cols, raw, strict)
		checkKernel(t, narrowed(data), cols, raw, strict)
	})
}

// Every width, with rows of every sort next to each other.
func TestKernelWidths(t *testing.T) {
	sorts := []func(row []float64, state *uint64){
		func(row []float64, state *uint64) { // probabilities
			for i := range row {
				row[i] = 6 * random(state)
			}
			softmax(row)
		},
		func(row []float64, state *uint64) { // one-hot
			row[int(random(state)*float64(len(row)))] = 1
		},
		func(row []float64, _ *uint64) { // uniform
			for i := range row {
				row[i] = 1 / float64(len(row))
			}
		},
		func(row []float64, _ *uint64) {}, // zero
		func(row []float64, state *uint64) { // saturated: all but one vanish, some below the normal numbers
			for i := range row {
				row[i] = math.Exp(-760 * random(state))
			}
			row[len(row)/2] = 1
		},
		func(row []float64, state *uint64) { // sum near the limit of strict
			row[0], row[1] = 0.5, 0.501+(random(state)-0.5)*1e-12
		},
		func(row []float64, state *uint64) { // entry near the limit of strict
			row[0] = math.Nextafter(1+entryTolerance, 2*math.Round(random(state)))
		},
		func(row []float64, state *uint64) { // logits
			for i := range row {
				row[i] = 8*random(state) - 4
			}
		},
		func(row []float64, state *uint64) { // broken somewhere
			odd := []float64{nan, math.Copysign(nan, -1), inf, -inf, math.Copysign(0, -1), -1e-7, 1e300, 5e-324}
			for i := range row {
				row[i] = random(state)
			}
			row[int(random(state)*float64(len(row)))] = odd[int(random(state)*float64(len(odd)))]
		},
	}
	state := uint64(7)
	widths := []int{127, 128, 257, 1000}
	for cols := 2; cols <= 70; cols++ {
		widths = append(widths, cols)
	}
	for _, cols := range widths {
		for _, rows := range []int{1, 7, 8, 9, 40} {
			for _, mixed := range []bool{false, true} {
				data := make([]float64, rows*cols)
				for i := range rows {
					kind := 0
					if mixed {
						kind = int(random(&state) * float64(len(sorts)))
					}
					sorts[kind](data[i*cols:(i+1)*cols], &state)
				}
				for k := range 4 {
					checkKernel(t, data, cols, k&1 != 0, k&2 != 0)
					checkKernel(t, narrowed(data), cols, k&1 != 0, k&2 != 0)
				}
			}
		}
	}
}

func narrowed(data []float64) []float32 {
	narrow := make([]float32, len(data))
	for i, v := range data {
		narrow[i] = float32(v)
	}
	return narrow
}

// random returns a number in [0, 1).
func random(state *uint64) float64 {
	*state = *state*6364136223846793005 + 1442695040888963407
	return float64(*state>>11) / (1 << 53)
}

func TestLog2(t *testing.T) {
	for e := -1022; e < 256; e++ {
		if got := log2(math.Ldexp(1, e)); got != float64(e) {
			t.Errorf("log2(2^%d) = %v", e, got)
		}
	}
	if got := log2(inf); got != inf {
		t.Errorf("log2(+Inf) = %v", got)
	}
	const ulp = 0x1p-52
	state := uint64(3)
	for range 200_000 {
		v := math.Ldexp(1+random(&state), int(random(&state)*60)-40)
		want := math.Log2(v)
		if got := log2(v); math.Abs(got-want) > 3e-14+ulp*math.Abs(want) {
			t.Fatalf("log2(%v) = %v, want %v", v, got, want)
		}
	}
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
			row[j] = 4 * random(&state)
		}
		softmax(row)
		for j, v := range row {
			m.Data[i*cols+j] = F(v)
		}
	}
	return m
}

func BenchmarkKernel(b *testing.B) {
	for _, size := range [][2]int{{100_000, 10}, {1000, 1000}} {
		m := softmaxMatrix[float32](size[0], size[1])
		for _, with := range kinds() {
			b.Run(fmt.Sprintf("c=%d/kind=%d", m.Cols, with), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(4 * len(m.Data)))
				dst, _ := scoreWith(b, with, m.Data, m.Cols, false, true)
				s := newScale(float64(m.Cols), false)
				for b.Loop() {
					kernelWith(with, dst, m.Data, m.Cols, s, true)
				}
			})
		}
	}
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
