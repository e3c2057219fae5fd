package worker_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"nextbatch/internal/blob"
	"nextbatch/internal/events"
	"nextbatch/internal/selection"
	"nextbatch/internal/state"
	"nextbatch/internal/worker"
)

// gauge reads a metric of the worker that was started last.
func (r *rig) gauge(name string) float64 {
	r.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	r.Fatalf("no metric %s", name)
	return 0
}

// until waits for a condition.
func (r *rig) until(what string, met func() bool) {
	r.Helper()
	for began := time.Now(); !met(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			r.Fatalf("never %s", what)
		}
	}
}

// keep sends embeddings and waits until they are.
func (r *rig) keep(p events.Embeddings) {
	r.Helper()
	e := r.event(events.EmbeddingsReady, p)
	r.send(e)
	r.until("stored", func() bool { j, err := r.job(e.ID()); return err == nil && j.State == state.JobDone })
}

// gaussians writes an npy of vectors.
func (r *rig) gaussians(file string, rows, dim int) events.Reference {
	r.Helper()
	rng := rand.New(rand.NewPCG(uint64(rows), 1))
	x := make([]float32, rows*dim)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	var b bytes.Buffer
	if err := blob.WriteNPY(&b, rows, dim, x); err != nil {
		r.Fatal(err)
	}
	return r.file(file, b.Bytes())
}

// nameFile writes a list of filenames.
func (r *rig) nameFile(file string, names []string) *events.Filenames {
	ref := r.file(file, []byte(strings.Join(names, "\n")))
	return &events.Filenames{Ref: &ref}
}

// job reads the record of an event.
func (r *rig) job(id string) (state.Job, error) {
	j, _, err := r.workers[0].State().Job(r.Context(), state.JobID("/test", id))
	return j, err
}

// deflated writes a zip of one member.
func deflated(member string, data []byte) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(member)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

// gate is the engine behind a door: a selection waits until it is opened, or
// let through.
type gate struct {
	worker.Engine
	waiting chan string // gets the dataset of each
	open    chan struct{}
}

func newGate() gate { return gate{waiting: make(chan string, 16), open: make(chan struct{})} }

func (g gate) Select(ctx context.Context, q worker.Query) (selection.Selection, error) {
	g.waiting <- q.Dataset
	select {
	case <-g.open:
	case <-ctx.Done():
		return selection.Selection{}, context.Cause(ctx)
	}
	return g.Engine.Select(ctx, q)
}

// Many jobs share a small budget: they stay within it and all end. One that
// can never fit ends with both numbers, and is in nobody's way.
func TestMemoryBudget(t *testing.T) {
	const budget, sets = 64 << 20, 8
	r := newRig(t, 1, worker.Config{Slots: 8, MemoryBytes: budget, MaxAttempts: 1})
	if got := r.gauge("al_memory_budget_bytes"); got != budget {
		t.Errorf("al_memory_budget_bytes is %v", got)
	}
	ended, watched := make(chan struct{}), make(chan struct{})
	var most, waited float64
	go func() {
		defer close(watched)
		for {
			most, waited = max(most, r.gauge("al_memory_admitted_bytes")), max(waited, r.gauge("al_memory_waiting_jobs"))
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	ref, names := r.gaussians("small.npy", 20_000, 64), r.nameFile("small.txt", numbered(20_000))
	huge := r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "huge", Embeddings: r.gaussians("huge.npy", 300_000, 64), Filenames: r.nameFile("huge.txt", numbered(300_000))})
	r.send(huge)
	for i := range sets {
		r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: fmt.Sprint("set", i), Embeddings: ref, Filenames: names,
			Selection: &events.Spec{Method: "CORESET", BatchSize: ptr(200)}}))
	}
	created := 0
	for range sets + 1 {
		switch e, data := r.next(); data := data.(type) {
		case *events.Created:
			created++
		case *events.Failed:
			if data.Cause.ID != huge.ID() || data.Code != "memory_budget" || data.Attempts != 1 || !strings.Contains(data.Message, "all jobs of this worker together may take 64.0 MiB: ") ||
				!strings.Contains(data.Message, "data of the event") || !strings.Contains(data.Hint, "AL_MEMORY_BYTES") {
				t.Errorf("%s: %+v", e.ID(), data)
			}
			t.Log(data.Message)
		}
	}
	close(ended)
	<-watched
	t.Logf("at most %.1f MiB admitted, %.0f waiting", most/(1<<20), waited)
	if created != sets || most > budget || most < budget/4 || waited == 0 {
		t.Errorf("%d selections, at most %v bytes admitted, %v waiting", created, most, waited)
	}
	r.until("all is given back", func() bool {
		return r.gauge("al_memory_admitted_bytes") == 0 && r.gauge("al_memory_waiting_jobs") == 0
	})
}

// A dataset that can be stored and not be selected from: the message tells
// which part is too large.
func TestMemoryBudgetOfSelection(t *testing.T) {
	const rows, dim = 100_000, 128
	r := newRig(t, 1, worker.Config{})
	r.keep(events.Embeddings{Dataset: "big", Embeddings: r.gaussians("big.npy", rows, dim), Filenames: r.nameFile("big.txt", numbered(rows))})
	r.stop()
	r.start(1, worker.Config{MemoryBytes: 50 << 20})
	failed := r.fails(events.SelectionRequested, events.Request{Dataset: "big", Selection: events.Spec{Method: "CORESET"}})
	if failed.Code != "memory_budget" || !strings.Contains(failed.Message, `48.8 MiB embeddings "default" of 100000 × 128`) || !strings.Contains(failed.Message, "may take 50.0 MiB") {
		t.Errorf("%+v", failed)
	}
	if herding := r.fails(events.SelectionRequested, events.Request{Dataset: "big", Selection: events.Spec{Method: "HERDING"}}); !strings.Contains(herding.Hint, "a method that takes less: CORESET") ||
		strings.Contains(failed.Hint, "CORESET") {
		t.Errorf("HERDING: %q, CORESET: %q", herding.Hint, failed.Hint)
	}
	t.Log(failed.Message)
	if c := r.ask(events.SelectionRequested, events.Request{Dataset: "big", Selection: events.Spec{Method: "RANDOM"}}); len(c.Added) != 100 {
		t.Errorf("RANDOM, which reads no embeddings, added %d", len(c.Added))
	}
}

// The worker stops while a job waits for memory: that is no attempt, and
// nobody claimed it.
func TestDrainWhileWaitingForMemory(t *testing.T) {
	g := newGate()
	r := newRig(t, 1, worker.Config{})
	for _, set := range []string{"a", "b"} {
		r.keep(events.Embeddings{Dataset: set, Embeddings: vectors(numbered(50), 4, 1)})
	}
	r.stop()
	r.selector = g
	r.start(1, worker.Config{MemoryBytes: 12 << 20, Drain: 100 * time.Millisecond}) // one selection takes 8 MiB at least
	request := func(set string) string {
		e := r.event(events.SelectionRequested, events.Request{Dataset: set, Selection: events.Spec{Method: "CORESET", BatchSize: ptr(5)}})
		r.send(e)
		return e.ID()
	}
	first := request("a")
	<-g.waiting
	second := request("b")
	r.until("waiting for memory", func() bool { return r.gauge("al_memory_waiting_jobs") == 1 })
	r.stop()
	if j, err := r.job(first); err != nil || j.State != state.JobWaiting || j.Attempt != 0 {
		t.Errorf("the job that ran: %+v, %v", j, err)
	}
	if j, err := r.job(second); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("the job that waited: %+v, %v; want no claim", j, err)
	}
	close(g.open)
	r.start(1, worker.Config{MemoryBytes: 12 << 20})
	for range 2 {
		if _, data := r.next(); len(data.(*events.Created).Added) != 5 {
			t.Errorf("%+v", data)
		}
	}
	for _, id := range []string{first, second} {
		if j, err := r.job(id); err != nil || j.State != state.JobDone || j.Attempt != 1 {
			t.Errorf("%s: %+v, %v", id, j, err)
		}
	}
}

// An archive that unpacks to far more than its size tells gets more while there is
// some, and else gives back what it has and waits for all.
func TestMemoryGuessedTooLow(t *testing.T) {
	const rows, dim = 40_000, 64 // 10 MB of zeros and ones, next to nothing when compressed
	g := newGate()
	r := newRig(t, 1, worker.Config{})
	r.keep(events.Embeddings{Dataset: "a", Embeddings: vectors(numbered(50), 4, 1)})
	r.stop()
	r.selector = g
	r.start(1, worker.Config{MemoryBytes: 22 << 20, Slots: 3})

	x := make([]byte, 4*rows*dim)
	for i := range rows {
		x[4*dim*i+2], x[4*dim*i+3] = 0x80, 0x3f
	}
	ref := r.file("packed.npz", deflated("embeddings.npy", npy("<f4", fmt.Sprintf("(%d, %d)", rows, dim), x)))
	names := r.nameFile("packed.txt", numbered(rows))
	if ref.Size > 4*rows*dim/100 {
		t.Fatalf("the archive has %d bytes", ref.Size)
	}
	store := func(set string) string {
		e := r.event(events.EmbeddingsReady, events.Embeddings{Dataset: set, Embeddings: ref, Filenames: names})
		r.send(e)
		return e.ID()
	}
	alone := store("alone")
	r.until("stored", func() bool { j, err := r.job(alone); return err == nil && j.State == state.JobDone })
	if j, _ := r.job(alone); j.Attempt != 1 || j.Memory != 0 {
		t.Errorf("with memory to spare: %+v", j)
	}

	r.send(r.event(events.SelectionRequested, events.Request{Dataset: "a", Selection: events.Spec{Method: "CORESET", BatchSize: ptr(5)}}))
	<-g.waiting
	beside := store("beside")
	r.until("told how much it needs", func() bool { j, err := r.job(beside); return err == nil && j.Memory > 0 })
	r.until("waiting for it", func() bool { return r.gauge("al_memory_waiting_jobs") == 1 })
	if j, _ := r.job(beside); j.State != state.JobWaiting || j.Attempt != 0 {
		t.Errorf("given back: %+v", j)
	}
	close(g.open)
	r.until("stored", func() bool { j, err := r.job(beside); return err == nil && j.State == state.JobDone })
	if j, _ := r.job(beside); j.Attempt != 1 || j.Memory < 4*rows*dim {
		t.Errorf("at last: %+v", j)
	}
}

// A dataset that grows while a selection from it waits: the selection runs with
// the memory that it needs now, not with what it was admitted for.
func TestMemoryOfDatasetThatGrew(t *testing.T) {
	const before, after, dim = 20_000, 25_000, 64
	g := newGate()
	r := newRig(t, 1, worker.Config{})
	names := numbered(after)
	r.keep(events.Embeddings{Dataset: "a", Embeddings: vectors(names[:50], 4, 1)})
	r.keep(events.Embeddings{Dataset: "grows", Embeddings: r.gaussians("before.npy", before, dim), Filenames: r.nameFile("before.txt", names[:before])})
	r.stop()
	r.selector = g
	r.start(1, worker.Config{MemoryBytes: 24 << 20, Slots: 2})
	request := func(set string) {
		r.send(r.event(events.SelectionRequested, events.Request{Dataset: set, Selection: events.Spec{Method: "CORESET", BatchSize: ptr(5)}}))
	}
	request("a")
	<-g.waiting
	request("grows")
	r.until("waiting for memory", func() bool { return r.gauge("al_memory_waiting_jobs") == 1 })
	small := r.registry
	r.start(1, worker.Config{}) // the first has no slot left
	r.keep(events.Embeddings{Dataset: "grows", Embeddings: r.gaussians("more.npy", after-before, dim), Filenames: r.nameFile("more.txt", names[before:])})
	r.registry = small
	g.open <- struct{}{}
	if set := <-g.waiting; set != "grows" {
		t.Fatalf("%s is selected from", set)
	}
	r.next()
	least := float64(4*after*dim+64*after) + float64(selection.MemoryBytes(selection.Coreset, after, dim, 0, 5))
	r.until("admitted with what it needs now", func() bool {
		admitted := r.gauge("al_memory_admitted_bytes")
		return admitted >= least && admitted <= 24<<20
	})
	g.open <- struct{}{}
	if _, data := r.next(); data.(*events.Created).Counts.Dataset != after {
		t.Errorf("%+v", data)
	}
}
