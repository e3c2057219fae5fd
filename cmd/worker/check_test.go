package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// ledger is what a producer did, for the checker.
type ledger struct {
	mu     sync.Mutex // guards all
	names  map[string][]string
	inputs map[string]bool // event ids that must have ended
	dead   map[string]int  // event id → attempts after which it must be dead; 0 = any
	labels map[string]bool // ids of labels.completed
}

func newLedger() *ledger {
	return &ledger{names: map[string][]string{}, inputs: map[string]bool{}, dead: map[string]int{}, labels: map[string]bool{}}
}

func (l *ledger) expect(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inputs[id] = true
}

func (l *ledger) expectDead(id string, attempts int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead[id] = attempts
}

// next makes an event of some kind on one of the datasets; every second one on
// the first, which is hot. Now and then it is one that must be refused.
func (l *ledger) next(rng *rand.Rand, sets []string, id string) event.Event {
	set := sets[0]
	if rng.IntN(2) == 0 {
		set = sets[rng.IntN(len(sets))]
	}
	one := 1 + rng.IntN(2)
	names := l.names[set]
	pick := func() string { return names[rng.IntN(len(names))] }
	var e event.Event
	switch rng.IntN(10) {
	case 0, 1, 2:
		e = newEvent(events.SelectionRequested, id, events.Request{Dataset: set, Selection: events.Spec{Method: "RANDOM", BatchSize: &one}})
	case 3:
		e = newEvent(events.SelectionRequested, id, events.Request{Dataset: set, Selection: events.Spec{Method: "CORESET", BatchSize: &one}})
	case 4, 5:
		var rows []map[string]any
		for _, n := range names[:50] {
			p := rng.Float64()
			rows = append(rows, map[string]any{"filename": n, "probabilities": []float64{p, 1 - p}})
		}
		data, err := json.Marshal(rows)
		if err != nil {
			panic(err)
		}
		e = newEvent(events.PredictionsReady, id, events.Predictions{Dataset: set, Task: "classification",
			Predictions: events.Reference{URI: "inline:", Data: data}, Selection: &events.Spec{Method: "ACTIVE_LEARNING", BatchSize: &one}})
	case 6:
		e = newEvent(events.LabelsCompleted, id, events.Labels{Dataset: set, Labeled: []string{pick()}, Selection: &events.Spec{Method: "RANDOM", BatchSize: &one}})
	case 7:
		if rng.IntN(4) == 0 {
			e = newEvent(events.LabelsCompleted, id, events.Labels{Dataset: set, Labeled: []string{"nobody-knows-me.jpg"}})
			l.expectDead(id, 0)
			break
		}
		fallthrough
	default:
		p := events.Labels{Dataset: set}
		switch name := pick(); rng.IntN(4) {
		case 0:
			p.Skipped = []string{name}
		case 1:
			p.Unlabeled = []string{name}
		default:
			p.Labeled = []string{name}
		}
		e = newEvent(events.LabelsCompleted, id, p)
		l.mu.Lock()
		l.labels[id] = true
		l.mu.Unlock()
	}
	l.expect(id)
	return e
}

// input is one accepted message of AL_IN.
type input struct {
	seq     uint64
	e       event.Event
	payload any
}

// check reads the whole log and verifies the invariants.
func (l *ledger) check(t *testing.T, p *plant) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	blobs, err := blob.OpenStore(filepath.Join(p.dir, "data", "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(ctx, p.nc, blobs)
	if err != nil {
		t.Fatal(err)
	}

	// The inputs as the stream has them: what was acknowledged must be there.
	first := map[string]input{}
	var inputs []input
	messages := 0
	for _, m := range readAll(ctx, t, p.js, bus.StreamIn, "al.v1.in.>") {
		messages++
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil {
			t.Fatalf("input: %v", err)
		}
		payload, err := events.Parse(e)
		if err != nil {
			t.Fatalf("input %s: %v", e.ID(), err)
		}
		meta, _ := m.Metadata()
		in := input{meta.Sequence.Stream, e, payload}
		inputs = append(inputs, in)
		if _, again := first[e.ID()]; !again {
			first[e.ID()] = in
		}
	}
	for id := range l.inputs {
		if _, ok := first[id]; !ok {
			t.Errorf("I5: %s was acknowledged and is not in the stream", id)
		}
	}

	// The results.
	created := map[string][]events.Created{} // by cause
	sequences := map[string][]uint64{}       // by dataset
	added := map[string]map[string]string{}  // dataset → filename → cause
	failed := map[string]int{}
	selections, doubled, twice := 0, 0, 0
	for _, m := range readAll(ctx, t, p.js, bus.Stream, "al.v1.out.>") {
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil {
			t.Fatalf("result on %s: %v", m.Subject(), err)
		}
		data, err := events.ParseOutput(e)
		if err != nil {
			t.Fatalf("result %s: %v", e.ID(), err)
		}
		if s, ok := e.Extensions()["sequence"].(string); ok {
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				t.Errorf("sequence %q", s)
			}
			if list := sequences[e.Subject()]; len(list) == 0 || list[len(list)-1] != n { // one change may have two results
				sequences[e.Subject()] = append(list, n)
			}
		}
		switch d := data.(type) {
		case *events.Created:
			selections++
			created[d.Cause.ID] = append(created[d.Cause.ID], *d)
			if len(created[d.Cause.ID]) > 1 {
				doubled++
			}
			if added[d.Dataset] == nil {
				added[d.Dataset] = map[string]string{}
			}
			for _, a := range d.Added {
				if by, dup := added[d.Dataset][a.Filename]; dup {
					twice++
					t.Errorf("I3: %s selected by %s and by %s", a.Filename, by, d.Cause.ID)
				}
				added[d.Dataset][a.Filename] = d.Cause.ID
			}
			if d.Counts.Added != len(d.Added) || d.Counts.Selected != len(d.Filenames) {
				t.Errorf("I4: %s: counts %+v, but %d added and %d filenames", d.Cause.ID, d.Counts, len(d.Added), len(d.Filenames))
			}
			l.agree(ctx, t, store, blobs, *d)
		case *events.Failed:
			failed[d.Cause.ID]++
		}
	}
	deadLetters := map[string]int{}
	for _, m := range readAll(ctx, t, p.js, bus.Stream, "al.v1.dlq.>") {
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil {
			t.Errorf("dead letter: the original does not decode: %v", err)
			continue
		}
		deadLetters[e.ID()]++
		if want := l.dead[e.ID()]; want > 0 && m.Headers().Get("Al-Attempts") != strconv.Itoa(want) {
			t.Errorf("%s is dead after %s attempts, want %d", e.ID(), m.Headers().Get("Al-Attempts"), want)
		}
	}

	// I1, I2: each input ended in exactly one way.
	lost := 0
	for id, in := range first {
		_, shouldDie := l.dead[id]
		wantSelection := 0
		switch d := in.payload.(type) {
		case *events.Embeddings, *events.Labels:
			if lp, ok := d.(*events.Labels); ok && lp.Selection != nil {
				wantSelection = 1
			}
		default:
			wantSelection = 1
		}
		if shouldDie {
			wantSelection = 0
		}
		if got := len(created[id]); got != wantSelection {
			lost++
			t.Errorf("I1/I2: %s (%s, seq %d): %d selections, want %d; dead letters %d", id, in.e.Type(), in.seq, got, wantSelection, deadLetters[id])
		}
		wantDead := 0
		if shouldDie {
			wantDead = 1
		}
		if deadLetters[id] != wantDead || failed[id] != wantDead {
			lost++
			t.Errorf("I1: %s: %d dead letters and %d selection.failed, want %d", id, deadLetters[id], failed[id], wantDead)
		}
	}
	// I3: label state versions are contiguous.
	for set, list := range sequences {
		slices.Sort(list)
		for i, n := range slices.Compact(list) {
			if n != uint64(i+1) {
				t.Errorf("I3: %s: version %d is followed by %d", set, i, n)
				break
			}
		}
	}
	l.checkLabels(ctx, t, store, inputs, added)
	return fmt.Sprintf("%d inputs in %d messages, %d selections, %d dead letters; %d lost, %d doubled, %d samples selected twice",
		len(first), messages, selections, len(deadLetters), lost, doubled, twice)
}

// agree compares a result with the tag and the job record (I4).
func (l *ledger) agree(ctx context.Context, t *testing.T, store *state.Store, blobs *blob.Store, d events.Created) {
	t.Helper()
	tag, _, err := store.Tag(ctx, d.Dataset, d.Tag.Name)
	if err != nil {
		t.Errorf("I4: tag of %s: %v", d.Cause.ID, err)
		return
	}
	if tag.ID != d.Tag.ID || tag.Added != d.Counts.Added || tag.Count != d.Counts.Selected {
		t.Errorf("I4: tag %+v does not agree with %s", tag, d.Cause.ID)
	}
	whole, err := blobs.Get(ctx, tag.Result)
	if err != nil {
		t.Errorf("I4: result of tag %s: %v", tag.Name, err)
	} else if want, _ := json.Marshal(d); string(whole) != string(want) {
		t.Errorf("I4: the stored result of %s is not the published one", tag.Name)
	}
	job, _, err := store.Job(ctx, state.JobID(d.Cause.Source, d.Cause.ID))
	if err != nil || job.State != state.JobDone || job.Tag != d.Tag.Name {
		t.Errorf("I4: job of %s: %+v, %v", d.Cause.ID, job, err)
	}
}

// checkLabels replays all labels in stream order and compares the outcome: the
// last word on each sample, and exactly the samples that selections added.
func (l *ledger) checkLabels(ctx context.Context, t *testing.T, store *state.Store, inputs []input, added map[string]map[string]string) {
	t.Helper()
	want := map[string]map[string]state.Status{}
	for _, in := range inputs {
		p, ok := in.payload.(*events.Labels)
		if _, dies := l.dead[in.e.ID()]; !ok || dies {
			continue
		}
		if want[p.Dataset] == nil {
			want[p.Dataset] = map[string]state.Status{}
		}
		for _, n := range p.Labeled {
			want[p.Dataset][n] = state.Labeled
		}
		for _, n := range p.Skipped {
			want[p.Dataset][n] = state.Skipped
		}
		for _, n := range p.Unlabeled {
			want[p.Dataset][n] = state.Unlabeled
		}
	}
	for _, set := range slices.Sorted(maps.Keys(l.names)) {
		d, _, err := store.Dataset(ctx, set)
		if err != nil {
			t.Errorf("%s: %v", set, err)
			continue
		}
		names, err := store.Names(ctx, d)
		if err != nil {
			t.Errorf("%s: %v", set, err)
			continue
		}
		labels, _, err := store.Labels(ctx, set)
		if err != nil {
			t.Errorf("%s: %v", set, err)
			continue
		}
		wrong := 0
		for row := range d.Rows {
			status, selected := labels.Status(row)
			name := names.At(row)
			_, wantSelected := added[set][name]
			if status != want[set][name] || selected != wantSelected {
				wrong++
				if wrong < 5 {
					t.Errorf("%s: label state %d, selected %v; want %d, %v", name, status, selected, want[set][name], wantSelected)
				}
			}
		}
		if wrong > 0 {
			t.Errorf("%s: %d samples in the wrong state", set, wrong)
		}
	}
}

// readAll returns every message of a stream below a subject.
func readAll(ctx context.Context, t *testing.T, js jetstream.JetStream, stream, subject string) []jetstream.Msg {
	t.Helper()
	cons, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		t.Fatal(err)
	}
	info, err := cons.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var all []jetstream.Msg
	for uint64(len(all)) < info.NumPending {
		batch, err := cons.Fetch(500, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			all = append(all, m)
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: %d of %d messages came", subject, len(all), info.NumPending)
		}
	}
	return all
}
