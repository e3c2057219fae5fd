package cvat

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"nextbatch/internal/state"
)

// tick asks for a look at everything: at the start, and then every so often by
// whichever replica is first.
func (c *Connector) tick(ctx context.Context) error {
	for start := true; ; start = false {
		for _, dataset := range c.datasets() {
			if err := c.ask(ctx, dataset, start); err != nil && ctx.Err() == nil {
				c.log.Warn().Err(err).Str("dataset", dataset).Msg("ask for reconciliation")
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.cfg.Every):
		}
	}
}

func (c *Connector) ask(ctx context.Context, dataset string, now bool) error {
	d, _, err := c.state.Dataset(ctx, dataset)
	if errors.Is(err, state.ErrNotFound) {
		return nil // nothing was selected of it
	}
	if err != nil {
		return err
	}
	var last hint
	_, err = c.state.Tool(ctx, inbox, d, everything, &last)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	if !now && time.Since(last.At) < c.cfg.Every*9/10 {
		return nil
	}
	return c.put(ctx, d, everything)
}

// retryAtMost is how long a refused task waits for its next attempt.
const retryAtMost = 6 * time.Hour

// reconcile looks at every job of a project and goes after what no webhook
// told of; and it tries refused tasks again.
func (c *Connector) reconcile(ctx context.Context, d state.Dataset) error {
	type known struct {
		id   string
		jobs map[int]seen
	}
	c.hooks.ensure(ctx, c, d.Name)
	tasks := map[int]known{} // by number
	missing := map[int]bool{}
	var again, unsaid []string
	err := c.state.Tools(ctx, Tool, d, func(r state.ToolRecord, _ uint64) error {
		var p part
		if err := json.Unmarshal(r.Value, &p); err != nil {
			return err
		}
		if p.Server != c.client.base {
			return nil // a pointer, or of another CVAT
		}
		if p.Before != "" {
			unsaid = append(unsaid, r.ID)
		}
		switch p.Step {
		case ready:
			tasks[p.Task] = known{r.ID, p.Jobs}
			missing[p.Task] = true
		case planned, creating, created, attached:
			if p.Failed > 0 { // else its selection is still being handled
				again = append(again, r.ID)
			}
		case failed:
			wait := min(retryAtMost, c.cfg.Every<<min(p.Failed, 10))
			if time.Since(time.Unix(p.Tried, 0)) >= min(wait, retryAtMost)-c.cfg.Every {
				again = append(again, r.ID)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	type news struct {
		id  string
		job cvatJob
	}
	var changed []news
	project := c.cfg.Projects[d.Name]
	err = c.client.jobsOf(ctx, project, func(j cvatJob) {
		t, ours := tasks[j.TaskID]
		delete(missing, j.TaskID)
		if was, looked := t.jobs[j.ID]; ours && !(looked && was == seen{j.State, j.Stage, j.Updated, c.done(j)}) {
			changed = append(changed, news{t.id, j})
		}
	})
	if err != nil {
		return err
	}
	var faults []error // of single things: the others go on
	try := func(err error) bool {
		if err != nil {
			faults = append(faults, err)
		}
		return err == nil || refused(err) || broken(err)
	}
	for _, id := range unsaid {
		var p part
		rev, err := c.state.Tool(ctx, Tool, d, id, &p)
		if err == nil {
			_, err = c.finishSaying(ctx, d, id, &p, rev)
		}
		if err != nil && !errors.Is(err, state.ErrConflict) && !errors.Is(err, state.ErrNotFound) {
			return err
		}
	}
	for _, n := range changed {
		if !try(c.judge(ctx, d, n.id, n.job)) {
			return faults[len(faults)-1]
		}
	}
	for n := range missing {
		if !try(c.lookAtTask(ctx, d, n)) {
			return faults[len(faults)-1]
		}
	}
	for _, id := range again {
		var p part
		rev, err := c.state.Tool(ctx, Tool, d, id, &p)
		switch {
		case err != nil:
		case p.Step == failed:
			err = c.retry(ctx, d, id, &p, rev)
		default:
			err = c.push(ctx, d, id, patience)
		}
		if errors.Is(err, state.ErrConflict) || errors.Is(err, state.ErrNotFound) {
			err = nil
		}
		if !try(err) {
			return faults[len(faults)-1]
		}
	}
	c.metrics.compared.SetToCurrentTime()
	c.log.Debug().Str("dataset", d.Name).Int("tasks", len(tasks)).Int("changed", len(changed)).Int("missing", len(missing)).Int("retried", len(again)).Msg("reconciled")
	return errors.Join(faults...)
}
