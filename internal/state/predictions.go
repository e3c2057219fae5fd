package state

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"nextbatch/internal/events"
)

// PredictionTask says what the predictions of a task mean. A client may keep
// several versions of its tasks and predictions apart by a number of its own.
type PredictionTask struct {
	Dataset    string     `json:"dataset"` // id
	Version    int64      `json:"version"`
	Name       string     `json:"name"`
	Type       string     `json:"type"` // CLASSIFICATION, OBJECT_DETECTION, …
	Categories []Category `json:"categories"`
	Created    time.Time  `json:"created"`
}

// Category is a class of a task. Its probabilities stand at its place in the
// list, not at its id.
type Category struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

// Prediction is what was predicted for one row, of every task, as it came.
type Prediction struct {
	Dataset    string          `json:"dataset"` // id
	Version    int64           `json:"version"`
	Row        int             `json:"row"`
	Singletons json.RawMessage `json:"singletons,omitempty"`
	Blob       string          `json:"blob,omitempty"` // with the singletons, if they are long
	Created    time.Time       `json:"created"`
}

// inlinePrediction is the length up to which singletons stand in the record.
const inlinePrediction = 64 << 10

func versionText(v int64) string { return strconv.FormatInt(v, 10) }

func taskSubject(dataset string, version int64, name string) string {
	return "al.v1.task." + dataset + "." + versionText(version) + "." + events.Token(name)
}

func predictionSubject(dataset string, version int64, row int) string {
	return predictionBlock(dataset, version, row/SampleBlock) + strconv.Itoa(row%SampleBlock)
}

func predictionBlock(dataset string, version int64, block int) string {
	return "al.v1.prediction." + dataset + "." + versionText(version) + "." + strconv.Itoa(block) + "."
}

// PredictionTask reads a task and its revision, or ErrNotFound.
func (s *Store) PredictionTask(ctx context.Context, d Dataset, version int64, name string) (t PredictionTask, rev uint64, err error) {
	rev, err = s.get(ctx, taskSubject(d.ID, version, name), &t)
	return
}

// PredictionTasks calls f with every task of a dataset, of every version.
func (s *Store) PredictionTasks(ctx context.Context, d Dataset, f func(PredictionTask) error) error {
	return list(ctx, s, "al.v1.task."+d.ID+".*.*", func(t PredictionTask, _ uint64) error { return f(t) })
}

// PredictionTask adds a task to the batch; rev is its revision when it was
// read.
func (b *Batch) PredictionTask(t PredictionTask, rev uint64) {
	b.put(taskSubject(t.Dataset, t.Version, t.Name), t, rev)
}

// Prediction reads what was predicted for a row and its revision, or
// ErrNotFound.
func (s *Store) Prediction(ctx context.Context, d Dataset, version int64, row int) (p Prediction, rev uint64, err error) {
	rev, err = s.get(ctx, predictionSubject(d.ID, version, row), &p)
	return
}

// Predictions returns what was predicted for the rows of a block,
// block*SampleBlock and on. Rows without are left out.
func (s *Store) Predictions(ctx context.Context, d Dataset, version int64, block int) (map[int]Prediction, error) {
	all := map[int]Prediction{}
	err := list(ctx, s, predictionBlock(d.ID, version, block)+"*", func(p Prediction, _ uint64) error {
		all[p.Row] = p
		return nil
	})
	return all, err
}

// Singletons returns the singletons of a prediction, wherever they stand; nil
// for the zero Prediction. A block of long ones is gigabytes: take them one
// by one.
func (s *Store) Singletons(ctx context.Context, p Prediction) ([]byte, error) {
	if p.Blob != "" {
		return s.blobs.Get(ctx, p.Blob)
	}
	return p.Singletons, nil
}

// PutPrediction replaces what was predicted for a row: the last word wins.
func (s *Store) PutPrediction(ctx context.Context, p Prediction) error {
	if len(p.Singletons) > inlinePrediction {
		sha, err := s.blobs.Put(ctx, p.Singletons)
		if err != nil {
			return err
		}
		p.Singletons, p.Blob = nil, sha
	}
	for {
		var old Prediction
		rev, err := s.get(ctx, predictionSubject(p.Dataset, p.Version, p.Row), &old)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		var b Batch
		b.put(predictionSubject(p.Dataset, p.Version, p.Row), p, rev)
		if _, err = s.Commit(ctx, &b); !errors.Is(err, ErrConflict) {
			return err
		}
	}
}
