package blob

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
)

// stream cuts a long JSON document into values that a scanner reads, so that
// only one is in memory at a time.
type stream struct {
	r    io.Reader
	buf  []byte // what was read and not yet given out begins at i
	i    int
	done bool // nothing follows buf
}

func newStream(r io.Reader) *stream { return &stream{r: r, buf: make([]byte, 0, 64<<10)} }

var errStreamEnd = errors.New("ends within its JSON")

// more reads on. What is before i is dropped, so that the rest moves to the
// front; a value that fills the buffer makes it grow.
func (s *stream) more() error {
	if s.done {
		return io.EOF
	}
	n := copy(s.buf[:cap(s.buf)], s.buf[s.i:])
	if s.buf, s.i = s.buf[:n], 0; n == cap(s.buf) {
		if n >= maxValue {
			return fmt.Errorf("has a value of more than %d bytes", maxValue)
		}
		grown := make([]byte, n, min(2*n, maxValue))
		copy(grown, s.buf)
		s.buf = grown
	}
	got, err := s.r.Read(s.buf[n:cap(s.buf)])
	s.buf = s.buf[:n+got]
	if err == io.EOF {
		s.done, err = true, nil
	}
	return err
}

// peek returns the first byte of the next token, 0 at the end.
func (s *stream) peek() (byte, error) {
	for {
		for ; s.i < len(s.buf); s.i++ {
			switch c := s.buf[s.i]; c {
			case ' ', '\t', '\r', '\n':
			default:
				return c, nil
			}
		}
		if err := s.more(); err != nil {
			if err == io.EOF {
				err = nil
			}
			return 0, err
		}
	}
}

// take takes one of the bytes in set, which must be next.
func (s *stream) take(set string) (byte, error) {
	c, err := s.peek()
	if err != nil {
		return 0, err
	}
	for i := range len(set) {
		if c == set[i] {
			s.i++
			return c, nil
		}
	}
	if c == 0 && s.i == len(s.buf) {
		return 0, errStreamEnd
	}
	return 0, fmt.Errorf("want one of %q, found %s", set, quote([]byte{c}))
}

// value returns the bytes of the next value, which are valid until the next
// call. Whether they are JSON is for a scanner to say.
func (s *stream) value() ([]byte, error) {
	if _, err := s.peek(); err != nil {
		return nil, err
	}
	depth, text := 0, false
	for at := 0; ; at++ { // from s.i, which moves
		if s.i+at >= len(s.buf) {
			if err := s.more(); err == io.EOF && at > 0 && depth == 0 && !text {
				return s.cut(at), nil
			} else if err != nil {
				if err == io.EOF {
					err = errStreamEnd
				}
				return nil, err
			}
			at--
			continue
		}
		switch c := s.buf[s.i+at]; {
		case text && c == '\\':
			at++
		case c == '"':
			text = !text
			if !text && depth == 0 {
				return s.cut(at + 1), nil
			}
		case text:
		case c == '{' || c == '[':
			depth++
		case (c == '}' || c == ']' || c == ',' || c == ':') && depth == 0:
			if at == 0 {
				return nil, fmt.Errorf("want a value, found %s", quote([]byte{c}))
			}
			return s.cut(at), nil
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return s.cut(at + 1), nil
			}
		}
	}
}

func (s *stream) cut(n int) []byte {
	s.i += n
	return s.buf[s.i-n : s.i]
}

// null takes a null, if it is next.
func (s *stream) null() (bool, error) {
	if c, err := s.peek(); c != 'n' || err != nil {
		return false, err
	}
	raw, err := s.value()
	if err == nil && string(bytes.TrimSpace(raw)) != "null" {
		err = fmt.Errorf("want a value, found %s", quote(raw))
	}
	return err == nil, err
}

// array calls read with each element of an array.
func (s *stream) array(read func(*scanner) error) error {
	if _, err := s.take("["); err != nil {
		return err
	}
	if c, err := s.peek(); err != nil || c == ']' {
		s.i++
		return err
	}
	element := &scanner{}
	for number := 1; ; number++ {
		raw, err := s.value()
		if err != nil {
			return fmt.Errorf("element %d: %w", number, err)
		}
		*element = scanner{b: raw}
		if err = read(element); err == nil {
			err = element.end()
		}
		if err != nil && !final(err) {
			err = fmt.Errorf("element %d: %w", number, err)
		}
		if err != nil {
			return err
		}
		if c, err := s.take(",]"); err != nil || c == ']' {
			return err
		}
	}
}

// object calls read with each key of an object; it reads the value.
func (s *stream) object(read func(key []byte) error) error {
	if _, err := s.take("{"); err != nil {
		return err
	}
	if c, err := s.peek(); err != nil || c == '}' {
		s.i++
		return err
	}
	for {
		raw, err := s.value()
		if err != nil {
			return err
		}
		key, err := (&scanner{b: raw}).text()
		if err != nil {
			return err
		}
		key = append([]byte(nil), key...)
		if _, err = s.take(":"); err == nil {
			err = within(string(key), read(key))
		}
		if err != nil {
			return err
		}
		if c, err := s.take(",}"); err != nil || c == '}' {
			return err
		}
	}
}

// skip skips a value, the elements of an array one by one.
func (s *stream) skip() error {
	c, err := s.peek()
	switch {
	case err != nil:
		return err
	case c == '[':
		return s.array(func(e *scanner) error { return e.skip(0) })
	}
	raw, err := s.value()
	if err != nil {
		return err
	}
	return (&scanner{b: raw}).skip(0)
}

// end is an error if anything but space follows.
func (s *stream) end() error {
	if c, err := s.peek(); err != nil || c != 0 || s.i < len(s.buf) {
		return cmp.Or(err, errors.New("goes on after its JSON"))
	}
	return nil
}
