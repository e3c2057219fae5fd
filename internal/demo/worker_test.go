package demo

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/worker"
)

// runWithWorker runs a small demo against a real worker on a server of its own.
func runWithWorker(t *testing.T) Report {
	t.Helper()
	log := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	dir, files := t.TempDir(), t.TempDir()
	server, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{Dir: filepath.Join(dir, "nats")}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	inside, err := bus.Connect(bus.Auth{URL: server.URL, Name: "worker"}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	js, err := jetstream.New(inside)
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), js, bus.Layout{}, true); err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.OpenStore(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	opener, err := blob.NewOpener(blob.Config{Roots: []string{files}})
	if err != nil {
		t.Fatal(err)
	}
	defer opener.Close()
	w, err := worker.New(t.Context(), worker.Config{}, worker.Deps{NATS: inside, Blobs: blobs, Opener: opener, Metrics: prometheus.NewRegistry(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	drained := make(chan struct{})
	go func() { w.Run(ctx); close(drained) }()
	defer func() { stop(); <-drained }()

	outside, err := bus.Connect(bus.Auth{URL: server.URL, Name: "demo"}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	r, err := Run(t.Context(), Config{NATS: outside, Dir: files, Seeds: 1, Start: 40, Batch: 20, Rounds: 1})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRunWithWorker: the whole loop, twice: the same events lead to the same
// selections, whatever the timing.
func TestRunWithWorker(t *testing.T) {
	first, second := runWithWorker(t), runWithWorker(t)
	var picks [][]string
	for i, c := range first.Curves {
		other := second.Curves[i]
		if diff := cmp.Diff(c.Accuracy, other.Accuracy) + cmp.Diff(c.FirstBatch, other.FirstBatch); diff != "" {
			t.Errorf("%s: the second run differs: %s", c.Method, diff)
		}
		for seed, row := range c.Accuracy {
			if row[0] != first.Curves[0].Accuracy[seed][0] {
				t.Errorf("%s, seed %d: accuracy %g after the random start, random has %g", c.Method, seed+1, row[0], first.Curves[0].Accuracy[seed][0])
			}
		}
		for _, before := range picks {
			if slices.Equal(before, c.FirstBatch) {
				t.Errorf("%s selects what another method selects: %q", c.Method, c.FirstBatch)
			}
		}
		picks = append(picks, c.FirstBatch)
	}
	if len(first.Curves) != 5 || first.Selected != 5*60 {
		t.Errorf("%d curves, %d images selected, want 5 and %d", len(first.Curves), first.Selected, 5*60)
	}
}
