package demo

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNpy: the bytes that NumPy 2 writes for the same arrays.
func TestNpy(t *testing.T) {
	for _, c := range []struct {
		name, header, data string
		got                []byte
	}{
		{"floats", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }", "0000803f" + "000000c0", npyFloats([][]float64{{1}, {-2}})},
		{"strings", "{'descr': '<U2', 'fortran_order': False, 'shape': (2,), }", "61000000" + "00000000" + "62000000" + "fc000000", npyStrings([]string{"a", "bü"})},
		{"no rows", "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 0), }", "", npyFloats(nil)},
	} {
		data, err := hex.DecodeString(c.data)
		if err != nil {
			t.Fatal(err)
		}
		header := c.header + strings.Repeat(" ", 117-len(c.header)) + "\n"
		want := append([]byte("\x93NUMPY\x01\x00\x76\x00"+header), data...)
		if diff := cmp.Diff(want, c.got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestNpz(t *testing.T) {
	names, rows := []string{"a.png", "b.png"}, [][]float64{{0.25, 0.75}, {1, 0}}
	file, err := npz(names, rows)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if got[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string][]byte{"filenames.npy": npyStrings(names), "probs.npy": npyFloats(rows)}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWriteFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ref, err := writeFile(dir, "x.npy", []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("hello"))
	if ref.Format != "npy" || ref.Size != 5 || ref.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("%+v", ref)
	}
	u, err := url.Parse(ref.URI)
	if err != nil || u.Scheme != "file" || u.Host != "" {
		t.Fatalf("%s: %v", ref.URI, err)
	}
	if b, err := os.ReadFile(u.Path); err != nil || string(b) != "hello" {
		t.Errorf("%s: %q, %v", u.Path, b, err)
	}
}
