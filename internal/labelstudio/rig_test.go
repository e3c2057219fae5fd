package labelstudio_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/labelstudio"
	"nextbatch/internal/state"
	"nextbatch/internal/worker"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if atEnd != nil {
		atEnd()
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var atEnd func() // stops what the tests share

const (
	dataset = "clothing"
	secret  = "the secret of the webhook"
	retired = "the secret before this one"
	here    = "http://here" // the test's own address
)

// rig is a worker with a connector, whose webhook is served.
type rig struct {
	*testing.T
	js        jetstream.JetStream
	blobs     *blob.Store
	store     *state.Store
	connector *labelstudio.Connector
	registry  *prometheus.Registry
	hook      string // URL of the webhook
	deaf      func() // takes no webhooks any more
	n         int
}

// newRig starts a worker with a dataset of so many samples, and makes a
// connector.
func newRig(t *testing.T, samples int, cfg labelstudio.Config) *rig {
	t.Helper()
	e, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{Dir: t.TempDir()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	nc, err := bus.Connect(bus.Auth{URL: e.URL}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	r := &rig{T: t}
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
	t.Cleanup(func() { opener.Close() })
	log := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	w, err := worker.New(t.Context(), worker.Config{}, worker.Deps{NATS: nc, Blobs: r.blobs, Opener: opener, Log: log, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	r.store = w.State()
	r.run(func(ctx context.Context) { w.Run(ctx) })

	var rows []string
	for i := range samples {
		rows = append(rows, fmt.Sprintf(`{"filename":%q,"embedding":[%d,%d]}`, file(i), i%17, i%13))
	}
	for len(rows) > 0 { // an event is a mebibyte at most
		n := min(5000, len(rows))
		r.send(events.EmbeddingsReady, events.Embeddings{Dataset: dataset, Embeddings: events.Reference{URI: "inline:", Format: "jsonl",
			Data: json.RawMessage("[" + strings.Join(rows[:n], ",") + "]")}})
		rows = rows[n:]
	}
	r.until("the dataset has its samples", func() bool {
		d, _, err := r.store.Dataset(t.Context(), dataset)
		return err == nil && d.Rows == samples
	})
	r.connect(cfg)
	return r
}

// connect makes another connector, as one that was started anew would be.
func (r *rig) connect(cfg labelstudio.Config) {
	r.Helper()
	var connector *labelstudio.Connector
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { connector.ServeHTTP(w, q) }))
	r.Cleanup(server.Close)
	r.deaf = server.Close
	r.hook = server.URL + labelstudio.HookPath
	if cfg.HookURL == here {
		cfg.HookURL = server.URL
	}
	r.registry = prometheus.NewRegistry()
	var err error
	connector, err = labelstudio.New(r.Context(), cfg, labelstudio.Deps{JetStream: r.js, State: r.store, Blobs: r.blobs, Metrics: r.registry,
		Log: zerolog.New(zerolog.NewTestWriter(r.T)).Level(zerolog.InfoLevel)})
	if err != nil {
		r.Fatal(err)
	}
	r.connector = connector
}

// run runs f until it is stopped, or the test ends.
func (r *rig) run(f func(context.Context)) (stop func()) {
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

func file(i int) string { return fmt.Sprintf("images/%05d é.jpg", i) }

func (r *rig) send(eventType string, data any) {
	r.Helper()
	r.n++
	e := event.New()
	e.SetType(eventType)
	e.SetSource("/test")
	e.SetID(fmt.Sprint("e", r.n))
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		r.Fatal(err)
	}
	if _, err := events.Publish(r.Context(), r.js, e); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) until(what string, holds func() bool) {
	r.Helper()
	for began := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			r.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// sent are the labels.completed of the connector, in order.
func (r *rig) sent() (all []events.Labels) {
	r.Helper()
	for _, m := range r.messages(bus.StreamIn, "al.v1.in.labels.completed.>") {
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil {
			r.Fatal(err)
		}
		p, err := events.Parse(e)
		if err != nil {
			r.Fatal(err)
		}
		if strings.HasSuffix(e.Source(), "/labelstudio") {
			all = append(all, *p.(*events.Labels))
		}
	}
	return all
}

func (r *rig) messages(stream, subject string) (all []jetstream.Msg) {
	r.Helper()
	c, err := r.js.OrderedConsumer(r.Context(), stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		r.Fatal(err)
	}
	info, err := c.Info(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	for len(all) < int(info.NumPending) {
		batch, err := c.Fetch(int(info.NumPending)-len(all), jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			r.Fatal(err)
		}
		for m := range batch.Messages() {
			all = append(all, m)
		}
	}
	return all
}

// status is the label state of a sample.
func (r *rig) status(i int) state.Status {
	r.Helper()
	d, _, err := r.store.Dataset(r.Context(), dataset)
	if err != nil {
		r.Fatal(err)
	}
	names, err := r.store.Names(r.Context(), d)
	if err != nil {
		r.Fatal(err)
	}
	labels, _, err := r.store.Labels(r.Context(), dataset)
	if err != nil {
		r.Fatal(err)
	}
	row, ok := names.Row(file(i))
	if !ok {
		r.Fatalf("no sample %s", file(i))
	}
	s, _ := labels.Status(row)
	return s
}

// counted is the value of a counter, summed over labels but those given.
func (r *rig) counted(name string, labels ...string) (sum float64) {
	r.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "al_labelstudio_"+name {
			continue
		}
		for _, m := range f.Metric {
			has := 0
			for _, l := range m.Label {
				for _, want := range labels {
					if l.GetValue() == want {
						has++
					}
				}
			}
			if has == len(labels) {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// post sends a webhook and returns the status of its answer.
func (r *rig) post(body string, header ...string) int {
	r.Helper()
	if len(header) == 0 {
		header = []string{"X-Webhook-Token", secret}
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, r.hook, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set(header[0], header[1])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	return resp.StatusCode
}
