package blob

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"nextbatch/internal/score"
)

// gathered is a whole Classification: one of the matrices is the zero value.
type gathered struct {
	Names   []string
	Float32 score.Matrix[float32]
	Float64 score.Matrix[float64]
}

func (g gathered) Rows() int { return g.Float32.Rows + g.Float64.Rows }

// gather reads a classification two rows at a time.
func gather(f *File) (g gathered, err error) {
	g.Names, err = ReadClassification(f, func(c *Classification) (err error) {
		if c.Float32 {
			g.Float32, err = gatherRows[float32](c)
		} else {
			g.Float64, err = gatherRows[float64](c)
		}
		return err
	})
	return g, err
}

func gatherRows[F score.Float](c *Classification) (all score.Matrix[F], err error) {
	all.Cols, all.Data = c.Cols, make([]F, 0, c.Rows*c.Cols)
	buf := make([]F, 2*c.Cols)
	for {
		m, first, err := NextRows(c, buf)
		if err != nil {
			return score.Matrix[F]{}, err
		}
		if m.Rows == 0 {
			return all, nil
		}
		if first != all.Rows || m.Cols != c.Cols || len(m.Data) != m.Rows*m.Cols {
			return all, errors.New("rows are not those that follow")
		}
		all.Rows, all.Data = all.Rows+m.Rows, append(all.Data, m.Data...)
	}
}

// Rows are handed out once each, to whoever asks, and reading them takes the
// memory of the buffers only, whatever the file's size.
func TestRowsAreStreamed(t *testing.T) {
	const rows, cols = 100_000, 10
	data := make([]float32, rows*cols)
	wide := make([]float64, len(data))
	for i := range data {
		data[i] = float32(i)
		wide[i] = float64(i)
	}
	var narrow bytes.Buffer
	if err := WriteNPY(&narrow, rows, cols, data); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"a.npy": narrow.Bytes(),
		"b.npy": must(binary.Append(npyOf("<f8", "100000, 10", 0), binary.LittleEndian, wide)),
		"a.npz": zipBytes(t, member{"probs.npy", narrow.Bytes()}),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := OpenPath(t.Context(), path, "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		before := allocated()
		if _, err := ReadClassification(f, func(c *Classification) error {
			if c.Rows != rows || c.Cols != cols {
				t.Errorf("%s: %d × %d", name, c.Rows, c.Cols)
			}
			if c.Float32 {
				return takeAll(t, c, float32(0))
			}
			return takeAll(t, c, float64(0))
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if grown := allocated() - before; grown > 3<<20 {
			t.Errorf("%s: took %d bytes to read %d", name, grown, 4*len(data))
		}
	}
}

// takeAll lets three readers take rows of increasing numbers from 0 on.
func takeAll[F score.Float](t *testing.T, c *Classification, _ F) error {
	seen := make([]bool, c.Rows)
	errs := make([]error, 3)
	var wg sync.WaitGroup
	for k := range errs {
		wg.Go(func() {
			buf := RowBuffer[F](c)
			for {
				m, first, err := NextRows(c, buf)
				if err != nil || m.Rows == 0 {
					errs[k] = err
					return
				}
				for i, v := range m.Data {
					if v != F(first*m.Cols+i) {
						t.Errorf("element %d is %v", first*m.Cols+i, v)
						return
					}
				}
				for row := range m.Rows {
					seen[first+row] = true
				}
			}
		})
	}
	wg.Wait()
	if slices.Contains(seen, false) {
		t.Error("a row was not given out")
	}
	return errors.Join(errs...)
}

// What use does not read is not missed, and its error comes back.
func TestClassificationCallbackError(t *testing.T) {
	mine := errors.New("mine")
	for _, name := range []string{"probs.npy", "probs.npz", "probs.csv", "tree"} {
		_, err := ReadClassification(open(t, name, ""), func(*Classification) error { return mine })
		var e *Error
		if !errors.Is(err, mine) || errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
