package labelstudio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"nextbatch/internal/annotation"
	"nextbatch/internal/events"
	"nextbatch/internal/failpoint"
	"nextbatch/internal/state"
)

// tool names the connector in records.
const tool = "labelstudio"

// The ledger is what Label Studio has said of each sample. It is the reason
// why a label is withdrawn only if it came from there, why nothing is said
// twice, and why a webhook that comes again changes nothing. One record holds
// the samples of some rows:
type block struct {
	Rows map[int]map[int]entry `json:"rows"` // by row, then by task
}

// entry is what a task said last.
type entry struct {
	Status state.Status `json:"status"`
	Stamp  string       `json:"stamp"` // the task's updated_at
}

// blockRows is how many rows a record holds: a label rewrites the record.
const blockRows = 256

func blockID(row int) string { return fmt.Sprintf("rows-%d", row/blockRows) }

// word is what a task says of a sample.
type word struct {
	filename string
	row      int
	task     int
	tag      string // name of the selection that the task is of; "" if none is known
	entry    entry
}

// statusOf is what a task says. With several annotations to a task it is
// labeled when Label Studio counts it as done.
func statusOf(t task) state.Status {
	switch {
	case t.Done > 0 && t.Labeled:
		return state.Labeled
	case t.Done == 0 && t.Skipped > 0:
		return state.Skipped
	}
	return state.Unlabeled
}

// sum is what all tasks of a sample say together: a label counts more than a
// skip.
func sum(tasks map[int]entry) state.Status {
	all := state.Unlabeled
	for _, e := range tasks {
		if e.Status == state.Labeled || e.Status == state.Skipped && all == state.Unlabeled {
			all = e.Status
		}
	}
	return all
}

// ledger is all blocks of a dataset as they were at one time.
type ledger map[string]block

// readLedger reads all blocks.
func (c *Connector) readLedger(ctx context.Context, d state.Dataset) (ledger, error) {
	all := ledger{}
	err := c.store.Tools(ctx, tool, d, func(r state.ToolRecord, _ uint64) error {
		if !strings.HasPrefix(r.ID, "rows-") {
			return nil
		}
		var b block
		if err := json.Unmarshal(r.Value, &b); err != nil {
			return fmt.Errorf("record %s of %s: %w", r.ID, d.Name, err)
		}
		all[r.ID] = b
		return nil
	})
	return all, err
}

func (l ledger) at(row, task int) (entry, bool) {
	e, ok := l[blockID(row)].Rows[row][task]
	return e, ok
}

// told counts what came of some words.
type told struct{ labeled, skipped, withdrawn, stale, same int }

func (t *told) add(o told) {
	t.labeled += o.labeled
	t.skipped += o.skipped
	t.withdrawn += o.withdrawn
	t.stale += o.stale
	t.same += o.same
}

// tell takes the words of tasks: those that change what is known of a sample
// become labels.completed, and then all go into the ledger. Words that are
// older than what the ledger has of their task are dropped. When it returns
// without an error everything is stored.
//
// With a ledger that was read before the words were, these come from a list:
// they are dropped where the ledger has changed meanwhile, and else are the
// truth.
func (c *Connector) tell(ctx context.Context, p *connected, d state.Dataset, words []word, before ledger) (all told, err error) {
	groups := map[string][]word{}
	for _, w := range words {
		groups[blockID(w.row)] = append(groups[blockID(w.row)], w)
	}
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		select {
		case p.ledger <- struct{}{}:
		case <-ctx.Done():
			return all, ctx.Err()
		}
		one, err := c.tellBlock(ctx, d, id, groups[id], before)
		<-p.ledger
		all.add(one)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// tellBlock publishes first and then writes the record: what is in the ledger
// was said. Somebody else may say something of the same sample in between, and
// their word may stand before or behind ours in the stream. So whoever has
// published writes the record that he has read before it, even unchanged, and
// if somebody else has written it meanwhile says again what is true then.
func (c *Connector) tellBlock(ctx context.Context, d state.Dataset, id string, words []word, before ledger) (all told, err error) {
	said := map[int]bool{} // rows that we have published something of
	for {
		var b block
		rev, err := c.store.Tool(ctx, tool, d, id, &b)
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return all, err
		}
		if b.Rows == nil {
			b.Rows = map[int]map[int]entry{}
		}
		read := map[int]map[int]entry{}
		for _, w := range words {
			if _, ok := read[w.row]; !ok {
				read[w.row] = maps.Clone(b.Rows[w.row])
			}
		}
		changed, counts := b.take(words, before)
		all.stale, all.same = counts.stale, counts.same
		news := map[string]*events.Labels{} // by tag
		ids := map[string][]string{}
		for _, w := range words {
			was, ok := read[w.row]
			if !ok { // a sample's second task
				continue
			}
			delete(read, w.row)
			now := sum(b.Rows[w.row])
			if !said[w.row] && sum(was) == now {
				continue
			}
			said[w.row] = true
			all.note(now)
			if news[w.tag] == nil {
				news[w.tag] = &events.Labels{Tag: w.tag}
			}
			l := news[w.tag]
			switch now {
			case state.Labeled:
				l.Labeled = append(l.Labeled, w.filename)
			case state.Skipped:
				l.Skipped = append(l.Skipped, w.filename)
			default:
				l.Unlabeled = append(l.Unlabeled, w.filename)
			}
			ids[w.tag] = append(ids[w.tag], fmt.Sprint(w.task, w.entry.Stamp, now))
		}
		for _, tag := range slices.Sorted(maps.Keys(news)) {
			eventID := state.HexID(32, append(ids[tag], d.ID, tag, id, fmt.Sprint(rev))...)
			if err := annotation.Publish(ctx, c.js, "/al/"+c.cfg.Instance+"/"+tool, eventID, d, *news[tag]); err != nil {
				return all, err
			}
		}
		if !changed && len(news) == 0 {
			return all, nil
		}
		failpoint.Hit("labelstudio-told")
		_, err = c.store.PutTool(ctx, tool, d, id, b, rev)
		if !errors.Is(err, state.ErrConflict) && !errors.Is(err, state.ErrUnknown) || ctx.Err() != nil {
			return all, err
		}
	}
}

// take puts words into a block and reports whether that changed it.
func (b *block) take(words []word, before ledger) (changed bool, counts told) {
	for _, w := range words {
		have, known := b.Rows[w.row][w.task]
		switch {
		case known && have == w.entry:
			counts.same++
			continue
		case before == nil && known && older(w.entry.Stamp, have.Stamp):
			counts.stale++
			continue
		case before != nil:
			if then, knew := before.at(w.row, w.task); knew != known || then != have {
				counts.stale++
				continue
			}
			if !known && w.entry.Status == state.Unlabeled { // nothing was said yet, nor is now
				continue
			}
		}
		if b.Rows[w.row] == nil {
			b.Rows[w.row] = map[int]entry{}
		}
		b.Rows[w.row][w.task] = w.entry
		changed = true
	}
	return changed, counts
}

func (t *told) note(s state.Status) {
	switch s {
	case state.Labeled:
		t.labeled++
	case state.Skipped:
		t.skipped++
	default:
		t.withdrawn++
	}
}

// older reports whether one time stamp of Label Studio is before another.
func older(a, b string) bool {
	x, errX := time.Parse(time.RFC3339, a)
	y, errY := time.Parse(time.RFC3339, b)
	return errX == nil && errY == nil && x.Before(y)
}
