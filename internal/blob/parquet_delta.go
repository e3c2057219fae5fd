package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var errDelta = errors.New("has a page with broken differences")

// delta decodes integers that are stored as differences, in blocks of
// miniblocks with as many bits each as the largest needs, and returns what
// follows them. See Parquet's DELTA_BINARY_PACKED.
func delta(dst []int64, b []byte) (rest []byte, err error) {
	var head [3]uint64 // values of a block, miniblocks of a block, values
	for i := range head {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errDelta
		}
		head[i], b = v, b[n:]
	}
	block, minis := head[0], head[1]
	if block == 0 || block > 1<<20 || minis == 0 || minis > block/8 || block%minis != 0 || block/minis%8 != 0 {
		return nil, errDelta
	}
	if head[2] != uint64(len(dst)) {
		return nil, fmt.Errorf("has a page of %d values that says it has %d", len(dst), head[2])
	}
	last, n := binary.Varint(b)
	if n <= 0 {
		return nil, errDelta
	}
	b = b[n:]
	if len(dst) == 0 {
		return b, nil
	}
	dst[0] = last
	for at := 1; at < len(dst); {
		least, n := binary.Varint(b)
		if n <= 0 || len(b)-n < int(minis) {
			return nil, errDelta
		}
		widths := b[n : n+int(minis)]
		b = b[n+int(minis):]
		for _, width := range widths {
			if at == len(dst) {
				break // what is left of the block is not there
			}
			each := int(block / minis)
			size := each / 8 * int(width)
			if width > 64 || size > len(b) {
				return nil, errDelta
			}
			part := dst[at:min(at+each, len(dst))]
			for i := range part {
				last += least + int64(bitsAt(b[:size], i*int(width), uint(width)))
				part[i] = last
			}
			at += len(part)
			b = b[size:]
		}
	}
	return b, nil
}

// bitsAt returns width bits, at most 64, from a bit of b on, lowest first.
func bitsAt(b []byte, bit int, width uint) uint64 {
	at, shift := bit>>3, uint(bit&7)
	var v, over uint64
	if at+9 <= len(b) {
		v, over = binary.LittleEndian.Uint64(b[at:]), uint64(b[at+8])
	} else {
		var end [9]byte
		copy(end[:], b[min(at, len(b)):])
		v, over = binary.LittleEndian.Uint64(end[:]), uint64(end[8])
	}
	v = v>>shift | over<<(64-shift)
	if width == 64 {
		return v
	}
	return v & (1<<width - 1)
}

// deltas decodes n integers into one of the column's lists.
func (c *column) deltas(list *[]int64, b []byte, n int) (rest []byte, err error) {
	if grow := n - cap(*list); grow > 0 {
		if err := c.f.take(8 * int64(grow)); err != nil {
			return nil, err
		}
		*list = make([]int64, n)
	}
	*list = (*list)[:n]
	return delta(*list, b)
}

// integers makes the values of a page that are differences plain ones.
func (c *column) integers(b []byte, n int) error {
	rest, err := c.deltas(&c.suffixes, b, n)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return errDelta
	}
	size := c.size()
	if err := c.f.room(&c.values, int64(n*size)); err != nil {
		return err
	}
	for i, v := range c.suffixes {
		if size == 4 {
			binary.LittleEndian.PutUint32(c.values[4*i:], uint32(v))
		} else {
			binary.LittleEndian.PutUint64(c.values[8*i:], uint64(v))
		}
	}
	return nil
}

// strings makes the texts of a page plain ones: their lengths come first, and
// with prefixes before these how much each has in common with the one before.
func (c *column) strings(b []byte, n int, prefixes bool) (err error) {
	c.prefixes = c.prefixes[:0]
	if prefixes {
		if b, err = c.deltas(&c.prefixes, b, n); err != nil {
			return err
		}
	}
	if b, err = c.deltas(&c.suffixes, b, n); err != nil {
		return err
	}
	fixed := c.size()
	size, before, left := int64(0), int64(0), int64(len(b))
	for i, suffix := range c.suffixes {
		prefix := int64(0)
		if prefixes {
			prefix = c.prefixes[i]
		}
		if prefix < 0 || prefix > before || suffix < 0 || suffix > left || fixed > 0 && prefix+suffix != int64(fixed) {
			return errors.New("has a page with texts of impossible length")
		}
		left -= suffix
		before = prefix + suffix
		if size += before + 4; size > maxValue {
			return fault("reference_too_large", "write smaller pages", "has a page of texts of more than %d bytes", maxValue)
		}
	}
	if left > 0 {
		return errors.New("has a page that goes on after its texts")
	}
	if err := c.f.room(&c.values, size); err != nil {
		return err
	}
	out, text := c.values[:0], []byte(nil)
	for i, suffix := range c.suffixes {
		prefix := text[:0]
		if prefixes {
			prefix = text[:c.prefixes[i]]
		}
		if fixed == 0 {
			out = binary.LittleEndian.AppendUint32(out, uint32(len(prefix)+int(suffix)))
		}
		start := len(out)
		out = append(append(out, prefix...), b[:suffix]...)
		text, b = out[start:], b[suffix:]
	}
	c.values = out
	return nil
}
