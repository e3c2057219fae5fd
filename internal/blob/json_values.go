package blob

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

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
	if v, ok := shortFloat(b, bits); ok {
		return v, nil
	}
	return strconv.ParseFloat(unsafe.String(unsafe.SliceData(b), len(b)), bits)
}

// powers are the powers of ten that float64 holds exactly.
var powers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// shortFloat parses a decimal number of so few digits that one division or
// multiplication rounds it as it should (Clinger 1990); it is false for others.
func shortFloat(b []byte, bits int) (v float64, ok bool) {
	i := 0
	if len(b) > 0 && b[0] == '-' {
		i++
	}
	digits, point, mantissa := 0, -1, uint64(0)
	for ; i < len(b); i++ {
		c := b[i]
		if c == '.' && point < 0 {
			point = digits
			continue
		}
		if c -= '0'; c > 9 {
			break
		}
		if digits++; digits > 19 {
			return 0, false
		}
		mantissa = 10*mantissa + uint64(c)
	}
	exponent := 0
	if point >= 0 {
		exponent = point - digits
	}
	if i < len(b) {
		rest := b[i+1:]
		if b[i]|0x20 != 'e' || len(rest) == 0 {
			return 0, false
		}
		minus := rest[0] == '-'
		if minus || rest[0] == '+' {
			rest = rest[1:]
		}
		if len(rest) == 0 || len(rest) > 2 || rest[0]-'0' > 9 || rest[len(rest)-1]-'0' > 9 {
			return 0, false
		}
		e := int(rest[0] - '0')
		if len(rest) == 2 {
			e = 10*e + int(rest[1]-'0')
		}
		if minus {
			e = -e
		}
		exponent += e
	}
	if digits == 0 || mantissa >= 1<<53 || exponent < -22 || exponent > 22 {
		return 0, false
	}
	if v = float64(mantissa); exponent < 0 {
		v /= powers[-exponent]
	} else {
		v *= powers[exponent]
	}
	if bits == 32 && mantissa != 0 {
		// Rounding twice is rounding once, but halfway between two float32, and where these are few.
		const half, mask = 1 << 28, 1<<29 - 1
		if v < 0x1p-126 || v > math.MaxFloat32 || math.Float64bits(v)&mask == half {
			return 0, false
		}
		v = float64(float32(v))
	}
	if b[0] == '-' {
		v = -v
	}
	return v, true
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
