package selection

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"

	"nextbatch/internal/bitmask"
)

// TestKeyForEver holds values that must never change.
func TestKeyForEver(t *testing.T) {
	tests := []struct {
		seed     uint64
		filename string
		want     uint64
	}{
		{0, "", 0x48218226ff3cd4bf},
		{0, "a", 0x66cbd3e77fe1166b},
		{1, "a", 0xa15f261f424b9a93},
		{0, "images/000001.png", 0x65b14ffdf6d24da5},
		{42, "images/000001.png", 0x2ea2cb2b6a02839e},
		{1<<64 - 1, "Bilder/Schönes Käfer.png", 0xff4b2e32771be54f},
	}
	for _, test := range tests {
		if got := Key(test.seed, test.filename); got != test.want {
			t.Errorf("Key(%d, %q) = %#x, want %#x", test.seed, test.filename, got, test.want)
		}
	}
}

// TestKeyUniform: over seeds, each of ten names comes first about equally
// often, and each bit of the key is set half of the time.
func TestKeyUniform(t *testing.T) {
	const seeds = 20000
	var first [10]int
	var set [64]int
	for seed := range uint64(seeds) {
		best := 0
		for i := range first {
			if CompareKeys(seed, fmt.Sprint("img", i), fmt.Sprint("img", best)) < 0 {
				best = i
			}
		}
		first[best]++
		for bit := range set {
			set[bit] += int(Key(seed, "img") >> bit & 1)
		}
	}
	for i, n := range first {
		if math.Abs(float64(n)-seeds/10) > 5*math.Sqrt(seeds*0.09) {
			t.Errorf("img%d comes first %d times in %d", i, n, seeds)
		}
	}
	for bit, n := range set {
		if math.Abs(float64(n)-seeds/2) > 5*math.Sqrt(seeds*0.25) {
			t.Errorf("bit %d is set %d times in %d", bit, n, seeds)
		}
	}
}

// TestHalfKeys: names whose keys begin with the same 32 bits come in the order
// of the whole keys.
func TestHalfKeys(t *testing.T) {
	const seed, tried = 3, 400_000
	first := map[uint64]int{}
	var names []string
	for i := range tried {
		half := Key(seed, strconv.Itoa(i)) >> 32
		if j, ok := first[half]; ok {
			names = append(names, strconv.Itoa(i), strconv.Itoa(j))
		}
		first[half] = i
	}
	if len(names) < 10 {
		t.Fatalf("%d such names among %d", len(names), tried)
	}
	q := Query{Method: Random, Rows: len(names), Filenames: func(row int) string { return names[row] },
		Pool: bitmask.New(len(names)), BatchSize: -1, Seed: seed}
	q.Pool.Invert(len(names))
	var got []string
	for _, p := range mustSelect(t, q).Picks {
		got = append(got, names[p.Row])
	}
	slices.SortFunc(names, func(a, b string) int { return CompareKeys(seed, a, b) })
	if !slices.Equal(got, names) {
		t.Errorf("order %v, want %v", got, names)
	}
}
