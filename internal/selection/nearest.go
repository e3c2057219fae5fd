package selection

import (
	"math"
	"math/bits"
)

// packAll returns panels of rows, in order: seat s is rows[s].
func (t *tiles) packAll(rows []int32) ([]panel, bool) {
	panels := make([]panel, (len(rows)+lanes-1)/lanes)
	ok := t.parallel(len(panels), lanes*t.Embeddings.Dim, func(w *worker, at int) {
		panels[at] = newPanel(t.Embeddings.Dim)
		t.packSeats(w, &panels[at], rows, at*lanes)
	})
	return panels, ok
}

// packSeats fills a panel with up to lanes rows from a place in a list, which
// become the seats.
func (t *tiles) packSeats(w *worker, p *panel, rows []int32, from int) {
	part := rows[from:min(len(rows), from+lanes)]
	var biases [lanes]float32
	for l, row := range part {
		p.seat[l], biases[l] = int32(from+l), t.biasOf(t.Embeddings.Row(int(row)))
	}
	t.pack(w, p, part, biases[:len(part)])
	p.rows = part
}

// nearestRule says which seats a row may choose, and the order of seats that
// are equally near.
type nearestRule struct {
	until  func(at int) int // seats before this one; nil: all
	before func(a, b int32) bool
	start  []nearSeat // of each row, a seat that others have to come before; nil: none
}

type nearSeat struct {
	seat int32
	d2   float64
}

// nearest returns the seat of the nearest row in the panels for each of a block
// of rows, -1 where there is none, and the squared distance to it.
func (t *tiles) nearest(w *worker, rows []int32, panels []panel, rule nearestRule) (found []int32, d2 []float64) {
	found, d2 = make([]int32, len(rows)), make([]float64, len(rows))
	x2, limits := make([]float32, len(rows)), make([]float32, len(rows))
	for at, row := range rows {
		found[at], d2[at], limits[at] = -1, math.Inf(1), empty
		x2[at] = below(t.norm2of(t.Embeddings.Row(int(row))))
		if rule.start != nil {
			found[at], d2[at] = rule.start[at].seat, rule.start[at].d2
			limits[at] = t.filter.threshold(d2[at], x2[at])
		}
	}
	t.loadRows(w, rows)
	for n := range panels {
		p := &panels[n]
		if t.meter.canceled.Load() {
			break
		}
		w.spend(len(rows) * t.Embeddings.Dim)
		t.compareLoaded(w, len(rows), limits, p, func(at int, hits uint32, values *[lanes]float32) {
			open := len(p.rows)
			if rule.until != nil {
				open = min(open, rule.until(at)-n*lanes)
			}
			if open <= 0 {
				return
			}
			x := t.Embeddings.Row(int(rows[at]))
			for hits &= math.MaxUint32 >> (lanes - open); ; {
				best, most := -1, float32(0)
				for h := hits; h != 0; h &= h - 1 {
					l := bits.TrailingZeros32(h)
					if v := values[l]; v < limits[at] {
						hits &^= 1 << l
					} else if best < 0 || v > most {
						best, most = l, v
					}
				}
				if best < 0 {
					return
				}
				hits &^= 1 << best
				d := t.kernel.distance2(x, t.Embeddings.Row(int(p.rows[best])))
				if s := p.seat[best]; d < d2[at] || d == d2[at] && rule.before(s, found[at]) {
					found[at], d2[at] = s, d
					limits[at] = t.filter.threshold(d, x2[at])
				}
			}
		})
	}
	return found, d2
}
