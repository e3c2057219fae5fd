package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/worker"
)

// rig is a server with workers on it, and a client that plays both ends.
type rig struct {
	*testing.T
	nc      *nats.Conn
	js      jetstream.JetStream
	workers []*worker.Worker
	blobs   *blob.Store
	url     string
	files   string // allowed root of file:// references
	results jetstream.Consumer
	n       int

	selector worker.Selector      // of workers that are started; nil: the embedded engine
	registry *prometheus.Registry // of the one started last
	stop     func()               // ends those started last, and waits
}

// newRig runs n workers until the test ends.
func newRig(t *testing.T, n int, cfg worker.Config) *rig {
	t.Helper()
	e, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{Dir: t.TempDir()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	r := &rig{T: t, url: e.URL, files: t.TempDir()}
	if r.blobs, err = blob.OpenStore(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	r.nc = r.dial(e.URL)
	if r.js, err = jetstream.New(r.nc); err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), r.js, bus.Layout{AckWait: cfg.AckWait}, true); err != nil {
		t.Fatal(err)
	}
	r.start(n, cfg)
	if r.results, err = r.js.OrderedConsumer(t.Context(), bus.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"al.v1.out.>"}}); err != nil {
		t.Fatal(err)
	}
	return r
}

// start runs n more workers until the test ends.
func (r *rig) start(n int, cfg worker.Config) {
	r.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for range n {
		nc := r.dial(r.url)
		js, err := jetstream.New(nc)
		if err != nil {
			r.Fatal(err)
		}
		opener, err := blob.NewOpener(blob.Config{Roots: []string{r.files}, Buckets: []string{"models"}, JetStream: js, Blobs: r.blobs})
		if err != nil {
			r.Fatal(err)
		}
		cfg.Name = fmt.Sprintf("w%d", len(r.workers))
		r.registry = prometheus.NewRegistry()
		w, err := worker.New(r.Context(), cfg, worker.Deps{NATS: nc, Blobs: r.blobs, Opener: opener, Selector: r.selector, Metrics: r.registry,
			Log: zerolog.New(zerolog.NewTestWriter(r.T)).Level(zerolog.WarnLevel)})
		if err != nil {
			r.Fatal(err)
		}
		r.workers = append(r.workers, w)
		running.Go(func() {
			w.Run(ctx)
			opener.Close()
		})
	}
	r.stop = func() {
		stop()
		running.Wait()
	}
	r.Cleanup(r.stop)
}

func (r *rig) dial(url string) *nats.Conn {
	r.Helper()
	nc, err := bus.Connect(bus.Auth{URL: url}, zerolog.Nop())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(nc.Close)
	return nc
}

// event makes an event with an id of its own.
func (r *rig) event(typ string, data any) event.Event {
	r.n++
	e := event.New()
	e.SetType(typ)
	e.SetSource("/test")
	e.SetID(fmt.Sprintf("e%d", r.n))
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		r.Fatal(err)
	}
	return e
}

func (r *rig) send(e event.Event) {
	r.Helper()
	if _, err := events.Publish(r.Context(), r.js, e); err != nil {
		r.Fatal(err)
	}
}

// next returns the next result event and its data.
func (r *rig) next() (event.Event, any) {
	r.Helper()
	m, err := r.results.Next(jetstream.FetchMaxWait(time.Minute))
	if err != nil {
		r.Fatalf("no result came: %v", err)
	}
	e, err := events.Decode(m.Headers(), m.Data())
	if err != nil {
		r.Fatal(err)
	}
	data, err := events.ParseOutput(e)
	if err != nil {
		r.Fatalf("the result is not as its schema says: %v\n%s", err, m.Data())
	}
	return e, data
}

// ask sends an event and returns the selection that it leads to.
func (r *rig) ask(typ string, data any) *events.Created {
	r.Helper()
	r.send(r.event(typ, data))
	e, got := r.next()
	created, ok := got.(*events.Created)
	if !ok {
		r.Fatalf("%s: %s", e.Type(), e.Data())
	}
	return created
}

// fails sends an event and returns how it failed.
func (r *rig) fails(typ string, data any) *events.Failed {
	r.Helper()
	r.send(r.event(typ, data))
	e, got := r.next()
	failed, ok := got.(*events.Failed)
	if !ok {
		r.Fatalf("%s instead of a failure: %.300s", e.Type(), e.Data())
	}
	return failed
}

// vectors makes rows of embeddings as an inline reference, in a shuffled order.
func vectors(names []string, dim int, seed uint64) events.Reference {
	rng := rand.New(rand.NewPCG(7, 7))
	lines := make([]map[string]any, len(names))
	for i, name := range names {
		v := make([]float32, dim)
		for j := range v {
			v[j] = float32(rng.NormFloat64())
		}
		lines[i] = map[string]any{"filename": name, "embedding": v}
	}
	rand.New(rand.NewPCG(seed, seed)).Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	return inline(lines)
}

// probabilities makes predictions as an inline reference.
func probabilities(names []string) events.Reference {
	rng := rand.New(rand.NewPCG(8, 8))
	lines := make([]map[string]any, len(names))
	for i, name := range names {
		p := rng.Float64()
		lines[i] = map[string]any{"filename": name, "probabilities": []float64{p, 1 - p}}
	}
	return inline(lines)
}

func inline(v any) events.Reference {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return events.Reference{URI: "inline:", Data: data}
}

func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("img/%06d.jpg", i))
	}
	return names
}

// file writes a file below the allowed root and returns a reference to it.
func (r *rig) file(name string, data []byte) events.Reference {
	r.Helper()
	path := filepath.Join(r.files, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		r.Fatal(err)
	}
	return events.Reference{URI: "file://" + path, Size: int64(len(data))}
}

func ptr[T any](v T) *T { return &v }
