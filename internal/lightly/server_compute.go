package lightly

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"nextbatch/internal/state"
)

// computeWorker is a registered compute worker on the wire.
type computeWorker struct {
	ID             string   `json:"id"`
	Name           string   `json:"name"`
	WorkerType     string   `json:"workerType"`
	State          string   `json:"state"`
	CreatedAt      int64    `json:"createdAt"`
	LastModifiedAt int64    `json:"lastModifiedAt"`
	Labels         []string `json:"labels"`
}

// workerType is the only one.
const workerType = "FULL"

// registerWorker notes a compute worker; a name that is there keeps its id.
// Registering is a formality: the workers of this service take every run.
func (c *call) registerWorker() error {
	var in struct {
		Name       string   `json:"name"`
		WorkerType string   `json:"workerType"`
		Labels     []string `json:"labels"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	if in.Name == "" || utf8.RuneCountInString(in.Name) > 255 {
		return bad("name has %d characters: want 1 to 255", utf8.RuneCountInString(in.Name))
	}
	if in.WorkerType != workerType {
		return bad("workerType is %.40q: want %s", in.WorkerType, workerType)
	}
	now := time.Now().UTC()
	w := state.ComputeWorker{Owner: c.user, ID: state.HexID(24, "compute worker", c.user, in.Name), Name: in.Name, Labels: in.Labels, Created: now, Modified: now}
	err := c.again(func() error {
		_, rev, err := c.store.ComputeWorker(c.r.Context(), c.user, w.ID)
		if !errors.Is(err, state.ErrNotFound) {
			return err
		}
		var b state.Batch
		b.ComputeWorker(w, rev)
		return c.commit(&b)
	})
	if err != nil {
		return err
	}
	return c.answer(createdEntity{ID: w.ID})
}

// listWorkers lists the compute workers of the user, oldest first.
func (c *call) listWorkers() error {
	list := []computeWorker{}
	err := c.store.ComputeWorkers(c.r.Context(), c.user, func(w state.ComputeWorker, _ uint64) error {
		list = append(list, computeWorker{ID: w.ID, Name: w.Name, WorkerType: workerType, State: "IDLE", CreatedAt: millis(w.Created), LastModifiedAt: millis(w.Modified),
			Labels: append([]string{}, w.Labels...)})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b computeWorker) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return c.answer(list)
}

func (c *call) deleteWorker() error {
	id := c.r.PathValue("w")
	unknown := refuse(http.StatusNotFound, "DOCKER_WORKER_UNKNOWN", "there is no compute worker %.40q", id)
	if !idPattern.MatchString(id) {
		return unknown
	}
	err := c.again(func() error {
		_, rev, err := c.store.ComputeWorker(c.r.Context(), c.user, id)
		if errors.Is(err, state.ErrNotFound) {
			return unknown
		}
		if err != nil {
			return err
		}
		var b state.Batch
		b.RemoveComputeWorker(c.user, id, rev)
		return c.commit(&b)
	})
	if err != nil {
		return err
	}
	return c.done()
}

// workerConfig is the part of a run's configuration that is looked at.
type workerConfig struct {
	WorkerType string                     `json:"workerType"`
	Docker     map[string]json.RawMessage `json:"docker"`
	Lightly    map[string]json.RawMessage `json:"lightly"`
	Selection  *selectionConfig           `json:"selection"`
}

// createRunConfig stores what a run is to do. A selection that cannot be made
// is refused here, where the client's author sees it.
func (c *call) createRunConfig() error {
	var in struct {
		Config *workerConfig `json:"config"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	switch {
	case in.Config == nil:
		return bad("config is missing")
	case in.Config.WorkerType != workerType:
		return bad("config.workerType is %.40q: want %s", in.Config.WorkerType, workerType)
	case in.Config.Selection != nil:
		if _, err := in.Config.Selection.plan(); err != nil {
			return bad("%v", err)
		}
	}
	text, err := json.Marshal(in.Config)
	if err != nil {
		return err
	}
	r := state.RunConfig{Owner: c.user, ID: hexID(12), Config: text, Created: time.Now().UTC()}
	var b state.Batch
	b.RunConfig(r, 0)
	if err := c.commit(&b); err != nil {
		return err
	}
	return c.answer(createdEntity{ID: r.ID})
}

// scheduledRun is a run on the wire as it was scheduled, computeRun as it goes
// on. Both have the same id here.
type scheduledRun struct {
	ID             string   `json:"id"`
	DatasetID      string   `json:"datasetId"`
	ConfigID       string   `json:"configId"`
	Priority       string   `json:"priority"`
	RunsOn         []string `json:"runsOn"`
	State          string   `json:"state"`
	CreatedAt      int64    `json:"createdAt"`
	LastModifiedAt int64    `json:"lastModifiedAt"`
	Owner          string   `json:"owner"`
}

type computeRun struct {
	ID             string     `json:"id"`
	DockerVersion  string     `json:"dockerVersion"`
	State          string     `json:"state"`
	CreatedAt      int64      `json:"createdAt"`
	LastModifiedAt int64      `json:"lastModifiedAt"`
	DatasetID      string     `json:"datasetId"`
	ConfigID       string     `json:"configId"`
	ScheduledID    string     `json:"scheduledId"`
	Message        string     `json:"message"`
	Artifacts      []struct{} `json:"artifacts"` // there are none
}

// scheduleRun publishes the event of a run and stores what it is.
func (c *call) scheduleRun() error {
	var in struct {
		ConfigID string   `json:"configId"`
		Priority string   `json:"priority"`
		RunsOn   []string `json:"runsOn"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	if err := wordOf("priority", in.Priority, []string{"LOW", "MID", "HIGH", "CRITICAL"}); err != nil {
		return err
	}
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	if d.Draft {
		return refuse(http.StatusBadRequest, "TAG_NO_TAG_IN_DATASET", "dataset %q has no initial tag yet: finish the upload of its samples", d.Name)
	}
	cfg, err := c.runConfig(in.ConfigID)
	if err != nil {
		return err
	}
	r := state.Run{Owner: c.user, ID: hexID(12), Dataset: d.Name, DatasetID: d.ID, Config: in.ConfigID, Priority: cmp.Or(in.Priority, "MID"), RunsOn: in.RunsOn,
		Note: cfg.ignored(), Created: time.Now().UTC()}
	if r.Job, r.Seq, err = c.startRun(d, cfg); err != nil {
		return err
	}
	var b state.Batch
	b.Run(r, 0)
	if err := c.commit(&b); err != nil {
		return err
	}
	return c.answer(createdEntity{ID: r.ID})
}

func (c *call) runConfig(id string) (cfg workerConfig, err error) {
	unknown := refuse(http.StatusNotFound, "DOCKER_WORKER_CONFIG_UNKNOWN", "there is no compute worker config %.40q", id)
	if !idPattern.MatchString(id) {
		return cfg, unknown
	}
	stored, _, err := c.store.RunConfig(c.r.Context(), c.user, id)
	if errors.Is(err, state.ErrNotFound) {
		return cfg, unknown
	}
	if err != nil {
		return cfg, err
	}
	if err := json.Unmarshal(stored.Config, &cfg); err != nil {
		return cfg, err
	}
	if cfg.Selection == nil {
		return cfg, bad("the config has no selection, and this service does nothing else")
	}
	return cfg, nil
}

// runs are those of the user that keep wants, oldest first.
func (c *call) runs(keep func(state.Run) bool) (all []state.Run, err error) {
	err = c.store.Runs(c.r.Context(), c.user, func(r state.Run, _ uint64) error {
		if keep(r) {
			all = append(all, r)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b state.Run) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return all, err
}

func (c *call) listScheduled() error {
	want, err := c.oneOf("state", "OPEN", "LOCKED", "DONE", "CANCELED")
	if err != nil {
		return err
	}
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	all, err := c.runs(func(r state.Run) bool { return r.DatasetID == d.ID })
	if err != nil {
		return err
	}
	list := []scheduledRun{}
	for _, r := range all {
		p, err := c.progress(r)
		if err != nil {
			return err
		}
		if want == "" || want == p.scheduled {
			list = append(list, scheduledRun{ID: r.ID, DatasetID: r.DatasetID, ConfigID: r.Config, Priority: r.Priority, RunsOn: append([]string{}, r.RunsOn...),
				State: p.scheduled, CreatedAt: millis(r.Created), LastModifiedAt: millis(p.at), Owner: ownerID(r.Owner)})
		}
	}
	return c.answer(list)
}

// ownerID is the id of a user, who has none but the name.
func ownerID(user string) string { return state.HexID(24, "user", user) }

// answerRuns lists a page of the runs that a worker has picked up.
func (c *call) answerRuns(keep func(state.Run) bool) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	all, err := c.runs(keep)
	if err != nil {
		return err
	}
	list := []computeRun{}
	for _, r := range all {
		w, err := c.wireRun(r)
		if err != nil {
			return err
		}
		if w != nil {
			list = append(list, *w)
		}
	}
	from, to := p.of(len(list))
	return c.answer(list[from:to])
}

func (c *call) listRuns() error { return c.answerRuns(func(state.Run) bool { return true }) }

func (c *call) queryRuns() error {
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	return c.answerRuns(func(r state.Run) bool { return r.DatasetID == d.ID })
}

// getRun answers for a run, by its id or its id as scheduled, once a worker
// has picked it up.
func (c *call) getRun() error {
	id := c.r.PathValue("run")
	unknown := refuse(http.StatusNotFound, "DOCKER_RUN_UNKNOWN", "there is no run %.40q, or no worker has picked it up yet", id)
	if !idPattern.MatchString(id) {
		return unknown
	}
	r, _, err := c.store.Run(c.r.Context(), c.user, id)
	if errors.Is(err, state.ErrNotFound) {
		return unknown
	}
	if err != nil {
		return err
	}
	w, err := c.wireRun(r)
	if err != nil {
		return err
	}
	if w == nil {
		return unknown
	}
	return c.answer(w)
}

// getArtifact answers that a run has no artifacts.
func (c *call) getArtifact() error {
	return refuse(http.StatusNotFound, "DOCKER_RUN_ARTIFACT_UNKNOWN", "runs have no artifacts here: their result is a tag")
}

// wireRun is a run on the wire, nil before a worker has picked it up.
func (c *call) wireRun(r state.Run) (*computeRun, error) {
	p, err := c.progress(r)
	if err != nil || p.scheduled == "OPEN" {
		return nil, err
	}
	return &computeRun{ID: r.ID, DockerVersion: "nextbatch", State: p.state, CreatedAt: millis(r.Created), LastModifiedAt: millis(p.at), DatasetID: r.DatasetID,
		ConfigID: r.Config, ScheduledID: r.ID, Message: p.message, Artifacts: []struct{}{}}, nil
}
