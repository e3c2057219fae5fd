package selection

import "slices"

// Nearest is which of some seats each row of a dataset was nearest to, for a
// State.
type Nearest struct {
	Seats  []int32  // dataset rows
	Prints []uint32 // a hash of the vector of each

	// Of each dataset row: the number of its seat, and a hash of that and of the
	// vector. Where nothing is known the hash is 0, which is hardly ever right.
	Owner, Checks []int32
}

// placesAmong returns the place of each seat among others, nobody where it is
// not there or its vector is another. It returns nil where the places do not
// ascend: then ties went to another seat than they go now.
func (n *Nearest) placesAmong(others []int32, x Matrix) []int32 {
	if len(n.Prints) != len(n.Seats) || len(n.Checks) != len(n.Owner) {
		return nil
	}
	place := make(map[int32]int32, len(others))
	for at, row := range others {
		place[row] = int32(at)
	}
	places, last := make([]int32, len(n.Seats)), int32(-1)
	for s, row := range n.Seats {
		at, ok := place[row]
		if !ok || print(x.Row(int(row))) != n.Prints[s] {
			places[s] = nobody
			continue
		}
		if at <= last {
			return nil
		}
		places[s], last = at, at
	}
	return places
}

// recall returns the place among the others of the seat that a row is nearest to,
// and the squared distance, if that is known.
func (n *Nearest) recall(t *tiles, row int32, others, places []int32) (place int32, d2 float64, ok bool) {
	if int(row) >= len(n.Owner) {
		return 0, 0, false
	}
	owner := n.Owner[row]
	if owner < 0 || int(owner) >= len(places) || places[owner] == nobody {
		return 0, 0, false
	}
	x := t.Embeddings.Row(int(row))
	if ownerCheck(x, owner) != n.Checks[row] {
		return 0, 0, false
	}
	place = places[owner]
	return place, t.kernel.distance2(x, t.Embeddings.Row(int(others[place]))), true
}

// ownerCheck is a hash of what a Nearest says of a row.
func ownerCheck(x []float32, owner int32) int32 {
	return int32(mix(uint64(owner)<<32 | uint64(print(x))))
}

// newNearest returns a Nearest that knows nothing of any row yet.
func newNearest(seats []int32, x Matrix) Nearest {
	n := Nearest{slices.Clone(seats), make([]uint32, len(seats)), make([]int32, x.Rows), make([]int32, x.Rows)}
	for at, row := range seats {
		n.Prints[at] = print(x.Row(int(row)))
	}
	return n
}

// eachNearest calls do for each place in rows, from several goroutines, with
// the place of the nearest of the others, the first of equally near, and the squared
// distance to it; without others, never.
//
// A row whose nearest seat is known and still among the others is compared only
// with those that were no seats: of the seats that are left, it is nearest to the
// same one as before. What is known afterwards goes to learned, unless that is nil.
func (t *tiles) eachNearest(rows, others []int32, known, learned *Nearest, do func(at, place int32, d2 float64)) bool {
	if len(others) == 0 {
		return true
	}
	places := known.placesAmong(others, t.Embeddings)
	all, ok := t.packAll(others)
	if !ok {
		return false
	}
	added, ok := t.packAdded(others, places)
	if !ok {
		return false
	}
	if learned != nil {
		*learned = newNearest(others, t.Embeddings)
	}
	settle := func(w *worker, ats []int32, panels []panel, start []nearSeat) {
		part := make([]int32, len(ats))
		for n, at := range ats {
			part[n] = rows[at]
		}
		found, d2 := t.nearest(w, part, panels, nearestRule{before: firstSeat, start: start})
		if t.meter.canceled.Load() {
			return
		}
		for n, at := range ats {
			do(at, found[n], d2[n])
			if learned != nil {
				learned.Owner[part[n]], learned.Checks[part[n]] = found[n], ownerCheck(t.Embeddings.Row(int(part[n])), found[n])
			}
		}
	}
	return t.blocks(rows, func(w *worker, from, end int) {
		var old, unknown []int32
		var start []nearSeat
		for at := int32(from); at < int32(end); at++ {
			if place, d2, ok := known.recall(t, rows[at], others, places); ok {
				old, start = append(old, at), append(start, nearSeat{place, d2})
			} else {
				unknown = append(unknown, at)
			}
		}
		settle(w, old, added, start)
		settle(w, unknown, all, nil)
	})
}

// packAdded packs the others that are not among the places; their seats are their
// own places. Without any place nothing is asked of them.
func (t *tiles) packAdded(others, places []int32) ([]panel, bool) {
	if len(places) == 0 {
		return nil, true
	}
	isPlace := make([]bool, len(others))
	for _, at := range places {
		if at != nobody {
			isPlace[at] = true
		}
	}
	var numbers, rows []int32
	for at, row := range others {
		if !isPlace[at] {
			numbers, rows = append(numbers, int32(at)), append(rows, row)
		}
	}
	panels, ok := t.packAll(rows)
	for n := range panels {
		copy(panels[n].seat[:], numbers[n*lanes:min(len(numbers), (n+1)*lanes)])
	}
	return panels, ok
}
