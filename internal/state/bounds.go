package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"nextbatch/internal/events"
)

// Bounds names the blob with what the last selection on an embedding set
// learned about distances. The next one starts from there, on any replica. It
// saves time and decides nothing: so the last writer wins, the record goes by
// itself when it is old, and whoever cannot use it does without.
type Bounds struct {
	Set     string    `json:"set"`              // id of the embedding set
	Created time.Time `json:"created,omitzero"` // its EmbeddingSet.Created: one made anew has the id of the former
	Stable  int       `json:"stable"`           // its EmbeddingSet.Stable
	SHA256  string    `json:"sha256"`
}

func boundsSubject(dataset, embedding string) string {
	return "al.v1.bounds." + events.Token(dataset) + "." + events.Token(embedding)
}

// Bounds adds what a selection learned to the batch.
func (b *Batch) Bounds(dataset, embedding string, e Bounds) {
	subject := boundsSubject(dataset, embedding)
	data, err := json.Marshal(e)
	if err != nil {
		b.err = fmt.Errorf("record %s: %w", subject, err)
		return
	}
	m := nats.NewMsg(subject)
	m.Data = data
	m.Header.Set("Nats-Rollup", "sub")
	b.msgs = append(b.msgs, m)
}

// Bounds returns what the last selection learned about a set of a dataset as it
// is now, nil if nothing is known.
func (s *Store) Bounds(ctx context.Context, dataset, embedding string, set EmbeddingSet) ([]byte, error) {
	var e Bounds
	_, err := s.get(ctx, boundsSubject(dataset, embedding), &e)
	if errors.Is(err, ErrNotFound) || err == nil && (e.Set != set.ID || !e.Created.Equal(set.Created) || e.Stable != set.Stable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.blobs.Get(ctx, e.SHA256)
}
