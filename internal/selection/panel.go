package selection

import "math"

// panel holds copies or codes of up to lanes centers for the tiles of a kernel.
type panel struct {
	data       []float32 // the biases, then the coordinates, each of all lanes, or
	codes      []uint32  // those of two coordinates in each number, see codes
	scale      [lanes]float32
	size, rest float32      // the largest norms, see rounded
	seat       [lanes]int32 // which centers they are
	rows       []int32      // their dataset rows, where packSeats packed them
}

// newPanel returns a panel without centers.
func newPanel(dim int) panel {
	p := panel{data: make([]float32, (dim+1)*lanes)}
	p.clear()
	return p
}

// empty is the bias of a place without a center: nothing passes it.
var empty = float32(math.Inf(-1))

// clear removes the centers.
func (p *panel) clear() {
	for l := range lanes {
		p.data[l] = empty
	}
	p.size, p.rest = 0, 0
}

// panels are the centers in order. Of more than most panels, the first and the
// last ones are kept in memory: most candidates fall behind early, and those of
// a level have seen all but the last. What is between is packed again where it is
// needed, which takes an eighth of the time of comparing a full chunk with it, a
// fifth without codes.
type panels struct {
	list []panel
	most int
}

// At most one value in panelsShare/lanes of the embeddings is kept twice.
const (
	panelsShare = 288
	panelsLast  = 64
)

// grow adds an empty panel, in the memory of the oldest of the last ones if
// there are most already.
func (e *lazy) grow() {
	s := &e.panels
	if len(s.list) < s.most {
		s.list = append(s.list, e.newPanel())
		return
	}
	oldest := &s.list[len(s.list)-panelsLast]
	last := panel{data: oldest.data, codes: oldest.codes}
	oldest.data, oldest.codes = nil, nil
	last.clear()
	s.list = append(s.list, last)
}

// seat makes a row a center; nobody takes a place that stays empty.
func (e *lazy) seat(row int32) {
	at, lane := len(e.seats)/lanes, len(e.seats)%lanes
	if lane == 0 {
		e.grow()
	}
	bias := empty
	if row != nobody {
		bias = e.biasOf(e.Embeddings.Row(int(row)))
	}
	p := &e.panels.list[at]
	p.seat[lane] = int32(len(e.seats))
	e.seats, e.bias = append(e.seats, row), append(e.bias, bias)
	if row != nobody {
		e.place(&e.workers[0], p, lane, e.Embeddings.Row(int(row)), bias)
	}
}

// seatAll is seat for many rows.
func (e *lazy) seatAll(rows []int32) bool {
	for len(rows) > 0 && len(e.seats)%lanes != 0 {
		e.seat(rows[0])
		rows = rows[1:]
	}
	from := len(e.seats)
	e.seats = append(e.seats, rows...)
	e.bias = append(e.bias, make([]float32, len(rows))...)
	for at := from; at < len(e.seats); at += lanes {
		e.grow()
	}
	return e.parallel(len(e.panels.list)-from/lanes, lanes*e.Embeddings.Dim, func(w *worker, i int) {
		p := &e.panels.list[from/lanes+i]
		at := from + i*lanes
		end := min(len(e.seats), at+lanes)
		for c := at; c < end; c++ {
			p.seat[c-at], e.bias[c] = int32(c), empty
			if row := e.seats[min(c+ahead, end-1)]; row != nobody {
				e.Embeddings.ask(row)
			}
			if row := e.seats[c]; row != nobody {
				x := e.Embeddings.Row(int(row))
				if e.bias[c] = e.biasOf(x); !e.check(c, x) {
					e.wrong.Store(true)
				}
			}
		}
		if p.data != nil {
			e.fill(w, p, e.seats[at:end], e.bias[at:end])
		}
	})
}

// panel returns panel number at of the centers, packed anew if it is not kept.
func (e *lazy) panel(w *worker, at int) *panel {
	kept := &e.panels.list[at]
	if kept.data != nil {
		return kept
	}
	w.panel.seat = kept.seat
	from, end := at*lanes, min(len(e.seats), (at+1)*lanes)
	e.fill(w, &w.panel, e.seats[from:end], e.bias[from:end])
	w.spend(8 * lanes * e.Embeddings.Dim)
	return &w.panel
}
