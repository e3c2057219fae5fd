package selection

import "math"

// value returns what candidate i is worth by its bound, less than any worth
// if it cannot be picked.
func (e *lazy) value(i int) float64 {
	if d2 := e.d2[i]; d2 >= e.closed {
		return e.worth(e.weight, i, d2)
	}
	return -1
}

// open starts a level: it returns the candidates before the mark, whose
// distances are exact: at least least, if there are so many, and at most
// activeMost.
func (e *lazy) open(least int) ([]int32, mark, error) {
	for want := e.aim; ; want *= 4 {
		m := e.sampleMark()
		if e.stale || e.reach > len(e.pool)/8 {
			var ok bool
			if m, ok = e.solvedMark(want); !ok {
				return nil, m, ErrCanceled
			}
			e.stale = false
		}
		active, ok := e.sweep(e.collect(m), m)
		if !ok {
			return nil, m, ErrCanceled
		}
		found := len(active)
		if found < least && m != last {
			e.reach = min(4*e.reach, len(e.pool))
			continue
		}
		e.reach = min(2*e.reach, max(e.reach/2, e.reach*2*e.aim/(2*found+1), activeLess), len(e.pool))
		if found <= activeMost {
			return active, m, nil
		}
		nth(active, activeMost, e.compare)
		return active[:activeMost], e.markAt(active[activeMost]), nil
	}
}

// collect returns the candidates before the mark by their bounds, in space that
// the next call reuses.
func (e *lazy) collect(m mark) []int32 {
	const block = 1 << 14
	n := len(e.pool)
	blocks := (n + block - 1) / block
	counts := make([]int, blocks)
	e.parallel(blocks, block, func(_ *worker, at int) {
		found := e.found[at*block : at*block]
		least := max(m.value, e.closed) // of squared distances without weights
		for i, d2 := range e.d2[at*block : min(n, (at+1)*block)] {
			if i += at * block; e.weight != nil {
				if v := e.value(i); v >= m.value && e.beats(i, v, m) {
					found = append(found, int32(i))
				}
			} else if d2 >= least && e.beats(i, d2, m) {
				found = append(found, int32(i))
			}
		}
		counts[at] = len(found)
	})
	all := e.found[:0]
	for at, count := range counts {
		all = append(all, e.found[at*block:at*block+count]...)
	}
	return all
}

// farthest returns the largest squared distance of a candidate that is left.
func (e *lazy) farthest() (float64, error) {
	e.weight, e.closed, e.stale = nil, 0, e.stale || e.weight != nil || e.closed > 0
	if len(e.seats) == 0 && len(e.pool) > 0 {
		return math.Inf(1), nil
	}
	e.reach = min(e.reach, farReach)
	active, _, err := e.open(1)
	far2 := 0.0
	for _, i := range active {
		far2 = max(far2, e.d2[i])
	}
	return far2, err
}
