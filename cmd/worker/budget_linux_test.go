package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// TestWorkerStaysWithinItsBudget measures a real process: six events at once
// that bring 200,000 × 64 vectors and ask for a selection, and one with more
// than can ever fit.
func TestWorkerStaysWithinItsBudget(t *testing.T) {
	const rows, dim, sets, budget = 200_000, 64, 6, 420 << 20
	p := newPlant(t, 0, 3*time.Second)
	p.ws = append(p.ws, nil)
	files := filepath.Join(p.dir, "data", "files")
	if err := os.MkdirAll(files, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) events.Reference {
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return events.Reference{URI: fileURL(path)}
	}
	var names strings.Builder
	for i := range 5 * rows {
		fmt.Fprintf(&names, "img/%07d.jpg\n", i)
	}
	listed := func(n int) *events.Filenames {
		ref := write(fmt.Sprintf("names%d.txt", n), []byte(names.String()[:16*n]))
		return &events.Filenames{Ref: &ref}
	}
	few, many := listed(rows), listed(5*rows)
	rng := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, 5*rows*dim)
	for i := range x {
		x[i] = rng.Float32()
	}
	npy := func(name string, rows int) events.Reference {
		var b bytes.Buffer
		if err := blob.WriteNPY(&b, rows, dim, x[:rows*dim]); err != nil {
			t.Fatal(err)
		}
		return write(name, b.Bytes())
	}
	vectors, huge := npy("vectors.npy", rows), npy("huge.npy", 5*rows)

	p.startWorker(0, "AL_MEMORY_BYTES="+strconv.Itoa(budget), "AL_SLOTS=6")
	p.addDataset("first", 10, 4)
	p.waitFor("embeddings-first")
	before := p.status(0, "VmHWM")
	batch := 500
	query := &events.Spec{Method: "CORESET", BatchSize: &batch}
	p.send(newEvent(events.EmbeddingsReady, "huge", events.Embeddings{Dataset: "huge", Embeddings: huge, Filenames: many, Selection: query}), true)
	for i := range sets {
		set := fmt.Sprint("set", i)
		p.send(newEvent(events.EmbeddingsReady, set, events.Embeddings{Dataset: set, Embeddings: vectors, Filenames: few, Selection: query}), true)
	}
	p.drained(3 * time.Minute)
	peak := p.status(0, "VmHWM")
	t.Logf("%d MiB at rest, %d MiB at most, budget %d MiB; embeddings of %d MiB", before>>20, peak>>20, budget>>20, 4*rows*dim>>20)
	if grown := peak - before; grown > budget*9/8 { // an eighth for filenames that are kept, and the runtime
		t.Errorf("the process grew by %d MiB, the budget is %d MiB", grown>>20, budget>>20)
	}
	s, err := p.js.Stream(context.Background(), bus.Stream)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sets {
		if m, err := s.GetLastMsgForSubject(t.Context(), "al.v1.job."+state.JobID("/test/chaos", fmt.Sprint("set", i))); err != nil || !bytes.Contains(m.Data, []byte(`"state":"done"`)) || !bytes.Contains(m.Data, []byte(`"attempt":1`)) {
			t.Errorf("set%d: %s, %v", i, m.Data, err)
		}
	}
	m, err := s.GetLastMsgForSubject(t.Context(), "al.v1.dlq.huge")
	if err != nil || m.Header.Get("Al-Code") != "memory_budget" || !strings.Contains(m.Header.Get("Al-Message"), "together may take 420.0 MiB") {
		t.Fatalf("dead letter: %v, %v", m, err)
	}
}

// status reads a line of a worker's /proc/…/status, in bytes.
func (p *plant) status(i int, name string) int {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.ws[i].Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		p.t.Fatalf("no %s in %s", name, text)
	}
	kibibytes, err := strconv.Atoi(string(found[1]))
	if err != nil {
		p.t.Fatal(err)
	}
	return kibibytes << 10
}
