package blob

import (
	"archive/zip"
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
		{"a.npz", func(w *bufio.Writer) { writeNPZ(w, zip.Store, rows, dim, data) }},
		{"packed.npz", func(w *bufio.Writer) { writeNPZ(w, zip.Deflate, rows, dim, data) }},
		{"a.parquet", func(w *bufio.Writer) { // a column per dimension
			var names []string
			for i := range rows {
				names = append(names, fmt.Sprintf("images/%07d.jpg", i))
			}
			columns := make([]Column, dim)
			for j := range columns {
				columns[j] = Column{"v" + strconv.Itoa(j), make([]float64, rows)}
				for i := range rows {
					columns[j].Values[i] = float64(data[i*dim+j])
				}
			}
			WriteParquet(w, names, columns)
		}},
		{"a.safetensors", func(w *bufio.Writer) {
			w.Write(tensorFile(fmt.Sprintf(`{"embeddings":{"dtype":"F32","shape":[%d,%d],"data_offsets":[0,%d]}}`, rows, dim, 4*rows*dim), 0))
			var npy bytes.Buffer
			WriteNPY(&npy, rows, dim, data)
			w.Write(npy.Bytes()[npy.Len()-4*rows*dim:])
		}},
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
			defer func() { b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s") }()
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

func writeNPZ(w *bufio.Writer, method uint16, rows, cols int, data []float32) {
	z := zip.NewWriter(w)
	m, _ := z.CreateHeader(&zip.FileHeader{Name: "embeddings.npy", Method: method})
	WriteNPY(m, rows, cols, data)
	z.Close()
}

// BenchmarkTree reads prediction trees of 5,000 images: with the probabilities
// of 10 classes, and with 20 boxes.
func BenchmarkTree(b *testing.B) {
	const images, boxes = 5_000, 20
	for _, task := range []string{"classification", "object-detection"} {
		b.Run(task, func(b *testing.B) {
			dir := b.TempDir()
			size := 0
			put := func(name, content string) {
				size += len(content)
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			put("schema.json", `{"task_type":"`+task+`","categories":[`+categories(10)+`]}`)
			for i := range images {
				list := `{"category_id":3,"score":0.5,"probabilities":[0.0625,0.0625,0.0625,0.5,0.0625,0.0625,0.0625,0.0625,0.03125,0.03125]}`
				if task == "object-detection" {
					list = strings.Repeat(`{"category_id":3,"bbox":[104.5,208.25,33.125,41.5],"score":0.8125},`, boxes)
					list = list[:len(list)-1]
				}
				put(fmt.Sprintf("%07d.json", i), fmt.Sprintf(`{"file_name":"%07d.jpg","predictions":[%s]}`, i, list))
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			defer func() { b.ReportMetric(float64(images)*float64(b.N)/b.Elapsed().Seconds(), "images/s") }()
			for b.Loop() {
				f, err := OpenPath(b.Context(), dir, "")
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				if task == "classification" {
					_, err = ReadClassification(f, func(c *Classification) error { n = c.Rows; return nil })
				} else {
					_, err = EachDetections(f, func(Detections) error { n++; return nil })
				}
				if err != nil || n != images {
					b.Fatal(n, err)
				}
				f.Close()
			}
		})
	}
}

func categories(n int) string {
	var list []string
	for id := range n {
		list = append(list, fmt.Sprintf(`{"id":%d}`, id))
	}
	return strings.Join(list, ",")
}
