package blob

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file that ends early, at any of its bytes, is an error or what came before,
// and takes no more memory than one of its size may.
func TestFilesCutOff(t *testing.T) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range []string{"coco_segments/results.segm.json", "fiftyone_logits/samples.json", "fiftyone_labels/labels.json"} {
		files = append(files, "testdata/"+sample)
	}
	tried, density := 0, 32
	if testing.Short() {
		density = 4
	}
	for _, path := range files {
		ext := strings.TrimPrefix(filepath.Ext(path), ".")
		if strings.HasPrefix(path, "testdata/fiftyone") || strings.HasPrefix(path, "testdata/coco") {
			ext, _, _ = strings.Cut(filepath.Base(filepath.Dir(path)), "_")
		}
		binary := map[string]bool{"npy": true, "npz": true, "parquet": true, "safetensors": true}[ext]
		switch ext {
		case "csv", "json", "jsonl", "txt", "coco", "fiftyone":
		default:
			if !binary {
				continue
			}
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tried++
		for cut := len(data) - 1; cut >= 0; cut -= 1 + cut/density { // densely at the beginning
			before := allocated()
			read(t, ext, bytes.Clone(data[:cut]))
			if grown := allocated() - before; grown > 16<<20 {
				t.Errorf("%s: took %d bytes for the first %d", path, grown, cut)
			}
			if binary && cut > 0 {
				if _, err := gather(memory(t, ext, data[:cut])); err == nil {
					t.Errorf("%s: the first %d bytes of %d are read", path, cut, len(data))
				}
			}
		}
	}
	if tried < 80 {
		t.Errorf("only %d files", tried)
	}
}
