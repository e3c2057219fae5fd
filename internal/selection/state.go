package selection

import (
	"cmp"
	"hash/crc32"
	"math"
	"slices"
	"sync"

	"nextbatch/internal/bitmask"
)

// State is what selections learned about distances, from which the next one on
// the same embeddings goes on. CORESET and CORAL learn 12 bytes a row and 12 a center;
// HERDING and UHERDING 8 a row where there are cells, 8 a row where there are
// many pairs of landmarks and labels, and, as CORAL with AutoCap does, Shares: 4 a
// row and at most 4 MB. Each hands on what the others learned. A state is about
// embeddings alone: method, scores, seed and pool may be others next time, though
// another seed or pool means other seeds of cells and other samples.
//
// A state changes how long a selection takes and never what it selects, as
// long as the vectors of its rows are what they were: rows may have been
// appended, centers may have come and gone. CORESET takes its word for a row without
// reading that row, or asking whether it is finite, until it is compared. Against
// mistakes there are checks: everything that CORESET learned is forgotten where it has
// not its Sum, where the vector of a center is another, and where a row of a sample, or one
// that is compared, is not at its distance, even in the middle of a selection.
// Of Cells, Labels and Shares nothing is believed that concerns another vector: with
// Cosine vectors are others than without, unless they have length 1.
type State struct {
	Sum     uint32   // a hash of what CORESET learned: the following up to Bounds
	Norm2   float64  // no squared norm of a row that it knows, or of a center, is larger
	Centers []int32  // dataset rows in the order that Seen counts
	Prints  []uint32 // a hash of the vector of each
	Homes   []int32  // which of the first centers each is near to; empty where nobody asked

	// Of each dataset row: the place in Centers of its nearest center among the
	// first Seen and perhaps some others, and the distance to it, rounded up.
	// Seen is 0 where nothing is known.
	Owner, Seen []int32
	Bounds      []float32

	Cells  Nearest // the seeds of cells
	Labels Nearest // preselected rows
	Shares Shares
}

func (q *Query) isCenter(row int32) bool { return row >= 0 && q.Preselected.Has(int(row)) }

// nobody stands for the row of a center that is none any more.
const nobody = -1

// print is a hash of a vector.
func print(x []float32) uint32 {
	return crc32.Checksum(bytesOf(x), castagnoli)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum returns what Sum should be.
func (s *State) sum() uint32 {
	lists := [][]byte{bytesOf(s.Centers), bytesOf(s.Prints), bytesOf(s.Homes), bytesOf(s.Owner), bytesOf(s.Seen), bytesOf(s.Bounds)}
	sums := make([]uint64, len(lists))
	var all sync.WaitGroup
	for n, list := range lists {
		all.Go(func() { sums[n] = uint64(len(list))<<32 ^ uint64(crc32.Checksum(list, castagnoli)) })
	}
	all.Wait()
	h := math.Float64bits(s.Norm2)
	for _, sum := range sums {
		h = mix(h ^ sum)
	}
	return uint32(h)
}

// plan lists the centers: those that the state knows in its order, then the others by
// key. One that is none any more leaves its place to nobody. It reports false when the
// caller has canceled.
func (e *lazy) plan() (rows []int32, ok bool) {
	others := e.centers
	if known, ok := e.seatsOf(e.State); ok {
		e.known, rows, others = e.State, known, nil
		seated := bitmask.New(e.Rows)
		for _, row := range rows {
			if row != nobody {
				seated.Set(int(row))
			}
		}
		for _, row := range e.centers {
			if !seated.Has(int(row)) {
				others = append(others, row)
			}
		}
	}
	if _, ok := e.sortByKey(others, e.meter); !ok {
		return nil, false
	}
	return append(rows, others...), true
}

// restore seats the centers of plan.
func (e *lazy) restore(rows []int32) bool {
	if e.known == nil {
		return e.seatWarm(rows)
	}
	return e.seatAll(rows)
}

// seatsOf returns the rows of the centers of a state. It reports false where
// there is no state, it is not as it was made, does not belong to the dataset, or most of
// its centers are none any more.
func (e *lazy) seatsOf(s *State) (rows []int32, ok bool) {
	if s == nil || e.Preselected == nil {
		return nil, false
	}
	n := len(s.Seen)
	if n > e.Rows || len(s.Owner) != n || len(s.Bounds) != n || len(s.Prints) != len(s.Centers) ||
		len(s.Homes) > 0 && len(s.Homes) != len(s.Centers) || !finite(s.Norm2) || s.sum() != s.Sum {
		return nil, false
	}
	seated, gone := bitmask.New(e.Rows), 0
	rows = slices.Clone(s.Centers)
	for at, row := range rows {
		if !e.isCenter(row) {
			rows[at] = nobody
			gone++
			continue
		}
		if seated.Has(int(row)) {
			return nil, false
		}
		seated.Set(int(row))
	}
	return rows, 2*gone < len(rows)
}

// check reports whether the vector of a center is the one that the state knows, if it
// knows one.
func (e *lazy) check(c int, x []float32) bool {
	return e.known == nil || c >= len(e.known.Prints) || print(x) == e.known.Prints[c]
}

// recall sets bound, owner and seen of a candidate from the state, whose centers are the
// first of those planned. It reports false where the state knows nothing or does not
// fit.
func (e *lazy) recall(i int, planned []int32) bool {
	row := e.pool[i]
	if e.known == nil || int(row) >= len(e.known.Seen) {
		return false
	}
	owner, seen, bound := e.known.Owner[row], e.known.Seen[row], e.known.Bounds[row]
	if centers := int32(len(e.known.Centers)); seen <= 0 || seen > centers || owner < 0 || owner >= centers || planned[owner] == nobody || !(bound >= 0) {
		return false
	}
	e.d2[i], e.owner[i], e.seen[i] = square(bound), owner, seen
	return true
}

// confirm makes the bounds of candidates exact. It reports false when the caller has
// canceled, and where the state was wrong.
func (e *lazy) confirm(candidates []int32) bool {
	ok := e.each(len(candidates), func(_ *worker, at int) {
		if i := int(candidates[at]); e.rounded(i) {
			e.unround(i)
		}
	})
	return ok && !e.wrong.Load()
}

// rounded reports whether the bound of a candidate may be one that a state has rounded.
func (e *lazy) rounded(i int) bool {
	d2 := e.d2[i]
	return e.known != nil && d2 != picked && square(float32(math.Sqrt(d2))) == d2
}

// unround makes a bound what it was before it was rounded.
func (e *lazy) unround(i int) {
	d2 := e.kernel.distance2(e.Embeddings.Row(int(e.pool[i])), e.Embeddings.Row(int(e.seats[e.owner[i]])))
	if square(roundUp(d2)) != e.d2[i] {
		e.wrong.Store(true)
	}
	e.d2[i] = d2
}

// roundUp returns a distance whose square is not below a squared distance, +Inf where
// that is too large.
func roundUp(d2 float64) float32 {
	d := -below(-math.Sqrt(d2))
	if square(d) < d2 {
		d = math.Nextafter32(d, float32(math.Inf(1)))
	}
	return d
}

func square(d float32) float64 { return float64(d) * float64(d) }

// state returns what the next selection can start from. It takes over the
// memory of what is known of candidates, and ends the search.
func (e *lazy) state() *State {
	known := cmp.Or(e.known, new(State))
	s := &State{Norm2: max(e.norm2, known.Norm2), Centers: e.seats, Prints: slices.Clone(known.Prints),
		Owner: e.owner[:e.Rows], Seen: e.seen[:e.Rows], Bounds: valuesOf[float32](bytesOf(e.found[:e.Rows]))}
	for _, row := range e.seats[len(s.Prints):] {
		p := uint32(0)
		if row != nobody {
			p = print(e.Embeddings.Row(int(row)))
		}
		s.Prints = append(s.Prints, p)
	}
	if e.probes.count > 0 {
		s.Homes = e.probes.home
	}
	e.blocks(e.pool, func(_ *worker, from, end int) {
		for i, d2 := range e.d2[from:end] {
			i += from
			s.Bounds[i] = roundUp(max(d2, 0))
			if d2 == picked || !finite(float64(s.Bounds[i])) {
				s.Owner[i], s.Seen[i], s.Bounds[i] = 0, 0, 0
			}
		}
	})
	e.parallel(3, 4*e.Rows, func(_ *worker, list int) {
		switch list {
		case 0:
			spread(s.Owner, e.pool, known.Owner)
		case 1:
			spread(s.Seen, e.pool, known.Seen)
		case 2:
			spread(s.Bounds, e.pool, known.Bounds)
		}
	})
	s.Sum = s.sum()
	return s
}

// spread moves what a list says of candidates, in its first places, to their rows, and
// adds what was known of other rows. It goes from the end: the row of a candidate is no smaller
// number than its own, so nothing is written where something is still to be read.
func spread[T int32 | float32](list []T, pool []int32, known []T) {
	i := len(pool)
	for row := len(list) - 1; row >= i; row-- {
		switch {
		case i > 0 && int(pool[i-1]) == row:
			i--
			list[row] = list[i]
		case row < len(known):
			list[row] = known[row]
		default:
			list[row] = 0
		}
	}
}
