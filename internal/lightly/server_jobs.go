package lightly

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// jobID is a job on the wire: the job's id, and where its event is in AL_IN,
// so that it can be found before a worker has taken it.
func jobID(id string, seq uint64) string { return id + "-" + strconv.FormatUint(seq, 10) }

var jobPattern = regexp.MustCompile(`^([a-f0-9]{32})-([0-9]{1,19})$`)

// eventSource is the source of events of this API, followed by the user.
const eventSource = "/lightly/"

// sees reports whether a job is the user's to see, by the source of its event
// and its dataset, the zero Dataset if that was deleted. A job of another user
// on a dataset that is now this user's is of a former dataset of the name.
func (c *call) sees(source string, d state.Dataset) bool {
	user, ours := strings.CutPrefix(source, eventSource)
	switch {
	case !ours:
		return visible(d, c.user)
	case user == c.user:
		return true
	}
	return d.ID != "" && d.Owner == ""
}

// newEvent makes an input event about a dataset.
func (c *call) newEvent(d state.Dataset, eventType string, data any) (event.Event, error) {
	e := event.New()
	e.SetType(eventType)
	e.SetSource(eventSource + c.user)
	e.SetID(hexID(16))
	e.SetTime(time.Now().UTC())
	e.SetSubject(d.Name)
	e.SetExtension(events.DatasetID, d.ID)
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		return e, err
	}
	_, err := events.Parse(e)
	if refused, ok := errors.AsType[*events.Error](err); ok {
		return e, bad("%s", refused.Message)
	}
	return e, err
}

// publishTime is how long to try to publish an event.
const publishTime = 20 * time.Second

// publish sends an event and returns the job that it becomes, and its place in
// AL_IN.
func (c *call) publish(e event.Event) (job string, seq uint64, err error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), publishTime)
	defer cancel()
	ack, err := events.Publish(ctx, c.js, e)
	if err != nil {
		c.log.Error().Err(err).Str("type", e.Type()).Msg("publish")
		return "", 0, refuse(http.StatusInternalServerError, "JOB_CREATION_FAILED", "the job could not be started: no answer from the message bus. Look whether its tag comes before you try again")
	}
	return state.JobID(e.Source(), e.ID()), ack.Sequence, nil
}

// wireStatus is what clients call the state of a job.
func wireStatus(j state.Job) string {
	switch j.State {
	case state.JobDone:
		return jobFinished
	case state.JobDead:
		return jobFailed
	case state.JobWaiting:
		return jobWaiting
	}
	return jobRunning
}

func jobType(eventType string) string {
	switch eventType {
	case events.EmbeddingsReady:
		return "EMBEDDING"
	case events.SelectionRequested:
		return "SAMPLING"
	}
	return "DATASET_PROCESSING"
}

func (c *call) getJob() error {
	wire := c.r.PathValue("j")
	unknown := refuse(http.StatusNotFound, "JOB_UNKNOWN", "there is no job %.80q", wire)
	parts := jobPattern.FindStringSubmatch(wire)
	if parts == nil {
		return unknown
	}
	job, _, err := c.store.Job(c.r.Context(), parts[1])
	if errors.Is(err, state.ErrNotFound) {
		seq, _ := strconv.ParseUint(parts[2], 10, 64)
		return c.waitingJob(parts[1], seq, wire, unknown)
	}
	if err != nil {
		return err
	}
	d, _, err := c.store.Dataset(c.r.Context(), job.Dataset)
	switch {
	case err != nil && !errors.Is(err, state.ErrNotFound):
		return err
	case !c.sees(job.Event.Source, d):
		return unknown
	case !visible(d, c.user):
		d = state.Dataset{} // that of the job was deleted
	}
	status, err := c.jobStatus(wire, job, d)
	if err != nil {
		return err
	}
	return c.answer(status)
}

// jobStatus is the answer to a poll; d is the zero Dataset if the job's was
// deleted.
func (c *call) jobStatus(wire string, job state.Job, d state.Dataset) (JobStatus, error) {
	s := JobStatus{ID: wire, DatasetID: d.ID, Status: wireStatus(job), WaitTimeTillNextPoll: 1,
		CreatedAt: millis(job.Started), LastModifiedAt: millis(job.Updated), Meta: &JobMeta{Total: int64(job.Total), Processed: int64(job.Done)}}
	switch s.Status {
	case jobFailed:
		s.FinishedAt, s.WaitTimeTillNextPoll = millis(job.Updated), 0
		s.Error = failure(job)
	case jobFinished:
		s.FinishedAt, s.WaitTimeTillNextPoll = millis(job.Updated), 0
		s.Result = &JobResult{Type: jobType(job.Event.Type), Data: ""}
		if job.Tag == "" {
			return s, nil
		}
		t, _, err := c.store.Tag(c.r.Context(), job.Dataset, job.Tag)
		switch {
		case errors.Is(err, state.ErrNotFound) || err == nil && t.Job != job.ID:
			s.Status, s.Result, s.Error = jobFailed, nil, fmt.Sprintf("tag %q, which this job made, was deleted", job.Tag)
		case err != nil:
			return s, err
		default:
			s.Result.Type, s.Result.Data = "SAMPLING", t.ID
		}
	}
	return s, nil
}

// lightlyCodes are Lightly's codes for those of the worker.
var lightlyCodes = map[string]string{
	"no_scores": "TAG_NO_SCORES_AVAILABLE", "scores_mismatch": "TAG_NO_SCORES_AVAILABLE", "unknown_score": "TAG_NO_SCORES_AVAILABLE", "tag_exists": "TAG_NAME_EXISTS", "unknown_dataset": "DATASET_UNKNOWN",
	"unknown_tag": "TAG_UNKNOWN", "unknown_embedding": "EMBEDDING_UNKNOWN", "embedding_not_ready": "EMBEDDING_NOT_READY",
}

// failure is why a job failed, as users read it.
func failure(job state.Job) string {
	if job.Error == nil {
		return "the job failed"
	}
	text := cmp.Or(lightlyCodes[job.Error.Code], job.Error.Code) + ": " + job.Error.Message
	if job.Error.Hint != "" {
		text += "; " + job.Error.Hint
	}
	return text
}

// waitingJob answers for a job that no worker has taken yet.
func (c *call) waitingJob(id string, seq uint64, wire string, unknown error) error {
	if seq == 0 {
		return unknown
	}
	m, err := state.Ask(c.r.Context(), func(ctx context.Context) (*jetstream.RawStreamMsg, error) { return c.in.GetMsg(ctx, seq) })
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		info, err := state.Ask(c.r.Context(), func(ctx context.Context) (*jetstream.StreamInfo, error) { return c.in.Info(ctx) })
		if err != nil {
			return err
		}
		if seq > info.State.LastSeq {
			return unknown
		}
		return c.answer(JobStatus{ID: wire, Status: jobFailed, Error: "the event of this job was dropped before a worker took it: is a worker running?"})
	}
	if err != nil {
		return err
	}
	e, err := events.Decode(m.Header, m.Data)
	if err != nil || state.JobID(e.Source(), e.ID()) != id {
		return unknown
	}
	d, _, err := c.store.Dataset(c.r.Context(), e.Subject())
	switch {
	case err != nil && !errors.Is(err, state.ErrNotFound):
		return err
	case !c.sees(e.Source(), d):
		return unknown
	}
	return c.answer(JobStatus{ID: wire, Status: jobWaiting, WaitTimeTillNextPoll: 1, CreatedAt: millis(m.Time), Meta: &JobMeta{}})
}

// listJobs lists the jobs on the datasets that the user sees, newest first.
func (c *call) listJobs() error {
	seen := map[string]state.Dataset{}
	all, err := c.datasets(func(state.Dataset) bool { return true })
	if err != nil {
		return err
	}
	for _, d := range all {
		seen[d.Name] = d
	}
	jobs := []state.Job{}
	err = c.store.Jobs(c.r.Context(), func(j state.Job) error {
		if d, ok := seen[j.Dataset]; ok && c.sees(j.Event.Source, d) {
			jobs = append(jobs, j)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(jobs, func(a, b state.Job) int { return cmp.Compare(b.Seq, a.Seq) })
	return c.list(func(item func(any) error) error {
		for _, j := range jobs {
			wire := jobID(j.ID, j.Seq)
			row := listedJob{ID: wire, JobID: wire, JobType: jobType(j.Event.Type), Status: wireStatus(j), DatasetID: seen[j.Dataset].ID, CreatedAt: millis(j.Started)}
			if j.Finished() {
				row.FinishedAt = millis(j.Updated)
			}
			if err := item(row); err != nil {
				return err
			}
		}
		return nil
	})
}
