package worker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
	"nextbatch/internal/worker"
)

// upload posts lists of scores to a tag, as a client of the HTTP API does.
func (r *rig) upload(tag string, at time.Time, name string, values []float64) {
	r.Helper()
	s := r.workers[0].State()
	u, rev, err := s.Uploads(r.Context(), "d", tag)
	if err != nil {
		r.Fatal(err)
	}
	sha, err := s.PutList(r.Context(), values)
	if err != nil {
		r.Fatal(err)
	}
	u.Lists = slices.DeleteFunc(u.Lists, func(l state.Upload) bool { return l.Name == name })
	u.Lists = append(u.Lists, state.Upload{ID: state.HexID(24, "score", tag, name), Name: name, SHA256: sha, Len: len(values), Created: at})
	var b state.Batch
	b.Uploads(u, rev)
	if _, err := s.Commit(r.Context(), &b); err != nil {
		r.Fatal(err)
	}
}

// until waits for a state of the dataset.
func (r *rig) until(is func(state.Dataset) bool) (d state.Dataset, rev uint64) {
	r.Helper()
	for range 2000 {
		d, rev, err := r.workers[0].State().Dataset(r.Context(), "d")
		if err == nil && is(d) {
			return d, rev
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.Fatal("the dataset does not come to that")
	return d, rev
}

// rising gives the samples of a list scores that rise along it.
func rising(n int) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = float64(i+1) / float64(n)
	}
	return values
}

// filenames of a selection, in selection order.
func added(c *events.Created) (names []string) {
	for _, a := range c.Added {
		names = append(names, a.Filename)
	}
	return names
}

// scoredRound begins a dataset of 12 samples of which rows 0, 3, 4 and 6 are a
// tag.
func scoredRound(t *testing.T) (r *rig, names []string) {
	r = newRig(t, 1, worker.Config{})
	names = numbered(12)
	rows := []string{names[0], names[3], names[4], names[6]}
	r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: inline(func() (lines []map[string]any) {
		for i, name := range names {
			lines = append(lines, map[string]any{"filename": name, "embedding": []float64{float64(i), 1}})
		}
		return lines
	}())}))
	r.send(r.event(events.LabelsCompleted, events.Labels{Dataset: "d", Labeled: rows}))
	r.next()
	c := r.ask(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{Method: "RANDOM", BatchSize: ptr(0), Name: "labeled"}})
	if !slices.Equal(c.Filenames, rows) {
		t.Fatalf("tag of %v", c.Filenames)
	}
	return r, names
}

func TestUploadedScores(t *testing.T) {
	r, names := scoredRound(t)
	ask := func(s events.Spec) *events.Created {
		s.BatchSize = ptr(2)
		return r.ask(events.SelectionRequested, events.Request{Dataset: "d", PreselectedTag: "labeled", Selection: s})
	}
	began := time.Now().Add(-time.Hour)

	// One score for each sample that is not preselected: rows 1 2 5 7 8 9 10 11.
	r.upload("labeled", began, "prediction-entropy", []float64{9, 8, 7, 6, 5, 4, 3, 2})
	r.upload("labeled", began, "prediction-margin", []float64{1, 8, 2, 7, 3, 6, 4, 5})
	c := ask(events.Spec{Method: "ACTIVE_LEARNING"})
	if got := added(c); !slices.Equal(got, []string{names[2], names[7]}) || c.Parameters.Score != "prediction-margin" || *c.Added[0].Score != 8 {
		t.Errorf("unlabeled order: %v by %s", got, c.Parameters.Score)
	}
	scores := c.Digests.Scores
	if len(scores) != 64 {
		t.Errorf("digest of the scores %q", scores)
	}
	if c := ask(events.Spec{Method: "ACTIVE_LEARNING", Score: "prediction-entropy"}); !slices.Equal(added(c), []string{names[1], names[2]}) {
		t.Errorf("a score by name: %v", added(c))
	}

	// Newer ones for the query set win; those of preselected rows are ignored.
	r.upload(state.InitialTag, began.Add(time.Second), "object_frequency", []float64{12, 1, 1, 11, 10, 2, 9, 1, 1, 1, 1, 3})
	c = ask(events.Spec{Method: "ACTIVE_LEARNING"})
	if got := added(c); !slices.Equal(got, []string{names[11], names[5]}) || c.Parameters.Score != "object_frequency" || c.Digests.Scores == scores {
		t.Errorf("query order: %v by %s", got, c.Parameters.Score)
	}
	if c := ask(events.Spec{Method: "CORAL", Score: "prediction-margin"}); c.Digests.Scores != scores || c.Parameters.Score != "prediction-margin" {
		t.Errorf("an older score by name: %+v", c.Parameters)
	}

	// And so do newer predictions, whose scores carry filenames.
	r.send(r.event(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(names)}))
	r.until(func(d state.Dataset) bool { return len(d.Scores) > 0 })
	r.upload("labeled", began, "prediction-margin", rising(8))
	if c := ask(events.Spec{Method: "CORAL"}); c.Parameters.Score != "uncertainty_margin" {
		t.Errorf("newer predictions: %s", c.Parameters.Score)
	}
	r.upload(state.InitialTag, time.Now().Add(time.Second), "uncertainty_margin", rising(12))
	if c := ask(events.Spec{Method: "ACTIVE_LEARNING"}); !slices.Equal(added(c), []string{names[11], names[10]}) {
		t.Errorf("uploaded after the predictions: %v", added(c))
	}
}

func TestUploadedScoresOverAQueryTag(t *testing.T) {
	r, names := scoredRound(t)
	r.upload("labeled", time.Now(), "uncertainty_margin", []float64{1, 4, 3, 2})
	c := r.ask(events.SelectionRequested, events.Request{Dataset: "d", QueryTag: "labeled", FromScratch: true,
		Selection: events.Spec{Method: "ACTIVE_LEARNING", NSamples: ptr(2)}})
	if !slices.Equal(added(c), []string{names[3], names[4]}) {
		t.Errorf("added %v", added(c))
	}
}

// What was uploaded for other samples is never guessed at.
func TestUploadedScoresThatFitNothing(t *testing.T) {
	r, _ := scoredRound(t)
	req := events.Request{Dataset: "d", PreselectedTag: "labeled", Selection: events.Spec{Method: "CORAL", BatchSize: ptr(2)}}
	r.upload(state.InitialTag, time.Now(), "uncertainty_margin", rising(11))
	r.upload("labeled", time.Now(), "prediction-margin", rising(12))
	f := r.fails(events.SelectionRequested, req)
	for _, part := range []string{"tag initial-tag has 11 of uncertainty_margin, and 12 are needed", "tag labeled has 12 of prediction-margin, and 8 are needed"} {
		if f.Code != "scores_mismatch" || !strings.Contains(f.Message, part) || f.Hint == "" {
			t.Errorf("%s: %s (%s)\nwants %s", f.Code, f.Message, f.Hint, part)
		}
	}
	req.Selection.Method = "CORESET" // needs none
	if c := r.ask(events.SelectionRequested, req); len(c.Added) != 2 {
		t.Errorf("added %v", added(c))
	}
	req.Selection.Method, req.Selection.Score = "CORAL", "prediction-margin"
	r.upload("labeled", time.Now(), "prediction-margin", rising(8)) // mended
	if c := r.ask(events.SelectionRequested, req); c.Parameters.Score != "prediction-margin" {
		t.Errorf("%+v", c.Parameters)
	}
}

// From scratch, what is selected or labeled may be chosen again, and what was
// skipped may not.
func TestFromScratch(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	names := numbered(30)
	first := r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: vectors(names, 4, 1),
		Selection: &events.Spec{Method: "CORESET", NSamples: ptr(10)}})
	r.send(r.event(events.LabelsCompleted, events.Labels{Dataset: "d", Labeled: added(first)[1:], Skipped: added(first)[:1]}))
	r.next()
	again := r.ask(events.SelectionRequested, events.Request{Dataset: "d", FromScratch: true, Selection: events.Spec{Method: "CORESET", NSamples: ptr(12)}})
	if again.Counts != (events.Counts{Dataset: 30, Query: 30, Added: 12, Selected: 12}) || !again.FromScratch {
		t.Errorf("%+v, from scratch %v", again.Counts, again.FromScratch)
	}
	if slices.Contains(again.Filenames, first.Added[0].Filename) {
		t.Error("a skipped sample was selected")
	}
	twice := 0
	for _, name := range added(again) {
		if slices.Contains(added(first), name) {
			twice++
		}
	}
	if twice == 0 {
		t.Error("nothing was chosen again")
	}
	all := r.ask(events.SelectionRequested, events.Request{Dataset: "d", FromScratch: true, Selection: events.Spec{Method: "RANDOM", NSamples: ptr(99)}})
	if len(all.Added) != 29 || len(all.Warnings) != 1 {
		t.Errorf("%d added, warnings %q", len(all.Added), all.Warnings)
	}
	last := r.ask(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{Method: "RANDOM", NSamples: ptr(29)}})
	if len(last.Added) != 0 || last.Counts.Preselected != 29 || last.FromScratch {
		t.Errorf("afterwards: %+v", last.Counts)
	}
	if diff := cmp.Diff(all.Filenames, last.Filenames); diff != "" {
		t.Error(diff)
	}
}

// A set of embeddings that was announced and has no vectors yet is waited for
// like one that is not there.
func TestEmbeddingWithoutVectors(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	s := r.workers[0].State()
	r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embedding: "first", Embeddings: vectors(numbered(9), 2, 1)}))
	d, rev := r.until(func(d state.Dataset) bool { return len(d.Embeddings) > 0 })
	id := state.HexID(24, "announced")
	d.Embeddings["default"] = state.EmbeddingSet{ID: id}
	var b state.Batch
	b.Dataset(d, rev)
	if _, err := s.Commit(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	req := events.Request{Dataset: "d", Selection: events.Spec{Method: "CORESET", BatchSize: ptr(3)}}
	if f := r.fails(events.SelectionRequested, req); f.Code != "unknown_embedding" || !strings.HasSuffix(f.Hint, "exist: first") {
		t.Errorf("%s: %s (%s)", f.Code, f.Message, f.Hint)
	}
	for i := range 3 { // a slow one ahead of a request that needs it
		r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embedding: "default", Embeddings: vectors(numbered(9), 2+i, 1)}))
	}
	if c := r.ask(events.SelectionRequested, req); len(c.Added) != 3 {
		t.Errorf("added %v", added(c))
	}
	if d, _, err := s.Dataset(t.Context(), "d"); err != nil || d.Embeddings["default"].ID != id {
		t.Error(fmt.Errorf("the set is %+v, %w", d.Embeddings["default"], err))
	}
}
