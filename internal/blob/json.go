package blob

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// maxDepth is how deep unknown values may be nested.
const maxDepth = 64

// scanner reads JSON from memory, value by value and strictly: an unknown
// field, a field twice, NaN, half of a surrogate pair and anything after the
// value are errors, because each would change the meaning of a row without a
// word. It never allocates more than what it has read.
type scanner struct {
	b []byte
	i int
}

// peek returns the first byte of the next token, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// end is an error if anything but space follows.
func (s *scanner) end() error {
	if s.peek() != 0 || s.i < len(s.b) {
		return fmt.Errorf("%s after the value", s.found())
	}
	return nil
}

// found describes the next token for an error.
func (s *scanner) found() string {
	s.peek()
	rest := s.b[s.i:]
	end := bytes.IndexAny(rest, " \t\r\n,:]}")
	if end < 1 {
		end = min(1, len(rest))
	}
	switch token := rest[:end]; {
	case len(token) == 0:
		return "the end"
	case slices.ContainsFunc([]string{"NaN", "nan", "Infinity", "-Infinity", "inf", "-inf"}, func(s string) bool { return s == string(token) }):
		return string(token) + " (JSON has no NaN and no infinity: leave such rows out)"
	case token[0] == '{':
		return "an object"
	case token[0] == '[':
		return "an array"
	default:
		return quote(token)
	}
}

func (s *scanner) want(what string) error {
	return fmt.Errorf("want %s, found %s", what, s.found())
}

func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

func (s *scanner) null() bool {
	if s.peek() == 'n' && bytes.HasPrefix(s.b[s.i:], []byte("null")) {
		s.i += 4
		return true
	}
	return false
}

// object reads an object that may have the given fields and calls read with
// the index of each that is there and not null.
func (s *scanner) object(fields []string, read func(field int) error) error {
	return s.pairs(func(key []byte) (int, error) {
		field := slices.Index(fields, string(key))
		if field < 0 {
			return 0, fmt.Errorf("unknown field %s, known are %s", quote(key), bytes.Join(quoteAll(fields), []byte(", ")))
		}
		return field, nil
	}, fields, read, 0)
}

// lenient reads an object that may have other fields too, which are skipped.
func (s *scanner) lenient(fields []string, read func(field int) error) error {
	return s.pairs(func(key []byte) (int, error) { return slices.Index(fields, string(key)), nil }, fields, read, 0)
}

// entries reads an object whose keys can be anything: read reads the value of
// each.
func (s *scanner) entries(read func(key []byte) error) error {
	if !s.take('{') {
		return s.want("an object")
	}
	for first := true; !s.take('}'); first = false {
		if !first && !s.take(',') {
			return s.want(", or }")
		}
		key, err := s.text()
		if err != nil {
			return err
		}
		if !s.take(':') {
			return s.want(":")
		}
		if err := read(key); err != nil {
			return err
		}
	}
	return nil
}

// pairs reads an object. Fields with a negative index are skipped.
func (s *scanner) pairs(index func(key []byte) (int, error), fields []string, read func(field int) error, depth int) error {
	if !s.take('{') {
		return s.want("an object")
	}
	var seen uint64 // a bit for each field
	for first := true; !s.take('}'); first = false {
		if !first && !s.take(',') {
			return s.want(", or }")
		}
		key, err := s.text()
		if err != nil {
			return err
		}
		if !s.take(':') {
			return s.want(":")
		}
		field, err := index(key)
		if err != nil {
			return err
		}
		if field < 0 {
			if err := s.skip(depth); err != nil {
				return err
			}
			continue
		}
		if seen>>field&1 != 0 {
			return fmt.Errorf("field %q is given twice", fields[field])
		}
		seen |= 1 << field
		if s.null() {
			continue
		}
		if err := read(field); err != nil {
			return within(fields[field], err)
		}
	}
	return nil
}

// within puts a field in front of an error.
func within(field string, err error) error {
	if err == nil || final(err) {
		return err
	}
	return fmt.Errorf("%s: %w", field, err)
}

func quoteAll(fields []string) (quoted [][]byte) {
	for _, f := range fields {
		quoted = append(quoted, strconv.AppendQuote(nil, f))
	}
	return quoted
}

// array reads an array; read reads each element.
func (s *scanner) array(read func() error) error {
	if !s.take('[') {
		return s.want("an array")
	}
	for first := true; !s.take(']'); first = false {
		if !first && !s.take(',') {
			return s.want(", or ]")
		}
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

// skip reads any value.
func (s *scanner) skip(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	next := func() error { return s.skip(depth + 1) }
	switch s.peek() {
	case '{':
		return s.pairs(func([]byte) (int, error) { return -1, nil }, nil, nil, depth+1)
	case '[':
		return s.array(next)
	case '"':
		_, err := s.text()
		return err
	case 't', 'f', 'n':
		for _, word := range []string{"true", "false", "null"} {
			if bytes.HasPrefix(s.b[s.i:], []byte(word)) {
				s.i += len(word)
				return nil
			}
		}
	}
	_, err := s.number(64)
	return err
}
