package selection

import (
	"cmp"
	"strings"
)

// Key returns the place of a filename in the seeded random order of all
// filenames: rows that are equally good are taken by ascending key. It is a
// 64-bit FNV-1a hash that starts from the mixed seed, with the finalizer of
// splitmix64. It never changes: selections of the past can be repeated.
func Key(seed uint64, filename string) uint64 {
	h := mix(seed + 0x9e3779b97f4a7c15)
	for i := range len(filename) {
		h = (h ^ uint64(filename[i])) * 0x100000001b3
	}
	return mix(h)
}

// mix is the finalizer of splitmix64, a bijection.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// CompareKeys orders filenames by Key, equal keys by name.
func CompareKeys(seed uint64, a, b string) int {
	if c := cmp.Compare(Key(seed, a), Key(seed, b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}
