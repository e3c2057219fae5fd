package blob

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A sparse file costs its writer nothing: it must not cost the worker more.
func TestSparseFiles(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ name, begin, code string }{
		{"a.npz", "PK\x03\x04", "bad_npz"},
		{"a.csv", "filename,a\n" + strings.Repeat("x,0\n", 1000), "bad_csv"},
		{"a.npy", string(npyOf("<f4", "2, 2", 16)), "bad_npy"},
		{"a.json", "[1", "reference_too_large"},
		{"a.parquet", "PAR1", "bad_parquet"},
		{"a.safetensors", "\x00\xe1\xf5\x05\x00\x00\x00\x00{", "bad_safetensors"},
	} {
		path := filepath.Join(dir, c.name)
		if err := os.WriteFile(path, []byte(c.begin), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 8<<30); err != nil {
			t.Fatal(err)
		}
		f, err := OpenPath(t.Context(), path, "")
		if err != nil {
			t.Fatal(err)
		}
		before := allocated()
		_, err = gather(f)
		f.Close()
		if grown := allocated() - before; grown > 300<<20 {
			t.Errorf("%s: took %d bytes", c.name, grown)
		}
		wantCode(t, err, c.code)
	}
}

// The memory that decoding may take is asked for before it is taken.
func TestMemoryLimit(t *testing.T) {
	columns := npyBytes("{'descr': '<f4', 'fortran_order': True, 'shape': (1024, 1024), }\n", make([]byte, 4<<20))
	for _, c := range []struct {
		file string
		data []byte
	}{
		{"a.npy", columns},
		{"a.npz", zipBytes(t, member{"probs.npy", columns})},
		{"b.npy", npyOf("|i1", "100000, 2", 200_000)}, // the scores
		{"a.jsonl", bytes.Repeat([]byte("[0.5, 0.5]\n"), 100_000)},
		{"a.csv", bytes.Repeat([]byte("0.5,0.5\n"), 100_000)},
		{"a.parquet", parquetOf(t, 1<<14, 16)},
		{"a.safetensors", tensorFile(`{"__metadata__":{"filenames":"[`+strings.Repeat(`\"a\",`, 50_000)+`\"a\"]"}}`, 0)},
		{"b.csv", append([]byte("filename,p\n"), bytes.Repeat([]byte("x,0.5\n"), 20_000)...)},
	} {
		path := filepath.Join(t.TempDir(), c.file)
		if err := os.WriteFile(path, c.data, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := OpenPath(t.Context(), path, "")
		if err != nil {
			t.Fatal(err)
		}
		f.memory = 1 << 20
		before := allocated()
		_, err = gather(f)
		f.Close()
		if grown := allocated() - before; grown > 6<<20 {
			t.Errorf("%s: took %d bytes", c.file, grown)
		}
		wantCode(t, err, "reference_too_large")
	}
}

// A file that is written to while it is read.
func TestChangedWhileReading(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.npy")
	if err := os.WriteFile(path, npyOf("<f4", "4, 4", 64), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := OpenPath(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) { // file times are coarse
		if _, err := h.WriteAt([]byte{1}, 140); err != nil {
			t.Fatal(err)
		}
		if info, _ := h.Stat(); !info.ModTime().Equal(f.modified) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the file's time does not change")
		}
	}
	_, err = ReadEmbeddings(f)
	wantCode(t, err, "reference_changed")
	if !err.(*Error).Transient {
		t.Error("not transient")
	}
}

// The same for documents of detections.
func TestMemoryLimitOfDetections(t *testing.T) {
	result := `,{"image_id":1,"category_id":3,"bbox":[1,1,1,1],"score":0.5}`
	box := `,{"label":"x","bounding_box":[0,0,1,1],"confidence":0.5}`
	for format, data := range map[string]string{
		"coco":     strings.TrimSuffix(cocoImages, "}") + `,"annotations":[` + strings.Repeat(result, 40_000)[1:] + "]}",
		"fiftyone": `{"labels":{"a.jpg":[` + strings.Repeat(box, 40_000)[1:] + "]}}",
	} {
		path := filepath.Join(t.TempDir(), "a.json")
		write(t, filepath.Dir(path), "a.json", data)
		f, err := OpenPath(t.Context(), path, format)
		if err != nil {
			t.Fatal(err)
		}
		f.memory = 1 << 20
		_, err = EachDetections(f, func(Detections) error { return nil })
		f.Close()
		wantCode(t, err, "reference_too_large")
	}
}
