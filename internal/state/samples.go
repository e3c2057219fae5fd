package state

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Sample is what is known of a row beyond its filename. A row of which nothing
// more is known has no record.
type Sample struct {
	Dataset  string    `json:"dataset"` // id, not name: a dataset made anew under the name has other samples
	Row      int       `json:"row"`
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`

	ThumbName      string          `json:"thumb_name,omitempty"`
	Exif           json.RawMessage `json:"exif,omitempty"`
	MetaData       json.RawMessage `json:"meta_data,omitempty"`
	CustomMetaData json.RawMessage `json:"custom_meta_data,omitempty"`
	VideoFrameData json.RawMessage `json:"video_frame_data,omitempty"`
	CropData       json.RawMessage `json:"crop_data,omitempty"`

	Full  string `json:"full,omitempty"`  // blob: the image
	Thumb string `json:"thumb,omitempty"` // blob: its thumbnail
}

// SampleBlock is how many rows Samples reads at a time.
const SampleBlock = 1024

func sampleSubject(dataset string, row int) string {
	return sampleBlock(dataset, row/SampleBlock) + strconv.Itoa(row%SampleBlock)
}

func sampleBlock(dataset string, block int) string {
	return "al.v1.sample." + dataset + "." + strconv.Itoa(block) + "."
}

// Sample reads the record of a row and its revision. A row without one has an
// empty record.
func (s *Store) Sample(ctx context.Context, d Dataset, row int) (one Sample, rev uint64, err error) {
	rev, err = s.get(ctx, sampleSubject(d.ID, row), &one)
	if errors.Is(err, ErrNotFound) {
		return Sample{Dataset: d.ID, Row: row, Created: d.Created, Modified: d.Created}, rev, nil
	}
	return one, rev, err
}

// maxSamplesBytes is how much Samples holds: a record may be 2 MiB.
const maxSamplesBytes = 64 << 20

// Samples returns the records of the rows of a block, block*SampleBlock and
// on. Those without one are left out, and, where more is true, some that take
// too much room together: Sample reads them.
func (s *Store) Samples(ctx context.Context, d Dataset, block int) (all map[int]Sample, more bool, err error) {
	all = map[int]Sample{}
	size := 0
	err = list(ctx, s, sampleBlock(d.ID, block)+"*", func(one Sample, _ uint64) error {
		size += len(one.Exif) + len(one.MetaData) + len(one.CustomMetaData) + len(one.VideoFrameData) + len(one.CropData)
		if more = size > maxSamplesBytes; !more {
			all[one.Row] = one
		}
		return nil
	})
	return all, more, err
}

// Sample adds the record of a row to the batch; rev is its revision when it
// was read.
func (b *Batch) Sample(one Sample, rev uint64) { b.put(sampleSubject(one.Dataset, one.Row), one, rev) }

const secretSubject = "al.v1.secret"

type secretRecord struct {
	Key string `json:"key"` // base64, so that it is not taken for the digest of a blob
}

// Secret returns the key of this installation, 32 random bytes: the same in
// all replicas and for ever. It is made when it is first asked for.
func (s *Store) Secret(ctx context.Context) ([]byte, error) {
	for {
		var r secretRecord
		rev, err := s.get(ctx, secretSubject, &r)
		if err == nil {
			key, err := base64.StdEncoding.DecodeString(r.Key)
			if err == nil && len(key) != 32 {
				err = fmt.Errorf("%d bytes", len(key))
			}
			if err != nil {
				return nil, fmt.Errorf("record %s: %w", secretSubject, err)
			}
			return key, nil
		}
		if !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		key := make([]byte, 32)
		rand.Read(key)
		var b Batch
		b.put(secretSubject, secretRecord{base64.StdEncoding.EncodeToString(key)}, rev)
		if _, err := s.Commit(ctx, &b); err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrUnknown) {
			return nil, err
		}
	}
}
