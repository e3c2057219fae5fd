//go:build foreign

package blob

import (
	_ "embed"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
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
