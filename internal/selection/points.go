package selection

import "unsafe"

// point is what tiles need of a row: where its copy or its codes are, and how
// they were made.
type point struct {
	at         *float32
	x2         float32 // squared norm, for filter
	limit      float32 // its threshold
	scale      float32 // of codes
	size, rest float32 // norms, see rounded; 0 without codes
}

// threshold returns the threshold for a panel.
func (x *point) threshold(p *panel) float32 {
	return x.limit - (x.rest*p.size + x.size*p.rest)
}

// enter puts a point into row r of the tile of a worker, for a panel.
func (w *worker) enter(r int, x *point, p *panel) {
	w.tile.points[r], w.tile.thresholds[r], w.tile.scales[r] = x.at, x.threshold(p), x.scale
}

// chunk is what a worker keeps of the candidates of a chunk.
type chunk struct {
	members []member
	live    []int32 // places of those that are compared now
	space   space
}

type member struct {
	point
	row, owner int32
	d2         float64 // to the owner
}

// chunk returns the memory of a worker for chunks.
func (e *lazy) chunk(w *worker) *chunk {
	if n := e.chunkRows(); w.chunk.members == nil {
		w.chunk = chunk{make([]member, n), make([]int32, 0, n), e.newSpace(n)}
	}
	return &w.chunk
}

// load prepares a chunk for comparePanel. What lies far apart in memory is read
// in a loop of its own, where the processor can wait for many at a time.
func (e *lazy) load(w *worker, candidates []int32) {
	c := e.chunk(w)
	for at, i := range candidates {
		m := &c.members[at]
		m.row, m.owner, m.d2 = e.pool[i], e.owner[i], e.d2[i]
	}
	for at := range candidates {
		m, next := &c.members[at], &c.members[min(at+ahead, len(candidates)-1)]
		m.point = e.point(&c.space, at, e.Embeddings.Row(int(m.row)), e.Embeddings.Row(int(next.row)))
		m.limit = e.filter.threshold(m.d2, m.x2)
	}
}

// space is memory for the copies or the codes of points.
type space struct {
	copies []float32
	codes  []int16
}

func (s *space) empty() bool { return s.copies == nil && s.codes == nil }

// coded reports whether tiles are made of codes.
func (e *lazy) coded() bool { return e.kernel.tileCodes != nil }

// stride is the distance of the codes of two rows.
func (e *lazy) stride() int { return (e.Embeddings.Dim + codeBlock - 1) / codeBlock * codeBlock }

// pairs is how many numbers hold the codes of a row.
func (e *lazy) pairs() int { return (e.Embeddings.Dim + 1) / 2 }

// newSpace returns space for so many points. With codes, copies have one place.
func (e *lazy) newSpace(points int) (s space) {
	copies := points
	if e.coded() {
		s.codes, copies = make([]int16, points*e.stride()), 1
	}
	if e.filter.mean != nil {
		s.copies = make([]float32, copies*e.Embeddings.Dim)
	}
	return s
}

// point makes row x a point, at a place of space. Next is the row that is read
// soon.
func (e *lazy) point(s *space, at int, x, next []float32) (p point) {
	dim := e.Embeddings.Dim
	if !e.coded() {
		p.at, p.x2 = &e.filter.copyRow(slot(s.copies, at, dim), x)[0], float32(e.norm2of(x))
		return p
	}
	codes := s.codes[at*e.stride():][:e.stride()]
	r := e.kernel.quantize(codes, e.filter.copyRow(s.copies, x), codesMost(dim), &next[0])
	p.at, p.scale = (*float32)(unsafe.Pointer(&codes[0])), r.scale
	p.x2 = r.size2
	p.size, p.rest = r.norms(dim)
	return p
}

// multiply makes the tile of a worker and a panel.
func (e *lazy) multiply(w *worker, p *panel) {
	if e.coded() {
		e.kernel.tileCodes(&w.tile, &p.data[0], &p.scale[0], &p.codes[0], e.pairs())
		return
	}
	e.kernel.tile(&w.tile, &p.data[0], e.Embeddings.Dim)
}

// newPanel returns a panel without centers, for multiply.
func (e *lazy) newPanel() panel {
	if !e.coded() {
		return newPanel(e.Embeddings.Dim)
	}
	p := panel{data: make([]float32, lanes), codes: make([]uint32, e.pairs()*lanes)}
	p.clear()
	return p
}

// fill puts centers and their biases into a panel of newPanel.
func (e *lazy) fill(w *worker, p *panel, rows []int32, biases []float32) {
	if !e.coded() {
		e.pack(w, p, rows, biases)
		return
	}
	p.clear()
	for l, row := range rows {
		if row != nobody {
			e.place(w, p, l, e.Embeddings.Row(int(row)), biases[l])
		}
	}
}

// place puts one center into a lane of a panel.
func (e *lazy) place(w *worker, p *panel, lane int, x []float32, bias float32) {
	if w.spare.empty() {
		w.spare = e.newSpace(1)
	}
	c := e.point(&w.spare, 0, x, x)
	p.data[lane], p.scale[lane] = bias, c.scale
	p.size, p.rest = max(p.size, c.size), max(p.rest, c.rest)
	if !e.coded() {
		for j, v := range floats(c.at, e.Embeddings.Dim) {
			p.data[(j+1)*lanes+lane] = v
		}
		return
	}
	for j, pair := range unsafe.Slice((*uint32)(unsafe.Pointer(c.at)), e.pairs()) {
		p.codes[j*lanes+lane] = pair
	}
}
