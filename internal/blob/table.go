package blob

import (
	"errors"
	"fmt"
	"unsafe"

	"nextbatch/internal/score"
)

// kind is what the rows of a matrix are.
type kind struct {
	noun    string
	field   string   // of a JSON row
	arrays  []string // of an npz
	columns string   // for messages
}

var (
	embeddingKind      = kind{"embeddings", "embedding", []string{"embeddings", "embedding", "features", "vectors"}, "dimensions"}
	classificationKind = kind{"predictions", "probabilities", []string{"probs", "probabilities", "logits", "scores", "predictions"}, "classes"}
)

// Embeddings are vectors, one row per sample. All values are finite.
type Embeddings struct {
	Names     []string // of the rows; nil if the file has none
	Rows, Dim int
	Data      []float32 // row-major, Rows × Dim
}

// ReadEmbeddings reads npy, npz (array embeddings, embedding, features or
// vectors, and filenames), Parquet (a column of lists with one of these names,
// or a column of floats per dimension, and filename), safetensors (a tensor as
// in npz, and filenames as a JSON list in the metadata), CSV (filename and
// numbers, or Lightly's embeddings file), JSON rows {"filename": …, "embedding": […]},
// or a field of these names in the samples that FiftyOne exports.
func ReadEmbeddings(f *File) (_ Embeddings, err error) {
	if f.several != nil {
		return f.joinEmbeddings()
	}
	defer f.finish(&err)
	t := table[float32]{kind: embeddingKind}
	if err := t.read(f); err != nil {
		return Embeddings{}, err
	}
	names, err := t.names.done()
	if err != nil {
		return Embeddings{}, err
	}
	if t.rows == 0 && f.parent == nil {
		return Embeddings{}, fault("bad_shape", "", "holds no rows")
	}
	if finite(t.data) {
		return Embeddings{names, t.rows, t.cols, t.data}, nil
	}
	var bad offenders
	for i := range t.rows {
		if !finite(t.data[i*t.cols : (i+1)*t.cols]) {
			if names != nil {
				bad.add("%s", quote(names[i]))
			} else {
				bad.add("row %d", i)
			}
		}
	}
	return Embeddings{}, fault("not_finite", "leave these samples out, or repair their embeddings",
		"%d of %d embeddings contain NaN, an infinity or a number beyond float32 (%s)", bad.count, t.rows, &bad)
}

// table collects the rows of a matrix and their names.
type table[F score.Float] struct {
	kind  kind
	f     *File
	names nameList
	data  []F
	rows  int
	cols  int // of every row, known after the first
	n     int // values of the row being read
}

// read reads a file of any format.
func (t *table[F]) read(f *File) error {
	t.f, t.names.f = f, f
	switch f.format {
	case "npy":
		return f.npy(func(a array) error { return t.fromArray(f, &t.names, a) })
	case "npz":
		return f.npzMatrix(t.kind, func(names *nameList, a array) error { return t.fromArray(f, names, a) })
	case "parquet":
		return f.parquetMatrix(t.kind, func(names *nameList, a array) error { return t.fromArray(f, names, a) })
	case "safetensors":
		return f.safetensorsMatrix(t.kind, func(names *nameList, a array) error { return t.fromArray(f, names, a) })
	case "csv":
		return t.fromCSV()
	case "json", "jsonl":
		return t.fromJSON()
	case "fiftyone":
		return t.fromFiftyOne()
	case "lightly":
		if t.kind.field == classificationKind.field {
			return t.fromTree()
		}
	}
	formats := "npy, npz, parquet, safetensors, csv, jsonl or fiftyone"
	if t.kind.field == classificationKind.field {
		formats = "npy, npz, parquet, safetensors, csv, jsonl, lightly or fiftyone"
	}
	return f.wrongFormat(t.kind.noun, formats)
}

// npzMatrix calls read with the filenames and the matrix of an npz.
func (f *File) npzMatrix(kind kind, read func(*nameList, array) error) error {
	z, err := f.npz()
	if err != nil {
		return err
	}
	m, err := z.matrix(kind)
	if err != nil {
		return err
	}
	names := &nameList{f: f}
	if err := z.names(names); err != nil {
		return err
	}
	return z.read(m, func(a array) error { return read(names, a) })
}

func (t *table[F]) fromArray(f *File, names *nameList, a array) error {
	rows, cols, err := a.matrix(t.kind, names)
	if err != nil || rows == 0 {
		return err
	}
	t.rows, t.cols, t.names = rows, cols, *names
	if err := f.take(int64(t.rows) * int64(t.cols) * int64(unsafe.Sizeof(F(0)))); err != nil {
		return err
	}
	t.data = make([]F, t.rows*t.cols)
	return readFloats(t.data, a)
}

// matrix returns the shape of rows that may have names. No rows have any shape.
func (a array) matrix(kind kind, names *nameList) (rows, cols int, err error) {
	if len(a.shape) == 1 && a.shape[0] == 0 {
		return 0, 0, nil
	}
	if len(a.shape) != 2 {
		return 0, 0, fault("bad_shape", "save rows × "+kind.columns, "%s have shape %v, want rows × %s", kind.noun, a.shape, kind.columns)
	}
	rows, cols = a.shape[0], a.shape[1]
	switch {
	case rows > maxRows:
		return 0, 0, fault("reference_too_large", "split the data into several events", "has %d rows, at most %d are allowed", rows, maxRows)
	case rows > 0 && cols == 0:
		return 0, 0, fault("bad_shape", "", "%s have shape %v: no %s", kind.noun, a.shape, kind.columns)
	case names.rows != 0 && names.rows != rows:
		return 0, 0, fault("bad_shape", "give one filename for each row", "holds %d filenames and %d rows", names.rows, rows)
	}
	return rows, cols, a.checkAxes()
}

// fromTree reads the one prediction of each image.
func (t *table[F]) fromTree() error {
	tree, err := t.f.openTree(score.TaskClassification)
	if err != nil {
		return err
	}
	return tree.each(&t.names, func(all []prediction) error {
		if len(all) != 1 || all[0].probabilities == nil {
			return errors.New("want one prediction with probabilities")
		}
		for _, v := range all[0].probabilities {
			t.value(F(v))
		}
		return t.endValues(0)
	})
}

func (t *table[F]) fromJSON() error {
	bits := 8 * int(unsafe.Sizeof(F(0)))
	classes := t.kind.field == classificationKind.field
	var all labeled
	return t.f.rows(func(s *scanner, end int64) error {
		var name []byte
		found := false
		values := func() error {
			found = true
			err := s.array(func() error {
				if classes && s.peek() == '{' {
					return all.add(t.f, s, t.rows+1, bits)
				}
				v, err := s.number(bits)
				t.value(F(v))
				return err
			})
			if err == nil && all.row != nil {
				err = all.end(t.n)
			}
			if err == nil {
				for _, v := range all.scores {
					t.value(F(v))
				}
			}
			return err
		}
		var err error
		if s.peek() == '[' {
			err = values()
		} else {
			err = s.object([]string{"filename", t.kind.field}, func(field int) (err error) {
				if field == 0 {
					name, err = s.text()
					return err
				}
				return values()
			})
		}
		if err == nil && !found {
			err = fmt.Errorf("has no field %q", t.kind.field)
		}
		if err != nil {
			return err
		}
		return t.endRow(name, name != nil, end)
	})
}

// value adds a value to the row being read.
func (t *table[F]) value(v F) {
	limit := t.cols
	if t.rows == 0 {
		limit = maxCols
	}
	if t.n++; t.n <= limit {
		t.data = append(t.data, v)
	}
}

// endRow ends a row that ends at a byte of the file.
func (t *table[F]) endRow(name []byte, has bool, end int64) error {
	if err := t.names.add(name, has); err != nil {
		return err
	}
	return t.endValues(end)
}

func (t *table[F]) endValues(end int64) error {
	switch {
	case t.n == 0:
		return errors.New("row without values")
	case t.n > maxCols:
		return fault("reference_too_large", "", "has rows of more than %d values", maxCols)
	case t.rows > 0 && t.n != t.cols:
		return fault("bad_shape", "give every row as many", "row %d has %d values, the first has %d", t.rows+1, t.n, t.cols)
	}
	t.cols, t.n = t.n, 0
	t.rows++
	return t.reserve(end)
}

// reserve makes room for another row. It takes as much at once as the whole
// file will need, judging by its first end bytes, but never more than eight
// times what is there.
func (t *table[F]) reserve(end int64) error {
	if cap(t.data)-len(t.data) >= t.cols {
		return nil
	}
	const enough = 1 << 16
	more := max(len(t.data)/4, t.cols, enough)
	if len(t.data) >= enough && end > 0 {
		rest := float64(max(t.f.size-end, 0)) / float64(end)
		more = max(more, int(min(rest*1.02, 8)*float64(len(t.data))))
	}
	width := int64(unsafe.Sizeof(F(0)))
	more = max(min(more, int(t.f.left()/width)), t.cols)
	if err := t.f.take(int64(more) * width); err != nil {
		return err
	}
	grown := make([]F, len(t.data), len(t.data)+more)
	copy(grown, t.data)
	t.data = grown
	return nil
}
