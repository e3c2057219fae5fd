package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Of Parquet this reads what is asked for, page by page: lists of numbers, one
// number per column, and filenames. Every count and size is checked against
// the file before it is believed, which the libraries leave out: both take
// memory for as many rows, values and bytes as a file says there are.
const maxFooter = 32 << 20

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

	unpacker unpacker
}

// parquet reads the footer.
func (f *File) parquet() (*parquet, error) {
	p := &parquet{f: f, unpacker: unpacker{f: f}}
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
		for k, c := range g {
			if p.leaves[k].rep == 0 && c.values != rows[i] {
				return fmt.Errorf("has %d values of column %s in a row group of %d rows", c.values, quote(strings.Join(p.leaves[k].path, ".")), rows[i])
			}
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
