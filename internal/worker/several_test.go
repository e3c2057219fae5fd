package worker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/events"
	"nextbatch/internal/worker"
)

// Predictions in several files are those in one; what is bad in them is counted
// over all.
func TestSeveralFilesOfPredictions(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	names := numbered(90)
	row := func(i int) string {
		p := float64(i%9+1) / 10
		return fmt.Sprintf("{\"filename\":%q,\"probabilities\":[%g,%g]}\n", names[i], p, 1-p)
	}
	var all strings.Builder
	var parts []events.FileRef
	for part := range 3 {
		var b strings.Builder
		for i := 30 * part; i < 30*part+30; i++ {
			b.WriteString(row(i))
		}
		all.WriteString(b.String())
		ref := r.file(fmt.Sprintf("part-%d.jsonl", part), []byte(b.String()))
		parts = append(parts, events.FileRef{URI: ref.URI, SHA256: ref.SHA256, Size: ref.Size})
	}
	select7 := &events.Spec{Method: "ACTIVE_LEARNING", BatchSize: ptr(7)}
	var batches []*events.Created
	for dataset, predictions := range map[string]events.Reference{"one": r.file("all.jsonl", []byte(all.String())), "several": {Files: parts}} {
		r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: dataset, Embeddings: vectors(names, 4, 1)}))
		c := r.ask(events.PredictionsReady, events.Predictions{Dataset: dataset, Task: "classification", Predictions: predictions, Selection: select7})
		c.Dataset, c.Tag, c.Cause = "", events.TagRef{}, events.Cause{}
		batches = append(batches, c)
	}
	if diff := cmp.Diff(batches[0], batches[1]); diff != "" || len(batches[0].Added) != 7 {
		t.Errorf("one file and several differ:\n%s", diff)
	}

	bad := r.file("bad.jsonl", []byte(`{"filename":"x","probabilities":[2,3]}`+"\n"+row(0)))
	worse := r.file("worse.jsonl", []byte(row(1)+`{"filename":"y","probabilities":[0.5,0.1]}`+"\n"+`{"filename":"z","probabilities":[-1,2]}`+"\n"))
	f := r.fails(events.PredictionsReady, events.Predictions{Dataset: "several", Task: "classification",
		Predictions: events.Reference{Files: []events.FileRef{{URI: bad.URI}, {URI: worse.URI}}}})
	if f.Code != "bad_predictions" || !strings.HasPrefix(f.Message, `3 of 5 predictions are no probabilities (first "x": `) || !strings.Contains(f.Message, `"y": `) || !strings.Contains(f.Message, `"z": `) {
		t.Errorf("%s: %s", f.Code, f.Message)
	}

	// Without filenames the rows follow the order of the list.
	var positional []events.FileRef
	for part := range 2 {
		var b strings.Builder
		for i := 45 * part; i < 45*part+45; i++ {
			p := float64(i%9+1) / 10
			fmt.Fprintf(&b, "[%g,%g]\n", p, 1-p)
		}
		positional = append(positional, events.FileRef{URI: r.file(fmt.Sprintf("positional-%d.jsonl", part), []byte(b.String())).URI})
	}
	var rows []map[string]any
	for i, name := range names {
		rows = append(rows, map[string]any{"filename": name, "embedding": []int{i}})
	}
	r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "positional", Embeddings: inline(rows)}))
	c := r.ask(events.PredictionsReady, events.Predictions{Dataset: "positional", Task: "classification", KeyedBy: "query_order",
		Predictions: events.Reference{Files: positional}, Selection: select7})
	if diff := cmp.Diff(batches[0].Added, c.Added); diff != "" {
		t.Errorf("by position:\n%s", diff)
	}
}
