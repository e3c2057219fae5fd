package worker_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/events"
	"nextbatch/internal/selection"
	"nextbatch/internal/worker"
)

// observer is the engine; it notes where the embeddings of each query lie.
type observer struct {
	worker.Engine
	files chan string
}

func (o observer) Select(ctx context.Context, q worker.Query) (selection.Selection, error) {
	file, err := mappedFrom(uintptr(unsafe.Pointer(unsafe.SliceData(q.Embeddings.Data))))
	if err != nil {
		return selection.Selection{}, err
	}
	o.files <- file
	return o.Engine.Select(ctx, q)
}

// mappedFrom returns the file that an address is mapped from, "" if it is none.
func mappedFrom(at uintptr) (string, error) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return "", err
	}
	for sc := bufio.NewScanner(strings.NewReader(string(maps))); sc.Scan(); {
		var from, to uintptr
		if _, err := fmt.Sscanf(sc.Text(), "%x-%x", &from, &to); err != nil {
			return "", err
		}
		if slash := strings.IndexByte(sc.Text(), '/'); slash >= 0 && at >= from && at < to {
			return sc.Text()[slash:], nil
		}
	}
	return "", nil
}

// part makes vectors of the last of some names: the same for each name,
// whichever part it is in.
func part(names []string, dim, from int) events.Reference {
	rng := rand.New(rand.NewPCG(5, 5))
	var lines []map[string]any
	for i, name := range names {
		v := make([]float32, dim)
		for j := range v {
			v[j] = float32(rng.NormFloat64())
		}
		if i >= from {
			lines = append(lines, map[string]any{"filename": name, "embedding": v})
		}
	}
	return inline(lines)
}

// A dataset that grew by appends is selected from in mapped memory, as one that
// came at once, and so is one with rows that have no vector; with the same
// picks.
func TestGrownDatasetIsMapped(t *testing.T) {
	o := observer{files: make(chan string, 1)}
	r := newRig(t, 0, worker.Config{})
	r.selector = o
	r.start(1, worker.Config{})
	ask := func(set string) *events.Created {
		return r.ask(events.SelectionRequested, events.Request{Dataset: set, Selection: events.Spec{Method: "CORESET", BatchSize: ptr(30)}})
	}
	names := numbered(1300)
	at := 0
	for _, n := range []int{1000, 200, 90, 10} {
		r.keep(events.Embeddings{Dataset: "grown", Embeddings: part(names[:at+n], 6, at)})
		at += n
	}
	r.keep(events.Embeddings{Dataset: "whole", Embeddings: part(names, 6, 0)})
	whole := ask("whole")
	if file := <-o.files; file == "" || strings.HasSuffix(file, "(deleted)") {
		t.Errorf("one chunk lies in %q, want the blob", file)
	}
	grown := ask("grown")
	if file := <-o.files; !strings.HasSuffix(file, "(deleted)") {
		t.Errorf("several chunks lie in %q, want a file without a name", file)
	}
	if diff := cmp.Diff(whole.Added, grown.Added); diff != "" {
		t.Errorf("whole and grown differ:\n%s", diff)
	}
	r.keep(events.Embeddings{Dataset: "whole", Embedding: "other", Embeddings: part(append(names, "extra.jpg"), 3, 0)})
	more := ask("whole")
	if file := <-o.files; !strings.HasSuffix(file, "(deleted)") {
		t.Errorf("with a row that has no vector they lie in %q, want a file without a name", file)
	}
	if len(more.Added) != 30 || len(more.Warnings) != 1 || !strings.Contains(more.Warnings[0], "1 samples of the pool have no embedding") {
		t.Errorf("%d added, %q", len(more.Added), more.Warnings)
	}
	d, _, err := r.workers[0].State().Dataset(t.Context(), "grown")
	if err != nil || len(d.Embeddings["default"].Chunks) < 2 {
		t.Errorf("the dataset did not grow by chunks: %+v, %v", d.Embeddings, err)
	}
}
