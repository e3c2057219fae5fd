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
	"nextbatch/internal/state"
)

// How often CVAT is asked whether it has taken the images in: at first, and at
// last.
const (
	pollFirst = 100 * time.Millisecond
	pollLast  = 2 * time.Second
)

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
	c.log.Warn().Err(err).Str("dataset", dataset).Str("step", step).Uint64("attempt", m.Delivered).Dur("again_in", wait).Msg("tried again later")
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
	c.hooks.ensure(ctx, c, d.Name)
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
