package selection

import (
	"fmt"
	"math"
)

// badge draws as k-means++ draws centers, from gradient embeddings (Ash et al.,
// Deep batch active learning by diverse, uncertain gradient lower bounds, 2020).
// The gradient embedding of a row with embedding h and class probabilities p is
// the outer product of r = p - e and h, where e is 1 for the most probable class,
// the first if several are, and else 0: the gradient of the loss of the last
// layer, if the label were what the model says. Each pick is drawn in proportion
// to the squared distance to the nearest pick before it. The first has the
// longest gradient, as in the authors' code. Preselected rows with probabilities
// count as earlier picks; others have no place among gradients.
//
// No outer product is made: the squared distance follows from those of the
// factors, with the squared lengths R = |r|² and H = |h|²,
//
//	((R-R')·(H-H') + (R+R')·|h-h'|² + (H+H')·|r-r'|² - |r-r'|²·|h-h'|²) / 2
//
// which is 0 to the bit for equal rows.
type badge struct {
	tiles
	residuals Matrix    // r of each candidate
	r2, h2    []float64 // R and H of each candidate
	d2        []float64 // squared distance to the owner, +Inf without one, or picked
	owner     []int32   // the seat that is nearest, the first by filename if several are
	seen      []int32   // with how many seats it was compared
	seats     []gradient
}

// gradient is a center or pick.
type gradient struct {
	row    int32 // of the dataset
	h, r   []float32
	h2, r2 float64
}

func (p *problem) badge(m *meter) ([]Pick, error) {
	n, classes := len(p.pool), p.Probabilities.Dim
	b := badge{tiles: p.newTiles(fastest, processors(), m), residuals: Matrix{n, classes, make([]float32, n*classes)},
		r2: make([]float64, n), h2: make([]float64, n), d2: make([]float64, n), owner: make([]int32, n), seen: make([]int32, n)}
	keys := make([]uint64, n)
	ok := b.each(n, func(_ *worker, i int) {
		keys[i] = p.key(i)
		g := b.gradient(p.pool[i], b.residuals.Row(i))
		b.r2[i], b.h2[i], b.d2[i], b.owner[i] = g.r2, g.h2, math.Inf(1), -1
	})
	for _, row := range p.centers {
		if x := p.Probabilities.Row(int(row)); x[0] == x[0] { // not NaN
			b.seats = append(b.seats, b.gradient(row, make([]float32, classes)))
		} else {
			ok = ok && b.keepAway(p.Embeddings.Row(int(row)))
		}
	}
	l := lottery{tiles: &b.tiles, keys: keys, before: p.before, bound: func(i int) float64 { return b.d2[i] },
		fresh: func(i int) bool { return int(b.seen[i]) == len(b.seats) }, update: b.see}
	picks := make([]Pick, 0, p.k)
	for ok && len(picks) < p.k {
		next := -1
		switch {
		case len(b.seats) == 0:
			next = b.longest()
		case len(picks) == 0 || len(b.seats) == 1:
			// Bounds are infinite: a first seat brings them down.
			if ok = b.each(n, b.seeFirst); !ok {
				continue
			}
			fallthrough
		default:
			next, ok = l.draw(len(b.seats))
		}
		if next < 0 || !ok {
			break
		}
		picks = append(picks, b.report(next))
		b.d2[next] = picked
		b.seats = append(b.seats, gradient{p.pool[next], p.Embeddings.Row(int(p.pool[next])), b.residuals.Row(next), b.h2[next], b.r2[next]})
		m.done = len(picks)
		ok = m.spend(1)
	}
	if !ok {
		return nil, ErrCanceled
	}
	return picks, nil
}

// longest returns the candidate with the longest gradient, -1 if there is none.
func (b *badge) longest() int {
	c := contest{before: b.before, best: -1}
	for i, d2 := range b.d2 {
		if d2 != picked {
			c.offer(i, b.r2[i]*b.h2[i])
		}
	}
	return c.best
}

// checkProbabilities checks the shape of the class probabilities.
func (q *Query) checkProbabilities() error {
	p := q.Probabilities
	if p.Data == nil && q.Method == Badge && q.Rows > 0 {
		return ErrNoProbabilities
	}
	if p.Data != nil && (p.Rows != q.Rows || p.Dim < 1 || len(p.Data) != p.Rows*p.Dim) {
		return fmt.Errorf("probabilities of %d × %d with %d values for %d rows", p.Rows, p.Dim, len(p.Data), q.Rows)
	}
	return nil
}

func allFinite(x []float32) bool {
	for _, v := range x {
		if !finite(float64(v)) {
			return false
		}
	}
	return true
}

// report is the pick of a candidate: its gain is the distance of its gradient
// embedding to the nearest seat, that of the first pick of all its length.
func (b *badge) report(i int) Pick {
	if at := b.owner[i]; at >= 0 {
		return b.pick(i, math.Sqrt(b.d2[i]), int(b.seats[at].row))
	}
	return b.pick(i, math.Sqrt(b.r2[i]*b.h2[i]), -1)
}

// gradient returns that of a dataset row, whose residuals it puts into r.
func (b *badge) gradient(row int32, r []float32) gradient {
	p, top := b.Probabilities.Row(int(row)), 0
	for c, v := range p {
		if r[c] = v; v > p[top] {
			top = c
		}
	}
	r[top] = float32(float64(r[top]) - 1)
	g := gradient{row: row, h: b.Embeddings.Row(int(row)), r: r}
	g.h2 = b.kernel.distance2(g.h, b.origin)
	for _, v := range r {
		g.r2 += float64(float64(v) * float64(v))
	}
	return g
}

// keepAway takes the candidates out that are too near to an embedding.
func (b *badge) keepAway(h []float32) bool {
	return b.min2 == 0 || b.each(len(b.pool), func(_ *worker, i int) {
		if b.kernel.distance2(b.Embeddings.Row(int(b.pool[i])), h) < b.min2 {
			b.d2[i] = picked
		}
	})
}

// seeFirst compares a candidate with the first seat.
func (b *badge) seeFirst(w *worker, i int) { b.seeTo(w, i, 1) }

// see compares a candidate with the seats that it has not seen.
func (b *badge) see(w *worker, i int) { b.seeTo(w, i, len(b.seats)) }

func (b *badge) seeTo(w *worker, i, end int) {
	h, g := b.Embeddings.Row(int(b.pool[i])), gradient{r: b.residuals.Row(i), r2: b.r2[i], h2: b.h2[i]}
	from := int(b.seen[i])
	for at := from; at < end && b.d2[i] != picked; at++ {
		s := &b.seats[at]
		apart := b.kernel.distance2(h, s.h)
		if apart < b.min2 {
			b.d2[i] = picked
			break
		}
		d2 := product2(g, *s, apart, b.kernel.distance2(g.r, s.r))
		if d2 < b.d2[i] || d2 == b.d2[i] && b.Filenames(int(s.row)) < b.Filenames(int(b.seats[b.owner[i]].row)) {
			b.d2[i], b.owner[i] = d2, int32(at)
		}
	}
	b.seen[i] = int32(max(end, from))
	w.spend(max(0, end-from) * (b.Embeddings.Dim + b.residuals.Dim) / 8)
}

// product2 returns the squared distance of two gradient embeddings from those
// of their factors.
func product2(s, t gradient, h2, r2 float64) float64 {
	sum := float64((s.r2-t.r2)*(s.h2-t.h2)) + float64((s.r2+t.r2)*h2)
	sum += float64((s.h2+t.h2)*r2) - float64(r2*h2)
	return max(0, sum/2)
}
