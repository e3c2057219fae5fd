package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/events"
	"nextbatch/internal/failpoint"
	"nextbatch/internal/state"
)

// nameFree reports an error if a dataset has a tag of the name.
func (w *Worker) nameFree(ctx context.Context, dataset, name string) error {
	_, _, err := w.store.Tag(ctx, dataset, name)
	if err == nil || name == state.InitialTag {
		return &events.Error{Code: "tag_exists", Message: fmt.Sprintf("dataset %q has a tag %q already", dataset, name),
			Hint: "give the selection another name, or none: one is derived from the event"}
	}
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	return err
}

// inlineMask is the length up to which a mask stands in the tag's record.
const inlineMask = 16 << 10

// newTag stores the mask and the whole result of a selection.
func (w *Worker) newTag(ctx context.Context, created events.Created, mask *bitmask.Mask, job string, rows int) (state.Tag, error) {
	t := state.Tag{ID: created.Tag.ID, Dataset: created.Dataset, Name: created.Tag.Name, Mask: mask.Hex(), Count: mask.Count(), Rows: rows,
		Method: created.Method, QueryTag: created.QueryTag, PreselectedTag: created.PreselectedTag, Added: len(created.Added), Job: job, Created: time.Now().UTC()}
	var err error
	if len(t.Mask) > inlineMask {
		if t.Mask, err = w.blobs.Put(ctx, []byte(t.Mask)); err != nil {
			return t, err
		}
	}
	result, err := json.Marshal(created)
	if err != nil {
		return t, err
	}
	failpoint.Hit("before-blob")
	t.Result, err = w.blobs.Put(ctx, result)
	return t, err
}

// tagMask returns the rows of a tag; "" and initial-tag are all rows.
func (w *Worker) tagMask(ctx context.Context, d state.Dataset, name string) (*bitmask.Mask, error) {
	if name == "" || name == state.InitialTag {
		if d.Rows == 0 {
			return bitmask.New(0), nil
		}
		return bitmask.FromLength(d.Rows)
	}
	t, _, err := w.store.Tag(ctx, d.Name, name)
	if errors.Is(err, state.ErrNotFound) {
		return nil, &events.Error{Code: "unknown_tag", Message: fmt.Sprintf("dataset %q has no tag %q", d.Name, name),
			Hint: "worker tags list " + d.Name + " shows those that exist"}
	}
	if err != nil {
		return nil, err
	}
	hex := t.Mask
	if !strings.HasPrefix(hex, "0x") {
		b, err := w.blobs.Get(ctx, hex)
		if err != nil {
			return nil, err
		}
		hex = string(b)
	}
	return bitmask.FromHex(hex)
}
