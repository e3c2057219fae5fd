package selection

import "math"

// panel holds copies of up to lanes centers for kernel.tile.
type panel struct {
	data []float32    // the biases, then the coordinates, each of all lanes
	seat [lanes]int32 // which centers they are
}

// newPanel returns a panel without centers.
func newPanel(dim int) panel {
	p := panel{data: make([]float32, (dim+1)*lanes)}
	p.clear()
	return p
}

// clear removes the centers: nothing passes an infinite bias.
func (p *panel) clear() {
	for l := range lanes {
		p.data[l] = float32(math.Inf(-1))
	}
}

// panels are the centers in order, of which only the last most panels are kept
// in memory. The others are packed again where they are needed, which takes a
// fifth of the time of comparing a chunk of points with them.
type panels struct {
	list []panel
	most int
}

// At most one value in panelsShare/lanes of the embeddings is kept twice.
const (
	panelsShare = 400
	panelsLeast = 64
)

// grow adds an empty panel, in the memory of the oldest one that is kept.
func (s *panels) grow(dim int) {
	if len(s.list) < s.most {
		s.list = append(s.list, newPanel(dim))
		return
	}
	oldest := &s.list[len(s.list)-s.most]
	last := panel{data: oldest.data}
	oldest.data = nil
	last.clear()
	s.list = append(s.list, last)
}

// seat makes a row a center; nobody takes a place that stays empty.
func (e *lazy) seat(row int32) {
	at, lane := len(e.seats)/lanes, len(e.seats)%lanes
	if lane == 0 {
		e.panels.grow(e.Embeddings.Dim)
	}
	e.seats = append(e.seats, row)
	if row == nobody {
		e.names = append(e.names, "")
		return
	}
	e.names = append(e.names, e.Filenames(int(row)))
	e.setLane(&e.panels.list[at], lane, int32(len(e.seats)-1), row)
}

// setLane puts a center into a panel.
func (e *lazy) setLane(p *panel, lane int, seat, row int32) {
	x := e.Embeddings.Row(int(row))
	p.seat[lane] = seat
	p.data[lane] = e.filter.bias(e.norm2of(x))
	c := e.filter.copyRow(e.spare, x)
	for j, v := range floats(c, len(x)) {
		p.data[(j+1)*lanes+lane] = v
	}
}

// panel returns panel number at of the centers, packed anew if it is not kept.
func (e *lazy) panel(w *worker, at int) *panel {
	kept := &e.panels.list[at]
	if kept.data != nil {
		return kept
	}
	if w.panel.data == nil {
		w.panel = newPanel(e.Embeddings.Dim)
	}
	w.panel.seat = kept.seat
	e.pack(w, &w.panel, e.seats[at*lanes:min(len(e.seats), (at+1)*lanes)])
	return &w.panel
}

// pack fills a panel with rows, in blocks of coordinates that stay in the
// nearest cache; nobody leaves a place empty.
func (e *lazy) pack(w *worker, p *panel, rows []int32) {
	const block = 16
	dim := e.Embeddings.Dim
	if w.rows == nil && e.filter.mean != nil {
		w.rows = make([]float32, lanes*dim)
	}
	p.clear()
	var copies [lanes][]float32
	for l, row := range rows {
		if row == nobody {
			copies[l] = e.origin
			continue
		}
		x := e.Embeddings.Row(int(row))
		p.data[l] = e.filter.bias(e.norm2of(x))
		copies[l] = floats(e.filter.copyRow(slot(w.rows, l, dim), x), dim)
	}
	for from := 0; from < dim; from += block {
		to := min(from+block, dim)
		for l, c := range copies[:len(rows)] {
			out := p.data[(from+1)*lanes+l:]
			for j, v := range c[from:to] {
				out[j*lanes] = v
			}
		}
	}
}
