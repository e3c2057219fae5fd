package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/textproto"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"nextbatch/internal/events"
	"nextbatch/internal/failpoint"
	"nextbatch/internal/state"
)

// claim is the right to finish a job: the revision of its record. Whoever
// writes the record next holds it, and everybody else is fenced.
type claim struct {
	w   *Worker
	m   *events.Message
	mu  sync.Mutex // guards the fields below
	job state.Job
	rev uint64

	exhausted bool // no attempt is left: the claim is for burying
	memory    admitted
	abandoned bool // the work goes on, and gives its memory back when it ends
}

// Handle takes one input through the protocol: look whether it is done, claim
// it, renew the claim while working, commit. Its answer settles the message.
func (w *Worker) Handle(ctx context.Context, m *events.Message) error {
	log := w.log.With().Uint64("seq", m.Seq).Str("event_id", m.Event.ID()).Str("event_type", m.Event.Type()).Logger()
	began := time.Now()
	w.metrics.delivered(m)
	err := w.handle(log.WithContext(ctx), m)
	w.metrics.handled(m, err, time.Since(began))
	log.Info().Str("outcome", outcomeOf(err)).Dur("took", time.Since(began)).AnErr("reason", err).Msg("event")
	failpoint.Hit("before-ack")
	return err
}

func (w *Worker) handle(ctx context.Context, m *events.Message) error {
	failpoint.Hit("delivered")
	c := &claim{w: w, m: m}
	place := strconv.FormatUint(m.Seq, 10) // of an event without a usable identity
	source, id := m.Event.Source(), m.Event.ID()
	if m.Err != nil && id == "" { // the envelope could not be read
		source, id = noSource, place
	}
	if err := c.read(ctx, source, id); err != nil {
		return err
	}
	switch same := c.job.Digest == dataDigest(m); {
	case same && c.job.Finished():
		return nil
	case !same: // not to be swallowed
		m.Err = &events.Error{Code: "id_reused", Message: fmt.Sprintf("an event with source %q and id %q but other data came before", source, id),
			Hint: "give every event an id of its own; repeat an id only to send the same event again"}
		if err := c.read(ctx, noSource, place); err != nil || c.job.Finished() {
			return err
		}
	}
	if wait := c.heldElsewhere(); wait > 0 {
		return &events.Retry{After: wait, Err: errors.New("another worker is at it")}
	}
	weight := int64(1)
	if c.job.State == state.JobRunning { // the last attempt ended without a word
		weight = int64(w.cfg.Slots)
	}
	if err := w.slots.Acquire(ctx, weight); err != nil {
		return &events.Retry{Err: err}
	}
	defer w.slots.Release(weight)
	if err := w.admit(ctx, c); err != nil { // before the claim: waiting is no attempt
		return err
	}
	defer func() {
		if !c.abandoned {
			w.dismiss(c)
		}
	}()
	if ctx.Err() != nil {
		return &events.Retry{Err: context.Cause(ctx)}
	}
	if err := c.take(ctx); errors.Is(err, events.ErrFenced) {
		return &events.Retry{After: jitter(c.w.cfg.AckWait / 30), Err: errors.New("another worker claimed it first")}
	} else if err != nil {
		return err
	}
	return c.run(ctx)
}

// noSource is the source of jobs that are named by their place in the stream:
// no event can have it.
const noSource = ""

// read loads the job record of an event identity, or begins one.
func (c *claim) read(ctx context.Context, source, id string) (err error) {
	jobID := state.JobID(source, id)
	c.job, c.rev, err = c.w.store.Job(ctx, jobID)
	if errors.Is(err, state.ErrNotFound) {
		if c.m.Event.ID() != "" { // what the sender calls it
			source, id = c.m.Event.Source(), c.m.Event.ID()
		} else {
			source = "stream"
		}
		c.job, c.rev = state.Job{ID: jobID, Event: events.Cause{ID: id, Source: source, Type: events.TypeOf(c.m.Event)},
			Dataset: datasetOf(c.m), Digest: dataDigest(c.m)}, 0
		return nil
	}
	return err
}

// heldElsewhere returns how long a claim that another delivery renewed lately
// should be left alone. It saves work; safety does not depend on clocks.
func (c *claim) heldElsewhere() time.Duration {
	if c.job.State != state.JobRunning {
		return 0
	}
	left := c.w.cfg.AckWait*9/10 - time.Since(c.job.Updated)
	if left <= 0 {
		return 0
	}
	return min(left, c.w.cfg.AckWait/10+jitter(c.w.cfg.AckWait/10))
}

// take claims the job: the write is on disk before the work starts, so that an
// attempt that kills the process is counted too.
func (c *claim) take(ctx context.Context) error {
	c.job.Suspect = c.job.State == state.JobRunning
	c.job.State, c.job.Worker, c.job.Seq = state.JobRunning, c.w.cfg.Name, c.m.Seq
	if c.exhausted = c.job.Attempt >= c.w.cfg.MaxAttempts; !c.exhausted {
		c.job.Attempt++
	}
	c.job.Started = time.Now().UTC()
	c.job.Stage, c.job.Done, c.job.Total = "", 0, 0
	failpoint.Hit("before-claim")
	if err := c.write(ctx); err != nil {
		return err
	}
	failpoint.Hit("after-claim")
	return nil
}

// write replaces the job record. A conflict means that the claim is lost. A
// write that has begun is not canceled: it could be made and not be known of.
func (c *claim) write(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.job.Updated = time.Now().UTC()
	var b state.Batch
	b.Job(c.job, c.rev)
	rev, err := c.w.store.Commit(ctx, &b)
	if errors.Is(err, state.ErrUnknown) { // it may be written after all
		var now state.Job
		if now, rev, err = c.w.store.Job(ctx, c.job.ID); err == nil && !now.Updated.Equal(c.job.Updated) {
			err = state.ErrConflict
			if rev == c.rev {
				err = state.ErrUnavailable
			}
		}
	}
	if errors.Is(err, state.ErrConflict) {
		c.w.metrics.conflicts.WithLabelValues("fenced").Inc()
		return events.ErrFenced
	}
	if err != nil {
		return &events.Retry{After: backoff(1), Err: err}
	}
	c.rev = rev
	return nil
}

// progress notes how far the work is; the next renewal tells.
func (c *claim) progress(stage string, done, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.job.Stage, c.job.Done, c.job.Total = stage, done, total
}

// run works on a claimed job and writes how it ended.
func (c *claim) run(ctx context.Context) error {
	if c.exhausted {
		last := "every attempt ended without a word: the process crashed, was killed or hung"
		if c.job.Error != nil {
			last = "last error: " + c.job.Error.Message
		}
		return c.bury(ctx, &events.Error{Code: "attempts_exhausted",
			Message: fmt.Sprintf("given up after %d attempts; %s", c.w.cfg.MaxAttempts, last),
			Hint:    "worker dlq show has the event; worker dlq replay sends it again once the cause is mended"})
	}
	if c.m.Err != nil {
		return c.fail(ctx, c.m.Err)
	}
	if expired(c.m.Event) {
		c.job.State, c.job.Stage = state.JobDone, "expired"
		return c.write(ctx)
	}
	c.w.metrics.inFlight.Inc()
	defer c.w.metrics.inFlight.Dec()
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	deadline := time.AfterFunc(c.w.cfg.Deadline, func() { cancel(errDeadline) })
	defer deadline.Stop()
	stop := c.renew(work, cancel)
	err := c.await(work)
	stop()
	if cause := context.Cause(work); err != nil && cause != nil && ctx.Err() == nil {
		err = cause // fenced, or over the deadline
	}
	if err == nil {
		return nil
	}
	return c.fail(ctx, err)
}

var errDeadline = errors.New("the attempt took longer than AL_DEADLINE allows")

// abandonAfter is how long work may ignore its canceled context.
const abandonAfter = 5 * time.Second

// await does the work. Work that does not stop when it is told to is left
// behind: its context and its claim are gone, so it cannot commit.
func (c *claim) await(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- c.process(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(abandonAfter):
		c.w.log.Error().Str("job", c.job.ID).Msg("work does not stop: left behind")
		c.abandoned = true
		go func() {
			<-done
			c.w.dismiss(c)
		}()
		return context.Cause(ctx)
	}
}

// process runs the handler of the event's type; a panic is an error like any
// other.
func (c *claim) process(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.w.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("handler panicked")
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	failpoint.Hit("work:" + datasetOf(c.m))
	return c.w.process(ctx, c)
}

// renew writes the record from time to time, with the progress in it. A
// renewal that finds the claim lost cancels the work.
func (c *claim) renew(ctx context.Context, cancel context.CancelCauseFunc) (stop func()) {
	every := min(c.w.cfg.AckWait/3, 2*time.Second)
	ctx, end := context.WithCancel(context.WithoutCancel(ctx)) // work that is told to stop is still ours
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(every):
			}
			err := c.write(ctx)
			if err != nil && ctx.Err() == nil {
				c.w.metrics.heartbeats.Inc()
			}
			if errors.Is(err, events.ErrFenced) {
				cancel(events.ErrFenced)
				return
			}
		}
	})
	return func() { end(); wg.Wait() }
}

// fail ends an attempt: for good if the event can never succeed, else with
// another attempt after a while. An attempt that the worker's own stopping cut
// short is not counted.
func (c *claim) fail(ctx context.Context, err error) error {
	var permanent *events.Error
	if errors.Is(err, events.ErrFenced) {
		return err
	}
	drained := errors.Is(context.Cause(ctx), events.ErrDraining)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var later *events.Retry
	wait := backoff(c.job.Attempt)
	switch {
	case errors.As(err, &permanent):
		return c.bury(ctx, permanent)
	case drained:
		c.job.Attempt--
		wait = 0
	case errors.As(err, &later): // waiting for another event is no attempt
		c.job.Attempt--
		wait = later.After
	case errors.Is(err, state.ErrUnavailable): // nor is a server that is away
		c.job.Attempt--
	case c.job.Attempt >= c.w.cfg.MaxAttempts:
		return c.bury(ctx, &events.Error{Code: "attempts_exhausted",
			Message: fmt.Sprintf("given up after %d attempts; last error: %v", c.job.Attempt, err),
			Hint:    "worker dlq show has the event; worker dlq replay sends it again once the cause is mended"})
	}
	c.job.State = state.JobWaiting
	c.job.Error = &events.Failed{Code: "transient", Message: err.Error(), Cause: c.job.Event, Attempts: c.job.Attempt}
	if err := c.write(ctx); err != nil {
		return err
	}
	return &events.Retry{After: wait, Err: err}
}

// bury makes the event a dead letter: its record, the selection.failed and the
// full original in one batch.
func (c *claim) bury(ctx context.Context, why *events.Error) error {
	failed := events.Failed{Dataset: c.job.Dataset, Cause: c.job.Event, Code: why.Code,
		Message: why.Message, Hint: why.Hint, Attempts: c.job.Attempt}
	c.mu.Lock()
	defer c.mu.Unlock()
	job := c.job
	job.State, job.Error, job.Updated = state.JobDead, &failed, time.Now().UTC()
	var b state.Batch
	b.Job(job, c.rev)
	if err := c.w.publish(ctx, &b, events.SelectionFailed, failed.Dataset, job.ID, failed, "", c.m); err != nil {
		return &events.Retry{After: backoff(1), Err: err}
	}
	header := nats.Header{}
	for k, v := range c.m.Header {
		switch canonical := textproto.CanonicalMIMEHeaderKey(k); {
		case strings.HasPrefix(canonical, "Nats-"): // the server would act on it again
		case canonical == "Status" || canonical == "Description": // clients would take the letter for an answer of the server
			header["Al-Original-"+canonical] = v
		default:
			header[k] = v
		}
	}
	header.Set("Al-Subject", c.m.Subject)
	header.Set("Al-Seq", strconv.FormatUint(c.m.Seq, 10))
	header.Set("Al-Job", job.ID)
	header.Set("Al-Code", why.Code)
	header.Set("Al-Message", oneLine(why.Message))
	header.Set("Al-Hint", oneLine(why.Hint))
	header.Set("Al-Attempts", strconv.Itoa(job.Attempt))
	b.Publish(events.DeadSubject(failed.Dataset), header, c.m.Data, "dead-"+job.ID)
	failpoint.Hit("before-commit")
	_, err := c.w.store.Commit(ctx, &b)
	failpoint.Hit("after-commit")
	if err != nil {
		return c.undecided(ctx, err, why)
	}
	c.w.metrics.dead.WithLabelValues(why.Code).Inc()
	return why
}

// undecided finds out what became of a commit that did not succeed plainly.
// The returned error is nil or end when the job is finished, ErrFenced when
// somebody else has it, errRebase when other state moved and the work is to
// be done again on it.
func (c *claim) undecided(ctx context.Context, cause error, end error) error {
	if !errors.Is(cause, state.ErrConflict) && !errors.Is(cause, state.ErrUnknown) {
		return fmt.Errorf("commit: %w", cause)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	job, rev, err := c.w.store.Job(ctx, c.job.ID)
	switch {
	case err != nil:
		return fmt.Errorf("commit: %w; then: %w", cause, err)
	case job.State == state.JobDone:
		c.w.metrics.conflicts.WithLabelValues("duplicate").Inc()
		return nil
	case job.State == state.JobDead:
		if end != nil {
			return end
		}
		return events.ErrFenced
	case rev != c.rev:
		c.w.metrics.conflicts.WithLabelValues("fenced").Inc()
		return events.ErrFenced
	}
	c.w.metrics.conflicts.WithLabelValues("tag").Inc()
	return errRebase
}

// errRebase: nothing was written, since state that was read has changed.
var errRebase = errors.New("state moved: read again")

// backoff is the delay before attempt n+1: exponential with full jitter.
func backoff(n int) time.Duration {
	return 100*time.Millisecond + jitter(min(30*time.Second, 500*time.Millisecond<<min(n, 10)))
}

func jitter(d time.Duration) time.Duration { return rand.N(d + 1) }

func dataDigest(m *events.Message) string {
	if m.Err != nil && m.Event.ID() == "" {
		h := sha256.Sum256(m.Data)
		return hex.EncodeToString(h[:])
	}
	h := sha256.Sum256(m.Event.Data())
	return hex.EncodeToString(h[:])
}
