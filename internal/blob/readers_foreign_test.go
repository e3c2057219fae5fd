//go:build foreign

package blob

import (
	_ "embed"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

//go:embed testdata/foreign.py
var foreign string

// python runs a script with arguments and returns what it prints.
func python(t *testing.T, script string, args ...string) []byte {
	t.Helper()
	interpreter := os.Getenv("NEXTBATCH_PYTHON")
	if interpreter == "" {
		t.Fatal("NEXTBATCH_PYTHON is not set: run make test")
	}
	cmd := exec.CommandContext(t.Context(), interpreter, append([]string{"-c", script}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return out
}

// What the libraries write is read as they wrote it, in every way to write it.
func TestForeignReaders(t *testing.T) {
	dir := t.TempDir()
	var files []struct {
		File, What string // What: the only kind of rows in it, "" for any
		Names      []string
		Rows       [][]float64
	}
	if err := json.Unmarshal(python(t, foreign, dir), &files); err != nil {
		t.Fatal(err)
	}
	if len(files) < 150 {
		t.Fatalf("only %d files", len(files))
	}
	for _, c := range files {
		t.Run(c.File, func(t *testing.T) {
			path := filepath.Join(dir, c.File)
			opened := func() *File {
				f, err := OpenPath(t.Context(), path, "")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { f.Close() })
				return f
			}
			var want []float64
			for _, row := range c.Rows {
				want = append(want, row...)
			}
			if c.What != "embeddings" {
				got, err := gather(opened())
				if err != nil {
					t.Fatal(err)
				}
				values := got.Float64.Data
				for _, v := range got.Float32.Data {
					values = append(values, float64(v))
				}
				if diff := cmp.Diff(want, values); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(c.Names, got.Names); diff != "" {
					t.Error(diff)
				}
			}
			if c.What == "predictions" {
				return
			}
			e, err := ReadEmbeddings(opened())
			if err != nil {
				t.Fatal(err)
			}
			values := make([]float64, len(e.Data))
			for i, v := range e.Data {
				values[i] = float64(v)
			}
			if diff := cmp.Diff(want, values); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.Names, e.Names); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Each line of docs/formats.md writes what its row says, and it is read.
func TestDocumentedFormats(t *testing.T) {
	text := string(must(os.ReadFile("../../docs/formats.md")))
	dir := t.TempDir()
	script := "import os, sys\nos.chdir(sys.argv[1])\n"
	for _, line := range regexp.MustCompile(`(?m)^    (.*)$`).FindAllStringSubmatch(text, -1) {
		script += line[1] + "\n"
	}
	type row struct{ format, carries, file string }
	var rows []row
	elsewhere := map[string]int{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| `([^`]+)` \\| `([^`]+)` \\|").FindAllStringSubmatch(text, -1) {
		if owner, _, _ := strings.Cut(m[4], "."); owner == "model" || owner == "dataset" { // see the text
			elsewhere[m[1]]++
			continue
		}
		rows = append(rows, row{m[1], m[2], m[3]})
		script += m[4] + "\n"
	}
	if diff := cmp.Diff(map[string]int{"ultralytics": 1, "coco": 1, "fiftyone": 3}, elsewhere); diff != "" || len(rows) < 20 {
		t.Fatal("rows that are not run:", diff, "and that are:", len(rows))
	}
	python(t, script, dir)
	names := []string{"a.jpg", "sub/b.jpg"}
	embeddings, classes := []float32{0.5, -1, 2, 0, 1, 0.25}, []float64{0.5, 0.25, 0.25, 0, 0, 1}
	for _, r := range rows {
		t.Run(r.file, func(t *testing.T) {
			f, err := OpenPath(t.Context(), filepath.Join(dir, r.file), map[string]string{"coco": "coco"}[r.format])
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if f.format != r.format {
				t.Errorf("format %s, want %s", f.format, r.format)
			}
			var got []string
			values, images := 0, 0
			switch r.carries {
			case "embeddings":
				e, readErr := ReadEmbeddings(f)
				got, err = e.Names, readErr
				if diff := cmp.Diff(embeddings, e.Data); diff != "" {
					t.Error(diff)
				}
			case "classes":
				g, readErr := gather(f)
				got, err = g.Names, readErr
				all := g.Float64.Data
				for _, v := range g.Float32.Data {
					all = append(all, float64(v))
				}
				if diff := cmp.Diff(classes, all); diff != "" {
					t.Error(diff)
				}
			case "boxes":
				got, err = EachDetections(f, func(d Detections) error {
					values += len(d.Boxes.Scores) + len(d.Boxes.ObjectProbabilities)
					images++
					return nil
				})
			case "keypoints":
				got, err = EachKeypoints(f, func(all [][]float64) error { values += len(all); images++; return nil })
			case "pixels":
				got, err = EachPixels(f, func(p Pixels) error {
					if rows := p.Float32.Rows + p.Float64.Rows; rows != 24 {
						t.Errorf("%d pixels, want 24", rows)
					}
					images++
					return nil
				})
			default:
				t.Fatal("carries", r.carries)
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.format == "npy" {
				got = names
			}
			if diff := cmp.Diff(names, got); diff != "" {
				t.Error(diff)
			}
			if (r.carries == "boxes" || r.carries == "keypoints") && (values != 1 || images != 2) {
				t.Errorf("%d objects in %d images, want 1 in 2", values, images)
			}
		})
	}
}
