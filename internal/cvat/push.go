package cvat

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"nextbatch/internal/annotation"
	"nextbatch/internal/events"
	"nextbatch/internal/failpoint"
	"nextbatch/internal/state"
)

// pollEvery is how often CVAT is asked whether it has taken the images in.
const pollEvery = time.Second

// selection makes tasks of a selection. It is answered when all are there, or
// CVAT refused them; while CVAT is away it is tried again for ever.
func (c *Connector) selection(ctx context.Context, m *events.Message) error {
	s, ok := m.Payload.(*events.Created)
	if m.Err != nil || !ok {
		c.log.Error().Err(m.Err).Str("event_id", m.Event.ID()).Msg("a result that cannot be read")
		return m.Err
	}
	err := c.pushAll(ctx, m, s)
	if err == nil {
		return nil
	}
	return c.again("push", m, s.Dataset, err)
}

// again asks for another delivery after a while, and says why.
func (c *Connector) again(step string, m *events.Message, dataset string, err error) error {
	wait := min(time.Minute, 250*time.Millisecond<<min(m.Delivered, 8))
	wait = wait/2 + rand.N(wait/2)
	if e, ok := errors.AsType[*statusError](err); ok {
		wait = max(wait, e.wait)
	}
	c.metrics.problems.WithLabelValues(step).Inc()
	c.log.Warn().Err(err).Str("dataset", dataset).Str("step", step).Uint64("attempt", m.Delivered).Dur("again_in", wait).Msg("CVAT")
	return &events.Retry{After: wait, Err: err}
}

func (c *Connector) pushAll(ctx context.Context, m *events.Message, s *events.Created) error {
	d, ok, err := annotation.Current(ctx, c.state, s)
	if err != nil {
		return err
	}
	if !ok {
		c.log.Info().Str("dataset", s.Dataset).Str("tag", s.Tag.Name).Msg("the tag was deleted: no task is made")
		return nil
	}
	first := part{Server: c.client.base, Project: c.cfg.Projects[s.Dataset], Selection: m.Event.ID()}
	_, err = c.state.Tool(ctx, Tool, d, first.id(0), &first)
	if errors.Is(err, state.ErrNotFound) {
		err = c.write(ctx, d, m, s, &first)
	}
	if err != nil {
		return err
	}
	for i := range first.Of {
		if err := c.push(ctx, d, first.id(i), m.Delivered); err != nil {
			return err
		}
	}
	return nil
}

// write stores the plan of a selection, its first part last: a plan without
// that is not begun, and made anew.
func (c *Connector) write(ctx context.Context, d state.Dataset, m *events.Message, s *events.Created, first *part) error {
	if err := m.FetchLists(ctx, c.deps.Blobs.Get); err != nil {
		return err
	}
	picks, err := annotation.Pending(ctx, c.state, d, s)
	if err != nil {
		return err
	}
	parts, bad := c.plan(m.Event.ID(), s, picks)
	if len(bad) > 0 {
		c.metrics.tasks.WithLabelValues("unplaced").Inc()
		c.log.Error().Str("dataset", s.Dataset).Str("tag", s.Tag.Name).
			Msgf("%d of %d images cannot be shown by CVAT and wait for labels from elsewhere: %s", len(bad), len(picks), strings.Join(bad[:min(3, len(bad))], "; "))
	}
	for i, p := range slices.Backward(parts) {
		if p.Honeypots, err = c.honeypots(ctx, d, &p); err != nil {
			return err
		}
		var old part
		rev, err := c.state.Tool(ctx, Tool, d, p.id(i), &old)
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return err
		}
		if _, err := c.save(ctx, d, p.id(i), &p, rev); err != nil {
			return err
		}
		*first = p
	}
	return nil
}

// honeypots draws labeled images of the dataset, the same ones each time.
func (c *Connector) honeypots(ctx context.Context, d state.Dataset, p *part) ([]string, error) {
	_, n := c.share(len(p.Files))
	if n == 0 {
		return nil, nil
	}
	names, err := c.state.Names(ctx, d)
	if err != nil {
		return nil, err
	}
	labels, _, err := c.state.Labels(ctx, d.Name)
	if err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	_, frames := c.images[d.Name].places(p.Files)
	for _, f := range frames {
		taken[f] = true
	}
	type drawn struct{ key, name string }
	var pool []drawn
	for row := range names.Len() {
		if status, _ := labels.Status(row); status == state.Labeled {
			name := strings.Clone(names.At(row))
			pool = append(pool, drawn{state.HexID(16, p.Name, name), name})
		}
	}
	slices.SortFunc(pool, func(a, b drawn) int { return strings.Compare(a.key, b.key) })
	var chosen []string
	for _, x := range pool {
		_, frame, err := c.images[d.Name].place(x.name)
		if err != nil || taken[frame] {
			continue
		}
		taken[frame] = true
		if chosen = append(chosen, x.name); len(chosen) == n {
			break
		}
	}
	return chosen, nil
}

// push brings a task from whatever step it is at to its end. The record is
// written before and after each step at CVAT, so that one that was begun is
// found, and none is made twice. A wrong permission is waited for.
func (c *Connector) push(ctx context.Context, d state.Dataset, id string, attempt uint64) error {
	for {
		var p part
		rev, err := c.state.Tool(ctx, Tool, d, id, &p)
		if errors.Is(err, state.ErrNotFound) {
			return nil // gone with its dataset
		}
		if err != nil {
			return err
		}
		if p.Server != c.client.base {
			return nil // of another CVAT
		}
		switch p.Step {
		case planned, creating:
			err = c.create(ctx, d, id, &p, rev)
		case created:
			err = c.attach(ctx, d, id, &p, rev)
		case attached:
			err = c.await(ctx, d, id, &p, rev)
		default:
			return nil
		}
		if refused(err) && !denied(err) || broken(err) && attempt >= patience {
			err = c.fail(ctx, d, id, &p, rev, err.Error())
		}
		if err != nil && !errors.Is(err, state.ErrConflict) { // a conflict: read what it is now
			return err
		}
	}
}

func (c *Connector) save(ctx context.Context, d state.Dataset, id string, p *part, rev uint64) (uint64, error) {
	return c.state.PutTool(ctx, Tool, d, id, p, rev)
}

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
	for {
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
		case <-time.After(pollEvery):
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
