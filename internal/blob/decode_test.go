package blob

import (
	"context"
	"errors"
	"path/filepath"
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
