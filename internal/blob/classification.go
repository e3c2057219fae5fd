package blob

import (
	"sync"
	"unsafe"

	"nextbatch/internal/score"
)

// Classification is a matrix of class probabilities or logits in the precision
// of the file, which may contain NaN. Its rows are read when they are asked for,
// see NextRows.
type Classification struct {
	Rows, Cols int
	Float32    bool // elements are float32, else float64

	mu   sync.Mutex // guards what follows
	next int        // row to give out
	rest array      // elements from there on
	all  any        // []float32 or []float64: all elements, where the file does not hold them row by row
	err  error      // that ended reading
}

// ReadClassification calls use with the matrix of each file, one after another,
// and returns the filenames of their rows, nil if the files have none. It reads npy, npz (array
// probs, probabilities, logits, scores or predictions, and filenames), Parquet, safetensors, CSV
// (filename and numbers), JSON rows {"filename": …, "probabilities": […]} or
// […], of numbers or of {"label": …, "score": …}, a Lightly prediction tree, or
// the classifications that FiftyOne exports, with logits or with every class.
// An error of use ends it and comes back, wrapped. After any error all that NextRows gave is void.
func ReadClassification(f *File, use func(*Classification) error) (names []string, err error) {
	if f.several != nil {
		return f.joinClassification(use)
	}
	defer f.finish(&err)
	read := func(n *nameList, a array) error {
		names, err = readClasses(f, n, a, use)
		return err
	}
	switch f.format {
	case "npy":
		return names, f.npy(func(a array) error { return read(&nameList{f: f}, a) })
	case "npz":
		return names, f.npzMatrix(classificationKind, read)
	case "safetensors":
		return names, f.safetensorsMatrix(classificationKind, read)
	case "parquet":
		return names, f.parquetMatrix(classificationKind, read)
	}
	t := table[float64]{kind: classificationKind}
	if err := t.read(f); err != nil {
		return nil, err
	}
	if names, err = t.names.done(); err != nil {
		return nil, err
	}
	return names, stopped(use(&Classification{Rows: t.rows, Cols: t.cols, all: t.data}))
}

// scoreBytes is what the scores of a row take.
const scoreBytes = 3 * 8

// readClasses reads an array: row by row, or at once if it is stored column by
// column.
func readClasses(f *File, n *nameList, a array, use func(*Classification) error) (names []string, err error) {
	c := &Classification{Float32: a.float32s(), rest: a}
	if c.Rows, c.Cols, err = a.matrix(classificationKind, n); err != nil {
		return nil, err
	}
	if err := f.take(int64(c.Rows) * scoreBytes); err != nil {
		return nil, err
	}
	if names, err = n.done(); err != nil {
		return nil, err
	}
	if a.transposed() && c.Rows > 0 {
		if c.Float32 {
			c.all, err = readAll[float32](f, n, a)
		} else {
			c.all, err = readAll[float64](f, n, a)
		}
		if err != nil {
			return nil, err
		}
	}
	err = use(c)
	if c.err != nil {
		return nil, c.err // use has it too, but does not know whose fault it is
	}
	if err == nil && c.all == nil && c.next == c.Rows {
		return names, a.ends()
	}
	return names, stopped(err)
}

func readAll[F score.Float](f *File, n *nameList, a array) ([]F, error) {
	t := table[F]{kind: classificationKind}
	err := t.fromArray(f, n, a)
	return t.data, err
}

// NextRows returns the next rows of c, as many as fit into buf, and the index
// of the first. There are none after the last. F must be the type of c's
// elements and buf have room for a row; the matrix, which is only to be read,
// is in buf or in memory of c. NextRows may be called concurrently, with one
// buffer for each caller, but not after use has returned.
func NextRows[F score.Float](c *Classification, buf []F) (m score.Matrix[F], first int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return m, 0, c.err
	}
	first = c.next
	m.Rows = c.Rows - first
	if m.Cols = c.Cols; m.Cols > 0 {
		m.Rows = min(m.Rows, len(buf)/m.Cols)
	}
	from, n := first*m.Cols, m.Rows*m.Cols
	if all, ok := c.all.([]F); ok {
		m.Data = all[from : from+n]
	} else {
		m.Data = buf[:n]
		c.err = readNext(m.Data, c.rest)
	}
	c.next += m.Rows
	return m, first, c.err
}

// RowBuffer returns a buffer for NextRows: room for some multiple of eight
// rows, the ones that are scored side by side, that stays in a core's cache.
func RowBuffer[F score.Float](c *Classification) []F {
	const bytes, side = 256 << 10, 8
	cols := max(c.Cols, 1)
	rows := max(bytes/int(unsafe.Sizeof(F(0)))/cols/side, 1) * side
	return make([]F, min(rows, max(c.Rows, 1))*cols)
}
