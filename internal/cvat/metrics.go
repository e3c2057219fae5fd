package cvat

import "github.com/prometheus/client_golang/prometheus"

// metrics are never per dataset or file.
type metrics struct {
	tasks    *prometheus.CounterVec
	labels   *prometheus.CounterVec
	hooks    *prometheus.CounterVec
	problems *prometheus.CounterVec
	compared prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "al_cvat_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		tasks:    counter("tasks_total", "Tasks for CVAT: created, refused, or with images that it cannot show.", "outcome"),
		labels:   counter("labels_total", "Samples whose state changed, by what was said.", "status"),
		hooks:    counter("webhooks_total", "Webhooks by what became of them.", "outcome"),
		problems: counter("problems_total", "Attempts that failed and are tried again.", "what"),
		compared: prometheus.NewGauge(prometheus.GaugeOpts{Name: "al_cvat_last_comparison_timestamp_seconds", Help: "When this replica last looked at all jobs of a project."}),
	}
	if reg != nil {
		reg.MustRegister(m.tasks, m.labels, m.hooks, m.problems, m.compared)
	}
	return m
}
