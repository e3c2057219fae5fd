package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"nextbatch/internal/events"
)

// Uploads are the score lists that came for one tag over the Lightly API, as
// they came: which rows their numbers belong to follows from the sampling that
// uses them. A list of a name replaces the former one.
type Uploads struct {
	Dataset string   `json:"dataset"`
	Tag     string   `json:"tag"` // name, initial-tag included
	Lists   []Upload `json:"lists"`
}

// Upload is one list of float64, little-endian, in a blob.
type Upload struct {
	ID      string    `json:"id"`   // 24 lower-case hex digits
	Name    string    `json:"name"` // the score type
	SHA256  string    `json:"sha256"`
	Len     int       `json:"len"`
	Created time.Time `json:"created"`
}

func uploadsSubject(dataset, tag string) string {
	return "al.v1.scores." + events.Token(dataset) + "." + events.Token(tag)
}

// Uploads reads the score lists of a tag and their revision. A tag without any
// has an empty record.
func (s *Store) Uploads(ctx context.Context, dataset, tag string) (u Uploads, rev uint64, err error) {
	rev, err = s.get(ctx, uploadsSubject(dataset, tag), &u)
	if errors.Is(err, ErrNotFound) {
		return Uploads{Dataset: dataset, Tag: tag}, rev, nil
	}
	return u, rev, err
}

// AllUploads calls f with the score lists of every tag of a dataset and their
// revision.
func (s *Store) AllUploads(ctx context.Context, dataset string, f func(Uploads, uint64) error) error {
	return list(ctx, s, "al.v1.scores."+events.Token(dataset)+".*", f)
}

// Uploads adds the score lists of a tag to the batch, RemoveUploads deletes
// them; rev is their revision when they were read.
func (b *Batch) Uploads(u Uploads, rev uint64) { b.put(uploadsSubject(u.Dataset, u.Tag), u, rev) }
func (b *Batch) RemoveUploads(dataset, tag string, rev uint64) {
	b.remove(uploadsSubject(dataset, tag), rev)
}

// PutList stores the numbers of a score list.
func (s *Store) PutList(ctx context.Context, values []float64) (sha string, err error) {
	return s.blobs.Put(ctx, float64Bytes(values))
}

// List loads the numbers of a score list.
func (s *Store) List(ctx context.Context, u Upload) ([]float64, error) {
	b, err := s.blobs.Get(ctx, u.SHA256)
	if err != nil {
		return nil, err
	}
	if len(b) != 8*u.Len {
		return nil, fmt.Errorf("scores %s: blob of %d bytes for %d numbers", u.Name, len(b), u.Len)
	}
	values := make([]float64, u.Len)
	for i := range values {
		values[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return values, nil
}
