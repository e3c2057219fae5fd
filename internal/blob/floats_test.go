package blob

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// What is parsed the short way is what strconv makes of it, to the last bit.
func TestShortFloat(t *testing.T) {
	check := func(text string) (short bool) {
		for _, bits := range []int{32, 64} {
			got, ok := shortFloat([]byte(text), bits)
			if !ok {
				continue
			}
			want, err := strconv.ParseFloat(text, bits)
			if err != nil || math.Float64bits(got) != math.Float64bits(want) {
				t.Fatalf("%q is %v in %d bits, not %v (%v)", text, got, bits, want, err)
			}
			short = true
		}
		return short
	}
	for _, text := range []string{"0", "-0", "0.1", "-1.5e3", "1e22", "5.", ".5", "1E-22", "9007199254740991", "16777217", "16777219", "0.000000000000000000000000000000000000011754943"} {
		check(text)
	}
	for _, text := range []string{"", "-", ".", "-.", "1e", "1e+", "e5", "1e5x", "1_0", "0x1", "1..2", "+1", " 1", "1 ", "nan", "inf", "1e1:"} {
		if check(text) {
			t.Errorf("%q is a number", text)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		v := rapid.Float64().Draw(r, "v")
		check(strconv.FormatFloat(v, 'g', -1, 64))
		f := rapid.Float32().Draw(r, "f")
		check(strconv.FormatFloat(float64(f), 'g', -1, 32))
		// halfway between two float32, and a little beside it
		middle := (float64(f) + float64(math.Nextafter32(f, 1))) / 2
		for _, digits := range []int{6, 9, 12, 15, 17} {
			check(strconv.FormatFloat(middle, 'g', digits, 64))
			check(strconv.FormatFloat(float64(f), 'e', digits, 64))
		}
		check(fmt.Sprintf("%d.%de%d", rapid.Int32().Draw(r, "a"), rapid.Uint16().Draw(r, "b"), rapid.IntRange(-30, 30).Draw(r, "e")))
	})
}

func TestFinite(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v := rapid.SliceOfN(rapid.Float32(), 0, 40).Draw(r, "v")
		if len(v) > 0 && rapid.Bool().Draw(r, "bad") {
			v[rapid.IntRange(0, len(v)-1).Draw(r, "at")] = rapid.SampledFrom([]float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.Float32frombits(0xffffffff)}).Draw(r, "x")
		}
		from := rapid.IntRange(0, len(v)).Draw(r, "from")
		want, wide := true, []float64{}
		for _, x := range v[from:] {
			want = want && x-x == 0
			wide = append(wide, float64(x))
		}
		if got := finite(v[from:]); got != want {
			t.Fatalf("finite(%v) = %v", v[from:], got)
		}
		if got := finite(wide); got != want {
			t.Fatalf("finite(%v) = %v", wide, got)
		}
	})
}

// Bit-packed indices are the same, many at once or one by one.
func TestIndices(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		width := rapid.IntRange(1, 32).Draw(r, "width")
		n := 1 << min(width, 31)
		want := rapid.SliceOfN(rapid.Uint32Range(0, uint32(n-1)), 1, 200).Draw(r, "values")
		groups := (len(want) + 7) / 8
		b := binary.AppendUvarint(nil, uint64(groups<<1|1))
		packed := make([]byte, groups*width)
		for i, v := range want {
			for k := range width {
				packed[(i*width+k)/8] |= byte(v>>k&1) << ((i*width + k) % 8)
			}
		}
		b = append(b, packed...)
		h := hybrid{b: b, width: width}
		got := make([]uint32, len(want))
		for at := 0; at < len(got); {
			k := min(rapid.IntRange(1, 60).Draw(r, "k"), len(got)-at)
			if err := h.indices(got[at:at+k], n); err != nil {
				t.Fatal(err)
			}
			at += k
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}
