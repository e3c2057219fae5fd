package score

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShapes(t *testing.T) {
	for _, test := range []struct {
		shape         []int
		values        int
		matrix, pixel bool // accepted as a matrix of images, as pixels of one
	}{
		{[]int{2, 3}, 6, true, false},
		{[]int{2, 3}, 5, false, false},
		{[]int{2, 3}, 0, false, false},
		{[]int{0}, 0, true, false},
		{[]int{0, 3}, 0, true, false},
		{[]int{0, 3}, 3, false, false},
		{[]int{3, 0}, 0, false, false},
		{[]int{-2, -3}, 6, false, false},
		{[]int{math.MaxInt, 0}, 0, false, false},
		{[]int{math.MaxInt, 2}, 2, false, false},
		{nil, 0, false, false},
		{[]int{6}, 6, false, false},
		{[]int{2, 2, 3}, 12, false, true},
		{[]int{2, 2, 3}, 11, false, false},
		{[]int{2, 2, 0}, 0, false, false},
		{[]int{2, 0, 3}, 0, false, true},
		{[]int{2, 0, 0}, 0, false, true},
		{[]int{2, 0, 3}, 3, false, false},
		{[]int{2, -1, -3}, 6, false, false},
		{[]int{math.MaxInt, 0, 3}, 0, false, true},
		{[]int{math.MaxInt/2 + 1, 4, 3}, 0, false, false},
		{[]int{1, 2, 2, 3}, 12, false, false},
	} {
		data := make([]float32, test.values)
		if m, err := NewMatrix(test.shape, data); (err == nil) != test.matrix {
			t.Errorf("NewMatrix(%v, %d values) = %d × %d, %v; want accepted = %v", test.shape, test.values, m.Rows, m.Cols, err, test.matrix)
		}
		if m, err := NewPixels(test.shape, data); (err == nil) != test.pixel {
			t.Errorf("NewPixels(%v, %d values) = %d × %d, %v; want accepted = %v", test.shape, test.values, m.Rows, m.Cols, err, test.pixel)
		}
	}
}

func TestParseDetection(t *testing.T) {
	type object = map[string]any
	for _, test := range []struct {
		in   any
		want DetectionConfig
	}{
		{nil, DetectionConfig{0.25, 0.9}},
		{object{}, DetectionConfig{0.25, 0.9}},
		{object(nil), DetectionConfig{0.25, 0.9}},
		{object{"min_score": 0.5}, DetectionConfig{0.25, 0.5}},
		{object{"frequency_penalty": 1}, DetectionConfig{1, 0.9}},
		{object{"frequency_penalty": int64(0), "min_score": 0.0}, DetectionConfig{0, 0}},
	} {
		got, err := ParseDetection(test.in)
		if err != nil || got != test.want {
			t.Errorf("ParseDetection(%v) = %v, %v, want %v", test.in, got, err, test.want)
		}
	}
	for _, test := range []struct {
		in   any
		want string
	}{
		{[]any{}, "detection configuration is []interface {}, want an object"},
		{"min_score", "detection configuration is string, want an object"},
		{object{"min_score": "a"}, "detection configuration: min_score is a, want a number"},
		{object{"min_score": true}, "detection configuration: min_score is true, want a number"},
		{object{"min_score": nil}, "detection configuration: min_score is <nil>, want a number"},
		{object{"min_score": math.NaN()}, "detection configuration: min_score is NaN, want a number in [0, 1]"},
		{object{"min_score": 1.2}, "detection configuration: min_score is 1.2, want a number in [0, 1]"},
		{object{"max_score": 0.5, "frequency_penalty": -1}, "detection configuration: unknown key \"max_score\", want frequency_penalty or min_score\nfrequency_penalty is -1, want a number in [0, 1]"},
	} {
		got, err := ParseDetection(test.in)
		if err == nil || err.Error() != test.want {
			t.Errorf("ParseDetection(%v): error %v, want %s", test.in, err, test.want)
		}
		if got != DefaultDetection() {
			t.Errorf("ParseDetection(%v) = %v beside an error", test.in, got)
		}
	}
	in := object{"min_score": 0.5}
	ParseDetection(in)
	if diff := cmp.Diff(object{"min_score": 0.5}, in); diff != "" {
		t.Errorf("ParseDetection changed its argument:\n%s", diff)
	}
	if _, err := NewDetection(DetectionConfig{math.NaN(), 0}, Options{}); err == nil {
		t.Error("NewDetection accepts NaN")
	}
}

func TestClip(t *testing.T) {
	got, err := Box{-1, 0.2, 0.5, inf}.Clip()
	if want := (Box{0, 0.2, 0.5, 1}); err != nil || got != want {
		t.Errorf("Clip = %v, %v, want %v", got, err, want)
	}
	for _, b := range []Box{{nan, 0, 1, 1}, {0, 0, 1, nan}, {0.3, 0, 0.3, 1}, {0, 0.5, 1, 0.4}, {1.1, 0, 2, 1}, {}} {
		if got, err := b.Clip(); err == nil {
			t.Errorf("Clip of %v = %v, want an error", b, got)
		}
	}
}

// What the reference accepts by accident, and what would go wrong quietly.
func TestBadImagesLeaveTheScorer(t *testing.T) {
	d, _ := NewDetection(DefaultDetection(), Options{})
	p := []float64{0.5, 0.5}
	box := Box{0, 0, 1, 1}
	for name, err := range map[string]error{
		"more labels than scores":   d.AddScored(nil, []float64{0.5}, []int{0, 1}),
		"negative label":            d.AddScored(nil, []float64{0.5}, []int{-1}),
		"box with NaN":              d.AddScored([]Box{{nan, 0, 1, 1}}, []float64{0.5}, []int{0}),
		"boxes of another number":   d.AddScored([]Box{box, box}, []float64{0.5}, []int{0}),
		"no boxes, known":           d.Add(Boxes{[]Box{}, []float64{0.5}, [][]float64{p}, nil}),
		"empty scores":              d.Add(Boxes{nil, []float64{0.5}, [][]float64{p}, []float64{}}),
		"rows of different lengths": d.Add(Boxes{nil, []float64{0.5, 0.5}, [][]float64{p, {1}}, nil}),
		"empty row":                 d.Add(Boxes{nil, []float64{0.5}, [][]float64{{}}, nil}),
	} {
		if err == nil {
			t.Errorf("detection, %s: no error", name)
		}
	}
	if v, err := d.Result(); err == nil {
		t.Errorf("detection without images gives %v, want an error", v)
	}

	s, _ := NewSegmentation(Options{})
	for name, err := range map[string]error{
		"negative pixels":           s.AddRegions([]Region{{-1, p}}),
		"pixels without classes":    s.AddRegions([]Region{{1, nil}}),
		"rows of different lengths": s.AddRegions([]Region{{1, p}, {1, []float64{1, 0, 0}}}),
	} {
		if err == nil {
			t.Errorf("segmentation, %s: no error", name)
		}
	}
	if v, err := s.Result(); err != nil || v != nil {
		t.Errorf("segmentation without images gives %v, %v, want nothing", v, err)
	}

	c, _ := NewClassification(Options{})
	if c.Add(p) != nil || c.Add([]float64{1}) == nil || c.Add(nil) == nil {
		t.Error("classification takes rows of different lengths")
	}
	if v, err := c.Result(); err != nil || len(v[0].Values) != 1 {
		t.Errorf("classification after bad rows gives %v, %v, want one image", v, err)
	}
}

func TestFirstMax(t *testing.T) {
	for _, test := range []struct {
		row  []float64
		want int
	}{
		{[]float64{0.4, 0.5, 0.1}, 1},
		{[]float64{0.2, 0.4, 0.4}, 1},
		{[]float64{nan, 0.9}, 0},
		{[]float64{0.1, nan, 0.9}, 2},
		{[]float64{0.9, nan, 0.1}, 0},
		{[]float64{-inf, -inf}, 0},
	} {
		if got := firstMax(test.row); got != test.want {
			t.Errorf("firstMax(%v) = %d, want %d", test.row, got, test.want)
		}
	}
}

// A label is a number from outside: it must not become an allocation, nor
// overflow.
func TestHugeLabel(t *testing.T) {
	d, _ := NewDetection(DefaultDetection(), Options{})
	if err := d.AddScored(nil, []float64{0.5, 1}, []int{math.MaxInt, 0}); err != nil {
		t.Fatal(err)
	}
	v, err := d.Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range v {
		if x := v.Values[0]; !(x >= 0 && x <= 1) {
			t.Errorf("%s = %v, want it in [0, 1]", v.Name, x)
		}
	}
}
