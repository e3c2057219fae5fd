package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// thrift reads Thrift's compact protocol from memory, in which Parquet writes
// what it says of its data. It takes no memory, whatever counts it reads.
type thrift struct {
	b []byte
	i int
}

// Types of fields and elements.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
)

var (
	errThriftEnd = errors.New("ends within its metadata")
	errThrift    = errors.New("has broken metadata")
)

func (t *thrift) byte() (byte, error) {
	if t.i >= len(t.b) {
		return 0, errThriftEnd
	}
	t.i++
	return t.b[t.i-1], nil
}

func (t *thrift) uvarint() (uint64, error) {
	v, n := binary.Uvarint(t.b[t.i:])
	switch {
	case n == 0:
		return 0, errThriftEnd
	case n < 0:
		return 0, errThrift
	}
	t.i += n
	return v, nil
}

// int reads an i16, i32 or i64.
func (t *thrift) int() (int64, error) {
	v, err := t.uvarint()
	return int64(v>>1) ^ -int64(v&1), err
}

// count reads an integer that counts something.
func (t *thrift) count() (int64, error) {
	v, err := t.int()
	if err == nil && v < 0 {
		err = fmt.Errorf("%w: the negative count %d", errThrift, v)
	}
	return v, err
}

// text reads a binary, which points into the memory of t.
func (t *thrift) text() ([]byte, error) {
	n, err := t.uvarint()
	if err != nil {
		return nil, err
	}
	if n > uint64(len(t.b)-t.i) {
		return nil, errThriftEnd
	}
	t.i += int(n)
	return t.b[t.i-int(n) : t.i], nil
}

// fields reads a struct: read reads the value of each field that has the type
// expected of its number, 0 for any; others are skipped.
func (t *thrift) fields(types []byte, read func(id int, kind byte) error) error {
	return t.eachField(0, func(id int, kind byte, depth int) error {
		if id >= len(types) || types[id] == 0 || types[id] != kind && !(types[id] == thriftTrue && kind == thriftFalse) {
			return t.skip(kind, depth)
		}
		return read(id, kind)
	})
}

func (t *thrift) eachField(depth int, read func(id int, kind byte, depth int) error) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: nested deeper than %d levels", errThrift, maxDepth)
	}
	id := 0
	for {
		head, err := t.byte()
		if err != nil || head == 0 {
			return err
		}
		if delta := head >> 4; delta != 0 {
			id += int(delta)
		} else {
			n, err := t.int()
			if err != nil {
				return err
			}
			id = int(n)
		}
		if id < 0 || id > 1<<15 {
			return errThrift
		}
		if err := read(id, head&15, depth+1); err != nil {
			return err
		}
	}
}

// list reads a list whose elements are of a type.
func (t *thrift) list(kind byte, read func() error) error {
	n, elem, err := t.listHead()
	if err != nil {
		return err
	}
	if n > 0 && elem != kind {
		return errThrift
	}
	for range n {
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

// listHead reads the number and type of a list's elements. Each takes a byte
// at least.
func (t *thrift) listHead() (n int, kind byte, err error) {
	head, err := t.byte()
	if err != nil {
		return 0, 0, err
	}
	count := uint64(head >> 4)
	if count == 15 {
		if count, err = t.uvarint(); err != nil {
			return 0, 0, err
		}
	}
	if count > uint64(len(t.b)-t.i) {
		return 0, 0, errThriftEnd
	}
	return int(count), head & 15, nil
}

// skip reads a value of any type.
func (t *thrift) skip(kind byte, depth int) (err error) {
	switch kind {
	case thriftTrue, thriftFalse: // the value is in the type
	case thriftByte:
		_, err = t.byte()
	case thriftI16, thriftI32, thriftI64:
		_, err = t.uvarint()
	case thriftDouble:
		if t.i += 8; t.i > len(t.b) {
			t.i, err = len(t.b), errThriftEnd
		}
	case thriftBinary:
		_, err = t.text()
	case thriftList, thriftSet:
		var n int
		if n, kind, err = t.listHead(); err != nil {
			return err
		}
		if kind == thriftTrue || kind == thriftFalse { // elements, unlike fields, have a byte
			kind = thriftByte
		}
		for range n {
			if err := t.skip(kind, depth+1); err != nil {
				return err
			}
		}
	case thriftStruct:
		return t.eachField(depth, func(_ int, kind byte, depth int) error { return t.skip(kind, depth) })
	default: // Parquet has no maps
		err = errThrift
	}
	return err
}
