package state_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/state"
)

// TestPurgeDeleted: what a process that died left of a dataset goes, and so
// does what comes late; others keep all they have.
func TestPurgeDeleted(t *testing.T) {
	s, stream := open(t)
	ctx := t.Context()
	commit := func(fill func(*state.Batch)) {
		t.Helper()
		var b state.Batch
		fill(&b)
		if _, err := s.Commit(ctx, &b); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (n int) {
		t.Helper()
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter("al.v1.>"))
		if err != nil {
			t.Fatal(err)
		}
		return len(info.State.Subjects)
	}
	fill := func(d state.Dataset) {
		commit(func(b *state.Batch) {
			for row := range 3 {
				b.Sample(state.Sample{Dataset: d.ID, Row: row * state.SampleBlock}, 0)
			}
			b.PredictionTask(state.PredictionTask{Dataset: d.ID, Version: -1, Name: "a task"}, 0)
			b.MetadataConfig(state.MetadataConfig{Dataset: d.ID, ID: "m"}, 0)
		})
		if err := s.PutPrediction(ctx, state.Prediction{Dataset: d.ID, Version: 7}); err != nil {
			t.Fatal(err)
		}
		for _, tool := range []string{"labelstudio", "cvat"} {
			if _, err := s.PutTool(ctx, tool, d, "a selection", 1, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	var all [2]state.Dataset
	for i := range all {
		all[i] = state.Dataset{ID: fmt.Sprintf("%024x", i), Name: fmt.Sprint("d", i)}
		commit(func(b *state.Batch) { b.Dataset(all[i], 0) })
		fill(all[i])
	}
	_, rev, err := s.Dataset(ctx, all[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	commit(func(b *state.Batch) { b.RemoveDataset(all[0], rev) })
	// The dataset of nine records, what marks the other as deleted, and what is to be purged of it.
	if n := left(); n != 9+2+8 {
		t.Errorf("%d records, want 19", n)
	}
	for range 2 {
		if err := s.PurgeDeleted(ctx, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		if n := left(); n != 9+2 {
			t.Errorf("%d records after a purge, want 11", n)
		}
		fill(all[0])
	}
	if err := s.PurgeDeleted(ctx, time.Now()); err != nil { // the last time
		t.Fatal(err)
	}
	fill(all[0])
	if err := s.PurgeDeleted(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	if n := left(); n != 9+2+8 {
		t.Errorf("%d records; a dataset that was forgotten is purged still, or the wrong one was", n)
	}
}
