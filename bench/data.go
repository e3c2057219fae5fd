package main

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"nextbatch/internal/selection"
)

// createNPY makes an npy of float32 and maps it for writing: what is written
// to the matrix is in the file, so all contestants read the same pages.
func createNPY(path string, rows, cols int) (m selection.Matrix, unmap func(), err error) {
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", rows, cols)
	header += strings.Repeat(" ", 127-10-len(header)) + "\n"
	header = "\x93NUMPY\x01\x00" + string([]byte{byte(len(header)), 0}) + header
	f, err := os.Create(path)
	if err != nil {
		return m, nil, err
	}
	defer f.Close()
	size := len(header) + 4*rows*cols
	if err = f.Truncate(int64(size)); err != nil {
		return m, nil, err
	}
	raw, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return m, nil, err
	}
	copy(raw, header)
	values := unsafe.Slice((*float32)(unsafe.Pointer(&raw[len(header)])), rows*cols)
	return selection.Matrix{Rows: rows, Dim: cols, Data: values}, func() { unix.Munmap(raw) }, nil
}

// fill writes data of a kind into m. Equal shapes give equal data.
func fill(kind string, m selection.Matrix) error {
	if kind == "fashion" {
		return fillFashion(m)
	}
	row := kinds[kind](m.Dim)
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < m.Rows; i += workers {
				row(rand.New(rand.NewPCG(1, uint64(i))), m.Row(i))
			}
		})
	}
	wg.Wait()
	return nil
}

// kinds maps the name of a kind of data to what makes its rows.
var kinds = map[string]func(dim int) func(r *rand.Rand, x []float32){
	// gauss has no structure at all.
	"gauss": func(dim int) func(*rand.Rand, []float32) { return normals },

	// mog is 200 clusters with 10 dimensions inside and a little noise.
	"mog": func(dim int) func(*rand.Rand, []float32) {
		const clusters, inside = 200, 10
		r := rand.New(rand.NewPCG(2, 2))
		center, basis := vectors(r, clusters, dim), vectors(r, clusters, dim*inside)
		return func(r *rand.Rand, x []float32) {
			c := r.IntN(clusters)
			var z [inside]float32
			normals(r, z[:])
			for j := range x {
				x[j] = center[c][j] + float32(0.02*r.NormFloat64())
				for l, v := range z {
					x[j] += 0.1 * v * basis[c][j*inside+l]
				}
			}
		}
	},

	// pow is 500 clusters with eigenvalues like 1/i, each reflected its own way, of length 1.
	"pow": func(dim int) func(*rand.Rand, []float32) {
		const clusters = 500
		r := rand.New(rand.NewPCG(3, 3))
		center, mirror := vectors(r, clusters, dim), vectors(r, clusters, dim)
		for c := range clusters {
			unit(mirror[c])
			for j := range dim {
				center[c][j] /= float32(math.Sqrt(float64(j + 1)))
			}
		}
		return func(r *rand.Rand, x []float32) {
			c := r.IntN(clusters)
			normals(r, x)
			dot := float32(0)
			for j := range x {
				x[j] *= 0.7 / float32(math.Sqrt(float64(j+1)))
				dot += x[j] * mirror[c][j]
			}
			for j := range x {
				x[j] += center[c][j] - 2*dot*mirror[c][j]
			}
			unit(x)
		}
	},

	// tail is 1,000 clusters with 12 dimensions inside; that number c has a share like 1/√c.
	"tail": func(dim int) func(*rand.Rand, []float32) {
		const clusters, inside = 1000, 12
		r := rand.New(rand.NewPCG(5, 5))
		center, basis := vectors(r, clusters, dim), vectors(r, clusters, dim*inside)
		upTo, total := make([]float64, clusters), 0.0
		for c := range clusters {
			total += 1 / math.Sqrt(float64(c+1))
			upTo[c] = total
		}
		return func(r *rand.Rand, x []float32) {
			c, _ := slices.BinarySearch(upTo, total*r.Float64())
			var z [inside]float32
			normals(r, z[:])
			for j := range x {
				x[j] = center[c][j] + float32(0.02*r.NormFloat64())
				for l, v := range z {
					x[j] += 0.1 * v * basis[c][j*inside+l]
				}
			}
		}
	},

	// one-hot is all corners of a simplex: every two that differ are equally far apart.
	"one-hot": func(dim int) func(*rand.Rand, []float32) {
		return func(r *rand.Rand, x []float32) {
			clear(x)
			x[r.IntN(dim)] = 1
		}
	},

	// probabilities are uniform over all distributions of that many classes, sharpened.
	"probabilities": func(dim int) func(*rand.Rand, []float32) {
		return func(r *rand.Rand, x []float32) {
			sum := float32(0)
			for j := range x {
				e := float32(r.ExpFloat64())
				x[j] = e * e
				sum += x[j]
			}
			for j := range x {
				x[j] /= sum
			}
		}
	},
}

func normals(r *rand.Rand, x []float32) {
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
}

func vectors(r *rand.Rand, n, dim int) [][]float32 {
	v := make([][]float32, n)
	for i := range v {
		v[i] = make([]float32, dim)
		normals(r, v[i])
	}
	return v
}

func unit(x []float32) {
	s := 0.0
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	for j := range x {
		x[j] /= float32(math.Sqrt(s))
	}
}

const fashionFile = "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz"

// fillFashion reads the first images of Fashion-MNIST, pixels from 0 to 1.
func fillFashion(m selection.Matrix) error {
	f, err := os.Open(fashionFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no %s: apt install dataset-fashion-mnist", fashionFile)
	} else if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("%s: %w", fashionFile, err)
	}
	var header struct{ Magic, Images, Height, Width uint32 }
	if err := binary.Read(z, binary.BigEndian, &header); err != nil {
		return fmt.Errorf("%s: %w", fashionFile, err)
	}
	if header.Magic != 0x803 || int(header.Images) < m.Rows || int(header.Height*header.Width) < m.Dim {
		return fmt.Errorf("%s: header %+v, want %d images of %d pixels", fashionFile, header, m.Rows, m.Dim)
	}
	pixels := make([]byte, header.Height*header.Width)
	for i := range m.Rows {
		if _, err := io.ReadFull(z, pixels); err != nil {
			return fmt.Errorf("%s: image %d: %w", fashionFile, i, err)
		}
		for j := range m.Dim {
			m.Row(i)[j] = float32(pixels[j]) / 255
		}
	}
	return nil
}
