package state

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/events"
)

// InitialTag is the name of the tag that holds every row of its dataset. It
// is not stored.
const InitialTag = "initial-tag"

// Chunk is a blob that holds consecutive rows.
type Chunk struct {
	SHA256 string `json:"sha256"`
	Rows   int    `json:"rows"`
}

// Dataset is an ordered list of unique filenames with what is known of them.
type Dataset struct {
	ID         string                  `json:"id"` // 24 lower-case hex digits
	Name       string                  `json:"name"`
	Rows       int                     `json:"rows"`
	Filenames  []Chunk                 `json:"filenames"`
	Embeddings map[string]EmbeddingSet `json:"embeddings,omitempty"` // by name
	Scores     map[string]ScoreSet     `json:"scores,omitempty"`     // by name of the query tag
	Policy     *events.Policy          `json:"policy,omitempty"`
	Created    time.Time               `json:"created"`
	Modified   time.Time               `json:"modified"`

	// Of datasets that the Lightly API made.
	Owner   string `json:"owner,omitempty"`    // its user; "" is everybody's
	Type    string `json:"type,omitempty"`     // Images, Videos, Crops
	ImgType string `json:"img_type,omitempty"` // what was uploaded: full, thumbnail, meta
	Draft   bool   `json:"draft,omitempty"`    // shows no initial-tag yet
	Upsized int    `json:"upsized,omitempty"`  // rows at the last upsize; those behind it belong to the next
}

// EmbeddingSet is one vector per row, float32, little-endian, row-major. A row
// without a vector is all NaN, or lies beyond the last chunk.
type EmbeddingSet struct {
	ID      string  `json:"id"`
	Dim     int     `json:"dim"`
	Chunks  []Chunk `json:"chunks"`
	Version int     `json:"version"`
	Stable  int     `json:"stable,omitempty"` // version since which vectors were only appended
	Digest  string  `json:"digest"`           // of (filename, vector) pairs, independent of their order

	Projections []Projection `json:"projections,omitempty"`
	Created     time.Time    `json:"created,omitzero"`
}

// Projection is a set of embeddings in two dimensions, which somebody else
// computed: the blob holds the first coordinates of all rows, then the second.
type Projection struct {
	ID      string    `json:"id"` // 24 lower-case hex digits
	Name    string    `json:"name"`
	Method  string    `json:"method"` // PCA, TSNE, UMAP
	SHA256  string    `json:"sha256"`
	Len     int       `json:"len"`
	Created time.Time `json:"created"`
}

// Rows that the chunks cover.
func (e EmbeddingSet) Rows() int {
	n := 0
	for _, c := range e.Chunks {
		n += c.Rows
	}
	return n
}

// ScoreSet is the newest acquisition scores over one query tag.
type ScoreSet struct {
	Task    string        `json:"task"`
	Scores  []ScoreVector `json:"scores"` // in the order of the task's names
	Model   *events.Model `json:"model,omitempty"`
	Seq     uint64        `json:"seq"`              // input that brought them: a higher one wins
	Created time.Time     `json:"created,omitzero"` // when that was published; zero in records of old

	// Of a classification: the most probable class of each row, by its place among
	// so many.
	Top     *ScoreVector `json:"top,omitempty"`
	Classes int          `json:"classes,omitempty"`
}

// ScoreVector is one float64 per dataset row, NaN where the row has none.
type ScoreVector struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Rows   int    `json:"rows"`
	Digest string `json:"digest"` // of (filename, score) pairs, independent of their order
}

// Tag is a named subset of a dataset: a selection, with what led to it.
type Tag struct {
	ID             string    `json:"id"`
	Dataset        string    `json:"dataset"`
	Name           string    `json:"name"`
	Mask           string    `json:"mask"`            // blob: hexadecimal bit mask over the rows
	Batch          string    `json:"batch,omitempty"` // the same of what its selection added; "" in records of old, and where no selection made it
	Count          int       `json:"count"`
	Rows           int       `json:"rows"` // rows of the dataset when the tag was made
	Method         string    `json:"method"`
	QueryTag       string    `json:"query_tag,omitempty"`
	PreselectedTag string    `json:"preselected_tag,omitempty"`
	Prev           string    `json:"prev,omitempty"` // tag that it was derived from by hand
	Added          int       `json:"added"`
	Result         string    `json:"result"` // blob: the whole data of its selection.created; "" where no selection made it
	Job            string    `json:"job"`
	Created        time.Time `json:"created"`
}

// States of a job.
const (
	JobRunning = "running"
	JobWaiting = "waiting" // between attempts
	JobDone    = "done"
	JobDead    = "dead" // its event is a dead letter
)

// Job is the record of one input event. While it runs, the record's revision
// is the fencing token: whoever writes it last owns the job.
type Job struct {
	ID       string         `json:"id"`
	State    string         `json:"state"`
	Dataset  string         `json:"dataset"`
	Event    events.Cause   `json:"event"`
	Digest   string         `json:"digest"` // of the event's data: one id must not name two events
	Seq      uint64         `json:"seq"`    // AL_IN sequence of the message that is being handled
	Attempt  int            `json:"attempt"`
	Suspect  bool           `json:"suspect,omitempty"` // an attempt ended without a word: the next runs alone
	Worker   string         `json:"worker,omitempty"`
	Started  time.Time      `json:"started,omitzero"`
	Updated  time.Time      `json:"updated,omitzero"`
	Stage    string         `json:"stage,omitempty"`
	Done     int            `json:"done,omitempty"`
	Total    int            `json:"total,omitempty"`
	Memory   int64          `json:"memory,omitempty"` // bytes that an attempt turned out to need, more than it had
	Tag      string         `json:"tag,omitempty"`    // what it made
	Error    *events.Failed `json:"error,omitempty"`
	Warnings []string       `json:"warnings,omitempty"`
}

// Finished reports whether the job needs no further attempt.
func (j Job) Finished() bool { return j.State == JobDone || j.State == JobDead }

// JobID is the identity of an input event's job.
func JobID(source, id string) string { return HexID(32, "job", source, id) }

// HexID derives an identifier of n hexadecimal digits, n ≤ 64, from parts.
func HexID(n int, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))[:n]
}

func datasetSubject(name string) string { return "al.v1.dataset." + events.Token(name) }
func labelsSubject(name string) string  { return "al.v1.labels." + events.Token(name) }
func jobSubject(id string) string       { return "al.v1.job." + id }
func tagSubject(dataset, tag string) string {
	return "al.v1.tag." + events.Token(dataset) + "." + events.Token(tag)
}

// Dataset reads a dataset and its revision, or ErrNotFound.
func (s *Store) Dataset(ctx context.Context, name string) (d Dataset, rev uint64, err error) {
	rev, err = s.get(ctx, datasetSubject(name), &d)
	return
}

// Tag reads a tag and its revision, or ErrNotFound.
func (s *Store) Tag(ctx context.Context, dataset, name string) (t Tag, rev uint64, err error) {
	rev, err = s.get(ctx, tagSubject(dataset, name), &t)
	return
}

// Job reads a job and its revision, or ErrNotFound.
func (s *Store) Job(ctx context.Context, id string) (j Job, rev uint64, err error) {
	rev, err = s.get(ctx, jobSubject(id), &j)
	return
}

// Datasets, Tags and Jobs call f with every record. A record that is written
// meanwhile may be missed.
func (s *Store) Datasets(ctx context.Context, f func(Dataset) error) error {
	return list(ctx, s, "al.v1.dataset.*", func(d Dataset, _ uint64) error { return f(d) })
}

func (s *Store) Tags(ctx context.Context, dataset string, f func(Tag) error) error {
	return list(ctx, s, "al.v1.tag."+events.Token(dataset)+".*", func(t Tag, _ uint64) error { return f(t) })
}

func (s *Store) Jobs(ctx context.Context, f func(Job) error) error {
	return list(ctx, s, "al.v1.job.*", func(j Job, _ uint64) error { return f(j) })
}

// Dataset, Tag, Job and Labels add a record to the batch; rev is its revision
// when it was read, 0 to create it.
func (b *Batch) Dataset(d Dataset, rev uint64) { b.put(datasetSubject(d.Name), d, rev) }
func (b *Batch) Tag(t Tag, rev uint64)         { b.put(tagSubject(t.Dataset, t.Name), t, rev) }
func (b *Batch) Job(j Job, rev uint64)         { b.put(jobSubject(j.ID), j, rev) }

// RemoveTag and RemoveLabels delete a record that must still be at revision
// rev.
func (b *Batch) RemoveTag(dataset, name string, rev uint64) { b.remove(tagSubject(dataset, name), rev) }
func (b *Batch) RemoveLabels(dataset string, rev uint64)    { b.remove(labelsSubject(dataset), rev) }

// Fence adds the label state of a dataset unchanged. Selections write it: one
// that reads the dataset meanwhile has to read it again.
func (b *Batch) Fence(l *Labels, rev uint64) { b.put(labelsSubject(l.record.Dataset), l.record, rev) }

// EmbeddingID is the id of the set of embeddings of a name.
func EmbeddingID(d Dataset, name string) string { return HexID(24, "embedding", d.ID, name) }

// InitialTagID is the id of the tag that is not stored.
func InitialTagID(d Dataset) string { return HexID(24, "tag", d.ID, InitialTag) }

// inlineMask is the length up to which a mask stands in the tag's record.
const inlineMask = 16 << 10

// PutMask returns what stands in a tag's record for a mask.
func (s *Store) PutMask(ctx context.Context, m *bitmask.Mask) (string, error) {
	hex := m.Hex()
	if len(hex) <= inlineMask {
		return hex, nil
	}
	return s.blobs.Put(ctx, []byte(hex))
}

// MaskHex returns the rows of a tag as the hexadecimal text of a mask.
func (s *Store) MaskHex(ctx context.Context, t Tag) (string, error) { return s.maskText(ctx, t.Mask) }

// Batch returns the rows that the selection of a tag added, or nil if none
// made it.
func (s *Store) Batch(ctx context.Context, d Dataset, t Tag) (*bitmask.Mask, error) {
	switch {
	case t.Batch != "":
		text, err := s.maskText(ctx, t.Batch)
		if err != nil {
			return nil, err
		}
		return bitmask.FromHex(text)
	case t.Result == "":
		return nil, nil
	}
	result, err := s.blobs.Get(ctx, t.Result)
	if err != nil {
		return nil, err
	}
	var created events.Created
	if err := json.Unmarshal(result, &created); err != nil {
		return nil, fmt.Errorf("result of tag %s: %w", t.Name, err)
	}
	names, err := s.Names(ctx, d)
	if err != nil {
		return nil, err
	}
	batch := bitmask.New(d.Rows)
	for _, a := range created.Added {
		if row, ok := names.Row(a.Filename); ok {
			batch.Set(row)
		}
	}
	return batch, nil
}

func (s *Store) maskText(ctx context.Context, mask string) (string, error) {
	if strings.HasPrefix(mask, "0x") {
		return mask, nil
	}
	b, err := s.blobs.Get(ctx, mask)
	return string(b), err
}
