package worker_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"nextbatch/internal/events"
	"nextbatch/internal/worker"
)

// TestMethods: every method by events, with what it needs, and what is said
// where that is missing.
func TestMethods(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	names := numbered(200)
	r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "clothing", Embeddings: vectors(names, 8, 1), Selection: &events.Spec{Method: "TYPICLUST", BatchSize: ptr(4)}})
	if f := r.fails(events.SelectionRequested, events.Request{Dataset: "clothing", Selection: events.Spec{Method: "POWER", BatchSize: ptr(4)}}); f.Code != "no_scores" {
		t.Errorf("POWER without scores: %+v", f)
	}
	badge := events.Predictions{Dataset: "clothing", Task: "classification", Predictions: probabilities(names[:150]), Selection: &events.Spec{Method: "BADGE", BatchSize: ptr(10), Seed: ptr(uint64(3))}}
	picked := r.ask(events.PredictionsReady, badge)
	if len(picked.Added) != 10 || len(picked.Warnings) == 0 || !strings.Contains(picked.Warnings[len(picked.Warnings)-1], "of the pool have no class probabilities and were not offered") {
		t.Errorf("BADGE: %d picks, warnings %q", len(picked.Added), picked.Warnings)
	}
	for _, a := range picked.Added {
		if a.Gain == nil || *a.Gain <= 0 || !slices.Contains(names[:150], a.Filename) {
			t.Errorf("BADGE picked %+v", a)
		}
	}
	request := func(s events.Spec) *events.Created {
		s.BatchSize = ptr(5)
		return r.ask(events.SelectionRequested, events.Request{Dataset: "clothing", FromScratch: true, Selection: s})
	}
	for _, method := range []string{"TYPICLUST", "POWER", "FILTER_CLUSTER", "TYPICALITY"} {
		if c := request(events.Spec{Method: method}); c.Method != method || len(c.Added) != 5 {
			t.Errorf("%s: %+v", method, c)
		}
	}
	if f := r.fails(events.SelectionRequested, events.Request{Dataset: "clothing", Selection: events.Spec{Method: "BADGE"}}); f.Code != "no_probabilities" {
		t.Errorf("BADGE without probabilities: %+v", f)
	}

	// A policy may ask for it.
	r.policy("clothing", map[string]string{"method": "BADGE", "batch_size": "3", "select": "on_predictions"})
	badge.Selection = nil
	if c := r.ask(events.PredictionsReady, badge); c.Method != "BADGE" || len(c.Added) != 3 {
		t.Errorf("BADGE by policy: %+v", c)
	}
	r.policy("clothing", nil)

	plain, capped := request(events.Spec{Method: "CORAL"}), request(events.Spec{Method: "CORAL", DistanceCap: ptr(events.AutoCap)})
	cap := capped.Parameters.DistanceCap
	if plain.Parameters.DistanceCap != nil || cap == nil || *cap <= 0 {
		t.Fatalf("caps %v and %v", plain.Parameters.DistanceCap, cap)
	}
	if again := request(events.Spec{Method: "CORAL", DistanceCap: ptr(events.DistanceCap(*cap))}); !slices.EqualFunc(again.Added, capped.Added, sameFile) ||
		slices.EqualFunc(plain.Added, capped.Added, sameFile) || again.Digests.Configuration != capped.Digests.Configuration {
		t.Errorf("a cap of %v: %v and %v; without: %v", *cap, again.Added, capped.Added, plain.Added)
	}
}

func sameFile(a, b events.Added) bool { return a.Filename == b.Filename }

// TestProbabilitiesNeedMemory: class probabilities that would not fit are refused
// before they are kept.
func TestProbabilitiesNeedMemory(t *testing.T) {
	r := newRig(t, 1, worker.Config{MemoryBytes: 24 << 20})
	names, classes := numbered(200), 8000
	r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "clothing", Embeddings: vectors(names, 4, 1)}))
	rows := make([]byte, 4*len(names)*classes)
	for i := range names {
		binary.LittleEndian.PutUint32(rows[4*(i*classes+i):], math.Float32bits(1))
	}
	p := events.Predictions{Dataset: "clothing", Task: "classification", KeyedBy: "query_order",
		Predictions: r.file("p.npy", npy("<f4", fmt.Sprintf("(%d, %d)", len(names), classes), rows)), Selection: &events.Spec{Method: "BADGE", BatchSize: ptr(3)}}
	f := r.fails(events.PredictionsReady, p)
	if f.Code != "memory_budget" || !strings.Contains(f.Message, "class probabilities of 200 × 8000") {
		t.Errorf("%+v", f)
	}
	p.Selection.Method = "ACTIVE_LEARNING" // which keeps none
	if c := r.ask(events.PredictionsReady, p); len(c.Added) != 3 {
		t.Errorf("%+v", c)
	}
}
