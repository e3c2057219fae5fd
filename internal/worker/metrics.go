package worker

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"nextbatch/internal/events"
)

// metrics are counted per event type and outcome; never per dataset or file.
type metrics struct {
	events    *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	endToEnd  prometheus.Histogram
	conflicts *prometheus.CounterVec
	dead      *prometheus.CounterVec
	commits   prometheus.Histogram
	selected  prometheus.Counter
	bytes     prometheus.Counter
	redeliver prometheus.Counter
	inFlight  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	buckets := prometheus.ExponentialBuckets(0.001, 4, 11) // 1 ms … 17 min
	m := &metrics{
		events:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "al_events_total", Help: "Input events by type and how they ended."}, []string{"type", "outcome"}),
		duration:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "al_job_duration_seconds", Help: "Time to handle an event.", Buckets: buckets}, []string{"type", "outcome"}),
		endToEnd:  prometheus.NewHistogram(prometheus.HistogramOpts{Name: "al_end_to_end_seconds", Help: "From the stream taking an event to the commit of its selection.", Buckets: buckets}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "al_commit_conflicts_total", Help: "Commits that did not go through at once: fenced, duplicate, or a tag that moved."}, []string{"kind"}),
		dead:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "al_dlq_messages_total", Help: "Dead letters by reason."}, []string{"reason"}),
		commits:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "al_commit_duration_seconds", Help: "Time of one atomic commit.", Buckets: buckets}),
		selected:  prometheus.NewCounter(prometheus.CounterOpts{Name: "al_selected_items_total", Help: "Samples selected."}),
		bytes:     prometheus.NewCounter(prometheus.CounterOpts{Name: "al_claimcheck_bytes_total", Help: "Bytes read by reference."}),
		redeliver: prometheus.NewCounter(prometheus.CounterOpts{Name: "al_redeliveries_total", Help: "Deliveries that were not the first of their message."}),
		inFlight:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "al_jobs_in_flight", Help: "Jobs being worked on."}),
	}
	if reg != nil {
		reg.MustRegister(m.events, m.duration, m.endToEnd, m.conflicts, m.dead, m.commits, m.selected, m.bytes, m.redeliver, m.inFlight)
	}
	return m
}

func (m *metrics) handled(msg *events.Message, outcome string, took time.Duration) {
	typ := "unknown"
	if msg.Payload != nil {
		typ = events.TypeOf(msg.Event)
	}
	m.events.WithLabelValues(typ, outcome).Inc()
	m.duration.WithLabelValues(typ, outcome).Observe(took.Seconds())
	if msg.Delivered > 1 {
		m.redeliver.Inc()
	}
}

func outcomeOf(err error) string {
	var dead *events.Error
	var retry *events.Retry
	switch {
	case errors.Is(err, events.ErrFenced):
		return "fenced"
	case errors.As(err, &dead):
		return "dead"
	case errors.As(err, &retry):
		return "retry"
	}
	return "error"
}
