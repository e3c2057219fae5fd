package selection

import (
	"math"
	"slices"
)

// State is what a CORESET or CORAL selection learned about distances, from
// which the next selection on the same embeddings goes on. It takes 12 bytes a
// row and 12 a center, and depends on nothing but embeddings and centers: not on
// method, scores, seed or pool.
//
// A state changes how long a selection takes and never what it selects, as
// long as the vectors of its rows are what they were: rows may have been
// appended, centers may have come and gone. Against mistakes there are checks:
// where the vector of a center is another, everything is forgotten, and where a
// row is not at the distance it had, that row.
type State struct {
	Centers []int32  // dataset rows in the order that Seen counts
	Prints  []uint64 // a hash of the vector of each

	// Of each dataset row: the place in Centers of its nearest center among the
	// first Seen and perhaps some others, and the squared distance to it, rounded
	// to float32. Seen is 0 where nothing is known.
	Bound       []float32
	Owner, Seen []uint32
}

// fits reports whether the parts of a state belong together and to the
// dataset, its centers are what they were, and most of them still are centers.
func (s *State) fits(q *Query) bool {
	n := len(s.Bound)
	if q.Preselected == nil || n > q.Rows || len(s.Owner) != n || len(s.Seen) != n || len(s.Prints) != len(s.Centers) {
		return false
	}
	seated, gone := make(map[int32]bool, len(s.Centers)), 0
	for at, row := range s.Centers {
		if !q.isCenter(row) {
			gone++
			continue
		}
		if seated[row] || print(q.Embeddings.Row(int(row))) != s.Prints[at] {
			return false
		}
		seated[row] = true
	}
	return 2*gone < len(s.Centers)
}

func (q *Query) isCenter(row int32) bool { return row >= 0 && q.Preselected.Has(int(row)) }

// nobody stands for the row of a center that is none any more.
const nobody = -1

// print is a hash of a vector.
func print(x []float32) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, v := range x {
		h = (h ^ uint64(math.Float32bits(v))) * 0x100000001b3
		h ^= h >> 29
	}
	return h
}

// restore seats the centers, those that the state knows in its order. A
// center that is none any more leaves its place to nobody.
func (e *lazy) restore() {
	seated := make(map[int32]bool)
	if e.State != nil && e.State.fits(e.Query) {
		e.known = e.State
		for _, row := range e.known.Centers {
			if !e.isCenter(row) {
				row = nobody
			}
			e.seat(row)
			seated[row] = true
			e.meter.spend(4 * e.Embeddings.Dim)
		}
	}
	for _, row := range e.centers {
		if !seated[row] {
			e.seat(row)
			e.meter.spend(4 * e.Embeddings.Dim)
		}
	}
}

// recall sets bound, owner and seen of a candidate from the state. It reports
// false where the state knows nothing or does not fit.
func (e *lazy) recall(i int) bool {
	row := e.pool[i]
	if e.known == nil || int(row) >= len(e.known.Seen) {
		return false
	}
	owner, seen := e.known.Owner[row], e.known.Seen[row]
	if centers := uint32(len(e.known.Centers)); seen == 0 || seen > centers || owner >= centers || e.seats[owner] == nobody {
		return false
	}
	d2 := e.kernel.distance2(e.Embeddings.Row(int(row)), e.Embeddings.Row(int(e.seats[owner])))
	if float32(d2) != e.known.Bound[row] {
		return false
	}
	e.d2[i], e.owner[i], e.seen[i] = d2, int32(owner), int32(seen)
	return true
}

// state returns what the next selection can start from.
func (e *lazy) state() *State {
	s := &State{Centers: slices.Clone(e.seats), Prints: make([]uint64, len(e.seats)),
		Bound: make([]float32, e.Rows), Owner: make([]uint32, e.Rows), Seen: make([]uint32, e.Rows)}
	for at, row := range e.seats {
		if row != nobody {
			s.Prints[at] = print(e.Embeddings.Row(int(row)))
		}
	}
	if e.known != nil { // rows outside the pool
		copy(s.Bound, e.known.Bound)
		copy(s.Owner, e.known.Owner)
		copy(s.Seen, e.known.Seen)
	}
	for i, row := range e.pool {
		if e.d2[i] == picked {
			s.Seen[row] = 0
			continue
		}
		s.Bound[row], s.Owner[row], s.Seen[row] = float32(e.d2[i]), uint32(e.owner[i]), uint32(e.seen[i])
	}
	return s
}
