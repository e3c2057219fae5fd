package worker_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"nextbatch/internal/events"
	"nextbatch/internal/worker"
)

func TestProbeStatus(t *testing.T) {
	for _, st := range []string{"404", "409", "100", "503", "400"} {
		t.Run(st, func(t *testing.T) {
			r := newRig(t, 1, worker.Config{MaxAttempts: 2, AckWait: time.Second})
			r.prepare()
			m := raw("al.v1.in.selection.requested.shoes", "")
			m.Header = nats.Header{"Status": {st}, "Description": {"Consumer Deleted"}}
			r.refuses([]badInput{{"status", m, "bad_event", "not a CloudEvent", unread}})
			b := time.Now()
			r.works()
			t.Log("works took", time.Since(b))
		})
	}
}
func TestProbeStatusLabels(t *testing.T) {
	for _, st := range []string{"404", "409", "100", "503", "400"} {
		t.Run(st, func(t *testing.T) {
			r := newRig(t, 1, worker.Config{MaxAttempts: 2, AckWait: time.Second})
			r.prepare()
			m := raw("al.v1.in.labels.completed.shoes", "")
			m.Header = nats.Header{"Status": {st}, "Description": {"Consumer Deleted"}}
			r.refuses([]badInput{{"status", m, "bad_event", "not a CloudEvent", unread}})
			b := time.Now()
			r.works()
			t.Log("works took", time.Since(b))
		})
	}
}
func TestProbeNoConsumer(t *testing.T) {
	r := newRig(t, 1, worker.Config{MaxAttempts: 2, AckWait: time.Second})
	r.prepare()
	r.refuses([]badInput{{"typo in the subject", raw("al.v1.in.embedding.ready.shoes", "{}"), "bad_event", "", unread}})
}
func TestProbeUnknownTagThenLabel(t *testing.T) {
	r := newRig(t, 1, worker.Config{MaxAttempts: 2, AckWait: time.Second})
	r.prepare()
	var all []badInput
	for range 1 {
		c := badInput{"tagless", labels(`"tag":"round-9","labeled":["img/000003.jpg"]`), "unknown_tag", "", 0}
		all = append(all, c)
	}
	m := labels(`"labeled":["img/000003.jpg"]`)
	m = withID(m, "later")
	// hold the labels consumer busy with a first message
	r.send(r.event(events.LabelsCompleted, events.Labels{Dataset: "shoes", Labeled: numbered(20)}))
	go func() { time.Sleep(0); r.nc.PublishMsg(m) }()
	r.refuses(all)
}
