package worker

import (
	"context"

	"nextbatch/internal/selection"
	"nextbatch/internal/state"
)

// recallBounds gives a query what the last selections on its embedding set
// learned about distances, and asks it for the same. It does so for the default
// preselected set, which only grows from one selection to the next. What cannot be
// read costs time and nothing else.
func (w *Worker) recallBounds(ctx context.Context, q *Query, set *state.EmbeddingSet, embedding string) {
	q.KeepState = true
	data, err := w.store.Bounds(ctx, q.Dataset, embedding, *set)
	if err == nil && data != nil {
		q.State, err = selection.DecodeState(data)
	}
	if err != nil {
		w.log.Warn().Err(err).Str("dataset", q.Dataset).Msg("bounds of the last selection: starting anew")
	}
}

// storeBounds writes what a selection learned, for the next one to recall.
func (w *Worker) storeBounds(s *selection.State, set *state.EmbeddingSet) (*state.Bounds, error) {
	blob, err := w.blobs.Create()
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	if err := s.Encode(blob); err != nil {
		return nil, err
	}
	sha, _, err := blob.Commit()
	return &state.Bounds{Set: set.ID, Created: set.Created, Stable: set.Stable, SHA256: sha}, err
}
