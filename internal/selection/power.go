package selection

import (
	"math"
	"slices"
)

// power ranks by score with noise (Kirsch et al., Stochastic batch acquisition: a
// simple baseline for deep active learning, 2022): power acquisition adds Gumbel
// noise to a·log score and takes the highest, which is drawing without
// replacement in proportion to score^a. The value is the exponential of that
// sum, score^a / exponential. The noise belongs to the filename and the seed.
//
// The scores are scaled as by weigh. Scores of 0 come last.
func (p *problem) power(m *meter) ([]Pick, error) {
	most := make([]float64, processors())
	ok := p.each(len(p.pool), 10, m, func(worker, i int) { most[worker] = max(most[worker], p.value[i]) })
	_, scale := math.Frexp(slices.Max(most))
	if !ok || !p.each(len(p.pool), 100, m, func(_, i int) {
		p.value[i] = pow(math.Ldexp(p.value[i], -scale), p.ScoreExponent) / exponential(p.key(i), 0)
	}) {
		return nil, ErrCanceled
	}
	return p.ranked(m)
}

func (p *problem) powerGain(i int) float64 {
	return pow(p.Scores[p.pool[i]], p.ScoreExponent) / exponential(p.key(i), 0)
}
