package blob

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

// Encodings of values.
const (
	pqPlain     = 0
	pqPlainDict = 2
	pqRLEDict   = 8
	pqByteSplit = 9
)

// codecs are the compressions, and how far each can pack a byte.
var codecs = map[int]struct {
	name string
	most int64
}{0: {"none", 1}, 1: {"snappy", 32}, 2: {"gzip", maxDeflate}, 6: {"zstd", 1 << 16}}

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
}

func (p *parquet) column(i int) *column {
	c := &column{f: p.f, leaf: p.leaves[i], perRow: 1}
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
		err = fault("bad_parquet", `write it with compression="zstd" or "snappy"`, "is compressed in a way that is not known here (%d)", c.chunk.codec)
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
		if err := c.unpack(&c.dict, c.packed, h.unpacked, c.chunk.codec); err != nil {
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
	if err := c.unpack(&c.page, c.packed[levels:], h.unpacked-levels, codec); err != nil {
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

// unpack decompresses src, which becomes size bytes.
func (c *column) unpack(dst *[]byte, src []byte, size int64, codec int) error {
	if err := c.f.room(dst, size); err != nil {
		return err
	}
	var got []byte
	var err error
	switch codec {
	case 0:
		got = (*dst)[:copy(*dst, src)]
		if len(src) != len(*dst) {
			err = io.ErrUnexpectedEOF
		}
	case 1:
		var n int
		if n, err = snappy.DecodedLen(src); err == nil && n == len(*dst) {
			got, err = snappy.Decode(*dst, src)
		}
	case 2:
		var r *gzip.Reader
		if r, err = gzip.NewReader(bytes.NewReader(src)); err == nil {
			var n int
			n, err = io.ReadFull(r, *dst)
			got = (*dst)[:n]
			if more, end := r.Read(make([]byte, 1)); err == nil && (more != 0 || end != io.EOF) {
				err = errors.New("more")
			}
		}
	case 6:
		got, err = unzstd.DecodeAll(src, (*dst)[:0:size])
	}
	if err != nil || int64(len(got)) != size {
		return fmt.Errorf("has a page that does not unpack to %d bytes", size)
	}
	return nil
}

// unzstd decodes no more than there is room for.
var unzstd = func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic("blob: " + err.Error())
	}
	return d
}()

// levelsV1 cuts levels off the front of a page, if the leaf has any.
func levelsV1(page []byte, most int) (levels, rest []byte, err error) {
	if most == 0 {
		return nil, page, nil
	}
	if len(page) < 4 {
		return nil, nil, errLevels
	}
	n := binary.LittleEndian.Uint32(page)
	if uint64(n) > uint64(len(page)-4) {
		return nil, nil, errLevels
	}
	return page[4 : 4+n], page[4+n:], nil
}

// levels checks that each of n values is there, and every row as long.
func (c *column) levels(rep, def []byte, n int) error {
	if c.leaf.def > 0 {
		missing := 0
		h := hybrid{b: def, width: bitWidth(c.leaf.def)}
		for at := 0; at < n; {
			v, times, err := h.next(n - at)
			if err != nil {
				return err
			}
			if int(v) != c.leaf.def {
				missing += times
			}
			at += times
		}
		if missing > 0 {
			return fault("bad_parquet", "leave these samples out, or fill them", "has %d values in a page of %d that are null, or lists that are empty", missing, n)
		}
	}
	if c.leaf.rep == 0 {
		return nil
	}
	h := hybrid{b: rep, width: bitWidth(c.leaf.rep)}
	for at := 0; at < n; {
		v, times, err := h.next(n - at)
		if err != nil {
			return err
		}
		at += times
		// Of a run of zeros each begins a row; of ones, none.
		if v == 0 && (c.in != 0 || times > 1 && c.perRow > 1) || v != 0 && (c.in == 0 || c.in+times > c.perRow) {
			return fault("bad_shape", "give every row as many", "has a row of other than %d values", c.perRow)
		}
		c.in = (c.in + times) % c.perRow
	}
	return nil
}

func bitWidth(most int) (bits int) {
	for ; most > 0; most >>= 1 {
		bits++
	}
	return bits
}

// begin makes the n values of a page ready to be given out.
func (c *column) begin(encoding int, values []byte, n int) error {
	c.plain, c.indexed = values, false
	size := c.size()
	switch encoding {
	case pqPlain:
		if size > 0 && len(values) < n*size {
			return fmt.Errorf("has a page of %d values in %d bytes", n, len(values))
		}
	case pqPlainDict, pqRLEDict:
		if len(values) == 0 || values[0] > 32 {
			return errLevels
		}
		c.indexed, c.index = true, hybrid{b: values[1:], width: int(values[0])}
	case pqByteSplit:
		if size == 0 || len(values) != n*size {
			return fmt.Errorf("has a page of %d values in %d bytes", n, len(values))
		}
		if err := c.f.room(&c.packed, int64(len(values))); err != nil {
			return err
		}
		for i := range n {
			for k := range size {
				c.packed[i*size+k] = values[k*n+i]
			}
		}
		c.plain = c.packed
	default:
		return fault("bad_parquet", "write it with the encodings that pyarrow uses by default", "has a page of encoding %d, which is not known here", encoding)
	}
	return nil
}

// size returns the bytes of a value, 0 for texts.
func (c *column) size() int {
	a, _ := c.leaf.elements()
	return a.size
}

// dictionary checks the dictionary of a chunk, and finds where its texts begin.
func (c *column) dictionary(h pageHeader) error {
	if size := c.size(); size > 0 {
		if int64(len(c.dict)) != h.values*int64(size) {
			return fmt.Errorf("has a dictionary of %d values in %d bytes", h.values, len(c.dict))
		}
		return nil
	}
	if h.values > int64(len(c.dict))/4 {
		return fmt.Errorf("has a dictionary of %d texts in %d bytes", h.values, len(c.dict))
	}
	if grow := h.values - int64(cap(c.texts)); grow > 0 {
		if err := c.f.take(4 * grow); err != nil {
			return err
		}
		c.texts = make([]uint32, 0, h.values)
	}
	rest := c.dict
	for range h.values {
		_, after, err := cutText(rest)
		if err != nil {
			return err
		}
		c.texts = append(c.texts, uint32(len(c.dict)-len(rest)))
		rest = after
	}
	return nil
}

// cutText cuts a text with its length off the front of a page.
func cutText(b []byte) (text, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errors.New("has a page that ends within its texts")
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, errors.New("has a page that ends within its texts")
	}
	return b[4 : 4+n], b[4+n:], nil
}

// text returns the next text, which is valid until the one after.
func (c *column) text() (text []byte, err error) {
	if err := c.next(); err != nil {
		return nil, early(err)
	}
	c.left--
	if !c.indexed {
		text, c.plain, err = cutText(c.plain)
		return text, err
	}
	var i [1]uint32
	if err := c.index.indices(i[:], len(c.texts)); err != nil {
		return nil, err
	}
	text, _, err = cutText(c.dict[c.texts[i[0]]:])
	return text, err
}

func early(err error) error {
	if err == io.EOF {
		return errors.New("has fewer values than it says")
	}
	return err
}

// fill fills dst with whole values.
func (c *column) fill(dst []byte) error {
	size := c.size()
	for len(dst) > 0 {
		if err := c.next(); err != nil {
			return early(err)
		}
		n := min(c.left, len(dst)/size)
		part := dst[:n*size]
		if c.indexed {
			n = min(n, 1024)
			part = part[:n*size]
			if err := c.look(part, n, size); err != nil {
				return within("column "+c.name(), err)
			}
		} else {
			copy(part, c.plain)
			c.plain = c.plain[len(part):]
		}
		c.left -= n
		dst = dst[len(part):]
	}
	return nil
}

// look fills dst with n values of the dictionary.
func (c *column) look(dst []byte, n, size int) error {
	if c.picks == nil {
		c.picks = make([]uint32, 1024)
	}
	if err := c.index.indices(c.picks[:n], len(c.dict)/size); err != nil {
		return err
	}
	for i, v := range c.picks[:n] {
		switch at := int(v) * size; size {
		case 4:
			binary.NativeEndian.PutUint32(dst[4*i:], binary.NativeEndian.Uint32(c.dict[at:]))
		case 8:
			binary.NativeEndian.PutUint64(dst[8*i:], binary.NativeEndian.Uint64(c.dict[at:]))
		default:
			copy(dst[i*size:(i+1)*size], c.dict[at:])
		}
	}
	return nil
}

// ends is an error if there are more values.
func (c *column) ends() error {
	switch err := c.next(); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("column %s has more values than there are rows", c.name())
	default:
		return err
	}
}

// matrixReader gives the bytes of a matrix, row by row: those of a column of
// lists as they are, or of each column in turn.
type matrixReader struct {
	size    int // of an element
	rows    int // left to read
	values  int // left to give out, of lists
	columns []*column
	one     []byte // values of one column
	block   []byte // rows
	rest    []byte // of block, not yet given out
}

// Read implements io.Reader. It gives whole elements only.
func (m *matrixReader) Read(p []byte) (int, error) {
	if len(m.columns) == 1 {
		n := min(len(p)/m.size, m.values)
		if m.values == 0 {
			return 0, cmp.Or(m.columns[0].ends(), io.EOF)
		}
		m.values -= n
		if err := m.columns[0].fill(p[:n*m.size]); err != nil {
			return 0, err
		}
		return n * m.size, nil
	}
	if len(m.rest) == 0 {
		if m.rows == 0 {
			for _, c := range m.columns {
				if err := c.ends(); err != nil {
					return 0, err
				}
			}
			return 0, io.EOF
		}
		if err := m.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// next reads the next block of rows.
func (m *matrixReader) next() error {
	const bytes = 256 << 10
	stride := len(m.columns) * m.size
	rows := min(max(bytes/stride, 16), m.rows)
	if m.block == nil {
		if err := m.columns[0].f.take(int64(rows * (stride + m.size))); err != nil {
			return err
		}
		m.block, m.one = make([]byte, rows*stride), make([]byte, rows*m.size)
	}
	for k, c := range m.columns {
		one := m.one[:rows*m.size]
		if err := c.fill(one); err != nil {
			return err
		}
		to := m.block[k*m.size:]
		switch m.size { // copy is slow on so few bytes
		case 4:
			for i := range rows {
				binary.NativeEndian.PutUint32(to[i*stride:], binary.NativeEndian.Uint32(one[4*i:]))
			}
		case 8:
			for i := range rows {
				binary.NativeEndian.PutUint64(to[i*stride:], binary.NativeEndian.Uint64(one[8*i:]))
			}
		default:
			for i := range rows {
				copy(to[i*stride:][:m.size], one[i*m.size:])
			}
		}
	}
	m.rows -= rows
	m.rest = m.block[:rows*stride]
	return nil
}
