package selection

import (
	"math"
	"runtime"
)

// step is one pick of a greedy engine: a candidate, its nearest center or
// earlier pick when it was made, and their squared distance, +Inf for the first
// of all.
type step struct {
	candidate int
	nearest   int // dataset row
	d2        float64
}

// Times itself and the least squared distance of float32, this is not 0.
const leastWeight = 0x1p-350

// greedy runs CORESET or CORAL.
func (p *problem) greedy(m *meter) (Selection, error) {
	if !p.byDistance() {
		return p.inOrder(m)
	}
	s := Selection{Radius: math.NaN(), LowerBound: math.NaN()}
	var weight []float64 // of squared distances; nil: all 1
	if p.Method == Coral {
		weight = p.value // which nothing else needs
		if !p.each(len(weight), 10, m, func(_, i int) {
			if p.Scores[p.pool[i]] > 0 || p.ScoreFloor > 0 {
				weight[i] = max(weight[i], leastWeight)
			}
			weight[i] *= weight[i]
		}) {
			return s, ErrCanceled
		}
	}
	steps, far2, state, err := p.search(weight, m)
	if err != nil {
		return s, err
	}
	if s.State = state; state != nil {
		state.Cells, state.Labels, state.Shares = p.next.Cells, p.next.Labels, p.next.Shares
	}
	if cap := math.Sqrt(p.cap2); finite(cap) {
		s.DistanceCap = cap
	}
	least := far2
	s.Picks = make([]Pick, len(steps))
	for n, t := range steps {
		s.Picks[n] = p.pick(t.candidate, p.greedyGain(t), t.nearest)
		least = min(least, t.d2)
	}
	if len(p.centers)+len(steps) > 0 {
		s.Radius = math.Sqrt(far2)
		s.LowerBound = math.Sqrt(least) / 2
	}
	return s, nil
}

// search chooses the engine: both have the same result.
func (p *problem) search(weight []float64, m *meter) (steps []step, far2 float64, state *State, err error) {
	const small = 1 << 20 // multiplications
	work := float64(len(p.pool)) * float64(p.k+len(p.centers)) * float64(p.Embeddings.Dim)
	if work < small || p.Embeddings.Dim > maxFilterDim {
		if err := p.checkVectors(m); err != nil {
			return nil, 0, nil, err
		}
		steps, far2, err = bruteForce(p, weight, m)
		return steps, far2, nil, err
	}
	return search(p, weight, fastest, runtime.GOMAXPROCS(0), m)
}

func (p *problem) greedyGain(t step) float64 {
	if math.IsInf(t.d2, 1) {
		return math.NaN()
	}
	distance := math.Sqrt(t.d2)
	if p.Method == Coreset {
		return distance
	}
	return p.coralScore(t.candidate) * pow(min(distance, math.Sqrt(p.cap2)), p.DistanceExponent)
}

// setCap bounds the distances of CORAL.
func (p *problem) setCap(m *meter) error {
	const share = 0.7 // of the fair-share radius
	limit := p.DistanceCap
	if limit == AutoCap {
		radius, err := p.fairShareRadius(m)
		if err != nil {
			return err
		}
		limit = share * radius
	}
	p.cap2 = limit * limit
	return nil
}
