package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// TestPolicySurvivesKills kills the only worker four times at a step of the
// protocol, while annotators label what a policy selects, each batch in two
// events, the second one twice: every batch is followed by one, and no sample is
// selected twice.
func TestPolicySurvivesKills(t *testing.T) {
	const samples, size = 50, 5
	for _, step := range []string{"after-fold", "after-claim", "before-blob", "before-commit", "after-commit", "before-ack"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			p := newPlant(t, 0, time.Second, "AL_MAX_ATTEMPTS=100")
			p.ws = make([]*exec.Cmd, 1)
			p.startWorker(0)
			p.addDataset("d", samples, 2)
			p.waitFor("embeddings-d")
			blobs, err := blob.OpenStore(filepath.Join(p.dir, "data", "blobs"))
			if err != nil {
				t.Fatal(err)
			}
			store, err := state.Open(t.Context(), p.nc, blobs)
			if err != nil {
				t.Fatal(err)
			}
			d, rev, err := store.Dataset(t.Context(), "d")
			if err != nil {
				t.Fatal(err)
			}
			policy, err := events.ParsePolicy(map[string]string{"select": "batch_finished", "batch_size": fmt.Sprint(size), "random_share": "0.2"})
			if err != nil {
				t.Fatal(err)
			}
			d.Policy = &policy
			var b state.Batch
			b.Dataset(d, rev)
			if _, err := store.Commit(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			p.signal(0, syscall.SIGKILL)
			p.ws[0].Wait()
			dies := "NEXTBATCH_FAILPOINT=" + step + "=kill:2" // the first time passes, so that it gets ahead
			p.startWorker(0, dies)
			ctx, heal := context.WithCancel(t.Context())
			var died atomic.Int64
			var wg sync.WaitGroup
			wg.Go(func() {
				for ctx.Err() == nil {
					p.ws[0].Wait()
					switch n := died.Add(1); {
					case ctx.Err() != nil:
					case n < 4:
						p.startWorker(0, dies)
					default:
						p.startWorker(0)
					}
				}
			})
			stop := sync.OnceFunc(func() {
				heal()
				p.signal(0, syscall.SIGKILL)
				wg.Wait()
			})
			defer stop()

			results, err := p.js.OrderedConsumer(t.Context(), bus.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"al.v1.out.selection.created.d"}})
			if err != nil {
				t.Fatal(err)
			}
			p.send(newEvent(events.SelectionRequested, "first", events.Request{Dataset: "d", Selection: events.Spec{}}), false)
			var all []string
			for round := range samples / size {
				m, err := results.Next(jetstream.FetchMaxWait(time.Minute))
				if err != nil {
					t.Fatalf("round %d, after %d deaths: %v", round, died.Load(), err)
				}
				e, err := events.Decode(m.Headers(), m.Data())
				if err != nil {
					t.Fatal(err)
				}
				payload, err := events.ParseOutput(e)
				if err != nil {
					t.Fatal(err)
				}
				c := payload.(*events.Created)
				if c.Counts.Added != size || c.Counts.Random != 1 || c.Counts.Selected != size*(round+1) {
					t.Errorf("round %d: %+v", round, c.Counts)
				}
				var names []string
				for _, a := range c.Added {
					names = append(names, a.Filename)
				}
				all = append(all, names...)
				p.send(newEvent(events.LabelsCompleted, fmt.Sprintf("%d-a", round), events.Labels{Dataset: "d", Tag: c.Tag.Name, Labeled: names[:2]}), false)
				for range 2 {
					p.send(newEvent(events.LabelsCompleted, fmt.Sprintf("%d-b", round), events.Labels{Dataset: "d", Tag: c.Tag.Name, Labeled: names[2:]}), false)
				}
			}
			p.drained(2 * time.Minute)
			if m, err := results.Next(jetstream.FetchMaxWait(100 * time.Millisecond)); err == nil {
				t.Errorf("another selection: %s", m.Data())
			}
			if died.Load() != 4 {
				t.Errorf("the worker died %d times", died.Load())
			}
			if n := len(slices.Compact(slices.Sorted(slices.Values(all)))); n != samples || len(all) != samples {
				t.Errorf("%d samples were selected, %d of them distinct", len(all), n)
			}
			labels, _, err := store.Labels(t.Context(), "d")
			if err != nil {
				t.Fatal(err)
			}
			if c := labels.Count(nil); c.Labeled != samples || c.Pending != 0 {
				t.Errorf("%+v", c)
			}
			failed := readAll(t.Context(), t, p.js, bus.Stream, "al.v1.out.selection.failed.>")
			if len(failed) > 0 {
				t.Errorf("a failure: %s", failed[0].Data())
			}
		})
	}
}
