package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/events"
	"nextbatch/internal/failpoint"
	"nextbatch/internal/state"
)

// nameFree returns the revision at which a tag of the name can be created, or
// an error if the dataset has one.
func (w *Worker) nameFree(ctx context.Context, dataset, name string) (rev uint64, err error) {
	_, rev, err = w.store.Tag(ctx, dataset, name)
	if err == nil || name == state.InitialTag {
		return 0, &events.Error{Code: "tag_exists", Message: fmt.Sprintf("dataset %q has a tag %q already", dataset, name),
			Hint: "give the selection another name, or none: one is derived from the event"}
	}
	if errors.Is(err, state.ErrNotFound) {
		return rev, nil
	}
	return 0, err
}

// newTag stores the masks and the whole result of a selection.
func (w *Worker) newTag(ctx context.Context, created events.Created, mask, batch *bitmask.Mask, job string, rows int) (state.Tag, error) {
	t := state.Tag{ID: created.Tag.ID, Dataset: created.Dataset, Name: created.Tag.Name, Count: mask.Count(), Rows: rows,
		Method: created.Method, QueryTag: created.QueryTag, PreselectedTag: created.PreselectedTag, Added: len(created.Added), Job: job, Created: time.Now().UTC()}
	var err error
	if t.Mask, err = w.store.PutMask(ctx, mask); err != nil {
		return t, err
	}
	if t.Batch, err = w.store.PutMask(ctx, batch); err != nil {
		return t, err
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
	hex, err := w.store.MaskHex(ctx, t)
	if err != nil {
		return nil, err
	}
	return bitmask.FromHex(hex)
}
