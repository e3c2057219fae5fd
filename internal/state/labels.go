package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/events"
)

// Status of a sample's label.
type Status byte

// What annotators said of a sample last.
const (
	Unlabeled Status = iota
	Labeled
	Skipped
)

// selectedBit marks a sample that a selection added.
const selectedBit = 1 << 7

// snapshotAfter is how many changed samples a record carries before all are
// written to a blob.
const snapshotAfter = 2048

// Labels is the label state of a dataset: for each row whether it was
// selected, and what annotators said last. Version counts its changes, and
// each change has one result event with that number as its sequence.
type Labels struct {
	record labelsRecord
	base   *snapshot // shared, immutable; nil = empty
}

type labelsRecord struct {
	Dataset  string         `json:"dataset"`
	Version  uint64         `json:"version"`
	Snapshot string         `json:"snapshot,omitempty"` // blob
	Changes  map[int]change `json:"changes,omitempty"`  // since the snapshot, by row
	Newest   string         `json:"newest,omitempty"`   // tag of the newest selection that added something
}

// change is [flags, input sequence of the last word of an annotator].
type change [2]uint64

// snapshot holds rows 0 … len(flags)-1; what lies beyond is untouched.
type snapshot struct {
	flags []byte
	seq   []uint64
}

// Labels reads the label state of a dataset and its revision. A dataset that
// has none yet has an empty one at revision 0.
func (s *Store) Labels(ctx context.Context, dataset string) (*Labels, uint64, error) {
	l := &Labels{}
	rev, err := s.get(ctx, labelsSubject(dataset), &l.record)
	if errors.Is(err, ErrNotFound) {
		l.record.Dataset = dataset
	} else if err != nil {
		return nil, 0, err
	}
	if l.record.Changes == nil {
		l.record.Changes = map[int]change{}
	}
	if sha := l.record.Snapshot; sha != "" {
		base, ok := s.labels.get(sha)
		if !ok {
			data, err := s.blobs.Get(ctx, sha)
			if err != nil {
				return nil, 0, fmt.Errorf("label state of %s: %w", dataset, err)
			}
			base = decodeSnapshot(data)
			s.labels.put(sha, len(base.flags), base)
		}
		l.base = base
	}
	return l, rev, nil
}

// SaveLabels adds the state, with the next version, to a batch; rev is its
// revision when it was read.
func (s *Store) SaveLabels(ctx context.Context, b *Batch, l *Labels, rev uint64) error {
	l.record.Version++
	if len(l.record.Changes) > snapshotAfter {
		base := l.flatten()
		sha, err := s.blobs.Put(ctx, base.encode())
		if err != nil {
			return fmt.Errorf("label state of %s: %w", l.record.Dataset, err)
		}
		s.labels.put(sha, len(base.flags), base)
		l.base, l.record.Snapshot, l.record.Changes = base, sha, map[int]change{}
	}
	b.put(labelsSubject(l.record.Dataset), l.record, rev)
	return nil
}

// Version is the number of changes so far.
func (l *Labels) Version() uint64 { return l.record.Version }

func (l *Labels) at(row int) change {
	if c, ok := l.record.Changes[row]; ok {
		return c
	}
	if l.base != nil && row < len(l.base.flags) {
		return change{uint64(l.base.flags[row]), l.base.seq[row]}
	}
	return change{}
}

// Status returns what annotators said of a row last, and whether a selection
// added it.
func (l *Labels) Status(row int) (status Status, selected bool) {
	f := l.at(row)[0]
	return Status(f &^ selectedBit), f&selectedBit != 0
}

// Seq returns the stream sequence of the input that spoke of a row last.
func (l *Labels) Seq(row int) uint64 { return l.at(row)[1] }

// Set notes what the input at stream sequence seq says of a row. The highest
// sequence wins, so the order in which inputs are folded does not matter.
func (l *Labels) Set(row int, status Status, seq uint64) {
	c := l.at(row)
	if seq >= c[1] {
		l.record.Changes[row] = change{c[0]&selectedBit | uint64(status), seq}
	}
}

// Select marks a row as added by a selection.
func (l *Labels) Select(row int) {
	c := l.at(row)
	l.record.Changes[row] = change{c[0] | selectedBit, c[1]}
}

// Newest is the tag of the newest selection that added something, "" if there
// is none that is known of.
func (l *Labels) Newest() string { return l.record.Newest }

// SetNewest notes it.
func (l *Labels) SetNewest(tag string) { l.record.Newest = tag }

// LabeledSince counts the labeled rows of which inputs behind stream sequence
// seq spoke last.
func (l *Labels) LabeledSince(seq uint64) int {
	n := 0
	l.all(func(row int, status Status, _ bool) {
		if status == Labeled && l.Seq(row) > seq {
			n++
		}
	})
	return n
}

// all calls f with every row that was ever touched, in no order.
func (l *Labels) all(f func(row int, status Status, selected bool)) {
	if l.base != nil {
		for row, flags := range l.base.flags {
			if _, changed := l.record.Changes[row]; !changed && flags != 0 {
				f(row, Status(flags&^selectedBit), flags&selectedBit != 0)
			}
		}
	}
	for row, c := range l.record.Changes {
		f(row, Status(c[0]&^selectedBit), c[0]&selectedBit != 0)
	}
}

// Sets returns, over n rows, the rows that are selected or labeled, which are
// the default preselected set, and the rows that were skipped: those are never
// offered again, and are no centers.
func (l *Labels) Sets(n int) (preselected, skipped *bitmask.Mask) {
	preselected, skipped = bitmask.New(n), bitmask.New(n)
	l.all(func(row int, status Status, selected bool) {
		switch {
		case status == Skipped:
			skipped.Set(row)
		case status == Labeled, selected:
			preselected.Set(row)
		}
	})
	return preselected, skipped
}

// Count sums up the rows of a set; nil means the whole dataset. A pending
// sample is selected and neither labeled nor skipped.
func (l *Labels) Count(of *bitmask.Mask) events.Labelset {
	c := events.Labelset{Dataset: l.record.Dataset}
	l.all(func(row int, status Status, selected bool) {
		if of != nil && !of.Has(row) {
			return
		}
		switch {
		case status == Labeled:
			c.Labeled++
		case status == Skipped:
			c.Skipped++
		case selected:
			c.Pending++
		}
	})
	c.Complete = c.Pending == 0
	return c
}

func (l *Labels) flatten() *snapshot {
	n := 0
	if l.base != nil {
		n = len(l.base.flags)
	}
	for row := range maps.Keys(l.record.Changes) {
		n = max(n, row+1)
	}
	flat := &snapshot{make([]byte, n), make([]uint64, n)}
	if l.base != nil {
		copy(flat.flags, l.base.flags)
		copy(flat.seq, l.base.seq)
	}
	for row, c := range l.record.Changes {
		flat.flags[row], flat.seq[row] = byte(c[0]), c[1]
	}
	return flat
}

// A snapshot blob is the flags of all rows, then their sequences.
func (s *snapshot) encode() []byte {
	b := make([]byte, 0, 9*len(s.flags))
	b = append(b, s.flags...)
	for _, q := range s.seq {
		b = binary.LittleEndian.AppendUint64(b, q)
	}
	return b
}

func decodeSnapshot(b []byte) *snapshot {
	n := len(b) / 9
	s := &snapshot{b[:n], make([]uint64, n)}
	for i := range s.seq {
		s.seq[i] = binary.LittleEndian.Uint64(b[n+8*i:])
	}
	return s
}
