package cvat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// hint is the value of a record in the inbox: something to look at. Its id is
// job-N, task-N or everything. A newer one takes the place of an older one.
type hint struct {
	Dataset string    `json:"dataset"` // name
	At      time.Time `json:"at"`
}

const everything = "everything"

// put stores a hint.
func (c *Connector) put(ctx context.Context, d state.Dataset, id string) error {
	for {
		var old hint
		rev, err := c.state.Tool(ctx, inbox, d, id, &old)
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return err
		}
		_, err = c.state.PutTool(ctx, inbox, d, id, hint{d.Name, time.Now().UTC()}, rev)
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
}

// look follows a hint.
func (c *Connector) look(ctx context.Context, m *events.Message) error {
	var r state.ToolRecord
	var h hint
	if m.Header.Get("Al-Deleted") != "" || json.Unmarshal(m.Data, &r) != nil || json.Unmarshal(r.Value, &h) != nil {
		return nil
	}
	d, _, err := c.state.Dataset(ctx, h.Dataset)
	if errors.Is(err, state.ErrNotFound) || err == nil && (d.ID != r.Dataset || c.cfg.Projects[d.Name] == 0) {
		return nil
	}
	kind, number, _ := strings.Cut(r.ID, "-")
	n, _ := strconv.Atoi(number)
	if err == nil {
		switch kind {
		case "job":
			err = c.lookAtJob(ctx, d, n)
		case "task":
			err = c.lookAtTask(ctx, d, n)
		case everything:
			err = c.reconcile(ctx, d)
		}
	}
	if err != nil && !refused(err) && m.Delivered < patience {
		return c.again(kind, m, h.Dataset, err)
	}
	if err != nil { // it may not hold up the others, and looking at all jobs comes back to it
		c.metrics.problems.WithLabelValues(kind).Inc()
		c.log.Error().Err(err).Str("dataset", d.Name).Str("what", r.ID).Msg("left for the next look at all jobs")
	}
	if kind != everything {
		err = c.state.RemoveTool(ctx, inbox, d, r.ID, m.Seq)
		if err != nil && !errors.Is(err, state.ErrConflict) {
			c.log.Debug().Err(err).Str("what", r.ID).Msg("forget a hint")
		}
	}
	return nil
}

func (c *Connector) lookAtJob(ctx context.Context, d state.Dataset, n int) error {
	j, err := c.client.job(ctx, n)
	if gone(err) {
		return nil // so is its task, or it was no annotators' job
	}
	if err != nil {
		return err
	}
	if j.Type != "annotation" && j.Type != "" {
		return nil
	}
	var to pointer
	_, err = c.state.Tool(ctx, Tool, d, taskRecord(j.TaskID), &to)
	if errors.Is(err, state.ErrNotFound) {
		return nil // a task of somebody else
	}
	if err != nil {
		return err
	}
	return c.judge(ctx, d, to.Part, j)
}

// done reports whether a job counts: completed in the stage that is asked for,
// or beyond it, and not rejected there.
func (c *Connector) done(j cvatJob) bool {
	at, want := rank(j.Stage), rank(c.cfg.Stage)
	return j.State != "rejected" && (at > want || at == want && j.State == "completed")
}

// judge says of the images of a job what its state tells: labeled or skipped
// once it is done, nothing again when it is taken back. It says only what was
// not said before.
func (c *Connector) judge(ctx context.Context, d state.Dataset, id string, j cvatJob) error {
	for {
		var p part
		rev, err := c.state.Tool(ctx, Tool, d, id, &p)
		if errors.Is(err, state.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Server != c.client.base || p.Task != j.TaskID || p.Step == deleted {
			return nil
		}
		if rev, err = c.finishSaying(ctx, d, id, &p, rev); errors.Is(err, state.ErrConflict) {
			continue
		} else if err != nil {
			return err
		}
		said := []byte(p.Said)
		now := seen{State: j.State, Stage: j.Stage, Updated: j.Updated, Done: c.done(j)}
		if now.Done || p.Jobs[j.ID].Done { // else nothing was said of it yet
			if err := c.read(ctx, d, &p, j.ID, now.Done, said); err != nil {
				return err
			}
		}
		if p.Jobs == nil {
			p.Jobs = map[int]seen{}
		}
		p.Jobs[j.ID] = now
		err = c.say(ctx, d, id, &p, rev, said)
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
		// Somebody else looked at it too: one of us has an old state.
		if j, err = c.client.job(ctx, j.ID); err != nil {
			return err
		}
	}
}

// read writes into said what is to be said of the images of a job.
func (c *Connector) read(ctx context.Context, d state.Dataset, p *part, job int, done bool, said []byte) error {
	f, err := c.client.frames(ctx, job)
	if err != nil {
		return err
	}
	annotated := map[int]bool{}
	if done && c.cfg.Empty == "skipped" {
		a, err := c.client.annotations(ctx, job)
		if err != nil {
			return err
		}
		annotated = a.frames(f.Start + len(f.Frames))
	}
	at := map[string]int{}
	for i, name := range p.Files {
		if _, frame, err := c.images[d.Name].place(name); err == nil {
			at[frame] = i
		}
	}
	_, honeypots := c.images[d.Name].places(p.Honeypots)
	unknown := 0
	for i, frame := range f.Frames {
		file, ok := at[frame.Name]
		if !ok {
			if !slices.Contains(honeypots, frame.Name) {
				unknown++
			}
			continue
		}
		switch {
		case !done:
			said[file] = nothing
		case slices.Contains(f.Deleted, f.Start+i), c.cfg.Empty == "skipped" && !annotated[f.Start+i]:
			said[file] = skipped
		default:
			said[file] = labeled
		}
	}
	if unknown > 0 {
		c.log.Warn().Int("job", job).Int("task", p.Task).Msgf("%d of %d images are none that the task was made with; was AL_CVAT_IMAGE_URL changed since?", unknown, len(f.Frames))
	}
	return nil
}

// frames are the frames below stop that have an annotation.
func (a annotations) frames(stop int) map[int]bool {
	on := map[int]bool{}
	for _, t := range a.Tags {
		on[t.Frame] = true
	}
	for _, s := range a.Shapes {
		on[s.Frame] = true
	}
	for _, t := range a.Tracks { // visible from one key frame to the next
		keys := slices.Clone(t.Shapes)
		slices.SortFunc(keys, func(x, y struct {
			Frame   int
			Outside bool
		}) int {
			return x.Frame - y.Frame
		})
		for i, k := range keys {
			end := stop
			if i+1 < len(keys) {
				end = min(stop, keys[i+1].Frame)
			}
			for n := max(k.Frame, 0); n < end && !k.Outside; n++ {
				on[n] = true
			}
		}
	}
	return on
}

// lookAtTask finds out whether a task was deleted: then the images of it that
// nobody labeled are skipped, as if each had been deleted.
func (c *Connector) lookAtTask(ctx context.Context, d state.Dataset, n int) error {
	var to pointer
	_, err := c.state.Tool(ctx, Tool, d, taskRecord(n), &to)
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var p part
	rev, err := c.state.Tool(ctx, Tool, d, to.Part, &p)
	if err != nil || p.Server != c.client.base || p.Task != n || p.Step != ready {
		return err
	}
	if rev, err = c.finishSaying(ctx, d, to.Part, &p, rev); err != nil {
		return err
	}
	_, err = c.client.task(ctx, n)
	if !gone(err) {
		return err
	}
	return c.drop(ctx, d, to.Part, &p, rev)
}

// drop takes note that a task is gone.
func (c *Connector) drop(ctx context.Context, d state.Dataset, id string, p *part, rev uint64) error {
	if _, err := c.client.project(ctx, p.Project); err != nil {
		return fmt.Errorf("task %d is gone, but is it still the same CVAT? %w", p.Task, err)
	}
	c.log.Warn().Str("dataset", d.Name).Str("tag", p.Tag).Int("task", p.Task).Msg("the task was deleted: what was not labeled is skipped")
	p.Step = deleted
	return c.say(ctx, d, id, p, rev, []byte(strings.ReplaceAll(p.Said, string(nothing), string(skipped))))
}
