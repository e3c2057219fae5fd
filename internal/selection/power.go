package selection

import "math"

// power ranks by score with noise (Kirsch et al., Stochastic batch acquisition: a
// simple baseline for deep active learning, 2022): power acquisition adds Gumbel
// noise to a·log score and takes the highest, which is drawing without
// replacement in proportion to score^a. The value is the exponential of that
// sum, score^a / exponential. The noise belongs to the filename and the seed.
//
// The scores are scaled as by weigh. Scores of 0 come last.
func (p *problem) power(m *meter) ([]Pick, error) {
	top := 0.0
	for _, s := range p.value {
		top = max(top, s)
	}
	_, scale := math.Frexp(top)
	for i, s := range p.value {
		p.value[i] = pow(math.Ldexp(s, -scale), p.ScoreExponent) / exponential(p.key(i), 0)
		if !m.spend(100) {
			return nil, ErrCanceled
		}
	}
	return p.ranked(m)
}

func (p *problem) powerGain(i int) float64 {
	return pow(p.Scores[p.pool[i]], p.ScoreExponent) / exponential(p.key(i), 0)
}
