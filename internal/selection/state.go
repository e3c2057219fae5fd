package selection

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

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
// appended, centers may have come and gone. Against mistakes there are checks:
// where the vector of a center is another, everything that CORESET learned is
// forgotten, and where a row is not at the distance it had from its owner, that row.
// Of Cells, Labels and Shares nothing is believed that concerns another vector: with
// Cosine vectors are others than without, unless they have length 1.
type State struct {
	Centers []int32  // dataset rows in the order that Seen counts
	Prints  []uint32 // a hash of the vector of each
	Homes   []int32  // which of the first centers each is near to; empty where nobody asked

	// Of each dataset row: the place in Centers of its nearest center among the
	// first Seen and perhaps some others, and a hash of the squared distance to
	// it, the owner and Seen, and of the prints of all these. Seen is 0 where nothing is
	// known.
	Owner, Seen, Checks []int32

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

// witness is what the checks of a state rest on: the prints of its centers, and a hash
// of the first of them, up to each number of them.
type witness struct {
	prints []uint32
	firsts []uint64
}

func newWitness(prints []uint32) witness {
	w := witness{prints, make([]uint64, len(prints)+1)}
	for at, p := range prints {
		w.firsts[at+1] = mix(w.firsts[at] ^ uint64(p))
	}
	return w
}

// check is a hash of what a state says of a row.
func (w *witness) check(d2 float64, owner, seen int32) int32 {
	return int32(mix(math.Float64bits(d2) ^ mix(uint64(owner)<<32|uint64(w.prints[owner])) ^ w.firsts[seen]))
}

// plan lists the centers: those that the state knows in its order, then the others by
// key. One that is none any more leaves its place to nobody. It reports false when the
// caller has canceled.
func (e *lazy) plan() (rows []int32, ok bool) {
	others := e.centers
	if known, ok := e.seatsOf(e.State); ok {
		e.known, rows, others = e.State, known, nil
		e.witness = newWitness(e.State.Prints)
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
	if !e.sortByKey(others, e.meter) {
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
// there is no state, its parts do not belong together and to the dataset, a center
// is not what it was, or most of them are none any more.
func (e *lazy) seatsOf(s *State) (rows []int32, ok bool) {
	if s == nil || e.Preselected == nil {
		return nil, false
	}
	n := len(s.Seen)
	if n > e.Rows || len(s.Owner) != n || len(s.Checks) != n || len(s.Prints) != len(s.Centers) ||
		len(s.Homes) > 0 && len(s.Homes) != len(s.Centers) {
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
	for at, print := range e.prints(rows) {
		if rows[at] != nobody && print != s.Prints[at] {
			return nil, false
		}
	}
	return rows, 2*gone < len(rows)
}

// prints returns the print of each row, 0 for nobody.
func (e *lazy) prints(rows []int32) []uint32 {
	prints := make([]uint32, len(rows))
	e.each(len(rows), func(_ *worker, at int) {
		if row := rows[min(at+ahead, len(rows)-1)]; row != nobody {
			e.Embeddings.ask(row)
		}
		if row := rows[at]; row != nobody {
			prints[at] = print(e.Embeddings.Row(int(row)))
		}
	})
	return prints
}

// ask is for what recall reads of a candidate that comes soon.
func (e *lazy) ask(i int, planned []int32) {
	if i >= len(e.pool) || e.known == nil || int(e.pool[i]) >= len(e.known.Owner) {
		return
	}
	if owner := e.known.Owner[e.pool[i]]; owner >= 0 && int(owner) < len(planned) && planned[owner] != nobody {
		e.Embeddings.ask(planned[owner])
	}
}

// recall sets bound, owner and seen of a candidate from the state, whose centers are the
// first of those planned. It reports false where the state knows nothing or does not
// fit.
func (e *lazy) recall(i int, planned []int32) bool {
	row := e.pool[i]
	if e.known == nil || int(row) >= len(e.known.Seen) {
		return false
	}
	owner, seen := e.known.Owner[row], e.known.Seen[row]
	if centers := int32(len(e.known.Centers)); seen <= 0 || seen > centers || owner < 0 || owner >= centers || planned[owner] == nobody {
		return false
	}
	d2 := e.kernel.distance2(e.Embeddings.Row(int(row)), e.Embeddings.Row(int(planned[owner])))
	if e.witness.check(d2, owner, seen) != e.known.Checks[row] {
		return false
	}
	e.d2[i], e.owner[i], e.seen[i] = d2, owner, seen
	return true
}

// state returns what the next selection can start from. It takes over the
// memory of what is known of candidates, and ends the search.
func (e *lazy) state() *State {
	s := &State{Centers: e.seats,
		Owner: e.owner[:e.Rows], Seen: e.seen[:e.Rows], Checks: e.found[:e.Rows]}
	if e.known != nil {
		s.Prints = e.known.Prints
	}
	s.Prints = slices.Concat(s.Prints, e.prints(e.seats[len(s.Prints):]))
	w := newWitness(s.Prints)
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
				owner, seen, sum = e.owner[i], e.seen[i], w.check(e.d2[i], e.owner[i], e.seen[i])
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
const stateMark = "nbstate3"

// parts are the lists of a state in the order in which they are written.
func (s *State) parts() []*[]int32 {
	return []*[]int32{&s.Centers, &s.Homes, &s.Owner, &s.Seen, &s.Checks,
		&s.Cells.Seats, &s.Cells.Owner, &s.Cells.Checks, &s.Labels.Seats, &s.Labels.Owner, &s.Labels.Checks,
		&s.Shares.Samples, &s.Shares.Near}
}

// hashes are the others.
func (s *State) hashes() []*[]uint32 {
	return []*[]uint32{&s.Prints, &s.Cells.Prints, &s.Labels.Prints, &s.Shares.Rows, &s.Shares.Sum}
}

// Encode writes the state for DecodeState: the mark, then of each list its length
// and its numbers, all as little-endian 32-bit numbers.
func (s *State) Encode(w io.Writer) error {
	_, err := io.WriteString(w, stateMark)
	write := func(list []byte) {
		if err == nil {
			_, err = w.Write(bytesOf([]int32{int32(len(list) / 4)}))
		}
		if err == nil {
			_, err = w.Write(list)
		}
	}
	for _, list := range s.parts() {
		write(bytesOf(*list))
	}
	for _, list := range s.hashes() {
		write(bytesOf(*list))
	}
	return err
}

// DecodeState reads what Encode wrote. The state shares the memory of data.
func DecodeState(data []byte) (*State, error) {
	if len(data)%4 != 0 || !bytes.HasPrefix(data, []byte(stateMark)) {
		return nil, errors.New("no state of a selection, or of another version")
	}
	rest, whole := valuesOf[int32](data[len(stateMark):]), true
	next := func() []int32 {
		if whole = whole && len(rest) > 0 && rest[0] >= 0 && int(rest[0]) < len(rest); !whole {
			return nil
		}
		end := 1 + int(rest[0])
		list := rest[1:end:end]
		rest = rest[end:]
		return list
	}
	s := new(State)
	for _, list := range s.parts() {
		*list = next()
	}
	for _, list := range s.hashes() {
		*list = valuesOf[uint32](bytesOf(next()))
	}
	if !whole || len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes of a state that is cut off or longer", len(data))
	}
	return s, nil
}
