package lightly

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/failpoint"
	"nextbatch/internal/state"
)

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

// scheduleRun stores a run and publishes its event.
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
	eventType, data, err := c.runData(d, cfg)
	if err != nil {
		return err
	}
	e, err := c.newEvent(d, eventType, data)
	if err != nil {
		return err
	}
	r := state.Run{Owner: c.user, ID: hexID(12), Dataset: d.Name, DatasetID: d.ID, Config: in.ConfigID, Priority: cmp.Or(in.Priority, "MID"), RunsOn: in.RunsOn,
		Job: state.JobID(e.Source(), e.ID()), Note: cfg.ignored(), Created: time.Now().UTC()}
	if err := c.startRun(r, e); err != nil {
		return err
	}
	return c.answer(createdEntity{ID: r.ID})
}

// startRun stores a run and publishes its event, in this order: a run whose
// scheduling breaks off is seen, and so is what became of it.
func (c *call) startRun(r state.Run, e event.Event) error {
	var b state.Batch
	b.Run(r, 0)
	rev, err := c.store.Commit(c.r.Context(), &b)
	if err != nil {
		return err
	}
	failpoint.Hit("run-stored")
	if _, r.Seq, err = c.publish(e); err != nil {
		return err
	}
	failpoint.Hit("run-published")
	b = state.Batch{}
	b.Run(r, rev)
	if _, err := c.store.Commit(c.r.Context(), &b); err != nil { // it runs all the same
		c.log.Warn().Err(err).Str("run", r.ID).Msg("the place of a run's event was not stored")
	}
	return nil
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
		if len(list)-p.from >= p.size { // each takes a look at its job
			break
		}
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

// runProgress is how far a run is.
type runProgress struct {
	scheduled string // OPEN, LOCKED or DONE
	state     string // of the run, once it is no more open
	message   string
	at        time.Time // of the last news
}

// progress looks at the job of a run.
func (c *call) progress(r state.Run) (runProgress, error) {
	ctx := c.r.Context()
	job, _, err := c.store.Job(ctx, r.Job)
	if err == nil {
		return jobProgress(job, r.Note), nil
	}
	if !errors.Is(err, state.ErrNotFound) {
		return runProgress{}, err
	}
	if r.Seq == 0 { // its scheduling goes on, or broke off
		if time.Since(r.Created) < 2*publishTime {
			return runProgress{scheduled: "OPEN", at: r.Created}, nil
		}
		return runProgress{"DONE", "FAILED", "the process that scheduled this run ended meanwhile: schedule it again if no tag comes", r.Created}, nil
	}
	_, err = state.Ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) { return c.in.GetMsg(ctx, r.Seq) })
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return runProgress{"DONE", "FAILED", "the event of this run was dropped before a worker took it: is a worker running?", r.Created}, nil
	}
	return runProgress{scheduled: "OPEN", at: r.Created}, err
}

// jobProgress says in the words of a run how far its job is.
func jobProgress(j state.Job, note string) runProgress {
	p := runProgress{"LOCKED", "STARTED", note, j.Updated}
	switch {
	case j.State == state.JobDead:
		p.scheduled, p.state, p.message = "DONE", "FAILED", failure(j)
	case j.State == state.JobDone:
		parts := append([]string{"made the tag " + j.Tag}, j.Warnings...)
		if note != "" {
			parts = append(parts, note)
		}
		p.scheduled, p.state, p.message = "DONE", "COMPLETED", strings.Join(parts, "; ")
	case j.State == state.JobWaiting && j.Error != nil:
		p.message = fmt.Sprintf("attempt %d failed, another one follows: %s", j.Attempt, j.Error.Message)
	case j.Stage == "scoring":
		p.state = "COMPUTING_ACTIVE_LEARNING_SCORES"
	case j.Stage == "selecting":
		p.state = "SAMPLING"
	}
	return p
}
