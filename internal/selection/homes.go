package selection

import "slices"

// findHomes finds the nearest anchor of every center that has none.
func (e *lazy) findHomes() bool {
	s := &e.probes
	first := len(s.home)
	s.home = append(s.home, make([]int32, len(e.seats)-first)...)
	return e.homesOf(0, e.seats[first:], s.home[first:], nil)
}

// homesOf finds the nearest anchor of each row, and about half the square of how far it
// is apart from that, unless nobody wants to know. Homes and apart hold what is known of
// the anchors before from.
func (e *lazy) homesOf(from int, rows, homes []int32, apart []float32) bool {
	s, block := &e.probes, e.chunkRows()
	return e.parallel((len(rows)+block-1)/block, block*s.count*e.Embeddings.Dim/16, func(w *worker, at int) {
		start, end := at*block, min(len(rows), (at+1)*block)
		c := e.chunk(w)
		points, most := c.members[:end-start], make([]float32, end-start)
		for i := range points {
			x := e.origin
			if row := rows[start+i]; row != nobody {
				x = e.Embeddings.Row(int(row))
			}
			points[i].point, most[i] = e.point(&c.space, i, x, x), empty
			if from > 0 {
				most[i] = float32(points[i].x2/2) - apart[start+i]
			}
		}
		for p := from / lanes; p*lanes < s.count; p++ {
			anchors := e.panel(w, p)
			for i := 0; i < len(points); i += tileRows {
				for r := range tileRows {
					w.enter(r, &points[min(i+r, len(points)-1)].point, anchors)
				}
				e.multiply(w, anchors)
				for r := range min(tileRows, len(points)-i) {
					for l, v := range w.tile.values[r][:min(lanes, s.count-p*lanes)] {
						if v > most[i+r] {
							most[i+r], homes[start+i+r] = v, int32(p*lanes+l)
						}
					}
				}
			}
		}
		if apart != nil {
			for i := range points {
				apart[start+i] = float32(points[i].x2/2) - most[i]
			}
		}
	})
}

// findPanels finds the panels around each anchor. A panel in order belongs to all
// homes of its centers, if those are few, and else is loose.
func (e *lazy) findPanels() bool {
	s := &e.probes
	own := make([][]int32, s.count) // panels that belong to each anchor
	s.loose, s.seated = make([]bool, len(e.panels.list)), false
	for p := range s.loose {
		var homes []int32
		for c := p * lanes; c < min(len(e.seats), (p+1)*lanes); c++ {
			if e.seats[c] != nobody && !slices.Contains(homes, s.home[c]) {
				homes = append(homes, s.home[c])
			}
		}
		if s.loose[p] = len(homes) > homesMost; !s.loose[p] {
			s.seated = s.seated || len(homes) > 0 && (p+1)*lanes <= len(e.seats)
			for _, home := range homes {
				own[home] = append(own[home], int32(p))
			}
		}
	}
	s.around = make([][]int32, s.count)
	all := countTo(s.count)
	return e.parallel(s.count, 2*s.count*e.Embeddings.Dim, func(w *worker, a int) {
		for _, b := range e.nearest(w, int32(a), all, probeNeighbors) {
			for _, p := range own[b.seat] {
				if len(s.around[a]) < probeMeets && !slices.Contains(s.around[a], p) {
					s.around[a] = append(s.around[a], p)
				}
			}
		}
	})
}

// surround finds the panels around each anchor, and copies the loose centers: the
// nearest of those at home there or with a neighbor.
func (e *lazy) surround() bool {
	s, dim := &e.probes, e.Embeddings.Dim
	s.tried, s.solved, s.met = 0, 0, 0
	s.near = make([][]panel, s.count)
	all, ok := countTo(s.count), e.findPanels()
	s.balls, s.open = nil, nil
	members, loose := e.looseByHome()
	if !ok || loose*probeLoose < len(e.seats) {
		return ok
	}
	for len(s.store) < s.count*probePanels {
		s.store = append(s.store, e.newPanel())
	}
	return e.parallel(s.count, 2*(s.count+probePanels*lanes)*dim, func(w *worker, a int) {
		w.around = w.around[:0]
		for _, b := range e.nearest(w, int32(a), all, probeNeighbors) {
			w.around = append(w.around, members[b.seat]...)
		}
		near := e.nearest(w, int32(a), w.around, probePanels*lanes)
		own := s.store[a*probePanels:][:(len(near)+lanes-1)/lanes]
		for p := range own {
			var rows [lanes]int32
			var biases [lanes]float32
			part := near[p*lanes : min(len(near), (p+1)*lanes)]
			for place, c := range part {
				own[p].seat[place], rows[place], biases[place] = c.seat, e.seats[c.seat], e.bias[c.seat]
			}
			e.fill(w, &own[p], rows[:len(part)], biases[:len(part)])
		}
		s.near[a] = own
	})
}

// looseByHome returns the loose centers at home with each anchor, in order, and
// how many they are.
func (e *lazy) looseByHome() (members [][]int32, loose int) {
	isLoose := func(c int) bool { return e.seats[c] != nobody && e.probes.loose[c/lanes] }
	counts := make([]int, e.probes.count)
	for c := range e.seats {
		if isLoose(c) {
			counts[e.probes.home[c]]++
			loose++
		}
	}
	members, space := make([][]int32, len(counts)), make([]int32, loose)
	for a, n := range counts {
		members[a], space = space[:0:n], space[n:]
	}
	for c := range e.seats {
		if isLoose(c) {
			a := e.probes.home[c]
			members[a] = append(members[a], int32(c))
		}
	}
	return members, loose
}

// A nearby center, and its squared distance to another.
type nearby struct {
	seat int32
	d2   float64
}

// nearest returns the count centers among those given that are nearest to
// center a, itself perhaps included, the nearest first; if a is none any more,
// the first of them. The next call with the same worker reuses the memory.
func (e *lazy) nearest(w *worker, a int32, centers []int32, count int) []nearby {
	near := slices.Grow(w.near[:0], count+1)
	for _, c := range centers {
		row, d2 := e.seats[c], 0.0
		if e.seats[a] != nobody {
			if row == nobody {
				continue
			}
			d2 = e.kernel.distance2(e.Embeddings.Row(int(e.seats[a])), e.Embeddings.Row(int(row)))
		}
		if len(near) == count && d2 >= near[count-1].d2 {
			continue
		}
		at := len(near)
		for at > 0 && d2 < near[at-1].d2 {
			at--
		}
		near = slices.Insert(near, at, nearby{c, d2})[:min(len(near)+1, count)]
	}
	w.near = near
	return near
}

func countTo(n int) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = int32(i)
	}
	return list
}
