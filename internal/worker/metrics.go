package worker

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/events"
)

// metrics are counted per event type, method and outcome; never per dataset
// or file.
type metrics struct {
	received   *prometheus.CounterVec
	rejected   *prometheus.CounterVec
	inFlight   prometheus.Gauge
	duration   *prometheus.HistogramVec
	attempts   *prometheus.CounterVec
	conflicts  *prometheus.CounterVec
	commits    prometheus.Histogram
	selected   prometheus.Counter
	dead       *prometheus.CounterVec
	bytes      prometheus.Counter
	byteErrors *prometheus.CounterVec
	heartbeats prometheus.Counter
	redeliver  prometheus.Counter
	endToEnd   prometheus.Histogram

	memoryBudget, memoryAdmitted, memoryWaiting prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	buckets := prometheus.ExponentialBuckets(0.001, 4, 11) // 1 ms … 17 min
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	one := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		received:   counter("al_events_received_total", "Deliveries of input events.", "type"),
		rejected:   counter("al_events_rejected_total", "Events that can never succeed.", "reason"),
		inFlight:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "al_jobs_in_flight", Help: "Jobs being worked on."}),
		duration:   prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "al_job_duration_seconds", Help: "Time to handle an event, by selection method and how it ended.", Buckets: buckets}, []string{"strategy", "outcome"}),
		attempts:   counter("al_job_attempts_total", "Attempts at events by how they ended.", "outcome"),
		conflicts:  counter("al_commit_conflicts_total", "Commits that did not go through at once: fenced, duplicate, or state (tag) that moved.", "kind"),
		commits:    histogram("al_commit_duration_seconds", "Time of one atomic commit."),
		selected:   one("al_selected_items_total", "Samples selected."),
		dead:       counter("al_dlq_messages_total", "Dead letters by reason.", "reason"),
		bytes:      one("al_claimcheck_bytes_total", "Bytes of objects that were read by reference."),
		byteErrors: counter("al_claimcheck_errors_total", "References that could not be read.", "reason"),
		heartbeats: one("al_heartbeat_failures_total", "Renewals of a claim that failed."),
		redeliver:  one("al_redeliveries_total", "Deliveries that were not the first of their message."),
		endToEnd:   histogram("al_end_to_end_seconds", "From the stream taking an event to the commit of its selection."),

		memoryBudget:   gauge("al_memory_budget_bytes", "Memory that jobs may take together."),
		memoryAdmitted: gauge("al_memory_admitted_bytes", "Memory that jobs were admitted with."),
		memoryWaiting:  gauge("al_memory_waiting_jobs", "Jobs that wait for memory."),
	}
	if reg != nil {
		info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "al_build_info", Help: "1, with the version as labels.",
			ConstLabels: prometheus.Labels{"revision": revision()}})
		info.Set(1)
		reg.MustRegister(m.received, m.rejected, m.inFlight, m.duration, m.attempts, m.conflicts, m.commits, m.selected, m.dead,
			m.bytes, m.byteErrors, m.heartbeats, m.redeliver, m.endToEnd, info,
			m.memoryBudget, m.memoryAdmitted, m.memoryWaiting)
	}
	return m
}

func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

// specOf returns the sampling query in an event, nil if there is none.
func specOf(msg *events.Message) *events.Spec {
	switch p := msg.Payload.(type) {
	case *events.Embeddings:
		return p.Selection
	case *events.Predictions:
		return p.Selection
	case *events.Labels:
		return p.Selection
	case *events.Request:
		return &p.Selection
	}
	return nil
}

// strategy is the selection method that an event asks for.
func strategy(msg *events.Message) string {
	switch spec := specOf(msg); {
	case spec == nil:
		return "none"
	case spec.Method == "":
		return "default"
	default:
		return spec.Method // one of the schema's enumeration
	}
}

func (m *metrics) delivered(msg *events.Message) {
	typ := "unknown"
	if msg.Payload != nil {
		typ = events.TypeOf(msg.Event)
	}
	m.received.WithLabelValues(typ).Inc()
	if msg.Delivered > 1 {
		m.redeliver.Inc()
	}
}

func (m *metrics) handled(msg *events.Message, err error, took time.Duration) {
	outcome := outcomeOf(err)
	m.duration.WithLabelValues(strategy(msg), outcome).Observe(took.Seconds())
	m.attempts.WithLabelValues(outcome).Inc()
	var dead *events.Error
	if errors.As(err, &dead) {
		m.rejected.WithLabelValues(dead.Code).Inc()
	}
}

func (m *metrics) unreadable(err error) error {
	var e *blob.Error
	if errors.As(err, &e) {
		m.byteErrors.WithLabelValues(e.Code).Inc()
	}
	return err
}

func outcomeOf(err error) string {
	var dead *events.Error
	var retry *events.Retry
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, events.ErrFenced):
		return "fenced"
	case errors.As(err, &retry):
		return "retry"
	case errors.As(err, &dead):
		return "dead"
	}
	return "error"
}

// backlog reports the consumers' queues and the size of the store when it is
// scraped.
type backlog struct {
	js                          jetstream.JetStream
	pending, ackPending, stored *prometheus.Desc
}

// Backlog collects al_consumer_pending, al_consumer_ack_pending and
// al_store_bytes from the server.
func Backlog(js jetstream.JetStream) prometheus.Collector {
	return backlog{js,
		prometheus.NewDesc("al_consumer_pending", "Inputs that wait for a worker.", []string{"consumer"}, nil),
		prometheus.NewDesc("al_consumer_ack_pending", "Inputs that were delivered and are not settled.", []string{"consumer"}, nil),
		prometheus.NewDesc("al_store_bytes", "Size of a stream.", []string{"stream"}, nil)}
}

func (b backlog) Describe(ch chan<- *prometheus.Desc) {
	ch <- b.pending
	ch <- b.ackPending
	ch <- b.stored
}

func (b backlog) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, label)
	}
	for _, name := range []string{bus.WorkConsumer, bus.LabelsConsumer} {
		if c, err := b.js.Consumer(ctx, bus.StreamIn, name); err == nil {
			gauge(b.pending, float64(c.CachedInfo().NumPending), name)
			gauge(b.ackPending, float64(c.CachedInfo().NumAckPending), name)
		}
	}
	for _, name := range []string{bus.StreamIn, bus.Stream} {
		if s, err := b.js.Stream(ctx, name); err == nil {
			gauge(b.stored, float64(s.CachedInfo().State.Bytes), name)
		}
	}
}
