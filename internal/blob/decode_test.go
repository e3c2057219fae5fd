package blob

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/score"
)

// What testdata/make.py wrote.
var (
	wantNames = []string{"a.jpg", "sub/b.jpg", "Größe 42/ü.png", "c,d.jpg", `e"f.jpg`}
	wantProbs = []float64{0.5, 0.25, 0.25, 1, 0, 0, 0.125, 0.75, 0.125, 0.0625, 0.0625, 0.875, 0.25, 0.5, 0.25}
)

func wantEmbeddings() []float32 {
	v := make([]float32, 15)
	for i := range v {
		v[i] = float32(i)/8 - 0.5
	}
	return v
}

func open(t *testing.T, name, format string) *File {
	t.Helper()
	f, err := OpenPath(t.Context(), filepath.Join("testdata", name), format)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func inline(t *testing.T, data string) *File {
	t.Helper()
	o, err := NewOpener(Config{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := o.Open(t.Context(), Ref{URI: "inline:", Data: []byte(data)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// wantCode fails unless err is an *Error with the code.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want code %s", err, code)
	}
	if e.Code != code {
		t.Fatalf("error %v, want code %s", err, code)
	}
	if e.Message == "" || len(e.Message) > 1000 {
		t.Errorf("message of %d bytes: %s", len(e.Message), e.Message)
	}
}

func TestEmbeddings(t *testing.T) {
	for _, c := range []struct {
		file  string
		named bool
	}{
		{"emb_le_f2.npy", false}, {"emb_le_f4.npy", false}, {"emb_le_f8.npy", false},
		{"emb_be_f2.npy", false}, {"emb_be_f4.npy", false}, {"emb_be_f8.npy", false},
		{"emb_fortran.npy", false}, {"emb_fortran_f8.npy", false}, {"emb_v2.npy", false}, {"emb_v3.npy", false},
		{"emb.npz", true}, {"emb_compressed.npz", true}, {"emb_only.npz", false},
		{"emb.csv", true}, {"lightly.csv", true}, {"lightly_selected.csv", true}, {"emb.jsonl", true},
		{"emb_list_f2.parquet", true}, {"emb_list_f4.parquet", true}, {"emb_list_f8.parquet", true}, {"emb_fixed.parquet", true}, {"lz4.parquet", true}, {"emb_large.parquet", true},
		{"emb_groups.parquet", true}, {"emb_split.parquet", true}, {"emb_columns.parquet", true}, {"emb_unnamed.parquet", false},
		{"emb_f2.safetensors", true}, {"emb_f4.safetensors", true}, {"emb_f8.safetensors", false}, {"emb_bf16.safetensors", true},
	} {
		t.Run(c.file, func(t *testing.T) {
			e, err := ReadEmbeddings(open(t, c.file, ""))
			if err != nil {
				t.Fatal(err)
			}
			want := Embeddings{Rows: 5, Dim: 3, Data: wantEmbeddings()}
			if c.named {
				want.Names = wantNames
			}
			if diff := cmp.Diff(want, e); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestClassification(t *testing.T) {
	for _, c := range []struct {
		file     string
		named, f bool // f: float32
	}{
		{"probs.npy", false, true}, {"probs_f8.npy", false, false}, {"probs.npz", true, true}, {"logits.npz", true, false},
		{"probs.csv", true, false}, {"probs_savetxt.csv", false, false}, {"probs.jsonl", true, false},
		{"probs_bare.jsonl", false, false}, {"pipeline.json", false, false}, {"pipeline.jsonl", true, false}, {"tree", true, false}, {"tree/cls", true, false},
		{"probs_list.parquet", true, true}, {"probs_columns.parquet", true, false}, {"huggingface.parquet", true, true}, {"probs.safetensors", true, true},
	} {
		t.Run(c.file, func(t *testing.T) {
			got, err := gather(open(t, c.file, ""))
			if err != nil {
				t.Fatal(err)
			}
			want := gathered{}
			if c.named {
				want.Names = wantNames
			}
			if c.f {
				want.Float32 = score.Matrix[float32]{Rows: 5, Cols: 3}
				for _, v := range wantProbs {
					want.Float32.Data = append(want.Float32.Data, float32(v))
				}
			} else {
				want.Float64 = score.Matrix[float64]{Rows: 5, Cols: 3, Data: wantProbs}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if got.Rows() != 5 {
				t.Errorf("Rows() = %d, want 5", got.Rows())
			}
		})
	}
}

func TestElementTypes(t *testing.T) {
	for _, dtype := range []string{"b1", "u1", "i1", "le_i2", "le_u2", "le_i4", "be_i4", "le_u4", "le_i8", "le_u8"} {
		c, err := gather(open(t, "onehot_"+dtype+".npy", ""))
		if err != nil {
			t.Fatalf("%s: %v", dtype, err)
		}
		want := score.Matrix[float64]{Rows: 3, Cols: 3, Data: []float64{1, 0, 0, 0, 1, 0, 0, 0, 1}}
		if diff := cmp.Diff(want, c.Float64); diff != "" {
			t.Errorf("%s: %s", dtype, diff)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"names_u.npy", "names_be.npy", "names_s.npy", "names.csv", "names.json", "names.jsonl", "names_objects.jsonl", "names.txt", "emb.npz", "names_dictionary.parquet", "huggingface.parquet", "probs.safetensors"} {
		t.Run(name, func(t *testing.T) {
			got, err := ReadNames(open(t, name, ""))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantNames, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

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

func TestInline(t *testing.T) {
	e, err := ReadEmbeddings(inline(t, `[{"filename":"a","embedding":[1,2]}, {"embedding":[3e-1,-4],"filename":"b"}]`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Embeddings{Names: []string{"a", "b"}, Rows: 2, Dim: 2, Data: []float32{1, 2, 0.3, -4}}, e); diff != "" {
		t.Error(diff)
	}
	c, err := gather(inline(t, `[]`))
	if err != nil || c.Rows() != 0 {
		t.Errorf("no rows: %v, %v", c, err)
	}
}

// What a caller's function returns is not for the sender: it stays what it is.
func TestCallbackError(t *testing.T) {
	mine := errors.New("mine")
	for _, name := range []string{"seg.jsonl", "seg.npz", "tree/seg"} {
		_, err := EachPixels(open(t, name, ""), func(Pixels) error { return mine })
		var e *Error
		if !errors.Is(err, mine) || errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCanceledWhileReading(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, name := range []string{"emb_le_f4.npy", "emb.npz", "emb_list_f4.parquet", "emb_columns.parquet", "emb_f4.safetensors", "emb.csv", "emb.jsonl", "tree", "coco", "ultralytics", "fiftyone_labels"} {
		format := ""
		if filepath.Ext(name) == "" && name != "tree" {
			format = formatOfSample(name)
		}
		f, err := OpenPath(t.Context(), filepath.Join("testdata", name), format)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.ctx = ctx
		cancel()
		switch {
		case format != "":
			_, err = EachDetections(f, func(Detections) error { return nil })
		case name == "tree":
			_, err = gather(f)
		default:
			_, err = ReadEmbeddings(f)
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", name, err, context.Canceled)
		}
	}
}
