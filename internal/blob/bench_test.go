package blob

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// BenchmarkEmbeddings reads 20,000 × 128 numbers in each format.
func BenchmarkEmbeddings(b *testing.B) {
	const rows, dim = 20_000, 128
	data := make([]float32, rows*dim)
	for i := range data {
		data[i] = float32(i%9973) / 9973
	}
	row := func(w *bufio.Writer, i int) {
		for j, v := range data[i*dim : (i+1)*dim] {
			if j > 0 {
				w.WriteByte(',')
			}
			w.Write(strconv.AppendFloat(nil, float64(v), 'g', -1, 32))
		}
	}
	for _, c := range []struct {
		name  string
		write func(w *bufio.Writer)
	}{
		{"a.npy", func(w *bufio.Writer) { WriteNPY(w, rows, dim, data) }},
		{"a.csv", func(w *bufio.Writer) {
			w.WriteString("filename")
			for j := range dim {
				fmt.Fprintf(w, ",v%d", j)
			}
			for i := range rows {
				fmt.Fprintf(w, "\nimages/%07d.jpg,", i)
				row(w, i)
			}
		}},
		{"a.jsonl", func(w *bufio.Writer) {
			for i := range rows {
				fmt.Fprintf(w, `{"filename":"images/%07d.jpg","embedding":[`, i)
				row(w, i)
				w.WriteString("]}\n")
			}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), c.name)
			h, err := os.Create(path)
			if err != nil {
				b.Fatal(err)
			}
			w := bufio.NewWriter(h)
			c.write(w)
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
			info, _ := h.Stat()
			h.Close()
			b.SetBytes(info.Size())
			b.ReportAllocs()
			for b.Loop() {
				f, err := OpenPath(b.Context(), path, "")
				if err != nil {
					b.Fatal(err)
				}
				e, err := ReadEmbeddings(f)
				if err != nil || e.Rows != rows {
					b.Fatal(e.Rows, err)
				}
				f.Close()
			}
		})
	}
}
