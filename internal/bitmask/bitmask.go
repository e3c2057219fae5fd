// Package bitmask holds which rows of a dataset belong to a set, one bit per
// row, and reads and writes the hexadecimal text that the Lightly API uses for
// it. It knows nothing of filenames, tags or storage.
//
// A mask is a slice of 64-bit words, least significant first: row k is bit
// k%64 of word k/64. Every operation is linear in the number of words or
// better. A mask has no fixed size: rows beyond its words are not in the set.
package bitmask

import (
	"fmt"
	"iter"
	"math/bits"
	"slices"
)

const wordBits = 64

// Mask is a set of row indices, all ≥ 0. The zero Mask is the empty set. Any
// number of goroutines may read a Mask, or one may change it.
type Mask struct {
	words []uint64 // the last words may be zero
}

// New returns an empty mask with room for the rows 0 … n-1. It grows when
// a higher row is set.
func New(n int) *Mask {
	return &Mask{words: make([]uint64, 0, wordsFor(max(n, 0)))}
}

// FromLength returns the mask of the rows 0 … n-1. It is an error if n < 1.
// It takes n/8 bytes: bound an n that comes from outside before the call.
func FromLength(n int) (*Mask, error) {
	if n < 1 {
		return nil, fmt.Errorf("bitmask: length %d, want at least 1", n)
	}
	m := new(Mask)
	m.Invert(n)
	return m, nil
}

// FromIndices returns the mask of the given indices, in any order, repeated or
// not. It panics if one is negative.
func FromIndices(indices ...int) *Mask {
	m := new(Mask)
	if len(indices) > 0 {
		m.grow(word(slices.Max(indices)) + 1)
	}
	for _, i := range indices {
		m.Set(i)
	}
	return m
}

// Set adds row i. It panics if i is negative, and takes memory for i bits:
// bound an i that comes from outside before the call.
func (m *Mask) Set(i int) {
	w := word(i)
	m.grow(w + 1)
	m.words[w] |= 1 << (i % wordBits)
}

// Unset removes row i, which need not be in the set. It panics if i is
// negative.
func (m *Mask) Unset(i int) {
	if w := word(i); w < len(m.words) {
		m.words[w] &^= 1 << (i % wordBits)
	}
}

// Has reports whether row i is in the set. It panics if i is negative.
func (m *Mask) Has(i int) bool {
	w := word(i)
	return w < len(m.words) && m.words[w]>>(i%wordBits)&1 == 1
}

// Count returns the number of rows in the set.
func (m *Mask) Count() int {
	n := 0
	for _, w := range m.words {
		n += bits.OnesCount64(w)
	}
	return n
}

// Len returns the highest row plus one, 0 for the empty set.
func (m *Mask) Len() int {
	for w := len(m.words) - 1; w >= 0; w-- {
		if m.words[w] != 0 {
			return w*wordBits + bits.Len64(m.words[w])
		}
	}
	return 0
}

// All yields the rows in ascending order. The mask must not be changed
// meanwhile.
func (m *Mask) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for w, rest := range m.words {
			for ; rest != 0; rest &= rest - 1 {
				if !yield(w*wordBits + bits.TrailingZeros64(rest)) {
					return
				}
			}
		}
	}
}

// Indices returns the rows in ascending order, not nil.
func (m *Mask) Indices() []int {
	return slices.AppendSeq(make([]int, 0, m.Count()), m.All())
}

// Select returns the elements of list at the rows of m, in ascending order;
// elements beyond the last row are ignored. It is an error if a row lies
// beyond the list.
func Select[T any](m *Mask, list []T) ([]T, error) {
	if n := m.Len(); n > len(list) {
		return nil, fmt.Errorf("bitmask: row %d is beyond a list of %d elements", n-1, len(list))
	}
	selected := make([]T, 0, m.Count())
	for i := range m.All() {
		selected = append(selected, list[i])
	}
	return selected, nil
}

// Union adds the rows of other to m.
func (m *Mask) Union(other *Mask) {
	m.grow(len(other.words))
	for i, w := range other.words {
		m.words[i] |= w
	}
}

// Intersect removes the rows that are not in other from m.
func (m *Mask) Intersect(other *Mask) {
	m.words = m.words[:min(len(m.words), len(other.words))]
	for i := range m.words {
		m.words[i] &= other.words[i]
	}
}

// Difference removes the rows of other from m.
func (m *Mask) Difference(other *Mask) {
	for i := range min(len(m.words), len(other.words)) {
		m.words[i] &^= other.words[i]
	}
}

// Subtract returns the rows of m that are not in other as a new mask.
func (m *Mask) Subtract(other *Mask) *Mask {
	d := m.Clone()
	d.Difference(other)
	return d
}

// Invert flips the rows 0 … n-1 and keeps those at n and above. It panics if n
// is negative.
func (m *Mask) Invert(n int) {
	if n < 0 {
		panic(fmt.Sprintf("bitmask: invert %d rows", n))
	}
	m.grow(wordsFor(n))
	full, rest := n/wordBits, n%wordBits
	for i := range full {
		m.words[i] = ^m.words[i]
	}
	if rest > 0 {
		m.words[full] ^= 1<<rest - 1
	}
}

// Equal reports whether m and other are the same set.
func (m *Mask) Equal(other *Mask) bool {
	n := min(len(m.words), len(other.words))
	return slices.Equal(m.words[:n], other.words[:n]) &&
		isZero(m.words[n:]) && isZero(other.words[n:])
}

// Clone returns a copy that shares nothing with m.
func (m *Mask) Clone() *Mask { return &Mask{words: slices.Clone(m.words)} }

// grow makes m at least n words long. Words behind the length may hold old
// bits (Intersect cuts), so they are cleared here.
func (m *Mask) grow(n int) {
	old := len(m.words)
	if n <= old {
		return
	}
	m.words = slices.Grow(m.words, n-old)[:n]
	clear(m.words[old:])
}

func word(i int) int {
	if i < 0 {
		panic(fmt.Sprintf("bitmask: row %d", i))
	}
	return i / wordBits
}

// wordsFor returns how many words hold n ≥ 0 bits, for every such n.
func wordsFor(n int) int {
	words := n / wordBits
	if n%wordBits > 0 {
		words++
	}
	return words
}

func isZero(words []uint64) bool {
	for _, w := range words {
		if w != 0 {
			return false
		}
	}
	return true
}
