package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

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
		if err := c.f.room(&c.values, int64(len(values))); err != nil {
			return err
		}
		for k := range size {
			for i, b := range values[k*n : (k+1)*n] {
				c.values[i*size+k] = b
			}
		}
		c.plain = c.values
	case pqDelta, pqDeltaLength, pqDeltaText:
		integer := c.leaf.kind == pqInt32 || c.leaf.kind == pqInt64
		var err error
		switch {
		case integer != (encoding == pqDelta), encoding == pqDeltaLength && size > 0, size > 0 && c.leaf.kind != pqFixed && !integer:
			err = fmt.Errorf("has a page of encoding %d, which does not fit its type", encoding)
		case integer:
			err = c.integers(values, n)
		default:
			err = c.strings(values, n, encoding == pqDeltaText)
		}
		c.plain = c.values
		return err
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
