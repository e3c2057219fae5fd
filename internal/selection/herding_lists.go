package selection

import "math/bits"

// lists hold for each candidate the landmarks in the support of its kernel, and
// the values there. Few large pieces of memory hold them.
type lists struct {
	pieces []piece
	where  []place // of each candidate
}

type piece struct {
	at     []int32
	kernel []uint16
}

type place struct{ piece, from, count int32 }

// of returns the list of candidate i.
func (l *lists) of(i int32) ([]int32, []uint16) {
	w := l.where[i]
	p := &l.pieces[w.piece]
	return p.at[w.from : w.from+w.count], p.kernel[w.from : w.from+w.count]
}

// entry is a landmark in reach.
type entry struct {
	d2       float64
	landmark int32
}

// before is the order of entries, the nearest first.
func (a entry) before(b entry) bool {
	return a.d2 < b.d2 || a.d2 == b.d2 && a.landmark < b.landmark
}

// gather finds the landmarks in reach of a block of rows among those in the
// panels, whose seats are landmarks: all of them, or the limit nearest, of equally
// near ones the first. It returns an entry list per row, valid until the next
// call, and whether each was cut. Limit 0 is none.
func (h *herd) gather(w *worker, s *gatherSpace, rows []int32, panels []panel, limit int) ([][]entry, []bool) {
	for len(s.found) < len(rows) {
		s.found, s.bound, s.cut = append(s.found, nil), append(s.bound, 0), append(s.cut, false)
		s.x2, s.limits = append(s.x2, 0), append(s.limits, 0)
	}
	for at, row := range rows {
		s.found[at], s.bound[at], s.cut[at] = s.found[at][:0], h.reach2, false
		s.x2[at] = below(h.norm2of(h.Embeddings.Row(int(row))))
		s.limits[at] = h.filter.threshold(s.bound[at], s.x2[at])
	}
	h.loadRows(w, rows)
	for n := range panels {
		p := &panels[n]
		if h.meter.canceled.Load() {
			break
		}
		w.spend(len(rows) * h.Embeddings.Dim)
		h.compareLoaded(w, len(rows), s.limits, p, func(at int, hits uint32, values *[lanes]float32) {
			x := h.Embeddings.Row(int(rows[at]))
			for ; hits != 0; hits &= hits - 1 {
				l := bits.TrailingZeros32(hits)
				if values[l] < s.limits[at] {
					continue
				}
				d2 := h.kernel.distance2(x, h.Embeddings.Row(int(p.rows[l])))
				if d2 >= h.reach2 || d2 > s.bound[at] {
					continue
				}
				s.found[at] = append(s.found[at], entry{d2, p.seat[l]})
				if limit > 0 && len(s.found[at]) == 2*limit {
					s.trim(at, limit)
					s.limits[at] = h.filter.threshold(s.bound[at], s.x2[at])
				}
			}
		})
	}
	for at := range rows {
		if limit > 0 && len(s.found[at]) > limit {
			s.trim(at, limit)
		}
	}
	return s.found[:len(rows)], s.cut[:len(rows)]
}

// gatherSpace is what gather reuses.
type gatherSpace struct {
	found      [][]entry
	bound      []float64
	x2, limits []float32
	cut        []bool
}

// trim keeps the limit nearest.
func (s *gatherSpace) trim(at, limit int) {
	list := s.found[at]
	selectFirst(list, limit)
	s.found[at], s.cut[at] = list[:limit], true
	s.bound[at] = 0
	for _, e := range list[:limit] {
		s.bound[at] = max(s.bound[at], e.d2)
	}
}

// selectFirst brings the n first entries to the front, in no order.
func selectFirst(list []entry, n int) {
	for lo, hi := 0, len(list)-1; lo < hi; {
		middle := list[lo+(hi-lo)/2]
		i, j := lo, hi
		for i <= j {
			for list[i].before(middle) {
				i++
			}
			for middle.before(list[j]) {
				j--
			}
			if i <= j {
				list[i], list[j] = list[j], list[i]
				i, j = i+1, j-1
			}
		}
		switch {
		case n-1 <= j:
			hi = j
		case n-1 >= i:
			lo = i
		default:
			return
		}
	}
}

// keep stores the lists of candidates in one piece.
func (l *lists) keep(candidates []int32, number int32, found [][]entry, k kernelOf) {
	size := 0
	for _, list := range found {
		size += len(list)
	}
	p := piece{make([]int32, 0, size), make([]uint16, 0, size)}
	for at, list := range found {
		l.where[candidates[at]] = place{number, int32(len(p.at)), int32(len(list))}
		for _, e := range list {
			p.at, p.kernel = append(p.at, e.landmark), append(p.kernel, k.at(e.d2))
		}
	}
	l.pieces[number] = p
}
