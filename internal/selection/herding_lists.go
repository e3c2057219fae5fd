package selection

import (
	"math/bits"
	"sync"
)

// lists hold for each candidate the landmarks that it would cover better than
// they are, and its kernel there; or, where that takes less memory, the values at
// all landmarks. Few large pieces of memory hold them, until there is no more.
type lists struct {
	landmarks int
	where     []place // of each candidate

	mu     sync.Mutex // guards the rest while lists are made
	left   int64      // bytes that may still be taken
	pieces []piece
}

type piece struct {
	at     []int32
	kernel []uint16
}

// place is where a list begins in its piece; at is negative for values at all
// landmarks, count for a list that is not kept.
type place struct{ piece, at, kernel, count int32 }

// kept reports whether the list of candidate i is.
func (l *lists) kept(i int32) bool { return l.where[i].count >= 0 }

// of returns the list of candidate i, if kept; nil landmarks are all.
func (l *lists) of(i int32) ([]int32, []uint16) {
	w := l.where[i]
	p := &l.pieces[w.piece]
	kernel := p.kernel[w.kernel : w.kernel+w.count]
	if w.at < 0 {
		return nil, kernel
	}
	return p.at[w.at : w.at+w.count], kernel
}

// whole reports whether the values at all landmarks take less memory than a list
// of so many.
func (l *lists) whole(count int) bool { return entryBytes*count > kernelBytes*l.landmarks }

const atBytes, kernelBytes, entryBytes = 4, 2, 6

// keep stores the lists of candidates in one piece, if there is memory left.
func (l *lists) keep(candidates []int32, found [][]entry) {
	places := make([]place, len(found))
	at, kernel := 0, 0
	for n, list := range found {
		places[n] = place{0, int32(at), int32(kernel), int32(len(list))}
		if l.whole(len(list)) {
			places[n].at, places[n].count = -1, int32(l.landmarks)
		} else {
			at += len(list)
		}
		kernel += int(places[n].count)
	}
	number, p := l.take(at, kernel)
	for n, list := range found {
		w := places[n]
		if w.piece = number; number < 0 {
			w.count = -1
		} else if w.at < 0 {
			for _, x := range list {
				p.kernel[w.kernel+x.landmark()] = x.kernel()
			}
		} else {
			for e, x := range list {
				p.at[int(w.at)+e], p.kernel[int(w.kernel)+e] = x.landmark(), x.kernel()
			}
		}
		l.where[candidates[n]] = w
	}
}

// take makes a new piece, number -1 if there is no memory left: and then never.
func (l *lists) take(at, kernel int) (int32, piece) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left -= int64(atBytes*at + kernelBytes*kernel); l.left < 0 {
		return -1, piece{}
	}
	p := piece{make([]int32, at), make([]uint16, kernel)}
	l.pieces = append(l.pieces, p)
	return int32(len(l.pieces) - 1), p
}

// entry is a landmark in reach and the kernel there. The greater of two entries is
// the one of the greater kernel, then of the landmark that is first.
type entry uint64

func newEntry(landmark int32, kernel uint16) entry {
	return entry(kernel)<<32 | entry(^uint32(landmark))
}

func (e entry) landmark() int32 { return int32(^uint32(e)) }
func (e entry) kernel() uint16  { return uint16(e >> 32) }

// gatherSpace is what gather works in.
type gatherSpace struct {
	found      [][]entry
	x2, limits []float32
	cut        []bool
}

// gather finds the landmarks in reach of a block of rows among those in the
// panels, whose seats are landmarks, that are covered less: all, or the limit
// greatest entries. It returns the entries of each row, in no order and valid until
// the next call, and whether there were more. Limit 0 is none, and without a state
// nothing is covered.
func (h *herd) gather(w *worker, s *gatherSpace, rows []int32, panels []panel, state []landmark, limit int) ([][]entry, []bool) {
	for len(s.found) < len(rows) {
		s.found, s.cut = append(s.found, nil), append(s.cut, false)
		s.x2, s.limits = append(s.x2, 0), append(s.limits, 0)
	}
	for at, row := range rows {
		s.found[at], s.cut[at] = s.found[at][:0], false
		s.x2[at] = below(h.norm2of(h.Embeddings.Row(int(row))))
		s.limits[at] = h.filter.threshold(h.reach2, s.x2[at])
	}
	h.loadRows(w, rows)
	for n := range panels {
		p := &panels[n]
		if h.meter.canceled.Load() {
			break
		}
		w.spend(len(rows) * h.Embeddings.Dim)
		guess := h.newGuess(p)
		var covered [lanes]uint16
		least := uint16(kernelOne)
		for l := range p.rows {
			if state != nil {
				covered[l] = state[p.seat[l]].covered
			}
			least = min(least, covered[l])
		}
		if least == kernelOne {
			continue
		}
		d2 := min(h.reach2, h.farthest(least+1))
		for at := range rows {
			w.limit[at] = max(s.limits[at], h.filter.threshold(d2, s.x2[at]))
		}
		h.compareLoaded(w, len(rows), w.limit[:len(rows)], p, func(at int, hits uint32, values *[lanes]float32) {
			x := h.Embeddings.Row(int(rows[at]))
			x2, off := guess.point(s.x2[at])
			for ; hits != 0; hits &= hits - 1 {
				l := bits.TrailingZeros32(hits)
				if values[l] < s.limits[at] {
					continue
				}
				k, most := guess.at(x2, off, values[l], p.data[l])
				if most <= covered[l] {
					continue
				}
				if k < most {
					k = h.at(h.kernel.distance2(x, h.Embeddings.Row(int(p.rows[l]))))
				}
				if k <= covered[l] {
					continue
				}
				s.found[at] = append(s.found[at], newEntry(p.seat[l], k))
				if limit > 0 && len(s.found[at]) == 2*limit {
					s.limits[at] = h.filter.threshold(h.farthest(s.trim(at, limit)), s.x2[at])
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

// trim keeps the limit greatest entries, and returns the smallest kernel of them.
func (s *gatherSpace) trim(at, limit int) (least uint16) {
	list := s.found[at]
	greatest(list, limit)
	s.found[at], s.cut[at] = list[:limit], true
	smallest := list[0]
	for _, e := range list[:limit] {
		smallest = min(smallest, e)
	}
	return smallest.kernel()
}

// greatest brings the n greatest entries to the front, in no order.
func greatest(list []entry, n int) {
	for lo, hi := 0, len(list)-1; lo < hi; {
		middle := list[lo+(hi-lo)/2]
		i, j := lo, hi
		for i <= j {
			for list[i] > middle {
				i++
			}
			for middle > list[j] {
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
