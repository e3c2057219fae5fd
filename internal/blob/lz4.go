package blob

import "errors"

var errLZ4 = errors.New("broken lz4")

// unlz4 decompresses a block of lz4 into dst, which must have room for it, and
// returns its size. A block is a row of sequences, each a token, literals, and
// a match in what was written before: see lz4_Block_format.md of lz4. Libraries
// do this in assembly, which must not fail on what strangers send.
func unlz4(dst, src []byte) (n int, err error) {
	// length reads the rest of a length, whose first four bits are full.
	length := func(n int) int {
		for n >= 15 && len(src) > 0 {
			more := src[0]
			src = src[1:]
			if n += int(more); more != 255 {
				return n
			}
		}
		if n >= 15 {
			return -1
		}
		return n
	}
	for len(src) > 0 {
		token := src[0]
		src = src[1:]
		literals := length(int(token >> 4))
		if literals < 0 || literals > len(src) || literals > len(dst)-n {
			return 0, errLZ4
		}
		n += copy(dst[n:], src[:literals])
		if src = src[literals:]; len(src) == 0 {
			return n, nil // the last one has no match
		}
		if len(src) < 2 {
			return 0, errLZ4
		}
		offset := int(src[0]) | int(src[1])<<8
		src = src[2:]
		match := length(int(token&15)) + 4
		if offset == 0 || offset > n || match < 4 || match > len(dst)-n {
			return 0, errLZ4
		}
		for from := n - offset; match > 0; { // a match may go on into what it writes
			part := copy(dst[n:n+match], dst[from:n])
			n, match = n+part, match-part
		}
	}
	return 0, errLZ4
}
