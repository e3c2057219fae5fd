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

// Uploads are the acquisition scores that somebody computed elsewhere and
// posted to a tag, in the order in which their names first came. They name no
// samples: what row a value is of, the selection decides that uses them.
type Uploads struct {
	Dataset string   `json:"dataset"`
	Tag     string   `json:"tag"`
	Lists   []Upload `json:"lists"` // names are unique: the newest of a name replaces it
}

// Upload is one list of scores, all of them numbers.
type Upload struct {
	ID      string    `json:"id"` // 24 lower-case hex digits
	Name    string    `json:"name"`
	SHA256  string    `json:"sha256"` // blob: Len float64, little-endian
	Len     int       `json:"len"`
	Created time.Time `json:"created"`
}

func uploadsSubject(dataset, tag string) string {
	return "al.v1.scores." + events.Token(dataset) + "." + events.Token(tag)
}

// Uploads reads what was posted to a tag, and its revision. A tag that has
// nothing has an empty record at revision 0.
func (s *Store) Uploads(ctx context.Context, dataset, tag string) (u Uploads, rev uint64, err error) {
	rev, err = s.get(ctx, uploadsSubject(dataset, tag), &u)
	if errors.Is(err, ErrNotFound) {
		return Uploads{Dataset: dataset, Tag: tag}, 0, nil
	}
	return u, rev, err
}

// Uploads adds a record to the batch; rev is its revision when it was read.
func (b *Batch) Uploads(u Uploads, rev uint64) { b.put(uploadsSubject(u.Dataset, u.Tag), u, rev) }

// PutUpload stores the values of a list, to be named by an Upload.
func (s *Store) PutUpload(ctx context.Context, values []float64) (sha string, err error) {
	return s.blobs.Put(ctx, float64Bytes(values))
}

// Upload loads a list.
func (s *Store) Upload(ctx context.Context, u Upload) ([]float64, error) {
	b, err := s.blobs.Get(ctx, u.SHA256)
	if err != nil {
		return nil, fmt.Errorf("uploaded scores %s: %w", u.Name, err)
	}
	if len(b) != 8*u.Len {
		return nil, fmt.Errorf("uploaded scores %s: blob of %d bytes for %d values", u.Name, len(b), u.Len)
	}
	values := make([]float64, u.Len)
	for i := range values {
		values[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return values, nil
}
