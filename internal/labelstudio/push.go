package labelstudio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"nextbatch/internal/annotation"
	"nextbatch/internal/events"
	"nextbatch/internal/failpoint"
	"nextbatch/internal/state"
)

// newTask is a task as it is imported.
type newTask struct {
	Data        map[string]any `json:"data"`
	Predictions []prediction   `json:"predictions,omitempty"`
}

type prediction struct {
	Task    int     `json:"task,omitempty"` // of a task that is there
	Version string  `json:"model_version"`
	Score   float64 `json:"score"`
	Result  []any   `json:"result"` // empty: it carries the order, no label
}

// pushed is the record of a selection that became tasks.
type pushed struct {
	Tag   string    `json:"tag"` // name
	Tasks int       `json:"tasks"`
	Done  time.Time `json:"done,omitzero"` // zero: under way
}

func pushedID(tagID string) string { return "selection-" + tagID }

// importChunk is how many tasks travel in one request.
const importChunk = 500

// orderVersion is the model_version of predictions that carry our order.
const orderVersion = "nextbatch"

const uncertainty = "Uncertainty sampling"

// handle takes a selection. Label Studio may be away, or refuse: that is tried
// again for ever, because it can be mended.
func (c *Connector) handle(ctx context.Context, p *connected, m *events.Message) error {
	created, ok := m.Payload.(*events.Created)
	if m.Err != nil || !ok {
		c.log.Error().Err(m.Err).Uint64("seq", m.Seq).Msg("a result that is none: passed over")
		return nil
	}
	began := time.Now()
	n, err := c.push(ctx, p, m, created)
	log := c.log.With().Str("dataset", p.dataset).Str("selection", created.Tag.Name).Int("project", p.project).Logger()
	if err != nil {
		c.metrics.problems.WithLabelValues("push").Inc()
		wait := min(time.Minute, time.Second<<min(max(m.Delivered, 1)-1, 6))
		log.Warn().Err(err).Dur("again_in", wait).Msg("selection not pushed")
		return &events.Retry{After: wait, Err: err}
	}
	log.Info().Int("tasks", n).Dur("took", time.Since(began)).Msg("selection pushed")
	return nil
}

func (c *Connector) push(ctx context.Context, p *connected, m *events.Message, created *events.Created) (int, error) {
	d, ok, err := annotation.Current(ctx, c.store, created)
	if err != nil || !ok {
		return 0, err
	}
	var record pushed
	rev, err := c.store.Tool(ctx, tool, d, pushedID(created.Tag.ID), &record)
	tried := err == nil
	if err != nil && !errors.Is(err, state.ErrNotFound) || !record.Done.IsZero() {
		return record.Tasks, err
	}
	if err := m.FetchLists(ctx, c.blobs.Get); err != nil {
		return 0, err
	}
	open, err := annotation.Pending(ctx, c.store, d, created)
	if err != nil {
		return 0, err
	}
	record.Tag, record.Tasks = created.Tag.Name, len(open)
	if len(open) > 0 {
		project, err := c.api.project(ctx, p.project)
		if err != nil {
			return 0, err
		}
		labels, err := c.prelabels(ctx, d, project, created)
		if err != nil {
			return 0, err
		}
		if !tried { // before anything is imported: the next attempt has to look
			if rev, err = c.store.PutTool(ctx, tool, d, pushedID(created.Tag.ID), record, rev); err != nil {
				return 0, err
			}
		}
		if err := c.importTasks(ctx, p, project, created, open, labels, tried); err != nil {
			return 0, err
		}
		if err := c.ensureView(ctx, p.project, created); err != nil {
			return 0, err
		}
		if err := c.keepVersion(ctx, project, labels); err != nil {
			return 0, err
		}
	}
	record.Done = time.Now().UTC()
	if _, err := c.store.PutTool(ctx, tool, d, pushedID(created.Tag.ID), record, rev); err != nil {
		return 0, err
	}
	return len(open), nil
}

// importTasks imports the tasks of picks. Where that was tried before, tasks
// may be there, or about to be, without anybody having heard of it: then those
// that are missing are imported, and what is there twice afterwards is removed.
// Predictions are looked for afterwards and added: on SQLite, Label Studio
// forgets those of an import during which its database was locked.
func (c *Connector) importTasks(ctx context.Context, p *connected, project project, created *events.Created, open []events.Added, labels *prelabels, tried bool) error {
	field, err := project.imageField()
	if err != nil {
		return err
	}
	mine := []any{equal("al_tag", created.Tag.ID)}
	have := map[string]bool{}
	if tried {
		err := c.api.tasks(ctx, p.project, mine, func(t task) error {
			name, _ := p.filename(t.Data)
			have[name] = true
			return nil
		})
		if err != nil {
			return err
		}
	}
	var tasks []newTask
	for _, a := range open {
		if !have[a.Filename] {
			tasks = append(tasks, p.task(project, field, created, a, labels))
		}
	}
	for len(tasks) > 0 {
		n := min(importChunk, len(tasks))
		failpoint.Hit("labelstudio-before-import")
		if err := c.api.importTasks(ctx, p.project, tasks[:n]); err != nil {
			return err
		}
		failpoint.Hit("labelstudio-after-import")
		c.metrics.tasks.Add(float64(n))
		tasks = tasks[n:]
	}
	ordered := project.Sampling == uncertainty || labels != nil
	if !tried && !ordered {
		return nil
	}
	var all duplicates
	if err := c.api.tasks(ctx, p.project, mine, func(t task) error { all.see(p, t); return nil }); err != nil {
		return err
	}
	var orders []prediction
	missing := 0
	for _, a := range open {
		t, ok := all.first[[2]string{created.Tag.ID, a.Filename}]
		if !ok {
			missing++
		} else if ordered && t.Predictions == 0 {
			o := order(created, a, labels)
			o.Task = t.ID
			orders = append(orders, o)
		}
	}
	if missing > 0 {
		return fmt.Errorf("Label Studio: %d of the %d tasks of selection %s are not in project %d after their import", missing, len(open), created.Tag.Name, p.project)
	}
	for n := 0; n < len(orders); n += importChunk {
		chunk := orders[n:min(n+importChunk, len(orders))]
		if err := c.api.call(ctx, http.MethodPost, fmt.Sprintf("/api/projects/%d/import/predictions", p.project), chunk, nil); err != nil {
			return err
		}
	}
	return c.removeDuplicates(ctx, all)
}

// order is the prediction that carries the rank of a pick, and its label if there
// are some.
func order(created *events.Created, a events.Added, labels *prelabels) prediction {
	return prediction{Version: orderVersion, Score: float64(a.Rank-1) / float64(created.Counts.Added), Result: labels.result(a.Filename)}
}

// task is a pick as annotators see it. Label Studio hands out tasks by their
// number, which is the rank; where the project asks for uncertainty it begins
// with the lowest score of a prediction, so that is the rank too.
func (p *connected) task(project project, field string, created *events.Created, a events.Added, labels *prelabels) newTask {
	t := newTask{Data: map[string]any{}}
	for key, value := range map[string]any{
		"filename": a.Filename, "al_selection": created.Tag.Name, "al_tag": created.Tag.ID, "al_rank": a.Rank, "al_reason": annotation.Reason(created, a)} {
		t.Data[key] = value
	}
	if a.Score != nil {
		t.Data["al_score"] = *a.Score
	}
	if created.Model != nil {
		t.Data["al_model"] = strings.TrimSpace(created.Model.Name + " " + created.Model.Version)
	}
	t.Data[field] = p.image.URL(a.Filename)
	if project.Sampling == uncertainty || labels != nil {
		t.Predictions = []prediction{order(created, a, labels)}
	}
	return t
}

// duplicates are the tasks of selections that are there more than once.
type duplicates struct {
	first map[[2]string]task // by tag id and filename
	spare []task             // without annotations
}

func (all *duplicates) see(p *connected, t task) {
	var ours struct {
		Filename string `json:"filename"`
		Tag      string `json:"al_tag"`
	}
	if json.Unmarshal(t.Data, &ours) != nil || ours.Tag == "" || ours.Filename == "" {
		return
	}
	if all.first == nil {
		all.first = map[[2]string]task{}
	}
	key := [2]string{ours.Tag, ours.Filename}
	was, twice := all.first[key]
	switch {
	case !twice:
		all.first[key] = t
	case t.Done+t.Skipped == 0:
		all.spare = append(all.spare, t)
	case was.Done+was.Skipped == 0:
		all.first[key] = t
		all.spare = append(all.spare, was)
	}
}

func (c *Connector) removeDuplicates(ctx context.Context, all duplicates) error {
	for _, t := range all.spare {
		if err := c.api.call(ctx, http.MethodDelete, fmt.Sprintf("/api/tasks/%d/", t.ID), nil, nil); err != nil && status(err) != http.StatusNotFound {
			return err
		}
		c.log.Info().Int("task", t.ID).Msg("a task that was imported twice is removed")
	}
	return nil
}

// ensureView makes the tab that shows a selection in rank order.
func (c *Connector) ensureView(ctx context.Context, projectID int, created *events.Created) error {
	var views []struct {
		Data struct {
			Title   string          `json:"title"`
			Filters json.RawMessage `json:"filters"`
		} `json:"data"`
	}
	if err := c.api.call(ctx, http.MethodGet, fmt.Sprintf("/api/dm/views/?project=%d", projectID), nil, &views); err != nil {
		return err
	}
	for _, v := range views {
		var filters struct {
			Items []struct {
				Value any `json:"value"`
			} `json:"items"`
		}
		if json.Unmarshal(v.Data.Filters, &filters) == nil && len(filters.Items) == 1 && filters.Items[0].Value == created.Tag.ID {
			return nil
		}
	}
	failpoint.Hit("labelstudio-before-view")
	return c.api.call(ctx, http.MethodPost, "/api/dm/views/", map[string]any{"project": projectID, "data": map[string]any{
		"title": created.Tag.Name, "type": "list", "target": "tasks",
		"ordering": []string{"tasks:data.al_rank"},
		"filters":  map[string]any{"conjunction": "and", "items": []any{equal("al_tag", created.Tag.ID)}},
	}}, nil)
}

// keepVersion lets a project that asks for uncertainty go by our predictions,
// and one with labels of the model show them.
func (c *Connector) keepVersion(ctx context.Context, p project, labels *prelabels) error {
	if p.Sampling != uncertainty && labels == nil || p.Version == orderVersion {
		return nil
	}
	return c.api.call(ctx, http.MethodPatch, fmt.Sprintf("/api/projects/%d/", p.ID), map[string]string{"model_version": orderVersion}, nil)
}
