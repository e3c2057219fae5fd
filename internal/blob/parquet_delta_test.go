package blob

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Texts that share what they begin with can become more than there is room for.
func TestHostileTexts(t *testing.T) {
	differences := func(v ...int64) []byte { // as one block without bits has them: one step
		b := binary.AppendUvarint([]byte{128, 1, 4}, uint64(len(v)))
		b = binary.AppendVarint(b, v[0])
		step := int64(0)
		if len(v) > 1 {
			step = v[1] - v[0]
		}
		for at := 1; at < len(v); at += 128 {
			b = append(binary.AppendVarint(b, step), 0, 0, 0, 0)
		}
		return b
	}
	zeros := func(n int, first int64) []int64 {
		v := make([]int64, n)
		for i := range v {
			v[i] = first
		}
		return v
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	long := strings.Repeat("x", 1<<10)
	for _, c := range []struct {
		name     string
		page     []byte
		n        int
		prefixes bool
		width    int
		says     string // "" is good
	}{
		{"good", join(differences(0, 2), differences(2, 1), []byte("abc")), 2, true, 0, ""},
		{"good of two bytes", join(differences(0, 1), differences(2, 1), []byte("abc")), 2, true, 2, ""},
		{"prefix of nothing", join(differences(1, 1), differences(1, 1), []byte("ab")), 2, true, 0, "impossible length"},
		{"prefix beyond the text before", join(differences(0, 3), differences(2, 1), []byte("abc")), 2, true, 0, "impossible length"},
		{"negative prefix", join(differences(0, -1), differences(2, 1), []byte("abc")), 2, true, 0, "impossible length"},
		{"negative length", join(differences(-1, 2), []byte("abc")), 2, false, 0, "impossible length"},
		{"length beyond the page", join(differences(2, 2), []byte("abc")), 2, false, 0, "impossible length"},
		{"length of 2^62", join(differences(1<<62, 1<<62), []byte("abc")), 2, false, 0, "impossible length"},
		{"more than its texts", join(differences(1, 1), []byte("abc")), 2, false, 0, "goes on after"},
		{"half of three bytes", join(differences(0, 0), differences(3, 3), []byte("abcabc")), 2, true, 2, "impossible length"},
		{"no lengths", nil, 2, false, 0, "differences"},
		{"no lengths after the prefixes", differences(0, 0), 2, true, 0, "differences"},
		{"70,000 texts that begin alike", join(differences(append([]int64{0}, zeros(69_999, 0)...)...), differences(1<<10, 0)), 70_000, true, 0, "says it has 2"},
	} {
		col := &column{f: memory(t, "parquet", nil), leaf: leaf{kind: pqBytes}}
		if c.width > 0 {
			col.leaf = leaf{kind: pqFixed, half: true, width: c.width}
		}
		before := allocated()
		err := col.strings(c.page, c.n, c.prefixes)
		if grown := allocated() - before; grown > 4<<20 {
			t.Errorf("%s: took %d bytes", c.name, grown)
		}
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want it to say %q", c.name, err, c.says)
		}
	}
	// The first is long, and each of the others is all of it: 70 KiB become 70 MiB.
	prefixes, suffixes := append([]int64{0}, zeros(1<<16, 1<<10)...), append([]int64{1 << 10}, zeros(1<<16, 0)...)
	col := &column{f: memory(t, "parquet", nil), leaf: leaf{kind: pqBytes}}
	wantCode(t, col.strings(join(packed(prefixes), packed(suffixes), []byte(long)), len(prefixes), true), "reference_too_large")
}

// packed writes integers as differences of 64 bits.
func packed(v []int64) []byte {
	b := binary.AppendUvarint([]byte{128, 1, 4}, uint64(len(v)))
	b = binary.AppendVarint(b, v[0])
	for at := 1; at < len(v); at += 128 {
		b = append(b, 0, 64, 64, 64, 64)
		for i := range 128 {
			step := int64(0)
			if at+i < len(v) {
				step = v[at+i] - v[at+i-1]
			}
			b = binary.LittleEndian.AppendUint64(b, uint64(step))
		}
	}
	return b
}

// What differences say is what they were made of.
func TestDifferences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Int64(), 1, 300).Draw(t, "values")
		got := make([]int64, len(want))
		rest, err := delta(got, append(packed(want), 1, 2, 3))
		if err != nil {
			t.Fatal(err)
		}
		// miniblocks after the last value are not there; these were
		if diff := cmp.Diff(want, got); diff != "" || len(rest) < 3 {
			t.Fatal(diff, len(rest))
		}
	})
}
