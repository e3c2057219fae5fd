package selection

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"nextbatch/internal/bitmask"
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
// row is not at the distance it had from its owner, that row.
type State struct {
	Centers []int32  // dataset rows in the order that Seen counts
	Prints  []uint32 // a hash of the vector of each
	Homes   []int32  // which of the first centers each is near to; empty where nobody asked

	// Of each dataset row: the place in Centers of its nearest center among the
	// first Seen and perhaps some others, and a hash of the squared distance to
	// it, the owner and Seen. Seen is 0 where nothing is known.
	Owner, Seen, Checks []int32
}

// fits reports whether the parts of a state belong together and to the
// dataset, its centers are what they were, and most of them still are centers.
func (s *State) fits(q *Query) bool {
	n := len(s.Seen)
	if q.Preselected == nil || n > q.Rows || len(s.Owner) != n || len(s.Checks) != n || len(s.Prints) != len(s.Centers) ||
		len(s.Homes) > 0 && len(s.Homes) != len(s.Centers) {
		return false
	}
	seated, gone := bitmask.New(q.Rows), 0
	for at, row := range s.Centers {
		if !q.isCenter(row) {
			gone++
			continue
		}
		if seated.Has(int(row)) || print(q.Embeddings.Row(int(row))) != s.Prints[at] {
			return false
		}
		seated.Set(int(row))
	}
	return 2*gone < len(s.Centers)
}

func (q *Query) isCenter(row int32) bool { return row >= 0 && q.Preselected.Has(int(row)) }

// nobody stands for the row of a center that is none any more.
const nobody = -1

// print is a hash of a vector.
func print(x []float32) uint32 {
	return crc32.Checksum(bytesOf(x), castagnoli)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// check is a hash of what a state says of a row.
func check(d2 float64, owner, seen int32) int32 {
	return int32(mix(math.Float64bits(d2) ^ mix(uint64(owner)<<32|uint64(seen))))
}

// restore seats the centers, those that the state knows in its order. A
// center that is none any more leaves its place to nobody. It reports false when
// the caller has canceled.
func (e *lazy) restore() bool {
	if e.State == nil || !e.State.fits(e.Query) {
		return e.seatAll(e.centers)
	}
	e.known = e.State
	seated := bitmask.New(e.Rows)
	rows := make([]int32, 0, len(e.known.Centers)+len(e.centers))
	for _, row := range e.known.Centers {
		if !e.isCenter(row) {
			row = nobody
		} else {
			seated.Set(int(row))
		}
		rows = append(rows, row)
	}
	for _, row := range e.centers {
		if !seated.Has(int(row)) {
			rows = append(rows, row)
		}
	}
	return e.seatAll(rows)
}

// recall sets bound, owner and seen of a candidate from the state. It reports
// false where the state knows nothing or does not fit.
func (e *lazy) recall(i int) bool {
	row := e.pool[i]
	if e.known == nil || int(row) >= len(e.known.Seen) {
		return false
	}
	owner, seen := e.known.Owner[row], e.known.Seen[row]
	if centers := int32(len(e.known.Centers)); seen <= 0 || seen > centers || owner < 0 || owner >= centers || e.seats[owner] == nobody {
		return false
	}
	d2 := e.kernel.distance2(e.Embeddings.Row(int(row)), e.Embeddings.Row(int(e.seats[owner])))
	if check(d2, owner, seen) != e.known.Checks[row] {
		return false
	}
	e.d2[i], e.owner[i], e.seen[i] = d2, owner, seen
	return true
}

// state returns what the next selection can start from. It takes over the
// memory of what is known of candidates, and ends the search.
func (e *lazy) state() *State {
	s := &State{Centers: e.seats, Prints: make([]uint32, len(e.seats)),
		Owner: e.owner[:e.Rows], Seen: e.seen[:e.Rows], Checks: e.found[:e.Rows]}
	for at, row := range e.seats {
		if row != nobody {
			s.Prints[at] = print(e.Embeddings.Row(int(row)))
		}
	}
	if e.probes.count > 0 {
		s.Homes = e.probes.home
	}
	// From the end: the row of a candidate is no smaller number than its own, so
	// nothing is written where something is still to be read.
	i := len(e.pool) - 1
	for row := e.Rows - 1; row >= 0; row-- {
		owner, seen, sum := int32(0), int32(0), int32(0)
		switch {
		case i >= 0 && int(e.pool[i]) == row:
			if e.d2[i] != picked {
				owner, seen, sum = e.owner[i], e.seen[i], check(e.d2[i], e.owner[i], e.seen[i])
			}
			i--
		case e.known != nil && row < len(e.known.Seen):
			owner, seen, sum = e.known.Owner[row], e.known.Seen[row], e.known.Checks[row]
		}
		s.Owner[row], s.Seen[row], s.Checks[row] = owner, seen, sum
	}
	return s
}

// stateMark begins an encoded state and names its version.
const stateMark = "nbstate1"

// Encode writes the state for DecodeState: the mark, the numbers of rows,
// centers and homes, then Centers, Prints, Homes, Owner, Seen and Checks, all as
// little-endian 32-bit numbers.
func (s *State) Encode(w io.Writer) error {
	sizes := []int32{int32(len(s.Seen)), int32(len(s.Centers)), int32(len(s.Homes))}
	for _, part := range [][]byte{[]byte(stateMark), bytesOf(sizes), bytesOf(s.Centers), bytesOf(s.Prints), bytesOf(s.Homes),
		bytesOf(s.Owner), bytesOf(s.Seen), bytesOf(s.Checks)} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// DecodeState reads what Encode wrote. The state shares the memory of data.
func DecodeState(data []byte) (*State, error) {
	head := len(stateMark) + 3*4
	if len(data) < head || string(data[:len(stateMark)]) != stateMark {
		return nil, errors.New("no state of a selection, or of another version")
	}
	values := valuesOf[int32](data[len(stateMark):])
	rows, centers, homes, rest := int(values[0]), int(values[1]), int(values[2]), values[3:]
	if rows < 0 || centers < 0 || homes < 0 || len(rest) != 3*rows+2*centers+homes || len(data)%4 != 0 {
		return nil, fmt.Errorf("a state of %d bytes for %d rows, %d centers and %d homes", len(data), rows, centers, homes)
	}
	next := func(n int) []int32 {
		part := rest[:n:n]
		rest = rest[n:]
		return part
	}
	s := &State{Centers: next(centers), Prints: valuesOf[uint32](bytesOf(next(centers))), Homes: next(homes)}
	s.Owner, s.Seen, s.Checks = next(rows), next(rows), next(rows)
	return s, nil
}
