package demo

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func gz(b ...byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func TestReadIDX(t *testing.T) {
	shape, values, err := readIDX(gz(0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6), 2)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{2, 3}, shape) + cmp.Diff([]byte{1, 2, 3, 4, 5, 6}, values); diff != "" {
		t.Error(diff)
	}
	valid := gz(0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3)
	broken := bytes.Clone(valid)
	broken[len(broken)-6]++ // the checksum of gzip
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "EOF"},
		{"not gzip", []byte("hello, hello, hello"), "gzip"},
		{"cut header", gz(0, 0, 8, 1, 0, 0), "header: unexpected EOF"},
		{"floats", gz(0, 0, 13, 1, 0, 0, 0, 1, 1), "starts with 00 00 0d 01"},
		{"two dimensions", gz(0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 1, 1), "want 00 00 08 01"},
		{"no values", gz(0, 0, 8, 1, 0, 0, 0, 0), "dimension 0 is 0"},
		{"huge", gz(0, 0, 8, 1, 255, 255, 255, 255, 1), "dimension 0 is 4294967295"},
		{"too few", gz(0, 0, 8, 1, 0, 0, 0, 3, 1, 2), "promises 3 values, there are 2"},
		{"too many", gz(0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3, 4), "promises 3 values, there are more"},
		{"cut stream", valid[:len(valid)-9], "unexpected EOF"},
		{"checksum", broken, "invalid checksum"},
	} {
		if _, _, err := readIDX(c.file, 1); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	// The product of the dimensions must not overflow.
	if _, _, err := readIDX(gz(0, 0, 8, 3, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1), 3); err == nil || !strings.Contains(err.Error(), "dimension 1") {
		t.Errorf("overflow: error %v", err)
	}
}

func FuzzReadIDX(f *testing.F) {
	f.Add([]byte{0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, file := range [][]byte{b, gz(b...)} {
			shape, values, err := readIDX(file, 1)
			if err == nil && (len(shape) != 1 || shape[0] != len(values)) {
				t.Errorf("shape %v, %d values", shape, len(values))
			}
		}
	})
}

func TestPhotos(t *testing.T) {
	pool, heldOut, err := loadPhotos()
	if err != nil {
		t.Fatal(err)
	}
	if len(pool.names) != 8000 || len(heldOut.names) != 2000 || pool.width != 28 || pool.height != 28 {
		t.Fatalf("pool of %d, %d held out, %d x %d", len(pool.names), len(heldOut.names), pool.width, pool.height)
	}
	seen := map[string]bool{}
	var counts [classes]int
	for _, part := range []photos{pool, heldOut} {
		for i, name := range part.names {
			if seen[name] || len(part.pixels[i]) != 28*28 {
				t.Fatalf("%s occurs twice or has %d pixels", name, len(part.pixels[i]))
			}
			seen[name] = true
			counts[part.classes[i]]++
		}
	}
	for class, n := range counts {
		if n != 1000 {
			t.Errorf("class %d has %d images, want 1000", class, n)
		}
	}
	// Fixed split and order: the first two photos of the pool.
	if diff := cmp.Diff([]string{"fashion/00637.png", "fashion/05239.png"}, pool.names[:2]); diff != "" {
		t.Error(diff)
	}
}
