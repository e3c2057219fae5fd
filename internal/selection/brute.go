package selection

import "math"

// bruteForce is greedy selection as it is defined: after every pick, one pass
// over all candidates with float64 distances. It returns the picks and the
// largest squared distance that is left, 0 if every candidate was picked.
//
// It is the twin that every faster engine is tested against, and it runs where
// the input is small.
func bruteForce(p *problem, weight []float64, m *meter) (steps []step, far2 float64, err error) {
	b := brute{problem: p, weight: weight, d2: make([]float64, len(p.pool)), nearest: make([]int32, len(p.pool))}
	steps = make([]step, 0, p.k)
	for i := range b.d2 {
		b.d2[i], b.nearest[i] = math.Inf(1), -1
	}
	for _, c := range p.centers {
		if !b.observe(c, m) {
			return nil, 0, ErrCanceled
		}
	}
	for len(steps) < p.k {
		i := b.best()
		if i < 0 {
			break
		}
		steps = append(steps, step{i, int(b.nearest[i]), b.d2[i]})
		m.done = len(steps)
		if !b.observe(p.pool[i], m) {
			return nil, 0, ErrCanceled
		}
		b.d2[i] = picked
	}
	for _, d2 := range b.d2 {
		far2 = max(far2, d2)
	}
	return steps, far2, nil
}

// picked stands for the squared distance of a candidate that was picked.
const picked = -1

type brute struct {
	*problem
	weight  []float64
	d2      []float64 // to the nearest center or pick, +Inf without one
	nearest []int32   // dataset row of that center
}

// observe lowers the distances to what they are with one more center. It
// reports false when the caller has canceled.
func (b *brute) observe(center int32, m *meter) bool {
	for i := range b.pool {
		b.approach(i, center)
		if !m.spend(b.Embeddings.Dim) {
			return false
		}
	}
	return true
}

// approach is observe for one candidate.
func (b *brute) approach(i int, center int32) {
	d2 := fastest.distance2(b.Embeddings.Row(int(b.pool[i])), b.Embeddings.Row(int(center)))
	if d2 < b.d2[i] || d2 == b.d2[i] && b.Filenames(int(center)) < b.Filenames(int(b.nearest[i])) {
		b.d2[i], b.nearest[i] = d2, center
	}
}

// best returns the candidate to pick next, -1 if there is none.
func (b *brute) best() int {
	best, most := -1, 0.0
	for i, d2 := range b.d2 {
		if d2 == picked || d2 < b.min2 {
			continue
		}
		v := b.worth(b.weight, i, d2)
		if best < 0 || v > most || v == most && b.before(i, best) {
			best, most = i, v
		}
	}
	return best
}

// worth is what greedy selection compares. Without any center distances are
// infinite, and the weight decides. With weights, distances above the cap count
// as the cap: among rows that are beyond it the weight decides, then the Key.
// Like the distance itself, what a row is worth only falls as centers are added.
func (p *problem) worth(weight []float64, i int, d2 float64) float64 {
	switch {
	case weight == nil:
		return d2
	case math.IsInf(d2, 1):
		return weight[i]
	}
	return weight[i] * min(d2, p.cap2)
}
