package events

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// Message is one delivery of an input, or of a result to who consumes those.
type Message struct {
	Seq       uint64    // stream sequence in AL_IN
	Time      time.Time // when the stream took it
	Subject   string
	Delivered uint64 // 1 for the first delivery; a hint only, a crash can lose it
	Header    nats.Header
	Data      []byte

	Event   event.Event // zero if Err is set and the envelope could not be read
	Payload any         // what Parse returned, or ParseOutput; nil if Err is set
	Err     error       // why the event cannot be accepted: an *Error

	msg delivery
}

// What a handler can answer besides nil, which acknowledges the message, and
// an *Error, which says that a dead letter was written and ends it.
type (
	// Retry asks for another delivery after a delay.
	Retry struct {
		After time.Duration
		Err   error
	}
)

// Error tells the reason. It is not unwrapped: what waits for another delivery
// is not also an event that can never succeed.
func (r *Retry) Error() string {
	return fmt.Sprintf("again in %v: %v", r.After.Round(time.Millisecond), r.Err)
}

// ErrFenced is the answer of a handler that lost its job to another worker:
// the message is left alone.
var ErrFenced = errors.New("another worker took the job over")

// ErrJob is the answer of a fold to a message that needs a handler of its own.
var ErrJob = errors.New("not to be folded")

// ErrDraining is the cause of a handler's canceled context when the worker
// stops and the time to finish is over.
var ErrDraining = errors.New("the worker is stopping")

// Consumer pulls inputs and settles them as the handler answers. Handlers run
// beside one another, Slots at a time; a message is asked for only when a slot
// is free, so none waits in a worker that is busy.
type Consumer struct {
	Source  Source
	Slots   int
	AckWait time.Duration // of the consumer: the lease is renewed every third of it
	Drain   time.Duration // how long handlers may go on after Run's context ends
	Results bool          // the messages are results, not inputs
	Handle  func(context.Context, *Message) error
	Log     zerolog.Logger
}

// pullWait bounds one pull: an outstanding pull is never canceled, since a
// message may be on its way, so it is also what stopping may take.
const pullWait = time.Second

// Run pulls until ctx ends, then waits for its handlers: up to Drain, after
// which their contexts are canceled with ErrDraining.
func (c *Consumer) Run(ctx context.Context) error {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	slots := make(chan struct{}, c.Slots)
	var handlers sync.WaitGroup
	backoff := pullWait / 10
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		msgs, err := c.Source.pull(1, pullWait)
		if err == nil {
			backoff = pullWait / 10
		}
		if err != nil || len(msgs) == 0 {
			<-slots
		}
		if err != nil {
			c.Log.Warn().Err(err).Msg("pull")
			sleep(ctx, backoff)
			backoff = min(2*backoff, 10*time.Second)
		}
		for _, msg := range msgs {
			handlers.Go(func() {
				defer func() { <-slots }()
				c.deliver(work, msg)
			})
		}
	}
	timer := time.AfterFunc(c.Drain, func() { cancel(ErrDraining) })
	defer timer.Stop()
	handlers.Wait()
	return nil
}

// deliver runs the handler on one message, keeps its lease as long as the
// handler runs, and settles it.
func (c *Consumer) deliver(ctx context.Context, msg delivery) {
	m := openInput(msg)
	if c.Results {
		m = openResult(msg)
	}
	done := make(chan error, 1)
	go func() { done <- c.Handle(ctx, m) }()
	beat := time.NewTicker(c.AckWait / 3)
	defer beat.Stop()
	for {
		select {
		case err := <-done:
			c.settle(m, err)
			return
		case <-beat.C:
			if err := msg.inProgress(); err != nil {
				c.Log.Warn().Err(err).Uint64("seq", m.Seq).Msg("heartbeat")
			}
		}
	}
}

func (c *Consumer) settle(m *Message, err error) {
	log := c.Log.With().Uint64("seq", m.Seq).Str("subject", m.Subject).Logger()
	var retry *Retry
	var dead *Error
	switch {
	case err == nil:
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := m.msg.doubleAck(ctx); err != nil {
			log.Warn().Err(err).Msg("ack")
		}
	case errors.Is(err, ErrFenced):
		log.Info().Msg("fenced")
	case errors.As(err, &dead):
		if err := m.msg.term(dead.Code); err != nil {
			log.Warn().Err(err).Msg("term")
		}
	case errors.As(err, &retry):
		if err := m.msg.nak(retry.After); err != nil {
			log.Warn().Err(err).Msg("nak")
		}
	default:
		log.Error().Err(err).Msg("handler")
		if err := m.msg.nak(time.Second); err != nil {
			log.Warn().Err(err).Msg("nak")
		}
	}
}

// LabelsConsumer pulls labels.completed by the batch, folds what it got and
// acknowledges it. Fold returns the answer to each message, as a handler
// would; what it answers with ErrJob goes to the handler of Jobs, beside the
// folding.
type LabelsConsumer struct {
	Jobs    Consumer // Source and Slots are not used: the handler limits itself
	Source  Source
	Batch   int
	Timeout time.Duration // of one fold; well below the consumer's AckWait
	Fold    func(context.Context, []*Message) []error
}

// Run pulls until ctx ends; the batch at hand is folded first, and the jobs
// are drained as in Consumer.Run.
func (c *LabelsConsumer) Run(ctx context.Context) error {
	jobs, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	var handlers sync.WaitGroup
	for ctx.Err() == nil {
		batch, err := c.Source.pull(1, pullWait)
		if err != nil {
			c.Jobs.Log.Warn().Err(err).Msg("pull")
			sleep(ctx, pullWait)
			continue
		}
		if len(batch) == 0 {
			continue
		}
		if more, err := c.Source.pull(c.Batch-1, 0); err == nil {
			batch = append(batch, more...)
		}
		messages := make([]*Message, 0, len(batch))
		for _, msg := range batch {
			messages = append(messages, openInput(msg))
		}
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Timeout)
		for i, err := range c.Fold(work, messages) {
			m := messages[i]
			switch {
			case errors.Is(err, ErrJob):
				handlers.Go(func() { c.Jobs.deliver(jobs, m.msg) })
			case err != nil:
				c.Jobs.settle(m, err)
			default:
				if err := m.msg.ack(); err != nil {
					c.Jobs.Log.Warn().Err(err).Msg("ack")
				}
			}
		}
		cancel()
	}
	timer := time.AfterFunc(c.Jobs.Drain, func() { cancel(ErrDraining) })
	defer timer.Stop()
	handlers.Wait()
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
