package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"nextbatch/internal/events"
	"nextbatch/internal/selection"
	"nextbatch/internal/state"
	"nextbatch/internal/worker"
)

// doubter answers each query twice, with what the last selection learned and
// without, and fails the test where that makes a difference.
type doubter struct {
	*testing.T
	recalled atomic.Int64 // queries that came with it
	last     atomic.Pointer[selection.State]
}

func (d *doubter) Vectors() bool { return true }

func (d *doubter) Select(ctx context.Context, q worker.Query) (selection.Selection, error) {
	got, err := worker.Engine{}.Select(ctx, q)
	if err != nil {
		return got, err
	}
	if q.State != nil {
		d.recalled.Add(1)
	}
	d.last.Store(q.State)
	q.State = nil
	want, err := worker.Engine{}.Select(ctx, q)
	if err != nil {
		return want, err
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs(), cmpopts.IgnoreFields(selection.Selection{}, "State")); diff != "" {
		d.Errorf("(-without +with the last selection's bounds):\n%s", diff)
	}
	return got, nil
}

// TestBoundsBetweenRounds: rounds start from what the last one learned, on
// another replica too, with new rows, rejected picks and withdrawn labels; a
// wrong record changes nothing.
func TestBoundsBetweenRounds(t *testing.T) {
	r := newRig(t, 0, worker.Config{})
	d := &doubter{T: t}
	r.selector = d
	r.start(2, worker.Config{})
	names := numbered(3000)
	last := r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "shoes", Embeddings: vectors(names, 16, 1),
		Selection: &events.Spec{Method: "CORESET", BatchSize: ptr(60)}})
	for round := range 8 {
		if round%3 == 1 {
			more := make([]string, 300)
			for i := range more {
				more[i] = fmt.Sprintf("round-%d/%04d.jpg", round, i)
			}
			r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "shoes", Embeddings: vectors(more, 16, uint64(round)+2)}))
		}
		var picks []string
		for _, a := range last.Added {
			picks = append(picks, a.Filename)
		}
		r.send(r.event(events.LabelsCompleted, events.Labels{Dataset: "shoes", Labeled: picks[2:], Skipped: picks[:2]}))
		r.next()
		if round == 4 {
			r.send(r.event(events.LabelsCompleted, events.Labels{Dataset: "shoes", Unlabeled: picks[2:10], Labeled: names[:50]}))
			r.next()
		}
		if round == 6 { // a blob that is no state, and then none at all
			r.writeBounds("shoes", r.put([]byte("nonsense")))
		}
		if round == 7 {
			r.writeBounds("shoes", fmt.Sprintf("%064x", 1))
		}
		last = r.ask(events.SelectionRequested, events.Request{Dataset: "shoes", Selection: events.Spec{Method: "CORESET", BatchSize: ptr(60)}})
	}
	if n := d.recalled.Load(); n != 6 {
		t.Errorf("%d of 8 rounds recalled bounds, want all but the two with a wrong record", n)
	}

	// Vectors that were replaced make bounds void.
	r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "shoes", Embeddings: vectors(names[:100], 16, 99),
		Selection: &events.Spec{Method: "CORESET", BatchSize: ptr(60)}})
	if n := d.recalled.Load(); n != 6 {
		t.Error("bounds were recalled after vectors had been replaced")
	}

	// So does a set that was deleted and made anew, though it has the id and the version of the former.
	r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "boots", Embeddings: vectors(names, 16, 1), Selection: &events.Spec{Method: "CORESET", BatchSize: ptr(60)}})
	store, err := state.Open(t.Context(), r.nc, r.blobs)
	if err != nil {
		t.Fatal(err)
	}
	boots, rev, err := store.Dataset(t.Context(), "boots")
	if err != nil {
		t.Fatal(err)
	}
	boots.Embeddings = nil
	var b state.Batch
	b.Dataset(boots, rev)
	if _, err := store.Commit(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "boots", Embeddings: vectors(names, 16, 2), Selection: &events.Spec{Method: "CORESET", BatchSize: ptr(60)}})
	if n := d.recalled.Load(); n != 6 {
		t.Error("bounds of a deleted set of embeddings were recalled")
	}
}

// TestBoundsOfHerding: in a pool that is worth it, what UHERDING learned is there in
// the next rounds, also after one of CORESET, which learns something else.
func TestBoundsOfHerding(t *testing.T) {
	r := newRig(t, 0, worker.Config{})
	d := &doubter{T: t}
	r.selector = d
	r.start(1, worker.Config{})
	csv := []byte("filename,x,y\n")
	for i, name := range numbered(31_000) {
		csv = fmt.Appendf(csv, "%s,%d,%d\n", name, i*i%1009, i*i%1013)
	}
	r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "shoes", Embeddings: r.file("shoes.csv", csv),
		Selection: &events.Spec{Method: "UHERDING", BatchSize: ptr(600)}})
	if d.last.Load() != nil {
		t.Error("the first round has nothing to recall")
	}
	for n, method := range []string{"CORESET", "UHERDING", "CORESET"} {
		r.ask(events.SelectionRequested, events.Request{Dataset: "shoes", Selection: events.Spec{Method: method, BatchSize: ptr(100)}})
		if s := d.last.Load(); s == nil || len(s.Shares.Samples) == 0 || (len(s.Seen) > 0) != (n > 0) {
			t.Errorf("%s recalls %v, want what the rounds before learned", method, s != nil)
		}
	}
}

// writeBounds replaces the blob of the newest bounds record of a dataset.
func (r *rig) writeBounds(dataset, sha string) {
	r.Helper()
	stream, err := r.js.Stream(r.Context(), "AL")
	if err != nil {
		r.Fatal(err)
	}
	subject := "al.v1.bounds." + dataset + ".default"
	m, err := stream.GetLastMsgForSubject(r.Context(), subject)
	if err != nil {
		r.Fatal(err)
	}
	var now state.Bounds
	if err := json.Unmarshal(m.Data, &now); err != nil {
		r.Fatal(err)
	}
	now.SHA256 = sha
	data, err := json.Marshal(now)
	if err != nil {
		r.Fatal(err)
	}
	if _, err := r.js.Publish(r.Context(), subject, data); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) put(data []byte) string {
	r.Helper()
	sha, err := r.blobs.Put(r.Context(), data)
	if err != nil {
		r.Fatal(err)
	}
	return sha
}
