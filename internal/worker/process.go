package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"nextbatch/internal/events"
	"nextbatch/internal/failpoint"
	"nextbatch/internal/selection"
	"nextbatch/internal/state"
)

// change is what an event asks for: each part may be missing.
type change struct {
	dataset string
	creates bool                               // the dataset, if absent
	data    func(context.Context, *view) error // new rows, vectors or scores
	labels  *events.Labels                     // what annotators said
	query   *query                             // a selection
}

// query asks for a selection.
type query struct {
	spec           events.Spec
	queryTag       string
	preselectedTag string
	fromScratch    bool
	policy         bool // no event asked for it
}

// view is the state of one dataset as an attempt to commit sees it.
type view struct {
	dataset    state.Dataset
	datasetRev uint64
	changed    bool            // the dataset is to be written
	fresh      *state.ScoreSet // scores that this event brought
	stored     string          // what this event brought, in words

	probabilities selection.Matrix // of the classes, likewise, where its selection needs them

	labels    *state.Labels
	labelsRev uint64
}

// process does what a claimed event asks for. What it does not find may be on
// its way, in an event that was published earlier: then it waits for that one.
func (w *Worker) process(ctx context.Context, c *claim) error {
	for again := false; ; again = true {
		c.memory.decoded, c.memory.classes = 0, 0
		ch, err := w.plan(ctx, c)
		if err == nil {
			err = w.apply(ctx, c, ch)
		}
		var bad *events.Error
		if !errors.As(err, &bad) || !strings.HasPrefix(bad.Code, "unknown_") {
			return err
		}
		waiting, failed := w.earlier(ctx, datasetOf(c.m), c.m.Seq)
		switch {
		case failed != nil:
			return failed
		case waiting:
			return &events.Retry{After: 300*time.Millisecond + jitter(300*time.Millisecond), Err: bad}
		case again: // the last earlier event may have ended between the look and the question
			return err
		}
	}
}

// plan reads what the event refers to and computes all that does not depend
// on the state of its dataset.
func (w *Worker) plan(ctx context.Context, c *claim) (change, error) {
	switch p := c.m.Payload.(type) {
	case *events.Embeddings:
		data, err := w.embeddings(ctx, c, p)
		ch := change{dataset: p.Dataset, creates: true, data: data}
		if p.Selection != nil {
			ch.query = &query{spec: *p.Selection}
		}
		return ch, err
	case *events.Predictions:
		data, err := w.predictions(ctx, c, p)
		ch := change{dataset: p.Dataset, data: data}
		if p.Selection != nil {
			ch.query = &query{spec: *p.Selection, queryTag: p.QueryTag, preselectedTag: p.PreselectedTag}
		}
		return ch, err
	case *events.Labels:
		ch := change{dataset: p.Dataset, labels: p}
		if p.Selection != nil {
			ch.query = &query{spec: *p.Selection}
		}
		return ch, nil
	case *events.Request:
		return change{dataset: p.Dataset, query: &query{spec: p.Selection, queryTag: p.QueryTag, preselectedTag: p.PreselectedTag, fromScratch: p.FromScratch}}, nil
	}
	panic(fmt.Sprintf("worker: no handler for %T", c.m.Payload))
}

// apply makes the change on the newest state, again whenever it has moved
// before the commit.
func (w *Worker) apply(ctx context.Context, c *claim, ch change) error {
	if ch.query != nil || w.mayBeOccasion(ctx, ch.dataset, c.m) {
		if err := w.awaitLabels(ctx, ch.dataset, c.m); err != nil {
			return err
		}
	}
	unlock, err := w.datasets.lock(ctx, ch.dataset)
	if err != nil {
		return err
	}
	defer unlock()
	for {
		err := w.attempt(ctx, c, ch)
		if !errors.Is(err, errRebase) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// attempt reads the state, computes, and commits everything at once.
func (w *Worker) attempt(ctx context.Context, c *claim, ch change) error {
	v, err := w.view(ctx, ch, c)
	if err != nil {
		return err
	}
	if err := c.fits(w.need(ctx, v, c.m, load{bytes: c.memory.decoded, classes: c.memory.classes})); err != nil {
		return err
	}
	if ch.data != nil {
		if err := ch.data(ctx, v); err != nil {
			return err
		}
		v.changed = true
	}
	var b state.Batch
	job := c.snapshot()
	job.State, job.Error = state.JobDone, nil
	job.Stage, job.Done, job.Total = v.stored, 0, 0 // no longer how far it is
	relabeled := false
	if ch.labels != nil {
		names, err := w.store.Names(ctx, v.dataset)
		if err != nil {
			return err
		}
		marks, err := resolve(names, ch.labels)
		if err != nil {
			return err
		}
		if _, err := w.tagMask(ctx, v.dataset, ch.labels.Tag); err != nil {
			return err
		}
		relabeled = !folded(v.labels, marks, c.m.Seq)
		for _, k := range marks {
			v.labels.Set(k.row, k.status, c.m.Seq)
		}
	}
	version := fmt.Sprintf("%020d", v.labels.Version()+1)
	ask := ch.query
	if ask == nil {
		if ask, _, err = w.policyQuery(ctx, v, c.m); err != nil {
			return err
		}
	}
	if ask != nil {
		made, err := w.choose(ctx, c, v, *ask)
		if err != nil {
			return err
		}
		job.Warnings = made.created.Warnings
		if ask.policy && len(made.created.Added) == 0 { // nobody asked for an empty batch
			ask = nil
		} else if err := w.take(ctx, c, &b, &job, ch.dataset, made, version); err != nil {
			return err
		}
	}
	if relabeled {
		counts, err := w.count(ctx, v, ch.labels.Tag)
		if err != nil {
			return err
		}
		if err := w.publish(ctx, &b, events.LabelsetUpdated, ch.dataset, job.ID, counts, version, c.m); err != nil {
			return err
		}
	}
	if relabeled || ask != nil {
		if err := w.store.SaveLabels(ctx, &b, v.labels, v.labelsRev); err != nil {
			return err
		}
	}
	if v.changed {
		v.dataset.Modified = time.Now().UTC()
		b.Dataset(v.dataset, v.datasetRev)
	}
	if err := c.commit(ctx, &b, job); err != nil {
		return err
	}
	if ask != nil {
		w.metrics.endToEnd.Observe(time.Since(c.m.Time).Seconds())
	}
	return nil
}

// take adds a selection, its tag and what it learned to a batch.
func (w *Worker) take(ctx context.Context, c *claim, b *state.Batch, job *state.Job, dataset string, made chosen, version string) error {
	job.Tag = made.tag.Name
	b.Tag(made.tag, made.tagRev)
	if made.bounds != nil {
		b.Bounds(dataset, made.embedding, *made.bounds)
	}
	return w.publish(ctx, b, events.SelectionCreated, dataset, job.ID, made.created, version, c.m)
}

// view reads a dataset and its label state.
func (w *Worker) view(ctx context.Context, ch change, c *claim) (*view, error) {
	v := &view{}
	var err error
	v.dataset, v.datasetRev, err = w.store.Dataset(ctx, ch.dataset)
	switch {
	case errors.Is(err, state.ErrNotFound) && ch.creates:
		v.dataset = state.Dataset{ID: state.HexID(24, "dataset", c.job.ID), Name: ch.dataset, Created: time.Now().UTC()}
	case errors.Is(err, state.ErrNotFound):
		return nil, &events.Error{Code: "unknown_dataset", Message: fmt.Sprintf("dataset %q does not exist", ch.dataset),
			Hint: "publish embeddings.ready first: it creates the dataset; worker datasets list shows those that exist"}
	case err != nil:
		return nil, err
	}
	if c != nil && c.m.Payload != nil {
		if id, ok := c.m.Event.Extensions()[events.DatasetID].(string); ok && id != v.dataset.ID {
			return nil, &events.Error{Code: "unknown_dataset", Message: fmt.Sprintf("dataset %q with the id %q does not exist: it was deleted", ch.dataset, id),
				Hint: "create the dataset again, and upload to the new one"}
		}
	}
	v.labels, v.labelsRev, err = w.store.Labels(ctx, ch.dataset)
	return v, err
}

// commit writes the batch with the finished job record, which carries the
// fence. No renewal can come in between.
func (c *claim) commit(ctx context.Context, b *state.Batch, done state.Job) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	began := time.Now()
	done.Updated = began.UTC()
	b.Job(done, c.rev)
	failpoint.Hit("before-commit")
	ctx = context.WithoutCancel(ctx) // begun is begun
	_, err := c.w.store.Commit(ctx, b)
	failpoint.Hit("after-commit")
	c.w.metrics.commits.Observe(time.Since(began).Seconds())
	if err != nil {
		return c.undecided(ctx, err, nil)
	}
	return nil
}

// snapshot is the job record as the claim has it.
func (c *claim) snapshot() state.Job {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.job
}
