package worker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// A dataset's policy says what a selection block leaves out, and when a
// selection is made that no event asks for. Such a selection is part of the job of
// the event that was the occasion: it is committed with it, exactly once, and no
// event of the worker's own is an occasion, so that nothing goes round in circles. A
// pool that is empty makes none.

// inherit puts what a query leaves out in from the policy, field by field.
func inherit(s events.Spec, p *events.Policy) events.Spec {
	if p == nil {
		return s
	}
	rest := p.Spec
	if s.Method != "" || s.Strategies != nil { // one stands for the other
		rest.Method, rest.Strategies = "", nil
	}
	to, from := reflect.ValueOf(&s).Elem(), reflect.ValueOf(rest)
	for i := range to.NumField() {
		if to.Field(i).IsZero() {
			to.Field(i).Set(from.Field(i))
		}
	}
	return s
}

// occasion reports whether an event of this kind may make the policy select.
func occasion(p *events.Policy, m *events.Message) bool {
	if p == nil || specOf(m) != nil {
		return false
	}
	switch m.Payload.(type) {
	case *events.Predictions:
		return p.Select == events.OnPredictions || p.Pending() > 0
	case *events.Labels:
		return p.Select == events.BatchFinished || p.Pending() > 0
	}
	return false
}

// mayBeOccasion is occasion for a dataset that is still to be read; what cannot
// be read is not.
func (w *Worker) mayBeOccasion(ctx context.Context, dataset string, m *events.Message) bool {
	d, _, err := w.store.Dataset(ctx, dataset)
	return err == nil && occasion(d.Policy, m)
}

// policyQuery returns the query that the policy makes of one of some events,
// whose changes the view has in it, and which one it is: the last that is an
// occasion. It returns nil for none.
func (w *Worker) policyQuery(ctx context.Context, v *view, ms ...*events.Message) (*query, int, error) {
	at, err := w.due(ctx, v, ms)
	if err != nil || at < 0 {
		return nil, -1, err
	}
	q := &query{policy: true}
	if p, ok := ms[at].Payload.(*events.Predictions); ok {
		q.queryTag, q.preselectedTag = p.QueryTag, p.PreselectedTag
	}
	all, err := w.tagMask(ctx, v.dataset, q.queryTag)
	if err != nil {
		return nil, -1, err
	}
	sets, err := w.sets(ctx, v, all, q.preselectedTag, false)
	if err != nil || sets.pool.Count() == 0 {
		return nil, -1, err
	}
	return q, at, nil
}

// due returns the last of some events that the policy makes a selection of, by
// the label state of the view; -1 for none.
func (w *Worker) due(ctx context.Context, v *view, ms []*events.Message) (int, error) {
	p := v.dataset.Policy
	last := -1
	for i, m := range ms {
		if occasion(p, m) {
			last = i
		}
	}
	switch {
	case last < 0 || p.Select == events.OnPredictions:
		return last, nil
	case p.Pending() > 0:
		if v.labels.Count(nil).Pending >= p.Pending() {
			last = -1
		}
		return last, nil
	}
	batch, err := w.newestBatch(ctx, v) // nil: its tag is not known or gone, then whatever is selected counts
	if err != nil || v.labels.Count(batch).Pending > 0 {
		return -1, err
	}
	names, err := w.store.Names(ctx, v.dataset)
	if err != nil {
		return -1, err
	}
	in := func(name string) bool {
		row, ok := names.Row(name)
		if !ok {
			return false
		}
		_, selected := v.labels.Status(row)
		return selected && (batch == nil || batch.Has(row))
	}
	for ; last >= 0; last-- {
		if !occasion(p, ms[last]) {
			continue
		}
		if l := ms[last].Payload.(*events.Labels); slices.ContainsFunc(l.Labeled, in) || slices.ContainsFunc(l.Skipped, in) {
			return last, nil
		}
	}
	return -1, nil
}

// newestBatch returns the rows that the newest selection added, nil if no tag
// tells.
func (w *Worker) newestBatch(ctx context.Context, v *view) (*bitmask.Mask, error) {
	name := v.labels.Newest()
	if name == "" {
		return nil, nil
	}
	t, _, err := w.store.Tag(ctx, v.dataset.Name, name)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return w.store.Batch(ctx, v.dataset, t)
}

// staleness says, for a selection that no event asked for, that the model of its
// scores has not seen labels that came since; "" if it has.
func staleness(v *view, q query, scoresSeq uint64) string {
	if !q.policy || scoresSeq == 0 {
		return ""
	}
	if n := v.labels.LabeledSince(scoresSeq); n > 0 {
		return fmt.Sprintf("the scores are older than %d labels: the model has not seen those", n)
	}
	return ""
}

// warnStale says so for strategies that use scores.
func warnStale(v *view, q query, list []events.Strategy, scores []scoreSet, warn func(string, ...any)) {
	if !slices.ContainsFunc(list, func(s events.Strategy) bool { return s.Input.Type == "SCORES" }) {
		return
	}
	var newest uint64
	for _, set := range scores {
		newest = max(newest, set.seq)
	}
	if text := staleness(v, q, newest); text != "" {
		warn("%s", text)
	}
}
