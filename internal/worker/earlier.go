package worker

import (
	"context"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// earlier reports whether an event on the dataset that was published before
// seq is still to be handled. Rows come with embeddings.ready, so all of those
// are looked at; of the other types those above the consumer's ack floor,
// which can run ahead for a moment while messages of a dead worker wait for
// their redelivery.
func (w *Worker) earlier(ctx context.Context, dataset string, seq uint64) (bool, error) {
	unfinished := func(_ *jetstream.RawStreamMsg, e event.Event) (bool, error) { return w.unfinished(ctx, e) }
	if wait, err := w.walk(ctx, 1, events.InSubject(events.EmbeddingsReady, dataset), seq, unfinished); wait || err != nil {
		return wait, err
	}
	floor, err := w.floor(ctx, bus.WorkConsumer)
	if err != nil {
		return false, err
	}
	for _, typ := range []string{events.PredictionsReady, events.SelectionRequested} {
		if wait, err := w.walk(ctx, floor+1, events.InSubject(typ, dataset), seq, unfinished); wait || err != nil {
			return wait, err
		}
	}
	return w.earlierLabels(ctx, dataset, seq)
}

// earlierLabels reports whether labels that were published before seq are
// still to be folded.
func (w *Worker) earlierLabels(ctx context.Context, dataset string, seq uint64) (bool, error) {
	floor, err := w.floor(ctx, bus.LabelsConsumer)
	if err != nil {
		return false, err
	}
	var v *view // read once, after the first candidate
	return w.walk(ctx, floor+1, events.InSubject(events.LabelsCompleted, dataset), seq, func(m *jetstream.RawStreamMsg, e event.Event) (bool, error) {
		payload, err := events.Parse(e)
		p, ok := payload.(*events.Labels)
		if err != nil || !ok {
			return false, nil // a dead letter in the making
		}
		if v == nil {
			if v, err = w.view(ctx, change{dataset: dataset}, nil); err != nil {
				return false, nil // labels of a dataset that is not there wait themselves
			}
		}
		names, err := w.store.Names(ctx, v.dataset)
		if err != nil {
			return false, err
		}
		marks, err := resolve(names, p)
		if err != nil || folded(v.labels, marks, m.Sequence) {
			return false, nil
		}
		return true, nil
	})
}

// floor is the sequence up to which a consumer has acknowledged everything.
func (w *Worker) floor(ctx context.Context, consumer string) (uint64, error) {
	cons, err := state.Ask(ctx, func(ctx context.Context) (jetstream.Consumer, error) { return w.in.Consumer(ctx, consumer) })
	if err != nil {
		return 0, err
	}
	return cons.CachedInfo().AckFloor.Stream, nil
}

// walk goes through the inputs on a subject from one sequence up to another
// and asks of each that decodes whether it waits.
func (w *Worker) walk(ctx context.Context, from uint64, subject string, to uint64, waits func(*jetstream.RawStreamMsg, event.Event) (bool, error)) (bool, error) {
	for at := from; at < to; at++ {
		m, err := state.Ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
			return w.in.GetMsg(ctx, at, jetstream.WithGetMsgSubject(subject))
		})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if at = m.Sequence; at >= to {
			return false, nil
		}
		if e, err := events.Decode(m.Header, m.Data); err == nil {
			if wait, err := waits(m, e); wait || err != nil {
				return wait, err
			}
		}
	}
	return false, nil
}

// unfinished reports whether an event's job is still to be done.
func (w *Worker) unfinished(ctx context.Context, e event.Event) (bool, error) {
	job, _, err := w.store.Job(ctx, state.JobID(e.Source(), e.ID()))
	if errors.Is(err, state.ErrNotFound) {
		return true, nil
	}
	return !job.Finished(), err
}

// How long a selection waits for labels that were published before it: first
// in its slot, then by asking for another delivery, until its event is old. It
// concerns freshness only: labels that are folded later are not lost.
const (
	labelsWaitHere = 200 * time.Millisecond
	labelsWait     = 10 * time.Second
)

// awaitLabels gives labels that were published before an event a moment to be
// folded, so that its selection sees them.
func (w *Worker) awaitLabels(ctx context.Context, dataset string, m *events.Message) error {
	for began := time.Now(); ; {
		waiting, err := w.earlierLabels(ctx, dataset, m.Seq)
		switch {
		case err != nil || !waiting || time.Since(m.Time) > labelsWait:
			return err
		case time.Since(began) > labelsWaitHere:
			return &events.Retry{After: labelsWaitHere, Err: errors.New("labels that were published before are still to be folded")}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
