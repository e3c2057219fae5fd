package blob

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/score"
)

func TestDetections(t *testing.T) {
	boxes := []score.Box{{X0: 0, Y0: 0, X1: 0.5, Y1: 0.5}, {X0: 0.25, Y0: 0.25, X1: 1, Y1: 1}}
	for _, c := range []struct {
		file  string
		names []string
		want  []Detections
	}{
		{"detection.jsonl", []string{"a.jpg", "b.jpg", "c.jpg"}, []Detections{
			{Boxes: score.Boxes{Boxes: boxes, ObjectProbabilities: []float64{0.5, 0.75}, ClassProbabilities: [][]float64{{0.5, 0.5}, {0.25, 0.75}}}},
			{Boxes: score.Boxes{ObjectProbabilities: []float64{0.5}, ClassProbabilities: [][]float64{{0.5, 0.5}}, Scores: []float64{0.25}}},
			{Boxes: score.Boxes{Boxes: []score.Box{}, ObjectProbabilities: []float64{}, ClassProbabilities: [][]float64{}}},
		}},
		{"detection_scored.jsonl", []string{"a.jpg", "b.jpg", "c.jpg"}, []Detections{
			{Boxes: score.Boxes{Boxes: boxes, Scores: []float64{0.5, 0.75}}, Labels: []int{0, 4}},
			{Boxes: score.Boxes{Scores: []float64{0.5}}, Labels: []int{1}},
			{Boxes: score.Boxes{Boxes: []score.Box{}}},
		}},
		{"tree", []string{"a.jpg", "sub/b.jpg", "z.jpg"}, []Detections{
			{Boxes: score.Boxes{Scores: []float64{0.5, 0.75}}, Labels: []int{2, 0}},
			{Boxes: score.Boxes{Scores: []float64{}}, Labels: []int{}},
			{Boxes: score.Boxes{ObjectProbabilities: []float64{0.5}, ClassProbabilities: [][]float64{{0.25, 0.5, 0.25}}, Scores: []float64{0.5}}},
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			scorer, err := score.NewDetection(score.DefaultDetection(), score.Options{Strict: true})
			if err != nil {
				t.Fatal(err)
			}
			var got []Detections
			names, err := EachDetections(open(t, c.file, ""), func(d Detections) error {
				err := d.Add(scorer)
				got = append(got, cloned(d))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.names, names); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if _, err := scorer.Result(); err != nil {
				t.Error(err)
			}
		})
	}
}

// cloned copies what is only valid during a call.
func cloned(d Detections) Detections {
	b := d.Boxes
	return Detections{Labels: slices.Clone(d.Labels), Boxes: score.Boxes{
		Boxes: slices.Clone(b.Boxes), Scores: slices.Clone(b.Scores),
		ObjectProbabilities: slices.Clone(b.ObjectProbabilities), ClassProbabilities: clonedRows(b.ClassProbabilities),
	}}
}

func clonedRows(rows [][]float64) [][]float64 {
	c := slices.Clone(rows)
	for i, row := range c {
		c[i] = slices.Clone(row)
	}
	return c
}

func TestPixels(t *testing.T) {
	// Pixels of the images: rows 0 and 1 of the probabilities, and all five.
	small := append(append([]float64{}, wantProbs[:6]...), wantProbs[:6]...)
	large := append(append(append([]float64{}, wantProbs...), wantProbs...), wantProbs...)
	var transposed []float64 // the Fortran array: the same pixels in another order
	for i := range 5 {
		for range 3 {
			transposed = append(transposed, wantProbs[3*i:3*i+3]...)
		}
	}
	eleven, numbers := [][]float64{}, []string{}
	for i := range 11 {
		eleven, numbers = append(eleven, small), append(numbers, string(rune('0'+i))+".png")
	}
	numbers[10] = "10.png"
	for _, c := range []struct {
		file  string
		names []string
		want  [][]float64
	}{
		{"seg.npz", []string{"a.png", "sub/b.png", "c.png"}, [][]float64{small, large, transposed}},
		{"seg_numbered.npz", numbers, eleven},
		{"seg_unnamed.npz", nil, [][]float64{small, large}},
		{"seg.jsonl", []string{"a.png", "b.png"}, [][]float64{small, large}},
	} {
		t.Run(c.file, func(t *testing.T) {
			scorer, err := score.NewSegmentation(score.Options{Strict: true})
			if err != nil {
				t.Fatal(err)
			}
			var got [][]float64
			names, err := EachPixels(open(t, c.file, ""), func(p Pixels) error {
				data := append([]float64{}, p.Float64.Data...)
				for _, v := range p.Float32.Data {
					data = append(data, float64(v))
				}
				got = append(got, data)
				return p.Add(scorer)
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.names, names); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if _, err := scorer.Result(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTreeRegions(t *testing.T) {
	var got []score.Region
	names, err := EachPixels(open(t, "tree/seg", ""), func(p Pixels) error {
		for _, r := range p.Regions {
			got = append(got, score.Region{Pixels: r.Pixels, Probabilities: slices.Clone(r.Probabilities)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []score.Region{{Pixels: 6, Probabilities: []float64{0.25, 0.5, 0.25}}, {Pixels: 6, Probabilities: []float64{0.75, 0.125, 0.125}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a.jpg"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestKeypoints(t *testing.T) {
	two := [][]float64{{1, 2, 0.5}, {1, 2, 1, 3, 4, 0.5}}
	for _, c := range []struct {
		file  string
		names []string
		want  [][][]float64
	}{
		{"keypoints.jsonl", []string{"a.jpg", "b.jpg"}, [][][]float64{two, {}}},
		{"tree", []string{"a.jpg"}, [][][]float64{two}},
	} {
		var got [][][]float64
		names, err := EachKeypoints(open(t, c.file, ""), func(instances [][]float64) error {
			got = append(got, clonedRows(instances))
			return nil
		})
		if err != nil {
			t.Fatalf("%s: %v", c.file, err)
		}
		if diff := cmp.Diff(c.names, names); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
}
