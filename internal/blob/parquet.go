package blob

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Of Parquet this reads what is asked for, page by page: lists of numbers, one
// number per column, and filenames. Every count and size is checked against
// the file before it is believed, which the libraries leave out: both take
// memory for as many rows, values and bytes as a file says there are.
const maxFooter = 32 << 20

// Physical types.
const (
	pqInt32  = 1
	pqInt64  = 2
	pqFloat  = 4
	pqDouble = 5
	pqBytes  = 6
	pqFixed  = 7
)

// leaf is a column that holds values.
type leaf struct {
	path     []string
	kind     int
	width    int // of a fixed type
	half     bool
	def, rep int // largest levels
}

// element is a node of the schema, which is stored in depth-first order.
type element struct {
	leaf
	name       string
	repetition int // 0 required, 1 optional, 2 repeated
	children   int
}

// chunk is where the values of a leaf lie, in one row group.
type chunk struct {
	at, size int64
	values   int64
	codec    int
}

type parquet struct {
	f      *File
	leaves []leaf
	groups [][]chunk // by row group and leaf
	rows   int
	labels []string // columns that Hugging Face says are class labels
	images []string // and images
}

// parquet reads the footer.
func (f *File) parquet() (*parquet, error) {
	p := &parquet{f: f}
	err := p.open()
	return p, coded("bad_parquet", `df.to_parquet(out, index=False) or pyarrow.parquet.write_table(table, out)`, err)
}

func (p *parquet) open() error {
	const magic = "PAR1"
	var head [4]byte
	var tail [8]byte
	if p.f.size < 12 {
		return errors.New("is too short for a Parquet file")
	}
	if _, err := p.f.ReadAt(head[:], 0); err != nil {
		return err
	}
	if _, err := p.f.ReadAt(tail[:], p.f.size-8); err != nil {
		return err
	}
	switch {
	case string(tail[4:]) == "PARE" || string(head[:]) == "PARE":
		return errors.New("is encrypted")
	case string(head[:]) != magic:
		return errors.New("does not begin as a Parquet file does")
	case string(tail[4:]) != magic:
		return errors.New("does not end as a Parquet file does: it is not complete")
	}
	size := int64(binary.LittleEndian.Uint32(tail[:]))
	if size > p.f.size-12 {
		return fmt.Errorf("has metadata of %d bytes in a file of %d", size, p.f.size)
	}
	if size > maxFooter {
		return fault("reference_too_large", "write fewer, larger row groups", "has metadata of %d bytes, at most %d are allowed", size, maxFooter)
	}
	if err := p.f.take(size); err != nil {
		return err
	}
	footer := make([]byte, size)
	if _, err := p.f.ReadAt(footer, p.f.size-8-size); err != nil {
		return err
	}
	return p.metadata(&thrift{b: footer})
}

func (p *parquet) metadata(t *thrift) error {
	var schema []element
	var rows []int64
	total := int64(0)
	err := t.fields([]byte{2: thriftList, 3: thriftI64, 4: thriftList, 5: thriftList, 8: thriftStruct}, func(id int, kind byte) (err error) {
		switch id {
		case 2:
			err = t.list(thriftStruct, func() error {
				if len(schema) > 2*maxCols {
					return fault("reference_too_large", "", "has more than %d columns", maxCols)
				}
				e, err := readElement(t)
				schema = append(schema, e)
				return err
			})
		case 3:
			total, err = t.count()
		case 4:
			err = t.list(thriftStruct, func() error {
				n, err := p.group(t)
				rows = append(rows, n)
				return err
			})
		case 5:
			err = t.list(thriftStruct, func() error { return p.keyValue(t) })
		case 8:
			err = errors.New("is encrypted")
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(schema) == 0 {
		return errors.New("has no schema")
	}
	rest, err := p.flatten(schema[1:], leaf{}, schema[0].children)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("has %d elements too many in its schema", len(rest))
	}
	if err != nil {
		return err
	}
	sum := int64(0)
	for i, g := range p.groups {
		if len(g) != len(p.leaves) {
			return fmt.Errorf("row group %d has %d columns, the schema %d", i, len(g), len(p.leaves))
		}
		if sum += rows[i]; rows[i] > maxRows || sum > maxRows {
			return fault("reference_too_large", "split the data into several events", "has more than %d rows", maxRows)
		}
	}
	if sum != total {
		return fmt.Errorf("has %d rows in its row groups, and says %d", sum, total)
	}
	p.rows = int(sum)
	return p.plausible(sum, 8) // else rows would differ by less than a bit
}

// plausible refuses more of something than there can be in a file of its size:
// a few bytes can stand for many equal rows, which take memory nevertheless.
func (p *parquet) plausible(n, perByte int64) error {
	if n > perByte*p.f.size {
		return fmt.Errorf("says that it holds %d rows or values in %d bytes, which cannot be", n, p.f.size)
	}
	return nil
}

func readElement(t *thrift) (e element, err error) {
	e.kind = -1
	err = t.fields([]byte{1: thriftI32, 2: thriftI32, 3: thriftI32, 4: thriftBinary, 5: thriftI32, 10: thriftStruct}, func(id int, _ byte) error {
		if id == 4 {
			name, err := t.text()
			e.name = string(name)
			return err
		}
		if id == 10 { // the logical type; that of number 15 is float16
			return t.eachField(1, func(id int, kind byte, depth int) error {
				e.half = e.half || id == 15
				return t.skip(kind, depth)
			})
		}
		v, err := t.count()
		switch id {
		case 1:
			e.kind = int(v)
		case 2:
			e.width = int(v)
		case 3:
			e.repetition = int(v)
		case 5:
			e.children = int(v)
		}
		return err
	})
	return e, err
}

// flatten adds the leaves below a node and returns the elements after them.
func (p *parquet) flatten(rest []element, above leaf, children int) ([]element, error) {
	for range children {
		if len(rest) == 0 || len(above.path) > maxDepth {
			return nil, errors.New("has a broken schema")
		}
		e := rest[0]
		rest = rest[1:]
		e.path = append(slices.Clip(above.path), e.name)
		e.def, e.rep = above.def, above.rep
		if e.repetition > 0 {
			e.def++
		}
		if e.repetition == 2 {
			e.rep++
		}
		if e.children == 0 {
			p.leaves = append(p.leaves, e.leaf)
			continue
		}
		var err error
		if rest, err = p.flatten(rest, e.leaf, e.children); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// group reads a row group and returns how many rows it has.
func (p *parquet) group(t *thrift) (rows int64, err error) {
	var chunks []chunk
	err = t.fields([]byte{1: thriftList, 3: thriftI64}, func(id int, _ byte) (err error) {
		if id == 3 {
			rows, err = t.count()
			return err
		}
		return t.list(thriftStruct, func() error {
			c, err := p.chunk(t)
			chunks = append(chunks, c)
			return err
		})
	})
	p.groups = append(p.groups, chunks)
	return rows, err
}

func (p *parquet) chunk(t *thrift) (c chunk, err error) {
	if err := p.f.take(64); err != nil {
		return c, err
	}
	data, dictionary := int64(0), int64(0)
	err = t.fields([]byte{1: thriftBinary, 3: thriftStruct, 8: thriftStruct}, func(id int, _ byte) error {
		switch id {
		case 1:
			return errors.New("has its values in another file")
		case 8:
			return errors.New("is encrypted")
		}
		return t.fields([]byte{4: thriftI32, 5: thriftI64, 7: thriftI64, 9: thriftI64, 11: thriftI64}, func(id int, _ byte) error {
			v, err := t.count()
			switch id {
			case 4:
				c.codec = int(v)
			case 5:
				c.values = v
			case 7:
				c.size = v
			case 9:
				data = v
			case 11:
				dictionary = v
			}
			return err
		})
	})
	c.at = data
	if dictionary > 0 {
		c.at = min(c.at, dictionary)
	}
	if err == nil && (c.at > p.f.size || c.size > p.f.size-c.at) {
		err = fmt.Errorf("has a column at byte %d of %d bytes in a file of %d", c.at, c.size, p.f.size)
	}
	return c, err
}

// keyValue reads what Hugging Face's datasets say of their columns.
func (p *parquet) keyValue(t *thrift) error {
	var key, value []byte
	err := t.fields([]byte{1: thriftBinary, 2: thriftBinary}, func(id int, _ byte) (err error) {
		if id == 1 {
			key, err = t.text()
		} else {
			value, err = t.text()
		}
		return err
	})
	if err != nil || string(key) != "huggingface" {
		return err
	}
	if err := p.f.take(16 * int64(len(value))); err != nil {
		return err
	}
	var about struct {
		Info struct {
			Features map[string]json.RawMessage `json:"features"`
		} `json:"info"`
	}
	if json.Unmarshal(value, &about) != nil {
		return nil // a hint, no more
	}
	for name, feature := range about.Info.Features {
		var f struct {
			Type string `json:"_type"`
		}
		switch json.Unmarshal(feature, &f); f.Type {
		case "ClassLabel":
			p.labels = append(p.labels, name)
		case "Image":
			p.images = append(p.images, name)
		}
	}
	slices.Sort(p.images)
	return nil
}
