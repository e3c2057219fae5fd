package blob

import (
	"encoding/binary"
	"io"
	"math"
	"slices"
	"unsafe"

	"nextbatch/internal/score"
)

// littleEndian says how this machine stores numbers.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// chunkBytes is how much is read at a time: small enough to notice the end of
// a context, a multiple of every element size.
const chunkBytes = 1 << 20

// float32s reports whether the elements fit into float32 without loss. All
// others are read as float64.
func (a array) float32s() bool { return a.kind == 'f' && a.size <= 4 || a.kind == 'B' }

// readFloats reads the elements into dst, which has as many, at least one axis
// given: row by row with the last axis as columns, and whatever the order of rows in an array of
// three axes in Fortran order: there rows are pixels, and which is which does
// not matter. Numbers beyond the range of F become infinite.
func readFloats[F score.Float](dst []F, a array) error {
	read := readNext[F]
	if a.transposed() {
		read = readTransposed[F]
	}
	if err := read(dst, a); err != nil {
		return err
	}
	return a.ends()
}

// transposed reports whether the elements are stored column by column.
func (a array) transposed() bool {
	return a.fortran && len(a.shape) > 1 && a.shape[len(a.shape)-1] > 1
}

// readNext reads the next elements, as they are stored, until dst is full.
func readNext[F score.Float](dst []F, a array) error {
	switch {
	case a.kind == 'U' || a.kind == 'S':
		return fault("bad_npy", "", "has strings where numbers are expected")
	case a.kind == 'f' && a.size == int(unsafe.Sizeof(F(0))):
		return readPlain(dst, a)
	}
	buf := make([]byte, min(chunkBytes, len(dst)*a.size))
	for part := range slices.Chunk(dst, max(len(buf)/a.size, 1)) {
		raw := buf[:len(part)*a.size]
		if err := a.readFull(raw); err != nil {
			return err
		}
		convert(part, raw, a)
	}
	return nil
}

// readTransposed reads all elements, which are stored column by column.
func readTransposed[F score.Float](dst []F, a array) error {
	cols := a.shape[len(a.shape)-1]
	rows := len(dst) / cols
	buf := make([]F, min(chunkBytes/a.size, len(dst)))
	at := 0 // row*cols + column
	for left := len(dst); left > 0; left -= len(buf) {
		buf = buf[:min(left, len(buf))]
		if err := readNext(buf, a); err != nil {
			return err
		}
		for _, v := range buf {
			dst[at] = v
			if at += cols; at >= rows*cols {
				at -= rows*cols - 1
			}
		}
	}
	return nil
}

// checkAxes refuses what cannot be a matrix however it is read.
func (a array) checkAxes() error {
	if len(a.shape) == 0 {
		return fault("bad_shape", "", "is a single number")
	}
	if cols := a.shape[len(a.shape)-1]; cols > maxCols {
		return fault("reference_too_large", "", "has %d columns, at most %d are allowed", cols, maxCols)
	}
	return nil
}

// ends makes sure that nothing follows the elements: in a zip this is also
// what checks the checksum.
func (a array) ends() error {
	if n, err := io.ReadFull(a.rest, make([]byte, 1)); err != io.EOF {
		if n > 0 {
			return fault("bad_npy", "", "goes on after its elements")
		}
		return err
	}
	return nil
}

// readPlain reads elements that are stored as in memory, up to byte order.
func readPlain[F score.Float](dst []F, a array) error {
	raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(dst))), len(dst)*a.size)
	for part := range slices.Chunk(raw, chunkBytes) {
		if err := a.readFull(part); err != nil {
			return err
		}
	}
	if a.big == littleEndian {
		for e := range slices.Chunk(raw, a.size) {
			slices.Reverse(e)
		}
	}
	return nil
}

// convert decodes elements of any type.
func convert[F score.Float](dst []F, raw []byte, a array) {
	order := a.order()
	switch {
	case a.size == 1 && a.kind == 'i':
		for i, b := range raw {
			dst[i] = F(int8(b))
		}
	case a.size == 1:
		for i, b := range raw {
			dst[i] = F(b)
		}
	case a.size == 2:
		for i := range dst {
			switch u := order.Uint16(raw[2*i:]); a.kind {
			case 'f':
				dst[i] = F(half(u))
			case 'B':
				dst[i] = F(math.Float32frombits(uint32(u) << 16))
			case 'i':
				dst[i] = F(int16(u))
			default:
				dst[i] = F(u)
			}
		}
	case a.size == 4:
		for i := range dst {
			switch u := order.Uint32(raw[4*i:]); a.kind {
			case 'f':
				dst[i] = F(math.Float32frombits(u))
			case 'i':
				dst[i] = F(int32(u))
			default:
				dst[i] = F(u)
			}
		}
	default:
		for i := range dst {
			switch u := order.Uint64(raw[8*i:]); a.kind {
			case 'f':
				dst[i] = F(math.Float64frombits(u))
			case 'i':
				dst[i] = F(int64(u))
			default:
				dst[i] = F(u)
			}
		}
	}
}

// half returns the value of an IEEE 754 binary16.
func half(u uint16) float32 {
	sign, exp, frac := uint32(u>>15)<<31, uint32(u>>10&31), uint32(u&1023)
	switch exp {
	case 0: // subnormal: frac · 2^-24, exact in float32
		v := float32(frac) / (1 << 24)
		return math.Float32frombits(sign | math.Float32bits(v))
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// finite reports whether all of v are: no exponent has all bits set. Adding one
// to such an exponent sets the sign, of two float32 at a time.
func finite[F score.Float](v []F) bool {
	const (
		exponents32, one32, signs32 = 0x7f800000_7f800000, 0x00800000_00800000, 0x80000000_80000000
		exponents64, one64, signs64 = 0x7ff00000_00000000, 0x00100000_00000000, 0x80000000_00000000
	)
	exponents, one, signs, each := uint64(exponents64), uint64(one64), uint64(signs64), 1
	if unsafe.Sizeof(F(0)) == 4 {
		exponents, one, signs, each = exponents32, one32, signs32, 2
	}
	whole := len(v) - len(v)%each
	for _, x := range v[whole:] {
		if x-x != 0 {
			return false
		}
	}
	var words []uint64
	if whole > 0 && uintptr(unsafe.Pointer(&v[0]))%8 == 0 {
		words = unsafe.Slice((*uint64)(unsafe.Pointer(&v[0])), whole/each)
	} else {
		for _, x := range v[:whole] {
			if x-x != 0 {
				return false
			}
		}
	}
	for len(words) >= 4 {
		a, b, c, d := words[0]&exponents+one, words[1]&exponents+one, words[2]&exponents+one, words[3]&exponents+one
		if (a|b|c|d)&signs != 0 {
			return false
		}
		words = words[4:]
	}
	for _, w := range words {
		if (w&exponents+one)&signs != 0 {
			return false
		}
	}
	return true
}
