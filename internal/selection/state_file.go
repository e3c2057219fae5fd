package selection

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// stateMark begins an encoded state and names its version.
const stateMark = "nbstate4"

// parts are the lists of a state in the order in which they are written, before Bounds.
func (s *State) parts() []*[]int32 {
	return []*[]int32{&s.Centers, &s.Homes, &s.Owner, &s.Seen,
		&s.Cells.Seats, &s.Cells.Owner, &s.Cells.Checks, &s.Labels.Seats, &s.Labels.Owner, &s.Labels.Checks,
		&s.Shares.Samples, &s.Shares.Near}
}

// hashes come after Bounds.
func (s *State) hashes() []*[]uint32 {
	return []*[]uint32{&s.Prints, &s.Cells.Prints, &s.Labels.Prints, &s.Shares.Rows, &s.Shares.Sum}
}

// Encode writes the state for DecodeState: the mark, Sum, Norm2, then of each list its
// length and its numbers, all little-endian, and of 32 bits but for Norm2.
func (s *State) Encode(w io.Writer) error {
	start := binary.LittleEndian.AppendUint32([]byte(stateMark), s.Sum)
	_, err := w.Write(binary.LittleEndian.AppendUint64(start, math.Float64bits(s.Norm2)))
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
	write(bytesOf(s.Bounds))
	for _, list := range s.hashes() {
		write(bytesOf(*list))
	}
	return err
}

// DecodeState reads what Encode wrote. The state shares the memory of data.
func DecodeState(data []byte) (*State, error) {
	const start = len(stateMark) + 4 + 8
	if len(data) < start || len(data)%4 != 0 || !bytes.HasPrefix(data, []byte(stateMark)) {
		return nil, errors.New("no state of a selection, or of another version")
	}
	s := &State{Sum: binary.LittleEndian.Uint32(data[start-12:]), Norm2: math.Float64frombits(binary.LittleEndian.Uint64(data[start-8:]))}
	rest, whole := valuesOf[int32](data[start:]), true
	next := func() []int32 {
		if whole = whole && len(rest) > 0 && rest[0] >= 0 && int(rest[0]) < len(rest); !whole {
			return nil
		}
		end := 1 + int(rest[0])
		list := rest[1:end:end]
		rest = rest[end:]
		return list
	}
	for _, list := range s.parts() {
		*list = next()
	}
	s.Bounds = valuesOf[float32](bytesOf(next()))
	for _, list := range s.hashes() {
		*list = valuesOf[uint32](bytesOf(next()))
	}
	if !whole || len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes of a state that is cut off or longer", len(data))
	}
	return s, nil
}
