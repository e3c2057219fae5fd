//go:build !amd64

package score

// best is the fastest kind that this machine can run.
const best = plainGo

func scoreGroups[F Float](instructions, *groups, *F, int) (done int, odd uint64) {
	panic("score: no vector kernel")
}
