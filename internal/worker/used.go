package worker

import (
	"maps"
	"slices"

	"nextbatch/internal/state"
)

// usedScores are the digests of the scores that strategies use, by task and name
// as the strategies give them.
type usedScores map[[2]string]string

// digest identifies all of them, and which is which: "" where there are none, the
// digest of the only one, or else the SHA-256 of task, name and digest of each,
// sorted, and a zero byte behind every word.
func (u usedScores) digest() string {
	order := slices.SortedFunc(maps.Keys(u), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	switch len(order) {
	case 0:
		return ""
	case 1:
		return u[order[0]]
	}
	var words []string
	for _, of := range order {
		words = append(words, of[0], of[1], u[of])
	}
	return state.HexID(64, words...)
}
