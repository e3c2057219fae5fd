package bitmask

import (
	"errors"
	"fmt"
	"strings"
)

const digits = "0123456789abcdef"

// FromHex reads hexadecimal text: an optional 0x or 0X, then one or more
// digits of either case, most significant first; leading zeros are allowed,
// signs, blanks and underscores are not. The mask takes half as many bytes as
// the text, so a limit on the text is a limit on the mask.
func FromHex(text string) (*Mask, error) { return parse(text, "hexadecimal", 'x', 4) }

// FromBin reads binary text: the same as FromHex with 0b or 0B and the digits
// 0 and 1.
func FromBin(text string) (*Mask, error) { return parse(text, "binary", 'b', 1) }

// Hex returns lower-case hexadecimal text with prefix 0x and no leading zeros,
// "0x0" for the empty set.
func (m *Mask) Hex() string { return m.text("0x", 4) }

// Bin returns binary text with prefix 0b and no leading zeros, "0b0" for the
// empty set.
func (m *Mask) Bin() string { return m.text("0b", 1) }

// parse reads digits of width bits each. The width divides a word, so no
// digit straddles two.
func parse(text, kind string, mark byte, width int) (*Mask, error) {
	skip := 0
	if len(text) >= 2 && text[0] == '0' && text[1]|0x20 == mark {
		skip = 2
	}
	body := text[skip:]
	if body == "" {
		return nil, errors.New("bitmask: " + kind + " text without digits")
	}
	perWord := wordBits / width
	m := &Mask{words: make([]uint64, (len(body)-1)/perWord+1)}
	for i := range len(body) {
		digit := digitValue(body[i])
		if digit>>width != 0 {
			return nil, fmt.Errorf("bitmask: %q at byte %d is no %s digit", body[i:i+1], skip+i, kind)
		}
		place := len(body) - 1 - i
		m.words[place/perWord] |= digit << (place % perWord * width)
	}
	return m, nil
}

// digitValue returns the value of a hexadecimal digit, 255 for any other byte.
func digitValue(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c >= 'a' && c <= 'f':
		return uint64(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return uint64(c-'A') + 10
	}
	return 255
}

func (m *Mask) text(prefix string, width int) string {
	perWord := wordBits / width
	places := max(1, (m.Len()+width-1)/width)
	var b strings.Builder
	b.Grow(len(prefix) + places)
	b.WriteString(prefix)
	for place := places - 1; place >= 0; place-- {
		var digit uint64
		if w := place / perWord; w < len(m.words) {
			digit = m.words[w] >> (place % perWord * width) & (1<<width - 1)
		}
		b.WriteByte(digits[digit])
	}
	return b.String()
}
