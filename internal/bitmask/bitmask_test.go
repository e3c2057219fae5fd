package bitmask

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestAgainstMap drives a mask and a plain map of rows through the same random
// operations.
func TestAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, want := New(rapid.IntRange(-1, 200).Draw(t, "room")), map[int]bool{}
		row := rapid.IntRange(0, 300)
		draw := func() (*Mask, map[int]bool) {
			rows := rapid.SliceOf(row).Draw(t, "other")
			set := map[int]bool{}
			for _, i := range rows {
				set[i] = true
			}
			return FromIndices(rows...), set
		}
		t.Repeat(map[string]func(*rapid.T){
			"set":   func(t *rapid.T) { i := row.Draw(t, "i"); m.Set(i); want[i] = true },
			"unset": func(t *rapid.T) { i := row.Draw(t, "i"); m.Unset(i); delete(want, i) },
			"union": func(*rapid.T) {
				o, set := draw()
				m.Union(o)
				maps.Copy(want, set)
			},
			"intersect": func(*rapid.T) {
				o, set := draw()
				m.Intersect(o)
				maps.DeleteFunc(want, func(i int, _ bool) bool { return !set[i] })
			},
			"difference": func(*rapid.T) {
				o, set := draw()
				before := m.Clone()
				sub := m.Subtract(o)
				if !m.Equal(before) {
					t.Fatal("Subtract changed its left operand")
				}
				m.Difference(o)
				maps.DeleteFunc(want, func(i int, _ bool) bool { return set[i] })
				if !sub.Equal(m) {
					t.Fatalf("Subtract = %s, Difference = %s", sub.Hex(), m.Hex())
				}
			},
			"invert": func(t *rapid.T) {
				n := row.Draw(t, "n")
				m.Invert(n)
				for i := range n {
					if want[i] {
						delete(want, i)
					} else {
						want[i] = true
					}
				}
			},
			"": func(t *rapid.T) { compare(t, m, want) },
		})
	})
}

func compare(t *rapid.T, m *Mask, want map[int]bool) {
	rows := slices.Sorted(maps.Keys(want))
	if got := m.Indices(); !slices.Equal(got, rows) {
		t.Fatalf("Indices() = %v, want %v", got, rows)
	}
	number, length := new(big.Int), 0
	for _, i := range rows {
		number.SetBit(number, i, 1)
		length = i + 1
	}
	if m.Count() != len(rows) || m.Len() != length {
		t.Fatalf("Count, Len = %d, %d, want %d, %d", m.Count(), m.Len(), len(rows), length)
	}
	if got, want := m.Hex(), "0x"+number.Text(16); got != want {
		t.Fatalf("Hex() = %s, want %s", got, want)
	}
	if got, want := m.Bin(), "0b"+number.Text(2); got != want {
		t.Fatalf("Bin() = %s, want %s", got, want)
	}
	for i := range 330 {
		if m.Has(i) != want[i] {
			t.Fatalf("Has(%d) = %v, want %v", i, m.Has(i), want[i])
		}
	}
	fresh := FromIndices(rows...)
	if !m.Equal(fresh) || !fresh.Equal(m) {
		t.Fatalf("%s is not equal to a fresh mask of its rows", m.Hex())
	}
	fresh.Set(length + 64)
	if m.Equal(fresh) || fresh.Equal(m) {
		t.Fatalf("%s is equal to a mask with one more row", m.Hex())
	}
}

// Intersect cuts the words and Union grows them again: what was cut must not
// come back.
func TestCutBitsStayAway(t *testing.T) {
	m := FromIndices(3, 200)
	m.Intersect(FromIndices(3))
	m.Set(260)
	if got, want := m.Indices(), []int{3, 260}; !slices.Equal(got, want) {
		t.Errorf("Indices() = %v, want %v", got, want)
	}
}

func TestCloneIsApart(t *testing.T) {
	m := FromIndices(1, 2)
	m.Clone().Set(3)
	m.Clone().Unset(1)
	if got := m.Hex(); got != "0x6" {
		t.Errorf("Hex() = %s after changes to clones, want 0x6", got)
	}
}

func TestAllStops(t *testing.T) {
	for i := range FromIndices(5, 70, 200).All() {
		if i == 70 {
			break
		}
	}
}

func TestBadText(t *testing.T) {
	for _, text := range []string{"", "0x", "0X", "-0x1", "+1", " 1", "1 ", "0x1\n", "1_0", "0x0x1", "g", "é", "٣"} {
		if m, err := FromHex(text); err == nil {
			t.Errorf("FromHex(%q) = %s, want an error", text, m.Hex())
		}
	}
	for _, text := range []string{"", "0b", "0B", "-1", "0b 1", "1_0", "2", "0x1", "0b0b1", "a"} {
		if m, err := FromBin(text); err == nil {
			t.Errorf("FromBin(%q) = %s, want an error", text, m.Hex())
		}
	}
}

func TestNegativeRowPanics(t *testing.T) {
	m := FromIndices(1)
	for name, f := range map[string]func(){
		"Set":         func() { m.Set(-1) },
		"Unset":       func() { m.Unset(-1) },
		"Has":         func() { m.Has(-1) },
		"Invert":      func() { m.Invert(-1) },
		"FromIndices": func() { FromIndices(4, -1) },
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "bitmask: ") {
					t.Errorf("%s of a negative row: recovered %q, want a panic of this package", name, text)
				}
			}()
			f()
		}()
	}
	if m, err := FromLength(-1); err == nil {
		t.Errorf("FromLength(-1) = %s, want an error", m.Hex())
	}
}

// TestMillionBits keeps the text form linear: a quadratic one takes seconds.
func TestMillionBits(t *testing.T) {
	m, err := FromLength(1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	back, err := FromHex(m.Hex())
	if err != nil {
		t.Fatal(err)
	}
	if !back.Equal(m) || back.Count() != 1_000_000 || len(back.Indices()) != 1_000_000 {
		t.Error("a million bits do not survive the text form")
	}
}

func FuzzFromHex(f *testing.F) {
	for _, text := range []string{"", "0x", "0x0", "0X00fF", "0b12", "-1", "0x_1", "123456789abcdef01"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := FromHex(text)
		body := text
		if strings.HasPrefix(text, "0x") || strings.HasPrefix(text, "0X") {
			body = text[2:]
		}
		number, ok := new(big.Int).SetString(body, 16)
		ok = ok && !strings.ContainsAny(body, "+-_")
		if (err == nil) != ok {
			t.Fatalf("FromHex(%q): error %v, math/big says valid = %v", text, err, ok)
		}
		if !ok {
			return
		}
		if got, want := m.Hex(), "0x"+number.Text(16); got != want {
			t.Fatalf("FromHex(%q).Hex() = %s, want %s", text, got, want)
		}
		back, err := FromBin(m.Bin())
		if err != nil || !back.Equal(m) {
			t.Fatalf("FromBin(%s) = %v, %v", m.Bin(), back, err)
		}
		if got := FromIndices(m.Indices()...); !got.Equal(m) {
			t.Fatalf("FromIndices(Indices()) of %s = %s", m.Hex(), got.Hex())
		}
	})
}

func BenchmarkHex(b *testing.B) {
	m, _ := FromLength(1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		m.Hex()
	}
}

func BenchmarkFromHex(b *testing.B) {
	m, _ := FromLength(1_000_000)
	text := m.Hex()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := FromHex(text); err != nil {
			b.Fatal(err)
		}
	}
}

func Example() {
	query, _ := FromHex("0xff")
	query.Difference(FromIndices(0, 3))
	names, _ := Select(query, strings.Split("a b c d e f g h", " "))
	fmt.Println(query.Hex(), query.Count(), names)
	// Output: 0xf6 6 [b c e f g h]
}
