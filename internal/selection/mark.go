package selection

// mark is a place in the order of candidates.
type mark struct {
	value     float64
	candidate int
}

// last is behind everyone who can be picked.
var last = mark{-1, -1}

// beats reports whether candidate i, worth v, comes before the mark.
func (e *lazy) beats(i int, v float64, m mark) bool {
	return v > m.value || v == m.value && v >= 0 && e.before(i, m.candidate)
}

// markAt returns the mark at a candidate.
func (e *lazy) markAt(i int32) mark { return mark{e.value(int(i)), int(i)} }

// compare orders candidates by what their bounds are worth.
func (e *lazy) compare(i, j int32) int {
	switch v, w := e.value(int(i)), e.value(int(j)); {
	case v > w:
		return -1
	case v < w:
		return 1
	}
	return e.compareKeys(int(i), int(j))
}

// sampleMark returns a mark that about reach candidates come before.
func (e *lazy) sampleMark() mark {
	sample, taken := e.sample(sampleSize)
	return e.markIn(sample, taken, e.reach)
}

// sample returns the candidates that can be picked among about size evenly
// spaced ones, and how many were looked at. The next call reuses the memory.
func (e *lazy) sample(size int) (sample []int32, taken int) {
	sample = e.sampled[:0]
	for i := 0; i < len(e.pool); i += 1 + len(e.pool)/size {
		if taken++; e.value(i) >= 0 {
			sample = append(sample, int32(i))
		}
	}
	return sample, taken
}

// markIn returns the mark in a sample that about reach of all candidates come
// before.
func (e *lazy) markIn(sample []int32, taken, reach int) mark {
	at := float64(reach) * float64(taken) / float64(len(e.pool))
	if !(at < float64(len(sample))) {
		return last
	}
	nth(sample, int(at), e.compare)
	return e.markAt(sample[int(at)])
}

// solvedMark returns a mark that about want candidates come before when all
// have seen every center. It compares a sample with all centers. Where most
// bounds are far from the truth, this is the way to find a mark.
func (e *lazy) solvedMark(want int) (mark, bool) {
	sample, taken := e.sample(solvedSize)
	sample, ok := e.sweep(sample, last)
	if !ok {
		return last, false
	}
	return e.markIn(sample, taken, want), true
}
