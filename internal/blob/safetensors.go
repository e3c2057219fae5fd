package blob

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxTensors is the largest header that the safetensors library reads.
const maxTensors = 100_000_000

// tensor is an array in a safetensors file.
type tensor struct {
	name       string
	array      array
	begin, end int64 // in the file
}

// safetensorTypes are element types as an npy calls them; B is bfloat16.
var safetensorTypes = map[string]array{
	"F64": {kind: 'f', size: 8}, "F32": {kind: 'f', size: 4}, "F16": {kind: 'f', size: 2}, "BF16": {kind: 'B', size: 2},
	"I64": {kind: 'i', size: 8}, "I32": {kind: 'i', size: 4}, "I16": {kind: 'i', size: 2}, "I8": {kind: 'i', size: 1},
	"U64": {kind: 'u', size: 8}, "U32": {kind: 'u', size: 4}, "U16": {kind: 'u', size: 2}, "U8": {kind: 'u', size: 1}, "BOOL": {kind: 'b', size: 1},
}

// safetensors are the tensors of a file, and the filenames in its metadata.
type safetensors struct {
	f       *File
	tensors []tensor
	names   nameList
}

func (f *File) safetensors() (safetensors, error) {
	z := safetensors{f: f, names: nameList{f: f}}
	err := z.open()
	return z, coded("bad_safetensors", "safetensors.numpy.save_file({…}, out)", err)
}

func (z *safetensors) open() error {
	var length [8]byte
	if z.f.size < int64(len(length)) {
		return errors.New("is too short for a safetensors file")
	}
	if _, err := z.f.ReadAt(length[:], 0); err != nil && err != io.EOF {
		return err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxTensors || int64(n) > z.f.size-8 {
		return fmt.Errorf("says that its header has %d bytes, in a file of %d", n, z.f.size)
	}
	if err := z.f.take(int64(n)); err != nil {
		return err
	}
	header := make([]byte, n)
	if _, err := z.f.ReadAt(header, 8); err != nil && err != io.EOF {
		return err
	}
	s := &scanner{b: header}
	if err := s.entries(func(key []byte) error { return within(quote(key), z.entry(s, key, 8+int64(n))) }); err != nil {
		return err
	}
	if err := s.end(); err != nil {
		return err
	}
	return z.check(8 + int64(n))
}

// entry reads what the header says of one tensor, whose offsets count from a
// byte of the file, or of the file.
func (z *safetensors) entry(s *scanner, key []byte, from int64) error {
	if string(key) == "__metadata__" {
		return s.entries(func(key []byte) error {
			text, err := s.text()
			if err != nil || string(key) != "filenames" {
				return err
			}
			list := &scanner{b: text}
			if err := list.array(func() error {
				name, err := list.text()
				if err != nil {
					return err
				}
				return z.names.add(name, true)
			}); err != nil {
				return fmt.Errorf("filenames are no JSON list: %w", err)
			}
			return list.end()
		})
	}
	if err := z.f.take(256 + int64(len(key))); err != nil {
		return err
	}
	t := tensor{name: string(key)}
	var offsets []int64
	err := s.object([]string{"dtype", "shape", "data_offsets"}, func(field int) (err error) {
		switch field {
		case 0:
			text, err := s.text()
			known := false
			if t.array, known = safetensorTypes[string(text)]; err == nil && !known {
				err = fmt.Errorf("unknown type %s", quote(text))
			}
			t.array.descr = string(text)
			return err
		case 1:
			t.array.shape = []int{}
			return s.array(func() error {
				n, err := s.integer(0, 1<<53)
				if t.array.shape = append(t.array.shape, n); len(t.array.shape) > 32 {
					err = errors.New("more than 32 axes")
				}
				return err
			})
		default:
			return s.array(func() error {
				n, err := s.integer(0, 1<<53)
				if offsets = append(offsets, int64(n)); len(offsets) > 2 {
					err = errors.New("more than two offsets")
				}
				return err
			})
		}
	})
	if err != nil {
		return err
	}
	if len(offsets) != 2 || t.array.size == 0 || t.array.shape == nil {
		return errors.New("want dtype, shape and two data_offsets")
	}
	if offsets[0] > offsets[1] || offsets[1] > z.f.size-from {
		return fmt.Errorf("lies at bytes %d to %d of %d", offsets[0], offsets[1], z.f.size-from)
	}
	t.begin, t.end = from+offsets[0], from+offsets[1]
	want, ok := product(append(slices.Clone(t.array.shape), t.array.size))
	if !ok || want != t.end-t.begin {
		return fmt.Errorf("has %d bytes, shape %v of type %s needs %s", t.end-t.begin, t.array.shape, t.array.descr, orMore(want, ok))
	}
	z.tensors = append(z.tensors, t)
	return nil
}

// check makes sure that the tensors fill the file, one after another.
func (z *safetensors) check(from int64) error {
	slices.SortFunc(z.tensors, func(a, b tensor) int { return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end)) })
	seen := make(map[string]bool, len(z.tensors))
	for _, t := range z.tensors {
		if t.begin != from {
			return fmt.Errorf("tensor %s begins at byte %d, the one before ends at %d", quote(t.name), t.begin, from)
		}
		if seen[t.name] {
			return fmt.Errorf("holds %s twice", quote(t.name))
		}
		seen[t.name], from = true, t.end
	}
	if from != z.f.size {
		return fmt.Errorf("its tensors end at byte %d of %d", from, z.f.size)
	}
	return nil
}

// safetensorsMatrix calls read with the filenames and the matrix: the one
// tensor that has a name of its kind, or else the only one.
func (f *File) safetensorsMatrix(kind kind, read func(*nameList, array) error) error {
	z, err := f.safetensors()
	if err != nil {
		return err
	}
	found := slices.DeleteFunc(slices.Clone(z.tensors), func(t tensor) bool { return !slices.Contains(kind.arrays, t.name) })
	if len(found) == 0 {
		found = z.tensors
	}
	want := strings.Join(kind.arrays, ", ")
	switch len(found) {
	case 0:
		return fault("bad_safetensors", "name the tensor one of "+want, "holds no tensor of %s", kind.noun)
	case 1:
		a := found[0].array
		a.rest = io.NewSectionReader(f, found[0].begin, found[0].end-found[0].begin)
		return coded("bad_safetensors", "", read(&z.names, a))
	}
	return fault("bad_safetensors", "leave exactly one of "+want, "holds several tensors that may be the %s: %s and %s", kind.noun, quote(found[0].name), quote(found[1].name))
}
