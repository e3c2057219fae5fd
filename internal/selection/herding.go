package selection

import (
	"math"
	"slices"
)

// HerdingReport says how a HERDING or UHERDING selection was made, and what it
// is worth. Shares are of the uncertain mass, the sum of all u(x) of the pool.
type HerdingReport struct {
	Radius    float64 // r: given, or the fair share of the data
	Landmarks int     // pool rows that stand for the pool in the sum; all of them where that fits
	ListLimit int     // landmarks that a row can cover at most, the nearest; 0: no limit was needed
	Cut       int     // pool rows that would cover more
	Clipped   int     // scores that were below 0 or above 1 and count as 0 or 1

	// Before and After are the shares that are covered before the first and after
	// the last pick: sums of u(x) times the largest kernel value to what is chosen.
	// Where not all rows are landmarks, they are measured on pool rows that are
	// none. Picks that are landmarks themselves do not make them better.
	Before, After float64

	// Loss estimates which share of the gain is lost because not all rows are
	// landmarks: by how much less the rows that are none gained than the landmarks
	// for which the picks were chosen. Exact greedy selection would have gained
	// more by about as much at most. It is 0 where all rows are landmarks.
	Loss float64
}

// The kernel is k(x,c) = max(0, 1 - d²/R²)² with R = reach · r, in units of
// 1/kernelOne; u is in units of 1/massOne. Both are rounded to integers once,
// so sums are exact and have the same value in any order. The units of k are
// coarse enough for float32 to tell most values.
const (
	reach     = 2.1
	kernelOne = 1<<11 - 1
	massOne   = 1 << 20
)

// kernelOf has a support of squared radius reach2.
type kernelOf struct{ reach2, inverse float64 }

// newKernel takes any radius above 0; its inverse square stays finite.
func newKernel(radius float64) kernelOf {
	r2 := max(reach*radius*(reach*radius), 0x1p-1000)
	return kernelOf{r2, 1 / r2}
}

// at returns the kernel of a squared distance. The conversions forbid fused
// operations, which would round elsewhere.
func (k kernelOf) at(d2 float64) uint16 {
	s := 1 - float64(d2*k.inverse)
	if s <= 0 {
		return 0
	}
	return uint16(float64(float64(s*s)*kernelOne) + 0.5)
}

// farthest returns a squared distance above all at which the kernel is at least
// the value, which is above 0.
func (k kernelOf) farthest(value uint16) float64 {
	s := 1 - math.Sqrt((float64(value)-0.5)/kernelOne)
	return k.reach2 * (s + 0x1p-40)
}

// mass returns u of candidate i in units of 1/massOne.
func (p *problem) mass(i int32) uint32 {
	if p.value == nil {
		return massOne
	}
	return uint32(float64(p.value[i]*massOne) + 0.5)
}

// herdStep is one pick: what it gained, in units of both, and how many landmarks
// it covers better than anything before.
type herdStep struct {
	candidate int
	gain      uint64
	covers    int
}

// herded is what an engine found.
type herded struct {
	steps         []herdStep
	total         uint64 // mass of all landmarks
	before, after uint64 // covered, in units of both
	report        HerdingReport
}

// herd runs HERDING or UHERDING: uncertainty herding (Bae, Oglic, Sutherland,
// Uncertainty herding: one active learning method for all label budgets, 2025;
// MaxHerding: Bae, Noh, Sutherland, Generalized coverage for more robust
// low-budget active learning, 2024), with a kernel of finite support, a radius
// that the data give, and candidates that go by priority.
func (p *problem) herd(m *meter) (Selection, error) {
	s := Selection{Radius: math.NaN(), LowerBound: math.NaN()}
	radius := p.HerdingRadius
	if radius <= 0 {
		var err error
		if radius, err = p.fairShareRadius(m); err != nil {
			return s, err
		}
	}
	h, err := p.herdWith(radius, m)
	if err != nil {
		return s, err
	}
	h.report.Radius, h.report.Clipped = radius, p.clipped
	nearest, err := p.nearestBefore(h.steps, m)
	if err != nil {
		return s, err
	}
	scale := float64(len(p.pool)) / float64(max(1, h.report.Landmarks))
	s.Picks = make([]Pick, len(h.steps))
	for n, t := range h.steps {
		s.Picks[n] = p.pick(t.candidate, share(t.gain, h.total), nearest[n])
		s.Picks[n].Covers = int(float64(float64(t.covers)*scale) + 0.5)
	}
	s.Herding = &h.report
	if p.KeepState && len(p.next.Cells.Seats)+len(p.next.Labels.Seats)+len(p.next.Shares.Samples) > 0 {
		next := p.next // without the problem around it
		s.State = &next
	}
	return s, nil
}

// herdWith chooses the engine: both have the same result, where lists hold all.
func (p *problem) herdWith(radius float64, m *meter) (*herded, error) {
	if p.Embeddings.Dim > maxFilterDim || len(p.pool) == 0 {
		return p.bruteHerd(radius, m)
	}
	return p.lazyHerd(radius, fastest, processors(), m)
}

// share of a mass that is covered.
func share(covered, mass uint64) float64 {
	if mass == 0 {
		return 0
	}
	return float64(covered) / (float64(mass) * kernelOne)
}

// herdOrder reports whether candidate i, of gain a, comes before j of gain b:
// larger priority, then larger u, then lower Key.
func (p *problem) herdOrder(i, j int32, a, b uint64) bool {
	if x, y := p.priority(i, a), p.priority(j, b); x != y {
		return x > y
	}
	if p.value != nil && p.value[i] != p.value[j] {
		return p.value[i] > p.value[j]
	}
	return p.before(int(i), int(j))
}

// priority of a candidate is gain · √u, of its own u: among those that cover
// about the same, the most uncertain one comes first. The factor is ours.
//
// It never changes, so the priority falls with the gain, and one of an older gain
// is a bound: each of the three operations rounds once, and none turns an order around.
func (p *problem) priority(i int32, gain uint64) float64 {
	if p.value == nil {
		return float64(gain)
	}
	return float64(gain) * math.Sqrt(p.value[i])
}

// nearestBefore returns for each step the preselected row or earlier pick that
// is nearest, the first by filename; -1 where there is none.
func (p *problem) nearestBefore(steps []herdStep, m *meter) ([]int, error) {
	rows := slices.Clone(p.centers)
	for _, s := range steps {
		rows = append(rows, p.pool[s.candidate])
	}
	nearest := make([]int, len(steps))
	if p.Embeddings.Dim > maxFilterDim {
		all := *p
		all.given, all.min2 = p.Embeddings, 0
		for n := range steps {
			at := len(p.centers) + n
			nearest[n], _ = all.tooNear(int(rows[at]), rows[:at])
			if !m.spend(at * p.Embeddings.Dim) {
				return nil, ErrCanceled
			}
		}
		return nearest, nil
	}
	t := p.newTiles(fastest, processors(), m)
	panels, ok := t.packAll(rows)
	if !ok {
		return nil, ErrCanceled
	}
	ok = t.blocks(rows[len(p.centers):], func(w *worker, from, end int) {
		first := len(p.centers) + from
		found, _ := t.nearest(w, rows[first:first+end-from], panels, nearestRule{
			until:  func(at int) int { return first + at },
			before: func(a, b int32) bool { return p.Filenames(int(rows[a])) < p.Filenames(int(rows[b])) },
		})
		for at, seat := range found {
			if nearest[from+at] = -1; seat >= 0 {
				nearest[from+at] = int(rows[seat])
			}
		}
	})
	if !ok {
		return nil, ErrCanceled
	}
	return nearest, nil
}
