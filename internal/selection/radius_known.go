package selection

import (
	"hash/crc32"
	"math"
	"slices"
)

// Shares are the rows that are nearest to the samples of fairShareRadius, for a
// State.
type Shares struct {
	Samples []int32  // dataset rows
	Near    []int32  // the nearest rows of each, as many for all, the nearest first; nobody where there are fewer
	Rows    []uint32 // of each dataset row a hash of its vector; 0 where it was not among those looked at
	Sum     []uint32 // one hash of all that
}

const (
	nearMost   = 4096 // rows that are kept of a sample: 4 MB for all
	addedShare = 32   // one of so many rows may be new: each is compared with every sample
)

func (s *Shares) sum() []uint32 {
	sum := uint32(0)
	for _, part := range [][]byte{bytesOf(s.Samples), bytesOf(s.Near), bytesOf(s.Rows)} {
		sum = crc32.Update(sum, castagnoli, part)
	}
	return []uint32{sum}
}

// prints returns Rows of Shares as they are now. It reports false when the caller
// has canceled.
func (r *radii) prints() ([]uint32, bool) {
	prints := make([]uint32, r.Rows)
	return prints, r.blocks(r.rows, func(_ *worker, from, end int) {
		for _, row := range r.rows[from:end] {
			prints[row] = max(1, print(r.Embeddings.Row(int(row))))
		}
	})
}

// share keeps the nearest rows of samples for the next selection.
func (r *radii) share(samples []int32, lists [][]neighbor, rows []uint32) {
	each := 0
	for _, list := range lists {
		each = max(each, min(len(list), nearMost))
	}
	s := Shares{Samples: slices.Clone(samples), Near: make([]int32, 0, each*len(samples)), Rows: rows}
	for _, list := range lists {
		for n := range each {
			row := int32(nobody)
			if n < len(list) {
				row = list[n].row
			}
			s.Near = append(s.Near, row)
		}
	}
	s.Sum = s.sum()
	r.next.Shares = s
}

// recall lists the nearest rows of the samples, in order, as far as they are
// known: without those that are gone, and with those that are new and nearer than
// the last. Rows are the hashes as they are now. It reports false when the
// caller has canceled.
func (r *radii) recall(samples []int32, rows []uint32) ([][]neighbor, bool) {
	lists, s := make([][]neighbor, len(samples)), &r.past.Shares
	if len(s.Samples) == 0 || !slices.Equal(s.Sum, s.sum()) {
		return lists, true
	}
	known := func(row int32) bool {
		return row >= 0 && int(row) < min(len(s.Rows), len(rows)) && s.Rows[row] == rows[row]
	}
	var added []int32
	for _, row := range r.rows {
		if !known(row) {
			added = append(added, row)
		}
	}
	if len(added) > len(r.rows)/addedShare {
		return lists, true
	}
	each := len(s.Near) / len(s.Samples)
	return lists, r.parallel(len(samples), (each+len(added))*r.Embeddings.Dim/4, func(_ *worker, at int) {
		sample := slices.Index(s.Samples, samples[at])
		if sample < 0 || !known(samples[at]) {
			return
		}
		var list []neighbor
		add := func(row int32, within float64) {
			if d2 := r.kernel.distance2(r.Embeddings.Row(int(samples[at])), r.Embeddings.Row(int(row))); d2 <= within {
				list = append(list, neighbor{d2, row})
			}
		}
		for _, row := range s.Near[sample*each : (sample+1)*each] {
			if known(row) {
				add(row, math.Inf(1))
			}
		}
		if len(list) == 0 {
			return
		}
		last := list[len(list)-1].d2
		for _, row := range added {
			add(row, last)
		}
		slices.SortFunc(list, compareNeighbors)
		lists[at] = list
	})
}
