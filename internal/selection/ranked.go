package selection

import (
	"cmp"
	"math"
	"slices"
)

// inOrder runs RANDOM and ACTIVE_LEARNING, and CORAL where only scores count.
func (p *problem) inOrder(m *meter) (Selection, error) {
	picks, err := p.ranked(m)
	return Selection{Picks: picks, Radius: math.NaN(), LowerBound: math.NaN()}, err
}

// ranked picks candidates by descending value, passing over those that are too
// near to a center or an earlier pick.
func (p *problem) ranked(m *meter) ([]Pick, error) {
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
	picks := make([]Pick, 0, p.k)
	chosen := slices.Clone(p.centers)
	for _, i := range order {
		if canceled {
			return nil, ErrCanceled
		}
		if len(picks) == p.k {
			break
		}
		nearest := -1
		if p.min2 > 0 {
			var near bool
			if nearest, near = p.tooNear(int(p.pool[i]), chosen); !m.spend(len(chosen) * p.Embeddings.Dim) {
				return nil, ErrCanceled
			}
			if near {
				continue
			}
			chosen = append(chosen, p.pool[i])
		}
		picks = append(picks, p.pick(int(i), p.rankGain(int(i)), nearest))
		m.done = len(picks)
	}
	return picks, nil
}

// tooNear returns the nearest of the chosen rows, -1 if there is none, and
// whether one is nearer than the minimum distance.
func (p *problem) tooNear(row int, chosen []int32) (nearest int, near bool) {
	nearest, best := -1, math.Inf(1)
	for _, c := range chosen {
		d2 := fastest.distance2(p.Embeddings.Row(row), p.Embeddings.Row(int(c)))
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
	}
	return math.NaN()
}

// coralScore is the score part of the product, not scaled.
func (p *problem) coralScore(i int) float64 {
	return pow(max(p.Scores[p.pool[i]], p.ScoreFloor, 0), p.ScoreExponent)
}
