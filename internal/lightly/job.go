package lightly

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// The patience while a job runs: polls that may fail in a row, and looks for
// the traces of a request whose answer was lost.
const (
	maxPollErrors = 20
	maxLooks      = 4
)

// start asks for the sampling and returns the id of its job. It repeats the
// request only where the platform surely did not act on it.
func (s *sampling) start(ctx context.Context, embedding string) (string, error) {
	body := newSampling{
		NewTagName: s.q.TagName, Method: s.q.Method, QueryTagID: s.query.id, PreselectedTagID: s.preselected.id,
		RowCount: s.rowCount, ScoreType: s.q.Score,
	}
	body.Config.StoppingCondition = stoppingCondition{NSamples: float64(s.q.NSamples), MinDistance: s.q.MinDistance}
	if s.q.MinDistance <= 0 {
		body.Config.StoppingCondition.MinDistance = -1
	}
	for attempt := 1; ; attempt++ {
		var made createdEntity
		err := s.c.once(ctx, post(s.path("/embeddings/"+embedding+"/sampling"), body, one(&made)))
		if err == nil {
			return made.JobID, checkID(made.JobID)
		}
		e, _ := errors.AsType[*Error](err)
		if !e.unsent || attempt == maxAttempts || e.RetryAfter > maxRetryAfter {
			return "", err
		}
		if err := s.c.pause(ctx, e, attempt); err != nil {
			return "", err
		}
	}
}

// settle finds out what became of a sampling request whose answer was lost or
// that found its tag name taken. If neither the tag nor an unfinished job of
// the dataset shows up, the caller's next attempt may start over.
func (s *sampling) settle(ctx context.Context, failed error) (Tag, error) {
	e, _ := errors.AsType[*Error](failed)
	conflict := e.status == http.StatusConflict
	if e.unsent || e.context != nil || !e.Transient && !conflict && e.Code != "remote_bad_answer" {
		return Tag{}, failed
	}
	var jobs map[string]bool // unfinished ones, of those that were there at the first look
	for looks, wait := 0, s.c.pollMin; looks < maxLooks; wait = min(2*wait, s.c.pollMax) {
		if err := sleep(ctx, wait, "looking for tag "+s.q.TagName); err != nil {
			return Tag{}, err
		}
		tag, found, err := s.look(ctx)
		if err != nil || found {
			return tag, err
		}
		now, err := s.unfinished(ctx)
		if err != nil {
			return Tag{}, err
		}
		if jobs == nil {
			jobs = now
		}
		for id := range jobs {
			if !now[id] {
				delete(jobs, id)
			}
		}
		if len(jobs) == 0 {
			looks++
		}
	}
	if conflict {
		e.Transient = true // the name is kept by a job that does not show
		return Tag{}, e
	}
	return Tag{}, &Error{Code: "remote_outcome_unknown", Transient: true,
		Message: "the sampling request has left no tag and no job; its answer was: " + e.Message}
}

// unfinished returns the ids of the dataset's jobs that still run; none on a
// server without a list of jobs.
func (s *sampling) unfinished(ctx context.Context) (map[string]bool, error) {
	ids := map[string]bool{}
	err := s.c.do(ctx, get("/v1/jobs", nil, listAnswer, each(func() { clear(ids) }, func(j listedJob) error {
		if j.DatasetID == s.dataset && running(j.Status) {
			ids[j.JobID] = true
		}
		return nil
	})))
	if e, ok := errors.AsType[*Error](err); ok && e.status >= 400 && !e.Transient {
		return ids, nil
	}
	return ids, err
}

func running(status string) bool {
	return status == jobWaiting || status == jobRunning || status == jobUnknown
}

// look returns the tag of the query's name if it is there.
func (s *sampling) look(ctx context.Context) (Tag, bool, error) {
	tags, err := s.readTags(ctx)
	if err != nil {
		return Tag{}, false, err
	}
	tag, found := tags[s.q.TagName]
	if !found {
		return Tag{}, false, nil
	}
	return tag, true, s.own(tag)
}

// adopt takes a tag that was there before this Select began, if an earlier
// attempt of the same query made it.
func (s *sampling) adopt(tags map[string]Tag, tag Tag) (_ Tag, err error) {
	if s.query, err = s.find(tags, s.querySet()); err != nil {
		return Tag{}, err
	}
	if s.chosen.Count() > 0 {
		if s.preselected, err = s.find(tags, s.preselectedSet()); err != nil {
			return Tag{}, err
		}
	}
	return tag, s.own(tag)
}

// own refuses a tag of the query's name that is not of its making. Where a set
// has no tag yet, no attempt got as far as a job.
func (s *sampling) own(tag Tag) error {
	mask, err := s.maskOf(tag)
	if err != nil {
		return err
	}
	ready := s.query.id != "" && (s.preselected.id != "" || s.chosen.Count() == 0)
	fits := s.q.NSamples < 0 || mask.Count() <= s.q.NSamples
	if ready && fits && tag.QueryTagID == s.query.id && tag.PreselectedTagID == s.preselected.id {
		return nil
	}
	return &Error{Code: "tag_exists", Message: fmt.Sprintf("the platform's dataset %s already has a tag %q, of another selection", s.q.Dataset, s.q.TagName),
		Hint: "choose another name for the selection, or delete the tag on the platform"}
}

// wait polls the job until it ends and returns its tag.
func (s *sampling) wait(ctx context.Context, job string) (Tag, error) {
	pause, fails := s.c.pollMin, 0
	for {
		if err := sleep(ctx, pause, "waiting for job "+job); err != nil {
			return Tag{}, err
		}
		var status JobStatus
		if err := s.c.once(ctx, get("/v1/jobs/"+job, nil, smallAnswer, one(&status))); err != nil {
			// A job may not be visible yet, or its server restarting.
			e, _ := errors.AsType[*Error](err)
			if e.context != nil || !e.Transient && e.status != http.StatusNotFound && e.Code != "remote_bad_answer" {
				return Tag{}, err
			}
			if fails++; fails == maxPollErrors {
				return s.vanished(ctx, job, e)
			}
			pause = min(max(2*pause, e.RetryAfter), s.c.pollMax)
			continue
		}
		fails = 0
		if m := status.Meta; m != nil && s.q.Progress != nil {
			s.q.Progress(int(m.Processed), int(m.Total))
		}
		switch {
		case status.Status == jobFailed:
			return s.failed(ctx, job, status.Error)
		case running(status.Status):
			pause = s.pollWait(status.WaitTimeTillNextPoll)
		default:
			return s.finished(ctx, job, status.Result)
		}
	}
}

// pollWait bounds what the platform says, in seconds.
func (s *sampling) pollWait(seconds float64) time.Duration {
	seconds = min(max(seconds, s.c.pollMin.Seconds()), s.c.pollMax.Seconds())
	return time.Duration(seconds * float64(time.Second))
}

// finished reads the tag of a job.
func (s *sampling) finished(ctx context.Context, job string, result *JobResult) (Tag, error) {
	if result == nil {
		return Tag{}, badAnswer("job %s is finished without a result", job)
	}
	id, _ := result.Data.(string)
	if err := checkID(id); err != nil {
		return Tag{}, err
	}
	var tag Tag
	if err := s.c.do(ctx, get(s.path("/tags/"+id), nil, smallAnswer, one(&tag))); err != nil {
		return Tag{}, err
	}
	if tag.ID != id || tag.Name != s.q.TagName {
		return Tag{}, badAnswer("job %s: tag %s is named %q, not %q", job, id, s.c.clean(tag.Name), s.q.TagName)
	}
	return tag, nil
}

// failed reports a job that failed, unless the tag is there all the same: of
// the job of an earlier attempt, which took the name first.
func (s *sampling) failed(ctx context.Context, job, text string) (Tag, error) {
	if tag, found, err := s.look(ctx); err != nil || found {
		return tag, err
	}
	return Tag{}, &Error{Code: "remote_job_failed", Message: fmt.Sprintf("job %s failed on the platform: %s", job, s.c.clean(text))}
}

// vanished reports a job that could not be asked for too often in a row,
// unless its tag is there.
func (s *sampling) vanished(ctx context.Context, job string, last *Error) (Tag, error) {
	if tag, found, err := s.look(ctx); err == nil && found {
		return tag, nil
	}
	return Tag{}, &Error{Code: "remote_job_vanished", Transient: true, RetryAfter: last.RetryAfter,
		Message: fmt.Sprintf("job %s: %d polls in a row were of no use, the last: %s", job, maxPollErrors, last.Message)}
}
