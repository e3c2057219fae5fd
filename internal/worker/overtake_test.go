package worker_test

import (
	"fmt"
	"testing"
	"time"

	"nextbatch/internal/events"
	"nextbatch/internal/worker"
)

// Requests that overtake the embeddings they need wait for them.
func TestEventsMayOvertake(t *testing.T) {
	r := newRig(t, 4, worker.Config{AckWait: time.Second})
	const sets, each = 30, 4
	for k := range sets {
		set := fmt.Sprintf("set%d", k)
		r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: set, Embeddings: vectors(numbered(300), 4, 1)}))
		for range each {
			r.send(r.event(events.SelectionRequested, events.Request{Dataset: set, Selection: events.Spec{Method: "RANDOM", BatchSize: ptr(2)}}))
		}
	}
	for range sets * each {
		if e, data := r.next(); e.Type() != events.SelectionCreated {
			t.Errorf("%s: %+v", e.Type(), data)
		}
	}
}
