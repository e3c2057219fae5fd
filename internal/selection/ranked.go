package selection

import (
	"cmp"
	"math"
	"slices"
)

// inOrder runs RANDOM and ACTIVE_LEARNING, and CORAL where only scores count.
func (p *problem) inOrder(m *meter) (Selection, error) {
	return p.listed(p.ranked, m)
}

// listed runs a method that returns picks and nothing else.
func (p *problem) listed(method func(*meter) ([]Pick, error), m *meter) (s Selection, err error) {
	s.Radius, s.LowerBound = math.NaN(), math.NaN()
	if p.k > 0 {
		s.Picks, err = method(m)
	}
	return s, err
}

// ranked picks candidates by descending value, passing over those that are too
// near to a center or an earlier pick.
func (p *problem) ranked(m *meter) ([]Pick, error) {
	order, ok := p.byValue(m)
	b := p.newBatch(m)
	for _, i := range order {
		if len(b.picks) == p.k || !ok {
			break
		}
		_, ok = b.take(int(i), p.rankGain(int(i)))
	}
	if !ok {
		return nil, ErrCanceled
	}
	return b.picks, nil
}

// byValue lists the candidates by descending value, those of equal value by
// Key. It reports false when the caller has canceled.
func (p *problem) byValue(m *meter) ([]int32, bool) {
	order := make([]int32, len(p.pool))
	for i := range order {
		order[i] = int32(i)
	}
	canceled := false
	slices.SortFunc(order, func(a, b int32) int {
		if canceled = canceled || !m.spend(10); canceled {
			return 0 // all equal: sorted at once
		}
		i, j := int(a), int(b)
		if p.value != nil && p.value[i] != p.value[j] {
			return cmp.Compare(p.value[j], p.value[i])
		}
		return p.compareKeys(i, j)
	})
	return order, !canceled
}

// batch is the picks of a method that knows for itself what comes next.
type batch struct {
	*problem
	meter  *meter
	picks  []Pick
	chosen []int32 // dataset rows that no pick may be too near to
}

func (p *problem) newBatch(m *meter) *batch {
	return &batch{p, m, make([]Pick, 0, p.k), slices.Clone(p.centers)}
}

// take picks a candidate, unless it is too near to a center or an earlier pick.
// The caller has canceled where ok is false.
func (b *batch) take(i int, gain float64) (taken, ok bool) {
	nearest := -1
	if b.min2 > 0 {
		var near bool
		if nearest, near = b.tooNear(int(b.pool[i]), b.chosen); near {
			return false, b.meter.spend(len(b.chosen) * b.Embeddings.Dim)
		}
		b.chosen = append(b.chosen, b.pool[i])
	}
	b.picks = append(b.picks, b.pick(i, gain, nearest))
	b.meter.done = len(b.picks)
	return true, b.meter.spend(100 + len(b.chosen)*b.Embeddings.Dim)
}

// tooNear returns the nearest of the chosen rows, -1 if there is none, and
// whether one is nearer than the minimum distance.
func (p *problem) tooNear(row int, chosen []int32) (nearest int, near bool) {
	nearest, best := -1, math.Inf(1)
	for _, c := range chosen {
		d2 := fastest.distance2(p.given.Row(row), p.given.Row(int(c)))
		if d2 < p.min2 {
			return int(c), true
		}
		if d2 < best || d2 == best && p.Filenames(int(c)) < p.Filenames(nearest) {
			nearest, best = int(c), d2
		}
	}
	return nearest, false
}

func (p *problem) rankGain(i int) float64 {
	switch p.Method {
	case ActiveLearning:
		return p.value[i]
	case Coral:
		return p.coralScore(i)
	case Typicality:
		return -1 / p.value[i]
	case Power:
		return p.powerGain(i)
	}
	return math.NaN()
}

// coralScore is the score part of the product, not scaled.
func (p *problem) coralScore(i int) float64 {
	return pow(max(p.Scores[p.pool[i]], p.ScoreFloor, 0), p.ScoreExponent)
}
