package blob

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// thriftOut writes what thrift reads.
type thriftOut struct {
	b    []byte
	last []int // number of the last field, of each open struct
}

func (t *thriftOut) field(id int, kind byte) {
	top := len(t.last) - 1
	if delta := id - t.last[top]; delta > 0 && delta < 16 {
		t.b = append(t.b, byte(delta)<<4|kind)
	} else {
		t.b = binary.AppendVarint(append(t.b, kind), int64(id))
	}
	t.last[top] = id
}

func (t *thriftOut) int(id int, kind byte, v int64) {
	t.field(id, kind)
	t.b = binary.AppendVarint(t.b, v)
}

func (t *thriftOut) text(id int, s string) {
	t.field(id, thriftBinary)
	t.bytes(s)
}

func (t *thriftOut) bytes(s string) { t.b = append(binary.AppendUvarint(t.b, uint64(len(s))), s...) }

func (t *thriftOut) list(id int, kind byte, n int) {
	t.field(id, thriftList)
	t.b = binary.AppendUvarint(append(t.b, 0xf0|kind), uint64(n))
}

// open begins a struct: the value of a field, or with id 0 an element.
func (t *thriftOut) open(id int) {
	if id > 0 {
		t.field(id, thriftStruct)
	}
	t.last = append(t.last, 0)
}

func (t *thriftOut) close() {
	t.b = append(t.b, 0)
	t.last = t.last[:len(t.last)-1]
}

// Column is a column of numbers, one per sample.
type Column struct {
	Name   string
	Values []float64
}

// parquetRows is how many rows go into a row group.
const parquetRows = 1 << 16

// WriteParquet writes a Parquet file with the column filename and the given
// ones, of float64. All have one value per filename.
func WriteParquet(w io.Writer, filenames []string, columns []Column) error {
	out := &parquetOut{w: bufio.NewWriterSize(w, 1<<20)}
	out.write([]byte("PAR1"))
	for first := 0; first < len(filenames); first += parquetRows {
		last := min(first+parquetRows, len(filenames))
		group := make([]written, 0, len(columns)+1)
		var page []byte
		for _, name := range filenames[first:last] {
			page = append(binary.LittleEndian.AppendUint32(page, uint32(len(name))), name...)
		}
		group = append(group, out.page(page, last-first))
		for _, c := range columns {
			if len(c.Values) != len(filenames) {
				panic(fmt.Sprintf("blob: %d values of column %q for %d filenames", len(c.Values), c.Name, len(filenames)))
			}
			page = page[:0]
			for _, v := range c.Values[first:last] {
				page = binary.LittleEndian.AppendUint64(page, math.Float64bits(v))
			}
			group = append(group, out.page(page, last-first))
		}
		out.groups = append(out.groups, group)
	}
	footer := out.footer(len(filenames), columns)
	out.write(footer)
	out.write(binary.LittleEndian.AppendUint32(nil, uint32(len(footer))))
	out.write([]byte("PAR1"))
	if out.err != nil {
		return out.err
	}
	return out.w.Flush()
}

// written is a column chunk of one page.
type written struct{ at, size, rows int64 }

type parquetOut struct {
	w      *bufio.Writer
	at     int64
	err    error // first of w
	groups [][]written
}

func (o *parquetOut) write(b []byte) {
	if o.err == nil {
		_, o.err = o.w.Write(b)
	}
	o.at += int64(len(b))
}

// page writes values, plain and uncompressed.
func (o *parquetOut) page(values []byte, rows int) written {
	const plain, rle = 0, 3
	t := &thriftOut{}
	t.open(0)
	t.int(1, thriftI32, 0) // a data page
	t.int(2, thriftI32, int64(len(values)))
	t.int(3, thriftI32, int64(len(values)))
	t.open(5)
	t.int(1, thriftI32, int64(rows))
	t.int(2, thriftI32, plain)
	t.int(3, thriftI32, rle) // of levels, of which there are none
	t.int(4, thriftI32, rle)
	t.close()
	t.close()
	at := o.at
	o.write(t.b)
	o.write(values)
	return written{at, o.at - at, int64(rows)}
}

func (o *parquetOut) footer(rows int, columns []Column) []byte {
	names, kinds := []string{"filename"}, []int64{pqBytes}
	for _, c := range columns {
		names, kinds = append(names, c.Name), append(kinds, pqDouble)
	}
	t := &thriftOut{}
	t.open(0)
	t.int(1, thriftI32, 1) // version
	t.list(2, thriftStruct, len(names)+1)
	t.open(0)
	t.text(4, "schema")
	t.int(5, thriftI32, int64(len(names)))
	t.close()
	for i, name := range names {
		t.open(0)
		t.int(1, thriftI32, kinds[i])
		t.int(3, thriftI32, 0) // required
		t.text(4, name)
		if kinds[i] == pqBytes {
			t.int(6, thriftI32, 0) // UTF-8, as old readers know it
			t.open(10)
			t.open(1) // and as new ones do
			t.close()
			t.close()
		}
		t.close()
	}
	t.int(3, thriftI64, int64(rows))
	t.list(4, thriftStruct, len(o.groups))
	for _, group := range o.groups {
		t.open(0)
		t.list(1, thriftStruct, len(group))
		size := int64(0)
		for i, c := range group {
			size += c.size
			t.open(0)
			t.int(2, thriftI64, c.at)
			t.open(3)
			t.int(1, thriftI32, kinds[i])
			t.list(2, thriftI32, 1)
			t.b = append(t.b, pqPlain)
			t.list(3, thriftBinary, 1)
			t.bytes(names[i])
			t.int(4, thriftI32, 0) // uncompressed
			t.int(5, thriftI64, c.rows)
			t.int(6, thriftI64, c.size)
			t.int(7, thriftI64, c.size)
			t.int(9, thriftI64, c.at)
			t.close()
			t.close()
		}
		t.int(2, thriftI64, size)
		t.int(3, thriftI64, group[0].rows)
		t.close()
	}
	t.text(6, "nextbatch")
	t.close()
	return t.b
}
