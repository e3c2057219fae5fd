package selection

import "slices"

// seatWarm seats the centers of a warm start. Where there are many for each
// anchor, those at home with an anchor sit together, a panel full at a time; the panels are mixed,
// so that in order a candidate meets all parts of the dataset evenly.
func (e *lazy) seatWarm(rows []int32) bool {
	s, count := &e.probes, min(len(rows)/homeCenters, len(e.pool)/homePool, probeMost)/lanes*lanes
	if count == 0 {
		return e.seatAll(rows)
	}
	if !e.seatAll(rows[:count]) {
		return false
	}
	s.count, s.home, s.next = count, countTo(count), len(rows)*7/6
	others := rows[count:]
	homes := make([]int32, len(others))
	if !e.homesOf(others, homes) {
		return false
	}
	byHome := countTo(len(others))
	slices.SortStableFunc(byHome, func(a, b int32) int { return int(homes[a] - homes[b]) })
	seats := make([]int32, 0, len(others))
	blocks := len(others) / lanes
	for b := range blocks + 1 {
		from, size := b*lanes, len(others)%lanes
		if b < blocks {
			from, size = b*stride(blocks)%blocks*lanes, lanes
		}
		for _, at := range byHome[from : from+size] {
			seats, s.home = append(seats, others[at]), append(s.home, homes[at])
		}
	}
	return e.seatAll(seats) && e.surround()
}

// stride returns a step through n places in a circle that visits all of them, and
// those of any part of the way evenly: near the golden section, without a
// common divisor.
func stride(n int) int {
	for s := n * 618 / 1000; s > 1; s-- {
		a, b := n, s
		for b > 0 {
			a, b = b, a%b
		}
		if a == 1 {
			return s
		}
	}
	return 1
}

// findHomes finds the nearest anchor of every center that has none.
func (e *lazy) findHomes() bool {
	s := &e.probes
	first := len(s.home)
	s.home = append(s.home, make([]int32, len(e.seats)-first)...)
	return e.homesOf(e.seats[first:], s.home[first:])
}

// homesOf finds the nearest anchor of each row.
func (e *lazy) homesOf(rows, homes []int32) bool {
	s, block := &e.probes, e.chunkRows()
	return e.parallel((len(rows)+block-1)/block, block*s.count*e.Embeddings.Dim/16, func(w *worker, at int) {
		from, end := at*block, min(len(rows), (at+1)*block)
		c := e.chunk(w)
		points, most := c.members[:end-from], make([]float32, end-from)
		for i := range points {
			x := e.origin
			if row := rows[from+i]; row != nobody {
				x = e.Embeddings.Row(int(row))
			}
			points[i].point, most[i] = e.point(&c.space, i, x, x), empty
		}
		for p := 0; p*lanes < s.count; p++ {
			anchors := e.panel(w, p)
			for i := 0; i < len(points); i += tileRows {
				for r := range tileRows {
					w.enter(r, &points[min(i+r, len(points)-1)].point, anchors)
				}
				e.multiply(w, anchors)
				for r := range min(tileRows, len(points)-i) {
					for l, v := range w.tile.values[r][:min(lanes, s.count-p*lanes)] {
						if v > most[i+r] {
							most[i+r], homes[from+i+r] = v, int32(p*lanes+l)
						}
					}
				}
			}
		}
	})
}

// findPanels finds the panels in order that belong to each anchor and its
// neighbors: those with centers of few homes.
func (e *lazy) findPanels() bool {
	s := &e.probes
	own := make([][]int32, s.count)
	s.loose, s.seated = make([]bool, len(e.panels.list)), false
	for p := range s.loose {
		var homes []int32
		for c := p * lanes; c < min(len(e.seats), (p+1)*lanes); c++ {
			if e.seats[c] != nobody && !slices.Contains(homes, s.home[c]) {
				homes = append(homes, s.home[c])
			}
		}
		if s.loose[p] = len(homes) > homesMost; !s.loose[p] {
			s.seated = true
			for _, home := range homes {
				own[home] = append(own[home], int32(p))
			}
		}
	}
	s.around = make([][]int32, s.count)
	all := countTo(s.count)
	return e.parallel(s.count, 2*s.count*e.Embeddings.Dim, func(w *worker, a int) {
		for _, b := range e.nearest(w, int32(a), all, probeNeighbors) {
			s.around[a] = append(s.around[a], own[b.seat]...)
		}
		s.around[a] = s.around[a][:min(len(s.around[a]), probeMeets)]
	})
}

// surround finds the panels around each anchor, and copies the loose centers: the
// nearest of those at home there or with a neighbor.
func (e *lazy) surround() bool {
	s, dim := &e.probes, e.Embeddings.Dim
	s.tried, s.solved, s.met = 0, 0, 0
	s.near = make([][]panel, s.count)
	all, ok := countTo(s.count), e.findPanels()
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
