package blob

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// Encodings of values.
const (
	pqPlain       = 0
	pqPlainDict   = 2
	pqDelta       = 5
	pqDeltaLength = 6
	pqDeltaText   = 7
	pqRLEDict     = 8
	pqByteSplit   = 9
)

// column reads the values of one leaf, page by page.
type column struct {
	f      *File
	leaf   leaf
	chunks []chunk // not yet begun
	perRow int     // values of a row

	chunk chunk // at and size of what is left of it, and values
	page  []byte
	dict  []byte   // values of the dictionary
	texts []uint32 // where its texts begin
	in    int      // values of the row begun

	left    int    // values of the page
	plain   []byte // those, where they are not indices
	indexed bool
	index   hybrid
	picks   []uint32
	packed  []byte // a page before it is unpacked
	values  []byte // of a page in another encoding, made plain
	unpack  *unpacker

	prefixes, suffixes []int64 // lengths of texts, or integers
}

func (p *parquet) column(i int) *column {
	c := &column{f: p.f, leaf: p.leaves[i], perRow: 1, unpack: &p.unpacker}
	for _, g := range p.groups {
		c.chunks = append(c.chunks, g[i])
	}
	return c
}

func (c *column) name() string { return quote(strings.Join(c.leaf.path, ".")) }

// pageHeader is what is needed of the header of a page.
type pageHeader struct {
	kind, encoding     int // kind 0 data, 2 dictionary, 3 data in version 2
	unpacked, packed   int64
	values, nulls      int64
	repBytes, defBytes int64 // version 2
	plain              bool  // version 2: not compressed
	crc                uint32
	checked            bool
}

func readPageHeader(t *thrift) (h pageHeader, err error) {
	number := func(dst *int64) error {
		v, err := t.count()
		*dst = v
		return err
	}
	encoding := func() error {
		v, err := t.count()
		h.encoding = int(v)
		return err
	}
	h.kind = -1
	err = t.fields([]byte{1: thriftI32, 2: thriftI32, 3: thriftI32, 4: thriftI32, 5: thriftStruct, 7: thriftStruct, 8: thriftStruct}, func(id int, _ byte) error {
		switch id {
		case 1:
			v, err := t.count()
			h.kind = int(v)
			return err
		case 2:
			return number(&h.unpacked)
		case 3:
			return number(&h.packed)
		case 4:
			v, err := t.int()
			h.crc, h.checked = uint32(v), true
			return err
		case 5, 7:
			return t.fields([]byte{1: thriftI32, 2: thriftI32}, func(id int, _ byte) error {
				if id == 1 {
					return number(&h.values)
				}
				return encoding()
			})
		}
		return t.fields([]byte{1: thriftI32, 2: thriftI32, 4: thriftI32, 5: thriftI32, 6: thriftI32, 7: thriftTrue}, func(id int, kind byte) error {
			switch id {
			case 1:
				return number(&h.values)
			case 2:
				return number(&h.nulls)
			case 4:
				return encoding()
			case 5:
				return number(&h.defBytes)
			case 6:
				return number(&h.repBytes)
			}
			h.plain = kind == thriftFalse
			return nil
		})
	})
	return h, err
}

// next begins the next page that has values.
func (c *column) next() error {
	for c.left == 0 {
		for c.chunk.values == 0 {
			if len(c.chunks) == 0 {
				return io.EOF
			}
			c.chunk, c.chunks = c.chunks[0], c.chunks[1:]
			c.dict, c.texts = c.dict[:0], c.texts[:0]
		}
		h, err := c.header()
		if err == nil {
			err = c.read(h)
		}
		if err != nil {
			return within("column "+c.name(), err)
		}
	}
	return nil
}

// header reads the header of the next page, of which nothing says how long it
// is.
func (c *column) header() (h pageHeader, err error) {
	for _, limit := range []int64{512, 1 << 20} {
		buf := make([]byte, min(limit, c.chunk.size))
		if _, err := c.f.ReadAt(buf, c.chunk.at); err != nil {
			return h, err
		}
		t := &thrift{b: buf}
		if h, err = readPageHeader(t); err == nil {
			c.chunk.at += int64(t.i)
			c.chunk.size -= int64(t.i)
			break
		}
		if err != errThriftEnd || int64(len(buf)) == c.chunk.size {
			return h, err
		}
	}
	codec, known := codecs[c.chunk.codec]
	switch {
	case err != nil:
	case !known:
		err = fault("bad_parquet", `write it with compression "zstd", "snappy" or "lz4_raw"`, "is compressed in a way that is not known here (%d)", c.chunk.codec)
	case h.packed > c.chunk.size:
		err = fmt.Errorf("has a page of %d bytes where %d are left", h.packed, c.chunk.size)
	case h.unpacked > maxValue:
		err = fault("reference_too_large", "write smaller pages", "has a page of %d bytes, at most %d are allowed", h.unpacked, maxValue)
	case h.unpacked > codec.most*h.packed+64, h.unpacked != h.packed && codec.most == 1:
		err = fmt.Errorf("says that %d bytes (%s) unpack to %d, which cannot be", h.packed, codec.name, h.unpacked)
	case h.kind != 2 && h.values > c.chunk.values:
		err = fmt.Errorf("has a page of %d values where %d are left", h.values, c.chunk.values)
	case h.kind == 3 && (h.repBytes > h.unpacked || h.defBytes > h.unpacked-h.repBytes || h.repBytes+h.defBytes > h.packed):
		err = errors.New("has a page with more levels than bytes")
	}
	return h, err
}

// room makes dst have n bytes.
func (f *File) room(dst *[]byte, n int64) error {
	if grow := n - int64(cap(*dst)); grow > 0 {
		if err := f.take(grow); err != nil {
			return err
		}
		*dst = make([]byte, n)
	}
	*dst = (*dst)[:n]
	return nil
}

// read reads a page of any kind.
func (c *column) read(h pageHeader) error {
	if err := c.f.room(&c.packed, h.packed); err != nil {
		return err
	}
	if _, err := c.f.ReadAt(c.packed, c.chunk.at); err != nil && err != io.EOF {
		return err
	}
	c.chunk.at += h.packed
	c.chunk.size -= h.packed
	if h.checked && crc32.ChecksumIEEE(c.packed) != h.crc {
		return errors.New("has a page with another checksum than it says")
	}
	switch h.kind {
	case 2:
		if err := c.unpack.unpack(&c.dict, c.packed, h.unpacked, c.chunk.codec); err != nil {
			return err
		}
		return c.dictionary(h)
	case 0, 3:
	default:
		return nil // of an index, or of what is not yet invented
	}
	if h.values == 0 {
		return nil
	}
	levels := h.repBytes + h.defBytes // before the values, never compressed
	codec := c.chunk.codec
	if h.plain {
		codec = 0
	}
	if err := c.unpack.unpack(&c.page, c.packed[levels:], h.unpacked-levels, codec); err != nil {
		return err
	}
	rep, def, values := c.packed[:h.repBytes], c.packed[h.repBytes:levels], c.page
	if h.kind == 0 {
		var err error
		if rep, values, err = levelsV1(values, c.leaf.rep); err != nil {
			return err
		}
		if def, values, err = levelsV1(values, c.leaf.def); err != nil {
			return err
		}
	}
	n := int(h.values)
	if err := c.levels(rep, def, n); err != nil {
		return err
	}
	if err := c.begin(h.encoding, values, n); err != nil {
		return err
	}
	c.left = n
	c.chunk.values -= h.values
	return nil
}
