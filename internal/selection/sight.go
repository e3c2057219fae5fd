package selection

import (
	"math"
	"math/bits"
)

// A ball holds the centers of a panel that are at home with one anchor.
type ball struct {
	panel, anchor int32
	radius        float64 // the largest distance of one of them to the anchor, rounded up
}

const (
	ballSlack = 1 + 0x1p-30 // more than a distance, a root and a sum of them can lose
	sightPays = 8           // one panel in so many must be out of sight
	sightTry  = 64          // of so many candidates, or no more are asked about
	sightLess = 128         // panels are not worth it
	sightMost = 1 << 15     // numbers of 64 bits in the sight of a worker
)

// far reports whether a candidate has so many panels to meet that it pays to look
// for those it need not.
func (e *lazy) far(i int32) bool {
	return e.probes.count > 0 && len(e.panels.list)-int(e.seen[i])/lanes >= sightLess
}

// findBalls finds the balls of the full panels in order that belong to anchors.
func (e *lazy) findBalls() bool {
	s := &e.probes
	for w := range e.workers {
		e.workers[w].looked, e.workers[w].hidden = 0, 0
	}
	all, counts := make([]ball, homesMost*len(s.loose)), make([]int, len(s.loose))
	ok := e.parallel(len(counts), lanes*e.Embeddings.Dim, func(_ *worker, p int) {
		if s.loose[p] || (p+1)*lanes > len(e.seats) {
			return
		}
		balls := all[p*homesMost : p*homesMost : (p+1)*homesMost]
		for c := int32(p * lanes); c < int32((p+1)*lanes); c++ {
			if row := e.seats[min(c+ahead, int32((p+1)*lanes-1))]; row != nobody {
				e.Embeddings.ask(row)
			}
			if e.seats[c] != nobody {
				balls = e.enclose(balls, ball{int32(p), s.home[c], e.reachOf(c)})
			}
		}
		if len(balls) <= homesMost { // it may have become full since its homes were counted
			counts[p] = len(balls)
		}
	})
	s.balls, s.open = all[:0], make([]uint64, (len(counts)+63)/64)
	for p, n := range counts {
		if s.balls = append(s.balls, all[p*homesMost:][:n]...); n == 0 {
			s.open[p/64] |= 1 << (p % 64)
		}
	}
	return ok
}

// enclose makes one of the balls as large as another with its anchor, or adds that.
func (e *lazy) enclose(balls []ball, b ball) []ball {
	for at := range balls {
		if balls[at].anchor == b.anchor {
			balls[at].radius = max(balls[at].radius, b.radius)
			return balls
		}
	}
	return append(balls, b)
}

// reachOf returns the distance of a center to its anchor, +Inf if that is none any more.
func (e *lazy) reachOf(c int32) float64 {
	anchor := e.seats[e.probes.home[c]]
	if anchor == nobody {
		return math.Inf(1)
	}
	return ballSlack * math.Sqrt(e.kernel.distance2(e.Embeddings.Row(int(anchor)), e.Embeddings.Row(int(e.seats[c]))))
}

// look finds which panels in order the points of a chunk have to meet. All
// centers of another are farther than their owners, by the triangle inequality:
// the distance to an anchor, less the radius of its ball, is larger than that to the
// owner. Where this hides too few panels, look gives up. It reports whether the points
// have w.sight to go by.
func (e *lazy) look(w *worker, points []member) bool {
	s := &e.probes
	if len(s.balls) < sightLess {
		return false
	}
	words := len(s.open)
	if len(points)*words > sightMost {
		return false
	}
	if w.sight == nil {
		w.sight = make([]uint64, sightMost)
	}
	if len(w.away) < tileRows*s.count {
		w.away = make([]float64, tileRows*s.count)
	}
	for from := 0; from < len(points); from += tileRows {
		if w.looked >= sightTry && w.hidden*sightPays < w.looked*len(s.loose) {
			return false
		}
		some := points[from:min(len(points), from+tileRows)]
		e.measure(w, some)
		for r := range some {
			away, d, sight := w.away[r*s.count:][:s.count], ballSlack*math.Sqrt(some[r].d2), w.sight[(from+r)*words:][:words]
			copy(sight, s.open)
			for _, b := range s.balls {
				if !(away[b.anchor]-b.radius > d) {
					sight[b.panel/64] |= 1 << (b.panel % 64)
				}
			}
			w.hidden += len(s.loose)
			for _, word := range sight {
				w.hidden -= bits.OnesCount64(word)
			}
		}
		w.looked += len(some)
	}
	return true
}

// measure finds how far some points are at least from each anchor.
func (e *lazy) measure(w *worker, some []member) {
	count := e.probes.count
	for p := 0; p*lanes < count; p++ {
		anchors := e.panel(w, p)
		for r := range tileRows {
			w.enter(r, &some[min(r, len(some)-1)].point, anchors)
		}
		e.multiply(w, anchors)
		for r := range some {
			away := w.away[r*count+p*lanes:]
			for l, v := range w.tile.values[r][:min(lanes, count-p*lanes)] {
				away[l] = e.filter.apart(v, &some[r].point, anchors)
			}
		}
	}
	w.spend(len(some) * (count*e.Embeddings.Dim + len(e.probes.balls)))
}

// inSight returns those of the live points of a chunk that have to meet a panel.
func (w *worker) inSight(live []int32, panel, words int) []int32 {
	some := w.unseen[:0]
	for _, at := range live {
		if w.sight[int(at)*words+panel/64]>>(panel%64)&1 != 0 {
			some = append(some, at)
		}
	}
	w.unseen = some
	return some
}
