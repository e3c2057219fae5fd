package score

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	inf = math.Inf(1)
	nan = math.NaN()
)

func TestStrictRows(t *testing.T) {
	for _, test := range []struct {
		normalization string
		row           []float64
		reason        string // "" means good
	}{
		{"", []float64{0.2, 0.8}, ""},
		{"none", []float64{0.2, 0.8009}, ""},
		{"", []float64{0.2, 0.8011}, "sums to 1.0011, not 1"},
		{"", []float64{0.2, 0.7989}, "sums to 0.9989000000000001, not 1"},
		{"", []float64{0, 0, 0}, "sums to 0, not 1"},
		{"", []float64{1.0000005, -0.0000005}, ""},
		{"", []float64{1.000002, 0}, "entry 0 is 1.000002, outside [0, 1]"},
		{"", []float64{1, -0.000002}, "entry 1 is -2e-06, outside [0, 1]"},
		{"", []float64{1.2, -0.2}, "entry 0 is 1.2, outside [0, 1]"},
		{"", []float64{0.5, 0.6, -0.1}, "entry 2 is -0.1, outside [0, 1]"},
		{"", []float64{0.5, nan}, "entry 1 is NaN"},
		{"", []float64{0.5, inf}, "entry 1 is +Inf, outside [0, 1]"},
		{"", []float64{-inf, 1}, "entry 0 is -Inf, outside [0, 1]"},
		{"", []float64{0.3}, ""},
		{"", []float64{1.5}, "entry 0 is 1.5, outside [0, 1]"},
		{"", []float64{nan}, "entry 0 is NaN"},
		{"softmax", []float64{-3, 40, 1000}, ""},
		{"softmax", []float64{-inf, 2, 2}, ""},
		{"softmax", []float64{2, inf}, "logits without a finite maximum"},
		{"softmax", []float64{-inf, -inf}, "logits without a finite maximum"},
		{"softmax", []float64{1, nan}, "entry 1 is NaN"},
		{"sum", []float64{3, 9}, ""},
		{"sum", []float64{0, 0}, "sums to 0: cannot be divided by it"},
		{"sum", []float64{1, -2}, "sums to -1: cannot be divided by it"},
		{"sum", []float64{1, inf}, "sums to +Inf: cannot be divided by it"},
		{"sum", []float64{3, -1}, "entry 0 is 1.5, outside [0, 1]"},
		{"sum", []float64{1, nan}, "entry 1 is NaN"},
	} {
		o := Options{Normalization: test.normalization, Strict: true}
		m := Matrix[float64]{1, len(test.row), test.row}
		_, err := Classify(m, o)
		var got string
		if rows, ok := errors.AsType[*RowsError](err); ok {
			got = rows.First[0].Reason
		} else if err != nil {
			t.Errorf("%s %v: %v", test.normalization, test.row, err)
		}
		if got != test.reason {
			t.Errorf("%q %v is bad because %q, want %q", test.normalization, test.row, got, test.reason)
		}
		s, _ := NewClassification(o)
		if err := s.Add(test.row); err != nil {
			t.Fatal(err)
		}
		if _, streamed := s.Result(); !cmp.Equal(streamed, err) {
			t.Errorf("%q %v: streamed %v, at once %v", test.normalization, test.row, streamed, err)
		}
	}
}

// Without Strict only what cannot be normalized is bad.
func TestLenientRows(t *testing.T) {
	rows := []float64{nan, 0.5, 7, 7, 0, 0, 0.5, 0.5}
	m := Matrix[float64]{4, 2, rows}
	if _, err := Classify(m, Options{}); err != nil {
		t.Errorf("no normalization: %v", err)
	}
	for kind, want := range map[string][]int{NormalizeSoftmax: {0}, NormalizeSum: {0, 2}} {
		_, err := Classify(m, Options{Normalization: kind})
		bad, ok := errors.AsType[*RowsError](err)
		if !ok {
			t.Fatalf("%s: error %v, want a *RowsError", kind, err)
		}
		var got []int
		for _, row := range bad.First {
			got = append(got, row.Row)
		}
		if !slices.Equal(got, want) || bad.Bad != len(want) || bad.Total != 4 {
			t.Errorf("%s: %v, want the rows %v of 4", kind, bad, want)
		}
	}
}

// Errors of ranges add up to the error of the whole matrix, in any order.
func TestJoinRows(t *testing.T) {
	m := softmaxMatrix[float32](900, 3)
	for _, i := range []int{3, 299, 300, 301, 600, 601, 899} {
		m.Data[3*i+1] = float32(nan)
	}
	o := Options{Strict: true}
	_, whole := Classify(m, o)
	want := "7 of 900 predictions are bad (row 3: entry 1 is NaN; row 299: entry 1 is NaN; row 300: entry 1 is NaN; row 301: entry 1 is NaN; row 600: entry 1 is NaN; …)"
	if whole == nil || whole.Error() != want {
		t.Fatalf("error %v, want %s", whole, want)
	}
	dst := NewVectors(TaskClassification, m.Rows)
	var errs []error
	for _, from := range []int{600, 0, 310, 300} {
		to := map[int]int{600: 900, 0: 300, 310: 600, 300: 310}[from]
		errs = append(errs, ClassifyRows(dst, from, part(m, from, to), o))
	}
	if diff := cmp.Diff(whole, JoinRows(errs...)); diff != "" {
		t.Errorf("joined error (-whole +joined):\n%s", diff)
	}
	if err := JoinRows(nil, nil); err != nil {
		t.Errorf("JoinRows(nil, nil) = %v", err)
	}
	other := errors.New("other")
	if err := JoinRows(errs[0], other); err != other {
		t.Errorf("JoinRows with another error = %v, want that", err)
	}
}

// Each task names the image and what is wrong in it; one bad image does not
// hide the next.
func TestStrictImages(t *testing.T) {
	o := Options{Strict: true}
	good, bad := []float64{0.5, 0.5}, []float64{0.5, 0.6}
	first := func(result func() ([]Vector, error)) *RowsError {
		t.Helper()
		_, err := result()
		rows, _ := errors.AsType[*RowsError](err)
		return rows
	}
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}

	s, err := NewSegmentation(o)
	must(err)
	pixels := Matrix[float64]{600, 2, slices.Repeat(good, 600)}
	must(AddPixels(s, pixels))
	broken := Matrix[float64]{600, 2, slices.Clone(pixels.Data)}
	copy(broken.Data[2*517:], slices.Concat(bad, bad))
	must(AddPixels(s, broken), s.AddRegions([]Region{{4, good}, {0, nil}, {2, bad}, {1, bad}}))
	want := &RowsError{Total: 3, Bad: 2, First: []BadRow{
		{1, "pixel 517: sums to 1.1, not 1"}, {2, "region 2: sums to 1.1, not 1"},
	}}
	if diff := cmp.Diff(want, first(s.Result)); diff != "" {
		t.Errorf("segmentation (-want +got):\n%s", diff)
	}

	d, err := NewDetection(DefaultDetection(), o)
	must(err)
	rows := func(rows ...[]float64) [][]float64 { return rows }
	must(
		d.Add(Boxes{nil, []float64{0.5, 1}, rows(good, good), nil}),
		d.Add(Boxes{nil, []float64{0.5, 1}, rows(good, bad), nil}),
		d.Add(Boxes{nil, []float64{1.5}, rows(good), nil}),
		d.Add(Boxes{nil, []float64{0.5}, rows(good), []float64{nan}}),
		d.AddScored(nil, []float64{0.5, nan}, []int{1, 2}),
	)
	want = &RowsError{Total: 5, Bad: 4, First: []BadRow{
		{1, "box 1: sums to 1.1, not 1"},
		{2, "box 0: object probability 1.5"},
		{3, "box 0: score NaN"},
		{4, "box 1: score NaN"},
	}}
	if diff := cmp.Diff(want, first(d.Result)); diff != "" {
		t.Errorf("detection (-want +got):\n%s", diff)
	}

	k, err := NewKeypoints(o)
	must(err)
	must(k.Add([][]float64{{1, 2, 0.5}}), k.Add([][]float64{{}, {1, 2, 0.5, nan, nan, nan}}))
	want = &RowsError{Total: 2, Bad: 1, First: []BadRow{{1, "instance 1: confidence of keypoint 1 is NaN"}}}
	if diff := cmp.Diff(want, first(k.Result)); diff != "" {
		t.Errorf("keypoints (-want +got):\n%s", diff)
	}
}

// Normalized rows score as the probabilities they stand for, in every task.
func TestNormalization(t *testing.T) {
	logits := []float64{1002, 1001, 1000}
	weights := []float64{math.Exp(2), math.E, 1}
	total := weights[0] + weights[1] + weights[2]
	p := []float64{weights[0] / total, weights[1] / total, weights[2] / total}
	scores := func(row []float64, o Options) [3][]Vector {
		t.Helper()
		c, err := Classify(Matrix[float64]{1, 3, row}, o)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := NewSegmentation(o)
		if err := AddPixels(s, Matrix[float64]{2, 3, slices.Repeat(row, 2)}); err != nil {
			t.Fatal(err)
		}
		d, _ := NewDetection(DefaultDetection(), o)
		if err := d.Add(Boxes{nil, []float64{0.5}, [][]float64{row}, nil}); err != nil {
			t.Fatal(err)
		}
		seg, err1 := s.Result()
		det, err2 := d.Result()
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		return [3][]Vector{c, seg, det}
	}
	want := scores(p, Options{})
	for kind, row := range map[string][]float64{NormalizeSoftmax: logits, NormalizeSum: weights, NormalizeNone: p} {
		kept := slices.Clone(row)
		got := scores(row, Options{Normalization: kind, Strict: true})
		for i := range want {
			for k, v := range want[i] {
				if g := got[i][k].Values[0]; !same(g, v.Values[0], 1e-12) {
					t.Errorf("%s, task %d: %s = %v, want %v", kind, i, v.Name, g, v.Values[0])
				}
			}
		}
		if !slices.Equal(row, kept) {
			t.Errorf("%s changed the caller's row to %v", kind, row)
		}
	}
}

func TestNormalizedRowsSumToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := rapid.SliceOfN(rapid.Float64Range(-800, 800), 2, 30).Draw(t, "logits")
		shifted := slices.Clone(row)
		for i := range shifted {
			shifted[i] += 64
		}
		if !softmax(row) || !softmax(shifted) || !valid(row) {
			t.Fatalf("softmax gives %v", row)
		}
		for i := range row {
			if !same(row[i], shifted[i], 1e-10) {
				t.Fatalf("entry %d is %v, with shifted logits %v", i, row[i], shifted[i])
			}
		}
	})
}

func TestBadOptions(t *testing.T) {
	one := Matrix[float64]{1, 1, []float64{0.5}}
	for name, run := range map[string]func() error{
		"unknown normalization": func() error { _, err := Classify(one, Options{Normalization: "sigmoid"}); return err },
		"softmax of one column": func() error { _, err := Classify(one, Options{Normalization: "softmax"}); return err },
		"sum of one column":     func() error { _, err := Classify(one, Options{Normalization: "sum"}); return err },
		"streamed":              func() error { _, err := NewClassification(Options{Normalization: "?"}); return err },
		"segmentation":          func() error { _, err := NewSegmentation(Options{Normalization: "?"}); return err },
		"pixels of one column": func() error {
			s, _ := NewSegmentation(Options{Normalization: "softmax"})
			return AddPixels(s, one)
		},
		"segmentation, raw":  func() error { _, err := NewSegmentation(Options{Raw: true}); return err },
		"detection":          func() error { _, err := NewDetection(DetectionConfig{}, Options{Normalization: "?"}); return err },
		"detection, raw":     func() error { _, err := NewDetection(DetectionConfig{}, Options{Raw: true}); return err },
		"keypoints":          func() error { _, err := NewKeypoints(Options{Normalization: "?"}); return err },
		"keypoints, raw":     func() error { _, err := NewKeypoints(Options{Raw: true}); return err },
		"keypoints, softmax": func() error { _, err := NewKeypoints(Options{Normalization: "softmax"}); return err },
	} {
		if err := run(); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.ToLower(err.Error()[:1]) != err.Error()[:1] {
			t.Errorf("%s: error %q does not begin in lower case", name, err)
		}
	}
}
