package cvat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/cvat"
	"nextbatch/internal/cvat/cvatfake"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
	"nextbatch/internal/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of the test"

// rig is a server with a worker and connectors on it, beside a CVAT.
type rig struct {
	*testing.T
	cvat    *cvatfake.CVAT
	url     string
	js      jetstream.JetStream
	state   *state.Store
	blobs   *blob.Store
	results jetstream.Consumer
	hook    string // address of the first connector
	n       int
}

// newRig runs a worker, and replicas of a connector for the dataset "clothing"
// and project 7.
func newRig(t *testing.T, replicas int, change func(*cvat.Config)) *rig {
	t.Helper()
	r := &rig{T: t, cvat: cvatfake.Start(map[int]string{7: "Clothing", 8: "Something else"})}
	t.Cleanup(r.cvat.Close)
	e, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{Dir: t.TempDir()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	r.url = e.URL
	nc := r.dial()
	if r.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), r.js, bus.Layout{}, true); err != nil {
		t.Fatal(err)
	}
	if r.blobs, err = blob.OpenStore(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	opener, err := blob.NewOpener(blob.Config{JetStream: r.js, Blobs: r.blobs})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(t.Context(), worker.Config{}, worker.Deps{NATS: nc, Blobs: r.blobs, Opener: opener, Metrics: prometheus.NewRegistry(), Log: r.log()})
	if err != nil {
		t.Fatal(err)
	}
	r.state = w.State()
	r.run(w.Run)
	for range replicas {
		r.connect(change)
	}
	if r.results, err = r.js.OrderedConsumer(t.Context(), bus.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"al.v1.out.>"}}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) log() zerolog.Logger {
	return zerolog.New(zerolog.NewTestWriter(r.T)).Level(zerolog.InfoLevel)
}

// run runs f until the test ends, or until the returned function is called.
func (r *rig) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	r.Cleanup(stop)
	return stop
}

// connect runs one more connector and returns what stops it.
func (r *rig) connect(change func(*cvat.Config)) (stop func()) {
	r.Helper()
	web := httptest.NewUnstartedServer(nil)
	if r.hook == "" {
		r.hook = "http://" + web.Listener.Addr().String()
	}
	cfg := cvat.Config{URL: r.cvat.URL, Token: cvatfake.Token, Projects: map[string]int{"clothing": 7}, Secrets: []string{secret}, JobSize: 4,
		HookURL: r.hook, Every: time.Hour, AckWait: 2 * time.Second, Create: true}
	if change != nil {
		change(&cfg)
	}
	c, err := cvat.New(r.Context(), cfg, cvat.Deps{NATS: r.dial(), State: r.state, Blobs: r.blobs, Metrics: prometheus.NewRegistry(), Log: r.log()})
	if err != nil {
		r.Fatal(err)
	}
	web.Config.Handler = c
	web.Start()
	r.Cleanup(web.Close)
	return r.run(c.Run)
}

func (r *rig) dial() *nats.Conn {
	r.Helper()
	nc, err := bus.Connect(bus.Auth{URL: r.url}, zerolog.Nop())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(nc.Close)
	return nc
}

func (r *rig) send(typ string, data any) {
	r.Helper()
	r.n++
	e := event.New()
	e.SetType(typ)
	e.SetSource("/test")
	e.SetID(fmt.Sprintf("e%d", r.n))
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		r.Fatal(err)
	}
	if _, err := events.Publish(r.Context(), r.js, e); err != nil {
		r.Fatal(err)
	}
}

// next returns the next result of the worker.
func (r *rig) next() any {
	r.Helper()
	m, err := r.results.Next(jetstream.FetchMaxWait(2 * time.Minute))
	if err != nil {
		r.Fatalf("no result came: %v", err)
	}
	e, err := events.Decode(m.Headers(), m.Data())
	if err != nil {
		r.Fatal(err)
	}
	data, err := events.ParseOutput(e)
	if err != nil {
		r.Fatal(err)
	}
	return data
}

// choose selects so many images of a pool, the first time from a new dataset,
// and returns their names in order.
func (r *rig) choose(pool, n int) (names []string, s *events.Created) {
	r.Helper()
	if r.n == 0 {
		var rows []map[string]any
		for i := range pool {
			rows = append(rows, map[string]any{"filename": fmt.Sprintf("photos/%04d.jpg", i), "embedding": []float64{float64(i * i), float64(i)}})
		}
		r.sendRows(rows)
	}
	return r.chooseMore(n)
}

func (r *rig) sendRows(rows []map[string]any) {
	r.Helper()
	data, err := json.Marshal(rows)
	if err != nil {
		r.Fatal(err)
	}
	r.send(events.EmbeddingsReady, events.Embeddings{Dataset: "clothing", Embeddings: events.Reference{URI: "inline:", Data: data}})
}

func (r *rig) chooseMore(n int) (names []string, s *events.Created) {
	r.Helper()
	r.send(events.SelectionRequested, events.Request{Dataset: "clothing", Selection: events.Spec{Method: "CORESET", BatchSize: &n, Name: fmt.Sprintf("batch-%d", r.n)}})
	result := r.next()
	s, ok := result.(*events.Created)
	if !ok {
		r.Fatalf("the selection failed: %+v", result)
	}
	for _, a := range s.Added {
		names = append(names, a.Filename)
	}
	return names, s
}

// tasks waits until there are n tasks, all with images, and returns them.
func (r *rig) tasks(n int) (all []cvatfake.Task) {
	r.Helper()
	r.until(fmt.Sprintf("there are %d tasks with images", n), func() bool {
		all = r.cvat.Tasks()
		return len(all) == n && !slices.ContainsFunc(all, func(t cvatfake.Task) bool { return len(t.Frames) == 0 })
	})
	return all
}

func (r *rig) until(what string, holds func() bool) {
	r.Helper()
	for began := time.Now(); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			r.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// settle waits for the label state of a batch, whatever events it takes.
func (r *rig) settle(tag string, want events.Batch) {
	r.Helper()
	var last *events.Labelset
	for began := time.Now(); time.Since(began) < 2*time.Minute; {
		l, ok := r.next().(*events.Labelset)
		if !ok || l.Tag != tag {
			continue
		}
		if last = l; *l.Batch == want {
			return
		}
	}
	r.Fatalf("the batch is %+v, want %+v", last, want)
}

// labelEvents are the labels.completed so far, without what repeats them.
func (r *rig) labelEvents() (all []events.Labels) {
	r.Helper()
	c, err := r.js.OrderedConsumer(r.Context(), bus.StreamIn, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"al.v1.in.labels.>"}})
	if err != nil {
		r.Fatal(err)
	}
	info, err := c.Info(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	for range info.NumPending {
		m, err := c.Next(jetstream.FetchMaxWait(2 * time.Minute))
		if err != nil {
			r.Fatal(err)
		}
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil {
			r.Fatal(err)
		}
		data, err := events.Parse(e)
		if err != nil {
			r.Fatal(err)
		}
		all = append(all, *data.(*events.Labels))
	}
	return all
}
