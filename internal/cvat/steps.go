package cvat

import (
	"context"
	"errors"
	"time"

	"nextbatch/internal/failpoint"
	"nextbatch/internal/state"
)

// The steps of a task, each from one write of its record to the next.

// create makes the task, unless it is there already.
func (c *Connector) create(ctx context.Context, d state.Dataset, id string, p *part, rev uint64) error {
	tasks, err := c.client.tasksNamed(ctx, p.Project, p.Name)
	if err != nil {
		return err
	}
	if len(tasks) == 0 {
		p.Step = creating
		if rev, err = c.save(ctx, d, id, p, rev); err != nil {
			return err
		}
		failpoint.Hit("cvat-creating")
		spec := taskSpec{Name: p.Name, ProjectID: p.Project}
		if len(p.Honeypots) > 0 {
			perJob, _ := c.share(len(p.Files))
			spec.JobSize = max(1, c.cfg.JobSize-perJob)
		}
		made, err := c.client.createTask(ctx, spec)
		failpoint.Hit("cvat-created")
		if err != nil {
			return err
		}
		if tasks, err = c.client.tasksNamed(ctx, p.Project, p.Name); err != nil {
			return err
		}
		if len(tasks) == 0 {
			tasks = []cvatTask{made}
		}
	}
	// Of two that were made while a call was given up for lost, or by a replica
	// that had lost its lease, the older one stays.
	for _, t := range tasks[1:] {
		if t.Size > 0 {
			c.log.Warn().Int("task", t.ID).Str("name", t.Name).Msg("a second task of that name has images and is left alone")
		} else if err := c.client.deleteTask(ctx, t.ID); err != nil {
			return err
		}
	}
	p.Step, p.Task = created, tasks[0].ID
	_, err = c.save(ctx, d, id, p, rev)
	return err
}

// attach gives the task its images, unless it has them.
func (c *Connector) attach(ctx context.Context, d state.Dataset, id string, p *part, rev uint64) error {
	if err := c.point(ctx, d, p.Task, id); err != nil {
		return err
	}
	t, err := c.client.task(ctx, p.Task)
	if gone(err) {
		return c.drop(ctx, d, id, p, rev)
	}
	if err != nil {
		return err
	}
	if t.Size > 0 {
		return c.finish(ctx, d, id, p, rev)
	}
	requests, err := c.client.requestsOf(ctx, p.Task)
	if err != nil {
		return err
	}
	p.Step = attached
	for _, r := range requests {
		switch r.Status {
		case "queued", "started":
			p.Request = r.ID
			_, err := c.save(ctx, d, id, p, rev)
			return err
		case "failed":
			return c.fail(ctx, d, id, p, rev, r.Message)
		}
	}
	p.Request, err = c.client.attach(ctx, p.Task, c.data(d.Name, p))
	failpoint.Hit("cvat-attached")
	if err != nil {
		return err
	}
	_, err = c.save(ctx, d, id, p, rev)
	return err
}

// point lets a task lead to its part.
func (c *Connector) point(ctx context.Context, d state.Dataset, task int, id string) error {
	var have pointer
	rev, err := c.state.Tool(ctx, Tool, d, taskRecord(task), &have)
	if err == nil && have.Part == id {
		return nil
	}
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	_, err = c.state.PutTool(ctx, Tool, d, taskRecord(task), pointer{id}, rev)
	return err
}

// await waits until CVAT has taken the images in.
func (c *Connector) await(ctx context.Context, d state.Dataset, id string, p *part, rev uint64) error {
	for wait := pollFirst; ; wait = min(2*wait, pollLast) {
		r, err := c.client.request(ctx, p.Request)
		if gone(err) { // CVAT forgets them after a while
			r, err = cvatRequest{Status: "finished"}, nil
		}
		if err != nil {
			return err
		}
		switch r.Status {
		case "failed":
			return c.fail(ctx, d, id, p, rev, r.Message)
		case "finished":
			t, err := c.client.task(ctx, p.Task)
			switch {
			case gone(err):
				return c.drop(ctx, d, id, p, rev)
			case err != nil:
				return err
			case t.Size == 0:
				return c.fail(ctx, d, id, p, rev, "the task has no images although CVAT is done with it")
			}
			return c.finish(ctx, d, id, p, rev)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (c *Connector) finish(ctx context.Context, d state.Dataset, id string, p *part, rev uint64) error {
	p.Step, p.Error = ready, ""
	if _, err := c.save(ctx, d, id, p, rev); err != nil {
		return err
	}
	failpoint.Hit("cvat-ready")
	c.metrics.tasks.WithLabelValues("created").Inc()
	c.log.Info().Str("dataset", d.Name).Str("tag", p.Tag).Int("task", p.Task).Int("images", len(p.Files)).Int("honeypots", len(p.Honeypots)).Msg("task is ready")
	return nil
}

// fail notes that CVAT refused a task. Reconciliation tries it again, ever less
// often: an image can be put where it is missing, a project be set right.
func (c *Connector) fail(ctx context.Context, d state.Dataset, id string, p *part, rev uint64, why string) error {
	p.Step, p.Error, p.Failed, p.Tried = failed, why, p.Failed+1, time.Now().Unix()
	if _, err := c.save(ctx, d, id, p, rev); err != nil {
		return err
	}
	c.metrics.tasks.WithLabelValues("refused").Inc()
	c.log.Error().Str("dataset", d.Name).Str("tag", p.Tag).Int("task", p.Task).Int("images", len(p.Files)).Int("attempt", p.Failed).
		Msg("CVAT refuses the task, which is tried again later: " + why)
	return nil
}

// retry begins a refused task anew, without the empty one that is left of it.
func (c *Connector) retry(ctx context.Context, d state.Dataset, id string, p *part, rev uint64) error {
	if p.Task != 0 {
		t, err := c.client.task(ctx, p.Task)
		if err == nil && t.Size > 0 {
			return c.finish(ctx, d, id, p, rev)
		}
		if err != nil && !gone(err) {
			return err
		}
		if err := c.client.deleteTask(ctx, p.Task); err != nil {
			return err
		}
	}
	p.Step, p.Task, p.Request = planned, 0, ""
	if _, err := c.save(ctx, d, id, p, rev); err != nil {
		return err
	}
	return c.push(ctx, d, id, patience)
}
