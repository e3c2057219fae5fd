package blob

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

const (
	npyMagic     = "\x93NUMPY"
	maxNPYHeader = 64 << 10
	maxItem      = 64 << 10 // bytes of one string
)

// array is an npy whose header has been read and checked: exactly the bytes of
// its elements follow.
type array struct {
	descr   string
	kind    byte // f i u b U S, and B for bfloat16
	size    int  // bytes of an element, at least 1
	big     bool // big-endian
	fortran bool
	shape   []int
	rest    io.Reader
}

// order returns the byte order of the elements.
func (a array) order() binary.ByteOrder {
	if a.big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// readFull reads the next bytes of the elements.
func (a array) readFull(p []byte) error {
	_, err := io.ReadFull(a.rest, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fault("bad_npy", "write the file completely, then send the event", "ends within its elements")
	}
	return err
}

// npy reads the header of a file and calls read with it.
func (f *File) npy(read func(array) error) error {
	a, err := readHeader(f.reader(), f.size)
	if err != nil {
		return coded("bad_npy", "np.save(out, array)", err)
	}
	return read(a)
}

// readHeader reads the header of an npy of size bytes.
func readHeader(r io.Reader, size int64) (array, error) {
	var intro [12]byte
	if _, err := io.ReadFull(r, intro[:10]); err != nil {
		return array{}, errors.New("is too short for an npy")
	}
	switch {
	case bytes.HasPrefix(intro[:], []byte("PK\x03\x04")):
		return array{}, fault("bad_npy", "set format to npz", "is a zip, as npz files are, not an npy")
	case intro[0] == 0x80 && intro[1] <= 5:
		return array{}, pickle("is a pickle")
	case !bytes.HasPrefix(intro[:], []byte(npyMagic)):
		return array{}, errors.New("does not begin as an npy does")
	}
	length, read := int64(binary.LittleEndian.Uint16(intro[8:])), int64(10)
	switch version := intro[6]; version {
	case 1:
	case 2, 3:
		if _, err := io.ReadFull(r, intro[10:]); err != nil {
			return array{}, errors.New("is too short for an npy")
		}
		length, read = int64(binary.LittleEndian.Uint32(intro[8:])), 12
	default:
		return array{}, fmt.Errorf("is an npy of version %d, known are 1 to 3", version)
	}
	if length > maxNPYHeader {
		return array{}, fmt.Errorf("has a header of %d bytes, at most %d are allowed", length, maxNPYHeader)
	}
	header := make([]byte, length)
	if _, err := io.ReadFull(r, header); err != nil {
		return array{}, errors.New("ends within its header")
	}
	a, err := parseHeader(string(header))
	if err != nil {
		return array{}, err
	}
	a.rest = r
	want, ok := product(append(slices.Clone(a.shape), a.size))
	if have := size - read - length; !ok || want != have {
		return array{}, fmt.Errorf("has %d bytes of elements, shape %v of type %s needs %s", have, a.shape, a.descr, orMore(want, ok))
	}
	return a, nil
}

func orMore(n int64, ok bool) string {
	if !ok {
		return "more than there can be"
	}
	return strconv.FormatInt(n, 10)
}

// product multiplies, and is false on overflow.
func product(factors []int) (int64, bool) {
	p := uint64(1)
	for _, f := range factors {
		hi, lo := bits.Mul64(p, uint64(f))
		if hi != 0 || lo > 1<<62 {
			return 0, slices.Contains(factors, 0)
		}
		p = lo
	}
	return int64(p), true
}

// parseHeader reads the Python literal in the header:
//
//	{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
func parseHeader(text string) (array, error) {
	p := literal{text}
	var a array
	seen := map[string]bool{}
	if !p.take("{") {
		return a, errors.New("has no dictionary in its header")
	}
	for !p.take("}") {
		key, ok := p.text()
		if !ok || !p.take(":") || seen[key] {
			return a, errors.New("has a broken dictionary in its header")
		}
		seen[key] = true
		switch key {
		case "descr":
			if a.descr, ok = p.text(); !ok {
				return a, errors.New("has elements of a structured type")
			}
		case "fortran_order":
			a.fortran = p.take("True")
			ok = a.fortran || p.take("False")
		case "shape":
			a.shape, ok = p.shape()
		default:
			ok = false
		}
		if !ok {
			return a, fmt.Errorf("has no valid %s in its header", quote(key))
		}
		if !p.take(",") && !strings.HasPrefix(p.rest, "}") {
			return a, errors.New("has a broken dictionary in its header")
		}
	}
	if p.space(); p.rest != "" || len(seen) != 3 {
		return a, errors.New("has a header without descr, fortran_order or shape")
	}
	return a, a.parseDescr()
}

// sizes are the sizes of elements by kind. Strings may have others.
var sizes = map[byte][]int{'f': {2, 4, 8}, 'i': {1, 2, 4, 8}, 'u': {1, 2, 4, 8}, 'b': {1}}

func (a *array) parseDescr() error {
	bad := fault("bad_npy", `convert with array.astype("float32")`, "has elements of type %s", quote(a.descr))
	if a.descr == "O" || strings.HasSuffix(a.descr, "|O") {
		return pickle("has Python objects as elements")
	}
	if len(a.descr) < 3 || !strings.ContainsRune("<>|=", rune(a.descr[0])) || a.descr[0] == '=' {
		return bad
	}
	n, err := strconv.ParseUint(a.descr[2:], 10, 31)
	if err != nil {
		return bad
	}
	a.kind, a.size, a.big = a.descr[1], int(n), a.descr[0] == '>'
	switch a.kind {
	case 'O':
		return pickle("has Python objects as elements")
	case 'U':
		if n > maxItem {
			return bad
		}
		a.size *= 4
	case 'S':
	default:
		if !slices.Contains(sizes[a.kind], a.size) || a.size > 1 && a.descr[0] == '|' {
			return bad
		}
	}
	if a.size < 1 || a.size > maxItem {
		return bad
	}
	return nil
}

// literal reads a Python literal from its front.
type literal struct{ rest string }

func (p *literal) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *literal) take(token string) (ok bool) {
	p.space()
	if p.rest, ok = strings.CutPrefix(p.rest, token); ok {
		p.space()
	}
	return ok
}

func (p *literal) text() (string, bool) {
	for _, q := range []string{"'", `"`} {
		if p.take(q) {
			text, rest, ok := strings.Cut(p.rest, q)
			p.rest = rest
			return text, ok && !strings.Contains(text, `\`)
		}
	}
	return "", false
}

// shape reads a tuple of axes.
func (p *literal) shape() ([]int, bool) {
	shape := []int{}
	if !p.take("(") {
		return nil, false
	}
	for !p.take(")") {
		end := strings.IndexFunc(p.rest, func(r rune) bool { return r < '0' || r > '9' })
		if end < 1 || len(shape) == 32 {
			return nil, false
		}
		n, err := strconv.ParseInt(p.rest[:end], 10, 63)
		if err != nil {
			return nil, false
		}
		shape = append(shape, int(n))
		p.rest = strings.TrimPrefix(p.rest[end:], "L") // Python 2
		if !p.take(",") && !strings.HasPrefix(p.rest, ")") {
			return nil, false
		}
	}
	return shape, true
}
