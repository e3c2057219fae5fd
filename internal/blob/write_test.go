package blob

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParquetByHand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.parquet")
	good := pqFile{rows: 2, values: 4, listed: true, page: pqPage(0b1010, 0b1111, 0.5, 0.5, 0.25, 0.75)}
	if err := os.WriteFile(path, good.bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := OpenPath(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := gather(f)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]float64{0.5, 0.5, 0.25, 0.75}, got.Float64.Data); diff != "" {
		t.Error(diff)
	}
}

// parquetOf is a file of rows with a name and so many numbers.
func parquetOf(t *testing.T, rows, columns int) []byte {
	t.Helper()
	names := make([]string, rows)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	list := make([]Column, columns)
	for k := range list {
		list[k] = Column{fmt.Sprint("p", k), make([]float64, rows)}
	}
	var b bytes.Buffer
	if err := WriteParquet(&b, names, list); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What is written is read again, over several row groups.
func TestWriteParquet(t *testing.T) {
	const rows = parquetRows + 3
	names := make([]string, rows)
	a, b := make([]float64, rows), make([]float64, rows)
	for i := range names {
		names[i] = fmt.Sprintf("images/%d ü.jpg", i)
		a[i], b[i] = float64(i)/7, -float64(i)
	}
	path := filepath.Join(t.TempDir(), "scores.parquet")
	h, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := WriteParquet(h, names, []Column{{"uncertainty_margin", a}, {"uncertainty_entropy", b}}); err != nil {
		t.Fatal(err)
	}
	f, err := OpenPath(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := gather(f)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names, got.Names); diff != "" {
		t.Error(diff)
	}
	for i := range names {
		if got.Float64.Data[2*i] != a[i] || got.Float64.Data[2*i+1] != b[i] {
			t.Fatalf("row %d is %v, want %v and %v", i, got.Float64.Data[2*i:2*i+2], a[i], b[i])
		}
	}
	again, err := OpenPath(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	read, columns, err := ReadScores(again)
	if diff := cmp.Diff([]Column{{"uncertainty_margin", a}, {"uncertainty_entropy", b}}, columns); diff != "" || err != nil || !slices.Equal(read, names) {
		t.Errorf("as scores: %d names, %v, %s", len(read), err, diff)
	}
}

// A table of scores may have its filenames anywhere, and a score that is NaN.
func TestReadScores(t *testing.T) {
	names, columns, err := ReadScores(memory(t, "csv", []byte("margin,filename,entropy\n0.25,\"a,b.jpg\",NaN\n1e-300,c.jpg,1\n")))
	if err != nil || !slices.Equal(names, []string{"a,b.jpg", "c.jpg"}) || len(columns) != 2 || columns[0].Name != "margin" || columns[1].Name != "entropy" ||
		!slices.Equal(columns[0].Values, []float64{0.25, 1e-300}) || !math.IsNaN(columns[1].Values[0]) || columns[1].Values[1] != 1 {
		t.Errorf("%q, %v, %v", names, columns, err)
	}
	for data, want := range map[string]string{
		"":                                "has no column filename",
		"filename\na.jpg\n":               "has no column filename beside columns of scores",
		"a.jpg,1\n":                       "has no column filename beside columns of scores",
		"filename,margin\na.jpg\n":        "has 1 columns, the first line has 2",
		"filename,margin\na.jpg,1,2\n":    "has 3 columns, the first line has 2",
		"filename,margin\na.jpg,high\n":   "column 2: want a number",
		"filename,margin\na.jpg,1\na.jpg": "has 1 columns",
		"filename,m\na.jpg,1\na.jpg,2\n":  "a.jpg",
	} {
		if names, _, err := ReadScores(memory(t, "csv", []byte(data))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v; want %s", data, names, err, want)
		}
	}
}

// Lightly's embeddings file is read as it was written, to the last bit.
func TestWriteCSV(t *testing.T) {
	names := []string{"a.jpg", `q"u,o te.jpg`, " spaces ", "Größe/ü.png"}
	values := []float32{0.1, -1e-38, 3.4e38, 0, 16777217, -0.5, math.SmallestNonzeroFloat32, 1. / 3}
	data := AppendCSVHeader(nil, 2)
	for i, name := range names {
		data = AppendCSVRow(data, name, values[2*i:2*i+2])
	}
	got, err := ReadEmbeddings(memory(t, "csv", data))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Embeddings{names, 4, 2, values}, got); diff != "" {
		t.Error(diff)
	}
}
