package lightly

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"nextbatch/internal/state"
)

// Samples come one by one, from many threads, and each becomes the next row of
// its dataset. Those that wait for one another are committed together: whoever
// gets his turn writes for all that came meanwhile.

// group are the samples of one dataset that wait.
type group struct {
	turn    sync.Mutex // held while writing, guards crowded
	crowded bool       // more than one came the last time
	mu      sync.Mutex // guards waiting
	waiting []*newRow
}

// newRow is a sample to be added. The fields below turn are set when done.
type newRow struct {
	name string
	fill func(*state.Sample) // what else is known of it; may be nil
	size int                 // bytes of that, about

	done bool
	row  int
	err  error
}

// gather is how long to wait for more samples where many are sent at a time. A
// commit costs several times that, whether of one sample or of ten.
const gather = time.Millisecond

// groupMax and groupBytes are how many samples one batch takes: the dataset
// comes on top.
const (
	groupMax   = state.MaxBatch - 1
	groupBytes = 8 << 20
)

// appendRow adds a sample to a dataset and returns its row. A name that the
// dataset has keeps its row: an upload that is begun again goes through.
func (s *Server) appendRow(id string, r *newRow) (int, error) {
	v, _ := s.groups.LoadOrStore(id, &group{})
	g := v.(*group)
	g.mu.Lock()
	g.waiting = append(g.waiting, r)
	g.mu.Unlock()
	g.turn.Lock()
	defer g.turn.Unlock()
	if !r.done && g.crowded { // the others are about to come
		time.Sleep(gather)
	}
	for !r.done {
		g.mu.Lock()
		n := 0
		for size := 0; n < min(len(g.waiting), groupMax) && (n == 0 || size < groupBytes); n++ {
			size += g.waiting[n].size
		}
		batch := g.waiting[:n:n]
		g.waiting = g.waiting[n:]
		g.mu.Unlock()
		g.crowded = n > 1
		err := s.appendRows(id, batch)
		for _, b := range batch {
			if b.done = true; b.err == nil {
				b.err = err
			}
		}
	}
	return r.row, r.err
}

// appendRows commits samples together. It works for several requests, so none
// of them can cancel it.
func (s *Server) appendRows(id string, batch []*newRow) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	for {
		b, err := s.rowsBatch(ctx, id, batch)
		if err != nil {
			return err
		}
		// Whether an unknown write was made shows when its names are looked for again.
		_, err = s.store.Commit(ctx, b)
		if err == nil || !errors.Is(err, state.ErrConflict) && !errors.Is(err, state.ErrUnknown) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(5 * time.Millisecond)):
		}
	}
}

// rowsBatch gives each sample its row.
func (s *Server) rowsBatch(ctx context.Context, id string, batch []*newRow) (*state.Batch, error) {
	d, rev, err := s.byID(ctx, id)
	if errors.Is(err, state.ErrNotFound) {
		return nil, refuse(http.StatusNotFound, "DATASET_UNKNOWN", "the dataset was deleted")
	}
	if err != nil {
		return nil, err
	}
	names, err := s.store.Names(ctx, d)
	if err != nil {
		return nil, err
	}
	var fresh []string
	rows := map[string]int{}
	type record struct {
		sample state.Sample
		rev    uint64
	}
	records := map[int]*record{}
	for _, r := range batch {
		r.err = nil
		row, known := names.Row(r.name)
		if !known {
			row, known = rows[r.name]
		}
		if !known {
			if row = d.Rows + len(fresh); row >= maxSamples {
				r.err = refuse(http.StatusForbidden, "DATASET_AT_MAX_CAPACITY", "a dataset has at most %d samples", maxSamples)
				continue
			}
			rows[r.name] = row
			fresh = append(fresh, r.name)
		}
		r.row = row
		if r.fill == nil {
			continue
		}
		if records[row] == nil {
			now := time.Now().UTC()
			one := &record{sample: state.Sample{Dataset: d.ID, Row: row, Created: now}}
			if row < d.Rows {
				if one.sample, one.rev, err = s.store.Sample(ctx, d, row); err != nil {
					return nil, err
				}
			}
			one.sample.Modified = now
			records[row] = one
		}
		r.fill(&records[row].sample)
	}
	if len(fresh) > 0 && !d.Draft && d.Upsized == 0 { // a dataset that events made: the next upsize is about these
		d.Upsized = d.Rows
	}
	if d, err = s.store.AppendNames(ctx, d, fresh); err != nil {
		return nil, err
	}
	b := &state.Batch{}
	touch(&d)
	b.Dataset(d, rev)
	for _, one := range records {
		b.Sample(one.sample, one.rev)
	}
	return b, nil
}
