package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"nextbatch/internal/events"
	"nextbatch/internal/failpoint"
	"nextbatch/internal/state"
)

// Fold takes many labels.completed at once: those of one dataset change its
// label state in one commit. The last word by stream sequence wins, so it
// matters neither which replica folds what nor how often. An event that also
// asks for a selection is then, and one that cannot be folded at once,
// answered with events.ErrJob.
func (w *Worker) Fold(ctx context.Context, batch []*events.Message) []error {
	answers := make([]error, len(batch))
	groups := map[string][]int{}
	var order []string
	for i, m := range batch {
		w.metrics.delivered(m)
		p, ok := m.Payload.(*events.Labels)
		switch {
		case m.Err != nil || !ok:
			answers[i] = events.ErrJob
		case expired(m.Event):
			w.metrics.handled(m, nil, 0)
		default:
			if groups[p.Dataset] == nil {
				order = append(order, p.Dataset)
			}
			groups[p.Dataset] = append(groups[p.Dataset], i)
		}
	}
	for _, dataset := range order {
		w.fold(ctx, dataset, batch, groups[dataset], answers)
	}
	return answers
}

func (w *Worker) fold(ctx context.Context, dataset string, batch []*events.Message, group []int, answers []error) {
	began := time.Now()
	err := errRebase
	for errors.Is(err, errRebase) && ctx.Err() == nil {
		for _, i := range group {
			answers[i] = nil
		}
		err = w.foldOnce(ctx, dataset, batch, group, answers)
	}
	for _, i := range group {
		switch {
		case err != nil:
			answers[i] = &events.Retry{After: backoff(1), Err: err}
			w.metrics.handled(batch[i], answers[i], time.Since(began))
		case answers[i] == nil && batch[i].Payload.(*events.Labels).Selection != nil:
			answers[i] = events.ErrJob
		case answers[i] == nil:
			w.metrics.handled(batch[i], nil, time.Since(began))
		}
	}
	w.log.Debug().Str("dataset", dataset).Int("labels", len(group)).Dur("took", time.Since(began)).AnErr("reason", err).Msg("fold")
}

// foldOnce folds a group on the newest state and commits it.
func (w *Worker) foldOnce(ctx context.Context, dataset string, batch []*events.Message, group []int, answers []error) error {
	// What the dataset does not know may come with an earlier event: that is
	// asked once. Else each event becomes a job, which refuses it.
	unknown := sync.OnceValue(func() error {
		if waiting, err := w.earlier(ctx, dataset, batch[group[0]].Seq); err != nil {
			return err
		} else if waiting {
			return &events.Retry{After: 200*time.Millisecond + jitter(200*time.Millisecond), Err: errors.New("an earlier event on the dataset is still to be handled")}
		}
		return events.ErrJob
	})
	d, _, err := w.store.Dataset(ctx, dataset)
	if errors.Is(err, state.ErrNotFound) {
		for _, i := range group {
			answers[i] = unknown()
		}
		return nil
	}
	if err != nil {
		return err
	}
	names, err := w.store.Names(ctx, d)
	if err != nil {
		return err
	}
	labels, rev, err := w.store.Labels(ctx, dataset)
	if err != nil {
		return err
	}
	var tags []string                      // that the events name, in order
	causes := map[string]*events.Message{} // of each tag's change; nil where there are several
	for _, i := range group {
		p := batch[i].Payload.(*events.Labels)
		marks, err := resolve(names, p)
		if err != nil {
			answers[i] = unknown()
			continue
		}
		if p.Tag != "" {
			if _, _, err := w.store.Tag(ctx, dataset, p.Tag); err != nil && p.Tag != state.InitialTag {
				answers[i] = unknown()
				continue
			}
		}
		if folded(labels, marks, batch[i].Seq) {
			continue
		}
		for _, k := range marks {
			labels.Set(k.row, k.status, batch[i].Seq)
		}
		causes[p.Tag] = nil
		if !slices.Contains(tags, p.Tag) {
			tags = append(tags, p.Tag)
			causes[p.Tag] = batch[i]
		}
	}
	v := &view{dataset: d, labels: labels}
	if len(tags) == 0 {
		return w.byPolicy(ctx, v, batch, group, answers)
	}
	var b state.Batch
	version := fmt.Sprintf("%020d", labels.Version()+1)
	for _, tag := range tags {
		counts, err := w.count(ctx, v, tag)
		if err != nil {
			return err
		}
		if err := w.publish(ctx, &b, events.LabelsetUpdated, dataset, state.HexID(32, dataset, version, tag), counts, version, causes[tag]); err != nil {
			return err
		}
	}
	if err := w.store.SaveLabels(ctx, &b, labels, rev); err != nil {
		return err
	}
	failpoint.Hit("before-fold")
	began := time.Now()
	_, err = w.store.Commit(ctx, &b)
	failpoint.Hit("after-fold")
	w.metrics.commits.Observe(time.Since(began).Seconds())
	if errors.Is(err, state.ErrConflict) || errors.Is(err, state.ErrUnknown) {
		w.metrics.conflicts.WithLabelValues("labels").Inc()
		return errRebase // what was folded after all shows in the sequences
	}
	if err != nil {
		return err
	}
	return w.byPolicy(ctx, v, batch, group, answers)
}

// byPolicy makes a job of one of the labels that were folded, if the dataset's
// policy wants a selection now. It looks at the label state and not at what
// changed: labels that are delivered again, because the process ended before they
// were acknowledged, are an occasion as they were the first time.
func (w *Worker) byPolicy(ctx context.Context, v *view, batch []*events.Message, group []int, answers []error) error {
	if v.dataset.Policy == nil {
		return nil
	}
	var at []int
	var folded []*events.Message
	for _, i := range group {
		if answers[i] == nil {
			at, folded = append(at, i), append(folded, batch[i])
		}
	}
	_, last, err := w.policyQuery(ctx, v, folded...)
	if err == nil && last >= 0 {
		answers[at[last]] = events.ErrJob
	}
	return err
}

// mark is one row of a labels.completed.
type mark struct {
	row    int
	status state.Status
}

// folded reports whether the label state has heard of each mark, or of
// something later.
func folded(labels *state.Labels, marks []mark, seq uint64) bool {
	for _, k := range marks {
		if labels.Seq(k.row) < seq {
			return false
		}
	}
	return true
}

// resolve finds the rows that an event speaks of.
func resolve(names *state.Names, p *events.Labels) ([]mark, error) {
	var marks []mark
	var unknown, twice offenders
	seen := make(map[int]bool, len(p.Labeled)+len(p.Skipped)+len(p.Unlabeled))
	for _, list := range []struct {
		names  []string
		status state.Status
	}{{p.Labeled, state.Labeled}, {p.Skipped, state.Skipped}, {p.Unlabeled, state.Unlabeled}} {
		for _, name := range list.names {
			row, ok := names.Row(name)
			switch {
			case !ok:
				unknown.add(name)
			case seen[row]:
				twice.add(name)
			}
			seen[row] = true
			marks = append(marks, mark{row, list.status})
		}
	}
	total := len(p.Labeled) + len(p.Skipped) + len(p.Unlabeled)
	if unknown.n > 0 {
		return nil, &events.Error{Code: "unknown_filenames", Message: unknown.of(total, "filenames are not in the dataset"),
			Hint: "add them with embeddings.ready first; filenames are compared byte by byte"}
	}
	if twice.n > 0 {
		return nil, &events.Error{Code: "duplicate_filenames", Message: twice.of(total, "filenames occur twice in the event"),
			Hint: "a sample is labeled, skipped or unlabeled, once per event"}
	}
	return marks, nil
}

// count sums up the label state, of one tag if it is named, and then of its
// batch too.
func (w *Worker) count(ctx context.Context, v *view, tag string) (events.Labelset, error) {
	if tag == "" || tag == state.InitialTag {
		c := v.labels.Count(nil)
		c.Tag = tag
		return c, nil
	}
	mask, err := w.tagMask(ctx, v.dataset, tag)
	if err != nil {
		return events.Labelset{}, err
	}
	c := v.labels.Count(mask)
	c.Tag = tag
	t, _, err := w.store.Tag(ctx, v.dataset.Name, tag)
	if err != nil {
		return c, err
	}
	batch, err := w.store.Batch(ctx, v.dataset, t)
	if err != nil || batch == nil {
		return c, err
	}
	b := v.labels.Count(batch)
	c.Batch = &events.Batch{Labeled: b.Labeled, Pending: b.Pending, Skipped: b.Skipped, Complete: b.Complete}
	return c, nil
}

// offenders counts bad items and keeps the first few.
type offenders struct {
	n     int
	first []string
}

func (o *offenders) add(name string) {
	o.n++
	if len(o.first) < 3 {
		o.first = append(o.first, fmt.Sprintf("%.120q", name))
	}
}

func (o *offenders) of(total int, what string) string {
	return fmt.Sprintf("%d of %d %s (first %s)", o.n, total, what, join(o.first))
}
