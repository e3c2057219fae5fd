// Package worker is the shell around the pure core: one path that takes an
// event, reads what it needs, scores, selects, and writes everything it leads
// to in one commit. The protocol that makes the effect of an event exactly-once
// is in job.go; what the events mean is in process.go.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// Config of a worker. The zero value of a field means its default.
type Config struct {
	Name        string        // of this replica, in job records; default "worker"
	Instance    string        // in the source of its events: /al/<instance>/…; default "nextbatch"
	Slots       int           // jobs at a time; default 2
	LabelsBatch int           // labels.completed folded at a time; default 512
	AckWait     time.Duration // lease of a delivery, as the streams were provisioned; default 30 s
	Deadline    time.Duration // of one attempt; default 30 min
	Drain       time.Duration // how long jobs may go on after the worker was told to stop; default 25 s
	MaxAttempts int           // default 5
	MemoryBytes int64         // that jobs may take together; default no limit
	InlineBytes int           // event data above it travels by dataref; default 512 KiB
	BatchSize   int           // where neither event nor policy says; default 100
	Method      string        // where neither event nor policy says; default UHERDING
	PublicURL   string        // base of blob URLs in datarefs, "" for file:// ones
}

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	wait := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if c.MemoryBytes == 0 {
		c.MemoryBytes = math.MaxInt64
	}
	def(&c.Slots, 2)
	def(&c.LabelsBatch, 512)
	def(&c.MaxAttempts, 5)
	def(&c.InlineBytes, 512<<10)
	def(&c.BatchSize, 100)
	wait(&c.AckWait, 30*time.Second)
	wait(&c.Deadline, 30*time.Minute)
	wait(&c.Drain, 25*time.Second)
	for _, s := range []struct {
		v *string
		d string
	}{{&c.Name, "worker"}, {&c.Instance, "nextbatch"}, {&c.Method, "UHERDING"}} {
		if *s.v == "" {
			*s.v = s.d
		}
	}
	return c
}

// Worker handles input events. Any number of workers share the load.
type Worker struct {
	cfg      Config
	log      zerolog.Logger
	js       jetstream.JetStream
	in       jetstream.Stream
	store    *state.Store
	blobs    *blob.Store
	open     *blob.Opener
	selector Selector
	metrics  *metrics
	slots    *semaphore.Weighted
	budget   budget
	datasets keyed
}

// Deps are what a worker works with.
type Deps struct {
	NATS     *nats.Conn
	Blobs    *blob.Store
	Opener   *blob.Opener
	Selector Selector // default: the embedded engine
	Metrics  prometheus.Registerer
	Log      zerolog.Logger
}

// New returns a worker on provisioned streams. It does nothing until Run.
func New(ctx context.Context, cfg Config, d Deps) (*Worker, error) {
	cfg = cfg.withDefaults()
	if cfg.Slots < 0 || cfg.MaxAttempts < 0 || cfg.LabelsBatch < 0 || cfg.MemoryBytes < 0 || cfg.InlineBytes < 0 || cfg.BatchSize < 0 {
		return nil, errors.New("worker: a negative limit")
	}
	js, err := jetstream.New(d.NATS)
	if err != nil {
		return nil, err
	}
	in, err := js.Stream(ctx, bus.StreamIn)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", bus.StreamIn, err)
	}
	store, err := state.Open(ctx, d.NATS, d.Blobs)
	if err != nil {
		return nil, err
	}
	if d.Selector == nil {
		d.Selector = Engine{}
	}
	m := newMetrics(d.Metrics)
	m.memoryBudget.Set(float64(cfg.MemoryBytes))
	return &Worker{cfg: cfg, log: d.Log, js: js, in: in, store: store, blobs: d.Blobs, open: d.Opener, selector: d.Selector,
		metrics: m, slots: semaphore.NewWeighted(int64(cfg.Slots)), budget: newBudget(cfg.MemoryBytes)}, nil
}

// State is the store that the worker writes, for those who look at it.
func (w *Worker) State() *state.Store { return w.store }

// Run consumes until ctx ends, then drains.
func (w *Worker) Run(ctx context.Context) error {
	work, err := events.SourceOf(ctx, w.js.Conn(), w.in, bus.WorkConsumer)
	if err != nil {
		return err
	}
	labels, err := events.SourceOf(ctx, w.js.Conn(), w.in, bus.LabelsConsumer)
	if err != nil {
		return err
	}
	jobs := events.Consumer{Source: work, Slots: w.cfg.Slots, AckWait: w.cfg.AckWait,
		Drain: w.cfg.Drain, Handle: w.Handle, Log: w.log}
	folds := events.LabelsConsumer{Jobs: jobs, Source: labels, Batch: w.cfg.LabelsBatch, Timeout: w.cfg.AckWait * 2 / 3, Fold: w.Fold}
	var wg sync.WaitGroup
	wg.Go(func() { jobs.Run(ctx) })
	wg.Go(func() { folds.Run(ctx) })
	wg.Wait()
	return nil
}

// publish adds a result event to a batch. Its id follows from the job's, its
// cause from the message; a version, if not empty, becomes its sequence.
func (w *Worker) publish(ctx context.Context, b *state.Batch, eventType, dataset, job string, data any, version string, cause *events.Message) error {
	e := event.New()
	e.SetType(eventType)
	e.SetSource("/al/" + w.cfg.Instance + "/datasets/" + events.Token(dataset))
	e.SetID(idPrefix[eventType] + "_" + state.HexID(26, job, eventType))
	e.SetTime(time.Now().UTC())
	e.SetSubject(dataset)
	e.SetDataSchema(events.DataSchema(eventType))
	e.SetExtension("partitionkey", events.Token(dataset))
	if version != "" {
		e.SetExtension("sequence", version)
	}
	if cause != nil && cause.Event.ID() != "" {
		e.SetExtension("causationid", cause.Event.ID())
		for _, name := range []string{"correlationid", "traceparent", "tracestate"} {
			if v, ok := cause.Event.Extensions()[name]; ok {
				e.SetExtension(name, v)
			}
		}
	}
	body, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if created, ok := data.(events.Created); ok && len(body) > w.cfg.InlineBytes {
		if body, err = w.byReference(ctx, &e, created); err != nil {
			return err
		}
	}
	if err := e.SetData(event.ApplicationJSON, json.RawMessage(body)); err != nil {
		return err
	}
	header, payload, err := events.Encode(e, events.Structured)
	if err != nil {
		return err
	}
	b.Publish(events.OutSubject(eventType, dataset), header, payload, e.ID())
	return nil
}

var idPrefix = map[string]string{events.SelectionCreated: "sel", events.SelectionFailed: "fail", events.LabelsetUpdated: "set"}

// keyed serializes work on one dataset within the process: two selections on
// it would only make each other start again at the commit.
type keyed struct {
	mu   sync.Mutex // guards busy
	busy map[string]chan struct{}
}

func (k *keyed) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		k.mu.Lock()
		if k.busy == nil {
			k.busy = map[string]chan struct{}{}
		}
		other, taken := k.busy[key]
		if !taken {
			mine := make(chan struct{})
			k.busy[key] = mine
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.busy, key)
				k.mu.Unlock()
				close(mine)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// expired reports whether an event asks not to be acted on any more.
func expired(e event.Event) bool {
	s, ok := e.Extensions()["expirytime"].(string)
	if !ok {
		return false
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return err == nil && time.Now().After(t)
}

// datasetOf is the dataset of an input; of one that could not be read, what
// its subject says.
func datasetOf(m *events.Message) string {
	if m.Payload != nil {
		return events.DatasetOf(m.Payload)
	}
	parts := strings.Split(m.Subject, ".")
	name := events.Untoken(parts[len(parts)-1])
	if len(name) > 512 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "" // no name that a result could carry
	}
	return name
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
