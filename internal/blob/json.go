package blob

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
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

// number reads a number with the precision of 32 or 64 bits.
func (s *scanner) number(bits int) (float64, error) {
	s.peek()
	token := s.b[s.i : s.i+numberLen(s.b[s.i:])]
	if len(token) == 0 {
		return 0, s.want("a number")
	}
	v, err := parseFloat(token, bits)
	if err != nil {
		return 0, fmt.Errorf("%s is beyond the range of float%d", quote(token), bits)
	}
	s.i += len(token)
	return v, nil
}

// numberLen returns the length of the JSON number that b begins with, 0 if it
// begins with something else.
func numberLen(b []byte) int {
	i := 0
	if i < len(b) && b[i] == '-' {
		i++
	}
	whole := i
	i = digits(b, i)
	if i == whole || b[whole] == '0' && i > whole+1 {
		return 0
	}
	if i < len(b) && b[i] == '.' {
		from := i + 1
		if i = digits(b, from); i == from {
			return 0
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		from := i
		if i = digits(b, from); i == from {
			return 0
		}
	}
	if i < len(b) && b[i]|0x20 >= 'a' && b[i]|0x20 <= 'z' {
		return 0
	}
	return i
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

// parseFloat parses without a copy.
func parseFloat(b []byte, bits int) (float64, error) {
	return strconv.ParseFloat(unsafe.String(unsafe.SliceData(b), len(b)), bits)
}

// integer reads a whole number in lo … hi.
func (s *scanner) integer(lo, hi float64) (int, error) {
	v, err := s.number(64)
	if err != nil {
		return 0, err
	}
	if v != math.Trunc(v) || v < lo || v > hi {
		return 0, fmt.Errorf("want a whole number from %.0f to %.0f, found %v", lo, hi, v)
	}
	return int(v), nil
}

// numbers appends an array of numbers to dst.
func (s *scanner) numbers(dst []float64) ([]float64, error) {
	err := s.array(func() error {
		v, err := s.number(64)
		dst = append(dst, v)
		return err
	})
	return dst, err
}

// numberLists holds all lists of numbers of one image.
type numberLists struct{ all []float64 }

// reset makes room for the next image: lists read before are void.
func (l *numberLists) reset() { l.all = l.all[:0] }

// read reads an array of numbers. The list is not nil.
func (l *numberLists) read(s *scanner) (list []float64, err error) {
	if l.all == nil {
		l.all = []float64{}
	}
	start := len(l.all)
	l.all, err = s.numbers(l.all) // where it must grow, the lists before stay in the old memory
	return l.all[start:len(l.all):len(l.all)], err
}

var errSurrogate = errors.New("text with half of a surrogate pair")

// text reads a string. The result may point into the scanned bytes.
func (s *scanner) text() ([]byte, error) {
	if !s.take('"') {
		return nil, s.want("a string")
	}
	start := s.i
	var out []byte // nil until an escape makes a copy necessary
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			plain := s.b[start:s.i]
			s.i++
			if out != nil {
				plain = append(out, plain...)
			}
			if !utf8.Valid(plain) {
				return nil, errors.New("text that is not valid UTF-8")
			}
			return plain, nil
		case c < ' ':
			return nil, errors.New("text with a control character that is not escaped")
		case c != '\\':
			s.i++
		default:
			out = append(out, s.b[start:s.i]...)
			r, err := s.escape()
			if err != nil {
				return nil, err
			}
			out = utf8.AppendRune(out, r)
			start = s.i
		}
	}
	return nil, errors.New("text without closing quote")
}

// escape reads one escape sequence.
func (s *scanner) escape() (rune, error) {
	if s.i+1 >= len(s.b) {
		return 0, errors.New("text without closing quote")
	}
	c := s.b[s.i+1]
	if i := bytes.IndexByte([]byte(`"\/bfnrt`), c); i >= 0 {
		s.i += 2
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	unit := s.unit()
	if unit < 0 {
		return 0, errors.New(`text with an unknown escape after \`)
	}
	if !utf16.IsSurrogate(unit) {
		return unit, nil
	}
	if r := utf16.DecodeRune(unit, s.unit()); r != utf8.RuneError {
		return r, nil
	}
	return 0, errSurrogate
}

// unit reads \uXXXX, -1 if something else is there.
func (s *scanner) unit() rune {
	if len(s.b)-s.i < 6 || s.b[s.i] != '\\' || s.b[s.i+1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(s.b[s.i+2:s.i+6]), 16, 16)
	if err != nil {
		return -1
	}
	s.i += 6
	return rune(n)
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
