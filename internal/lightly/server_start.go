package lightly

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// ignored says which settings of a config have no effect here.
func (cfg workerConfig) ignored() string {
	var keys []string
	for key := range cfg.Docker {
		keys = append(keys, "docker."+key)
	}
	for key := range cfg.Lightly {
		keys = append(keys, "lightly."+key)
	}
	if len(keys) == 0 {
		return ""
	}
	slices.Sort(keys)
	return "without effect here: " + strings.Join(keys, ", ")
}

// runData returns the type and the data of the event of a run. What is selected
// or labeled counts as selected, and the size in the config is how many
// samples are new, as for a compute worker that adds to a dataset. A run with
// scores has the newest predictions of its task scored first.
func (c *call) runData(d state.Dataset, cfg workerConfig) (eventType string, data any, err error) {
	p, err := cfg.Selection.plan()
	if err != nil {
		return "", nil, bad("%v", err)
	}
	size := cfg.Selection.size(d.Rows)
	spec := events.Spec{Method: p.method, BatchSize: &size, Score: p.score, Seed: &p.seed}
	c.capCoral(&spec)
	if p.method == events.Combined {
		spec.Strategies = p.strategies
		if err := c.checkSimilar(p.strategies); err != nil {
			return "", nil, err
		}
	}
	if p.embedded {
		if p.method != events.Combined {
			spec.MinDistance = &p.minDistance
		}
		if spec.Embedding, err = c.embeddingFor(d, p.minDistance); err != nil {
			return "", nil, err
		}
	}
	if p.task == "" {
		return events.SelectionRequested, events.Request{Dataset: d.Name, Selection: spec}, nil
	}
	t, err := c.newestTask(d, p.task)
	if err != nil {
		return "", nil, err
	}
	ref, err := c.predictionsOf(d, t)
	if err != nil {
		return "", nil, err
	}
	return events.PredictionsReady, events.Predictions{Dataset: d.Name, Task: scoredTasks[t.Type], Predictions: ref,
		Model: &events.Model{Name: t.Name, Version: fmt.Sprint(t.Version)}, Selection: &spec}, nil
}

// checkSimilar refuses to compare with a dataset that the user cannot see.
func (c *call) checkSimilar(list []events.Strategy) error {
	for _, s := range list {
		if s.Input.DatasetID == "" {
			continue
		}
		unknown := refuse(http.StatusBadRequest, "DATASET_UNKNOWN", "SIMILARITY: there is no dataset %.40q", s.Input.DatasetID)
		if !idPattern.MatchString(s.Input.DatasetID) {
			return unknown
		}
		d, _, err := c.byID(c.r.Context(), s.Input.DatasetID)
		if errors.Is(err, state.ErrNotFound) || err == nil && !visible(d, c.user) {
			return unknown
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// embeddingFor names the newest set of embeddings of a dataset. A smallest
// distance is meant between vectors of length 1: with one, all must be.
func (c *call) embeddingFor(d state.Dataset, minDistance float64) (string, error) {
	name := ""
	for other, e := range d.Embeddings {
		newest := d.Embeddings[name].Created
		if name == "" || e.Created.After(newest) || e.Created.Equal(newest) && other < name {
			name = other
		}
	}
	set := d.Embeddings[name]
	switch {
	case name == "":
		return "", refuse(http.StatusBadRequest, "EMBEDDING_UNKNOWN", "the strategies need embeddings, and the dataset has none: upload them first")
	case minDistance == 0:
		return name, nil
	case len(set.Chunks) == 0:
		return "", refuse(http.StatusBadRequest, "EMBEDDING_NOT_READY", "the vectors of embedding %s are not there yet", name)
	}
	vectors, release, err := c.store.Vectors(c.r.Context(), set, d.Rows)
	if err != nil {
		return "", err
	}
	defer release()
	wrong, example := 0, 0.0
	for row := range d.Rows {
		sum := 0.0
		for _, x := range vectors[row*set.Dim : (row+1)*set.Dim] {
			sum += float64(x) * float64(x)
		}
		if math.Abs(sum-1) > 1e-3 { // not of a row without a vector: it is NaN
			wrong, example = wrong+1, math.Sqrt(sum)
		}
	}
	if wrong > 0 {
		return "", bad("stopping_condition_minimum_distance is a distance of vectors of length 1, and %d of %d vectors of embedding %s have another, for example %.4g: "+
			"divide each by its length before the upload, or leave the condition out", wrong, d.Rows, name, example)
	}
	return name, nil
}

// newestTask finds the newest version of a task, which must be one that can be
// scored.
func (c *call) newestTask(d state.Dataset, name string) (newest state.PredictionTask, err error) {
	err = c.store.PredictionTasks(c.r.Context(), d, func(t state.PredictionTask) error {
		if t.Name == name && (newest.Name == "" || t.Version > newest.Version) {
			newest = t
		}
		return nil
	})
	switch {
	case err != nil:
		return newest, err
	case newest.Name == "":
		return newest, refuse(http.StatusBadRequest, "PREDICTION_TASK_SCHEMA_UNKNOWN", "the dataset has no prediction task %.80q", name)
	case scoredTasks[newest.Type] == "":
		return newest, bad("task %s is of type %s; scores are computed for CLASSIFICATION and OBJECT_DETECTION", name, newest.Type)
	}
	return newest, nil
}

// predictionsOf writes what a task predicted into a blob.
func (c *call) predictionsOf(d state.Dataset, t state.PredictionTask) (ref events.Reference, err error) {
	w, err := c.blobs.Create()
	if err != nil {
		return ref, err
	}
	defer w.Close()
	n, err := c.writePredictions(d, t, w)
	if err != nil {
		return ref, err
	}
	if n == 0 {
		return ref, refuse(http.StatusBadRequest, "TAG_NO_SCORES_AVAILABLE", "task %s has no predictions of version %d: upload them first", t.Name, t.Version)
	}
	sha, size, err := w.Commit()
	return events.Reference{URI: "blob:" + sha, Format: "jsonl", SHA256: sha, Size: size}, err
}

// writePredictions writes what a task predicted as the JSON lines of
// predictions.ready, in row order, and returns how many there are. It holds
// one block of rows at a time.
func (c *call) writePredictions(d state.Dataset, t state.PredictionTask, to io.Writer) (lines int, err error) {
	names, err := c.store.Names(c.r.Context(), d)
	if err != nil {
		return 0, err
	}
	enc := json.NewEncoder(to)
	wrong, example := 0, ""
	for block := range (d.Rows + state.SampleBlock - 1) / state.SampleBlock {
		found, err := c.store.Predictions(c.r.Context(), d, t.Version, block)
		if err != nil {
			return 0, err
		}
		for row := block * state.SampleBlock; row < min((block+1)*state.SampleBlock, d.Rows); row++ {
			p, ok := found[row]
			if !ok {
				continue
			}
			all, err := c.singletonsOf(p, "")
			if err != nil {
				return 0, fmt.Errorf("predictions for row %d of %s: %w", row, d.Name, err)
			}
			l, err := line(t, names.At(row), all)
			if err != nil {
				wrong, example = wrong+1, fmt.Sprintf("%.120q: %v", names.At(row), err)
			}
			if l == nil {
				continue
			}
			if err := enc.Encode(l); err != nil {
				return 0, err
			}
			lines++
		}
	}
	if wrong > 0 {
		return 0, bad("%d samples have predictions of task %s that cannot be scored (for example %s)", wrong, t.Name, example)
	}
	return lines, nil
}
