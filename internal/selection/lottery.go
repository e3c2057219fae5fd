package selection

import (
	"cmp"
	"slices"
)

// lottery draws rows one after the other, each in proportion to a weight that
// falls as others are drawn, as k-means++ does. It is exact, and lazy: a bound
// of each weight is known, and only rows that would win by their bound are looked
// at. How the work is shared out changes nothing.
type lottery struct {
	*tiles
	keys   []uint64               // of the rows
	before func(i, j int) bool    // settles ties
	bound  func(i int) float64    // at least the weight of row i; below 0: it cannot be drawn
	fresh  func(i int) bool       // whether the bound is the weight
	update func(w *worker, i int) // makes it so; called from several goroutines, for different rows
	blocks []contest              // by bounds
	number int                    // of the draw
}

const lotteryBlock = 1024 // rows

// draw returns the winner of a draw, -1 if there is none. It reports false when
// the caller has canceled.
func (l *lottery) draw(number int) (winner int, ok bool) {
	l.number = number
	l.blocks = slices.Grow(l.blocks[:0], len(l.keys)/lotteryBlock+1)[:(len(l.keys)+lotteryBlock-1)/lotteryBlock]
	if !l.parallel(len(l.blocks), 3*lotteryBlock, func(_ *worker, b int) { l.contest(b) }) {
		return -1, false
	}
	for share := 1; ; share = min(2*share, len(l.blocks)) { // of the blocks that might win
		won := contest{before: l.before, best: -1}
		var stale []int
		for b, c := range l.blocks {
			switch {
			case c.best < 0:
			case l.fresh(c.best):
				won.offer(c.best, c.value)
			default:
				stale = append(stale, b)
			}
		}
		stale = slices.DeleteFunc(stale, func(b int) bool {
			c := won
			c.offer(l.blocks[b].best, l.blocks[b].value)
			return c.best == won.best
		})
		if len(stale) == 0 {
			return won.best, true
		}
		slices.SortFunc(stale, func(a, b int) int { return cmp.Compare(l.blocks[b].value, l.blocks[a].value) })
		if !l.parallel(min(share, len(stale)), 4*lotteryBlock, func(w *worker, at int) {
			l.update(w, l.blocks[stale[at]].best)
			l.contest(stale[at])
		}) {
			return -1, false
		}
	}
}

// contest finds the winner of a block by bounds.
func (l *lottery) contest(b int) {
	c := contest{draw: l.number, before: l.before, best: -1}
	for i := b * lotteryBlock; i < min(len(l.keys), (b+1)*lotteryBlock); i++ {
		if weight := l.bound(i); weight >= 0 {
			c.enter(i, l.keys[i], weight)
		}
	}
	l.blocks[b] = c
}
