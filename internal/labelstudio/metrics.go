package labelstudio

import "github.com/prometheus/client_golang/prometheus"

// metrics are never per dataset or file.
type metrics struct {
	tasks    prometheus.Counter
	hooks    *prometheus.CounterVec
	last     prometheus.Gauge
	labels   *prometheus.CounterVec
	ignored  *prometheus.CounterVec
	rearmed  prometheus.Counter
	compared prometheus.Gauge
	problems *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "al_labelstudio_" + name, Help: help}, labels)
	}
	one := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "al_labelstudio_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "al_labelstudio_" + name, Help: help})
	}
	m := &metrics{
		tasks:    one("tasks_total", "Tasks imported into Label Studio."),
		hooks:    counter("webhooks_total", "Webhooks by what became of them.", "outcome"),
		last:     gauge("last_webhook_timestamp_seconds", "When the last webhook with a right secret came."),
		labels:   counter("labels_total", "Samples whose state changed, by what was said and how it came.", "status", "via"),
		ignored:  counter("tasks_ignored_total", "What tasks said that was not taken, by reason.", "reason"),
		rearmed:  one("webhooks_rearmed_total", "Webhooks that had to be made, switched on or set right."),
		compared: gauge("last_comparison_timestamp_seconds", "When the labels of a project were compared with the dataset last."),
		problems: counter("problems_total", "Attempts that failed and are tried again.", "what"),
	}
	if reg != nil {
		reg.MustRegister(m.tasks, m.hooks, m.last, m.labels, m.ignored, m.rearmed, m.compared, m.problems)
	}
	return m
}

func (m *metrics) tell(t told, via string) {
	for status, n := range map[string]int{"labeled": t.labeled, "skipped": t.skipped, "withdrawn": t.withdrawn} {
		m.labels.WithLabelValues(status, via).Add(float64(n))
	}
	m.ignored.WithLabelValues("stale").Add(float64(t.stale))
	if via == "webhook" { // a comparison finds nearly all as it was
		m.ignored.WithLabelValues("repeated").Add(float64(t.same))
	}
}
