package score

import (
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestNames(t *testing.T) {
	want := map[string][]string{
		"classification":        {"uncertainty_least_confidence", "uncertainty_margin", "uncertainty_entropy"},
		"semantic_segmentation": {"uncertainty_least_confidence", "uncertainty_margin", "uncertainty_entropy"},
		"object_detection": {
			"object_frequency", "objectness_least_confidence",
			"uncertainty_least_confidence", "uncertainty_margin", "uncertainty_entropy",
		},
		"keypoint_detection": {"mean_uncertainty"},
		"instance_juggling":  nil,
	}
	for task, names := range want {
		got := Names(task)
		if diff := cmp.Diff(names, got); diff != "" {
			t.Errorf("Names(%q) (-want +got):\n%s", task, diff)
		}
		clear(got) // ours: must not change the next answer
	}
	if got := Names("classification")[0]; got != "uncertainty_least_confidence" {
		t.Errorf("Names returns shared memory: now %q", got)
	}
}

// probabilities draws a row of cols probabilities that sum to one.
func probabilities(t *rapid.T, cols int) []float64 {
	row := rapid.SliceOfN(rapid.Float64Range(0, 1), cols, cols).Draw(t, "row")
	row[rapid.IntRange(0, cols-1).Draw(t, "sure")] += 0.01
	divideBySum(row)
	return row
}

func checkRange(t *rapid.T, vectors []Vector) {
	for _, v := range vectors {
		for i, x := range v.Values {
			if !(x >= 0 && x <= 1) {
				t.Fatalf("%s of row %d = %v, want it in [0, 1]", v.Name, i, x)
			}
		}
	}
}

// Whatever the entries are: scores lie in [0, 1], rows do not influence one
// another, and a matrix in ranges, a matrix at once and one image at a time
// agree in every bit.
func TestClassificationRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cols, rows := rapid.IntRange(1, 12).Draw(t, "cols"), rapid.IntRange(1, 300).Draw(t, "rows")
		seedRows := rapid.SliceOfN(rapid.SliceOfN(entries(), cols, cols), 1, 6).Draw(t, "seeds")
		m := Matrix[float64]{Rows: rows, Cols: cols}
		o := Options{}
		if cols > 1 && rapid.Bool().Draw(t, "softmax") {
			o.Normalization = NormalizeSoftmax
			for _, row := range seedRows {
				for j, v := range row {
					if v != v || math.IsInf(v, 0) {
						row[j] = 1
					}
				}
			}
		}
		s, err := NewClassification(o)
		if err != nil {
			t.Fatal(err)
		}
		seed := func(i int) []float64 { return seedRows[(i*i+i/3)%len(seedRows)] }
		for i := range rows {
			m.Data = append(m.Data, seed(i)...)
			if err := s.Add(seed(i)); err != nil {
				t.Fatal(err)
			}
		}
		whole, err := Classify(m, o)
		if err != nil {
			t.Fatal(err)
		}
		checkRange(t, whole)
		streamed, err := s.Result()
		if err != nil {
			t.Fatal(err)
		}
		if err := differ(whole, streamed); err != nil {
			t.Fatalf("at once and streamed: %v", err)
		}
		ranges := NewVectors(TaskClassification, rows)
		for from := 0; from < rows; {
			to := min(rows, from+rapid.IntRange(1, rows).Draw(t, "range"))
			if err := ClassifyRows(ranges, from, part(m, from, to), o); err != nil {
				t.Fatal(err)
			}
			from = to
		}
		if err := differ(whole, ranges); err != nil {
			t.Fatalf("at once and in ranges: %v", err)
		}
		for i := range rows {
			alone, err := Classify(Matrix[float64]{1, cols, seed(i)}, o)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range alone {
				if !same(v.Values[0], whole[k].Values[i], 0) {
					t.Fatalf("%s of row %d: %v alone, %v among others", v.Name, i, v.Values[0], whole[k].Values[i])
				}
			}
		}
	})
}

// Run under -race: disjoint ranges of one result at the same time.
// part returns the rows from … to-1 of m.
func part[F Float](m Matrix[F], from, to int) Matrix[F] {
	return Matrix[F]{to - from, m.Cols, m.Data[from*m.Cols : to*m.Cols]}
}

func TestClassifyRowsInParallel(t *testing.T) {
	m := softmaxMatrix[float32](5000, 7)
	dst := NewVectors(TaskClassification, m.Rows)
	errs := make([]error, 5)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { errs[i] = ClassifyRows(dst, i*1000, part(m, i*1000, (i+1)*1000), Options{Strict: true}) })
	}
	group.Wait()
	if err := JoinRows(errs...); err != nil {
		t.Fatal(err)
	}
	whole, err := Classify(m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := differ(whole, dst); err != nil {
		t.Error(err)
	}
}

func TestScoringAllocatesNothingPerRow(t *testing.T) {
	few, many := softmaxMatrix[float32](10, 20), softmaxMatrix[float32](4000, 20)
	for _, o := range []Options{{}, {Strict: true}, {Normalization: NormalizeSoftmax}} {
		small := testing.AllocsPerRun(5, func() { Classify(few, o) })
		large := testing.AllocsPerRun(5, func() { Classify(many, o) })
		if large > small {
			t.Errorf("%+v: %v allocations for 10 rows, %v for 4000", o, small, large)
		}
	}
	s, _ := NewSegmentation(Options{Strict: true})
	d, _ := NewDetection(DefaultDetection(), Options{Strict: true})
	k, _ := NewKeypoints(Options{})
	row := []float64{0.5, 0.25, 0.25}
	boxes := Boxes{ObjectProbabilities: make([]float64, 100), ClassProbabilities: slices.Repeat([][]float64{row}, 100)}
	labels := make([]int, 100)
	instances := slices.Repeat([][]float64{{0, 0, 0.5}}, 100)
	regions := slices.Repeat([]Region{{3, row}}, 100)
	for name, add := range map[string]func() error{
		"AddPixels":       func() error { return AddPixels(s, many) },
		"AddRegions":      func() error { return s.AddRegions(regions) },
		"Detection.Add":   func() error { return d.Add(boxes) },
		"AddScored":       func() error { return d.AddScored(nil, boxes.ObjectProbabilities, labels) },
		"Keypoints.Add":   func() error { return k.Add(instances) },
		"AddPixels again": func() error { return AddPixels(s, few) },
	} {
		// A result grows by append, which is less than one allocation a call.
		allocs := testing.AllocsPerRun(200, func() {
			if err := add(); err != nil {
				t.Fatal(err)
			}
		})
		if allocs >= 1 {
			t.Errorf("%s: %v allocations per image", name, allocs)
		}
	}
}

// Regions score as the pixels that they stand for, and a score does not depend
// on the other images.
func TestRegionsAgainstPixels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dense, _ := NewSegmentation(Options{})
		coded, _ := NewSegmentation(Options{})
		last, _ := NewSegmentation(Options{})
		for range rapid.IntRange(1, 4).Draw(t, "images") {
			cols := rapid.IntRange(1, 6).Draw(t, "cols")
			var regions []Region
			m := Matrix[float64]{Cols: cols}
			for range rapid.IntRange(0, 5).Draw(t, "regions") {
				r := Region{rapid.IntRange(0, 400).Draw(t, "pixels"), rapid.SliceOfN(entries(), cols, cols).Draw(t, "row")}
				regions = append(regions, r)
				m.Rows += r.Pixels
				m.Data = append(m.Data, slices.Repeat(r.Probabilities, r.Pixels)...)
			}
			last, _ = NewSegmentation(Options{})
			for _, err := range []error{AddPixels(dense, m), AddPixels(last, m), coded.AddRegions(regions)} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		a, _ := dense.Result()
		b, _ := coded.Result()
		c, _ := last.Result()
		for k, v := range a {
			for i, x := range v.Values {
				if y := b[k].Values[i]; !same(x, y, 1e-12) {
					t.Fatalf("%s of image %d: %v from pixels, %v from regions", v.Name, i, x, y)
				}
				if x == x && !(x >= 0 && x <= 1) {
					t.Fatalf("%s of image %d = %v, want it in [0, 1]", v.Name, i, x)
				}
			}
			if x, y := v.Values[len(v.Values)-1], c[k].Values[0]; !same(x, y, 0) {
				t.Fatalf("%s: %v among others, %v alone", v.Name, x, y)
			}
		}
	})
}

// Scored boxes are a shorthand for rows of class probabilities, which are
// written out here.
func TestAddScoredAgainstRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		short, _ := NewDetection(DefaultDetection(), Options{})
		long, _ := NewDetection(DefaultDetection(), Options{})
		for range rapid.IntRange(1, 5).Draw(t, "images") {
			labels := rapid.SliceOfN(rapid.IntRange(0, 9), 0, 8).Draw(t, "labels")
			scores := rapid.SliceOfN(rapid.Float64Range(0, 1), len(labels), len(labels)).Draw(t, "scores")
			others := 1
			for _, l := range labels {
				others = max(others, l)
			}
			rows := make([][]float64, len(labels))
			for i, l := range labels {
				rows[i] = slices.Repeat([]float64{(1 - scores[i]) / float64(others)}, others+1)
				rows[i][l] = scores[i]
			}
			if err := short.AddScored(nil, scores, labels); err != nil {
				t.Fatal(err)
			}
			if err := long.Add(Boxes{nil, scores, rows, scores}); err != nil {
				t.Fatal(err)
			}
		}
		a, _ := short.Result()
		b, _ := long.Result()
		checkRange(t, a)
		for k := 1; k < len(a); k++ { // object_frequency takes labels, which a low score does not imply
			for i, x := range a[k].Values {
				if y := b[k].Values[i]; !same(x, y, 1e-12) {
					t.Fatalf("%s of image %d: %v from scores, %v from rows", a[k].Name, i, x, y)
				}
			}
		}
	})
}

// Images score what they score alone, the data-set-wide score apart, and the
// order of boxes does not matter.
func TestDetectionImagesAreIndependent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, _ := NewDetection(DefaultDetection(), Options{Strict: true})
		var alone [][]Vector
		for range rapid.IntRange(1, 4).Draw(t, "images") {
			cols := rapid.IntRange(2, 5).Draw(t, "cols")
			var b Boxes
			for range rapid.IntRange(0, 5).Draw(t, "boxes") {
				b.ClassProbabilities = append(b.ClassProbabilities, probabilities(t, cols))
				b.ObjectProbabilities = append(b.ObjectProbabilities, rapid.Float64Range(0, 1).Draw(t, "object"))
			}
			if err := all.Add(b); err != nil {
				t.Fatal(err)
			}
			slices.Reverse(b.ClassProbabilities)
			slices.Reverse(b.ObjectProbabilities)
			one, _ := NewDetection(DefaultDetection(), Options{})
			if err := one.Add(b); err != nil {
				t.Fatal(err)
			}
			v, _ := one.Result()
			alone = append(alone, v)
		}
		together, err := all.Result()
		if err != nil {
			t.Fatal(err)
		}
		checkRange(t, together)
		for i, one := range alone {
			for k := 1; k < len(one); k++ {
				if x, y := one[k].Values[0], together[k].Values[i]; !same(x, y, 1e-12) {
					t.Fatalf("%s of image %d: %v alone, %v among others", one[k].Name, i, x, y)
				}
			}
		}
	})
}

func TestKeypointsRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, _ := NewKeypoints(Options{Strict: true})
		for range rapid.IntRange(0, 5).Draw(t, "images") {
			instances := make([][]float64, rapid.IntRange(0, 4).Draw(t, "instances"))
			for i := range instances {
				for range rapid.IntRange(0, 5).Draw(t, "points") {
					instances[i] = append(instances[i], 300, -5, rapid.Float64Range(0, 1).Draw(t, "c"))
				}
			}
			if err := k.Add(instances); err != nil {
				t.Fatal(err)
			}
		}
		v, err := k.Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range v[0].Values {
			if !(x >= 0 && x <= 1) {
				t.Fatalf("mean_uncertainty = %v, want it in [0, 1]", x)
			}
		}
	})
}

func TestTop(t *testing.T) {
	wide := Matrix[float32]{Rows: 3, Cols: 3, Data: []float32{0.2, 0.5, 0.3, 0.4, 0.2, 0.4, -5, -7, 9}}
	got := make([]float64, 3)
	if Top(got, wide); got[0] != 1 || got[1] != 0 || got[2] != 2 {
		t.Error(got)
	}
	one := Matrix[float64]{Rows: 3, Cols: 1, Data: []float64{0.7, 0.5, 0.2}} // of the first class
	if Top(got, one); got[0] != 0 || got[1] != 0 || got[2] != 1 {
		t.Error(got)
	}
}
