// Package webhook posts results to receivers over HTTP, signed by Standard
// Webhooks 1.0, for tools that do not speak NATS. Each receiver has a durable
// consumer of its own: results come in the order of the stream, one at a time,
// again until the receiver has taken them, from whichever replica. It refuses
// to drop a result: a receiver that never takes one gets none after it, until
// that one is no longer kept.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/failpoint"
)

// Config of a Sender. The zero value of a field means its default.
type Config struct {
	Hooks   []Hook
	Create  bool          // consumers that are missing; else they must exist
	AckWait time.Duration // lease of a delivery; default 30 s
	Drain   time.Duration // how long a post may go on after Run's context ends; default 25 s
	Timeout time.Duration // of one post; default 15 s
	Backoff time.Duration // before the second post, doubled with each; default 1 s
}

// Deps are what a Sender works with.
type Deps struct {
	NATS    *nats.Conn
	Metrics prometheus.Registerer // nil: none
	Log     zerolog.Logger
}

// maxWait bounds the time between two posts of a result, maxAsked what a
// receiver can ask for with Retry-After.
const (
	maxWait  = 5 * time.Minute
	maxAsked = time.Hour
)

// Sender delivers results to hooks.
type Sender struct {
	cfg     Config
	log     zerolog.Logger
	nc      *nats.Conn
	client  *http.Client
	posts   *prometheus.CounterVec
	durable []jetstream.Consumer // one per hook
}

// New makes the consumers of the hooks, or checks those that exist. A consumer
// begins with the first result after it is made.
func New(ctx context.Context, cfg Config, d Deps) (*Sender, error) {
	for _, v := range []struct {
		v *time.Duration
		d time.Duration
	}{{&cfg.AckWait, 30 * time.Second}, {&cfg.Drain, 25 * time.Second}, {&cfg.Timeout, 15 * time.Second}, {&cfg.Backoff, time.Second}} {
		if *v.v == 0 {
			*v.v = v.d
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.IdleConnTimeout = 30 * time.Second
	s := &Sender{cfg: cfg, log: d.Log, nc: d.NATS, client: &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	s.posts = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "al_webhook_posts_total", Help: "Results posted to a webhook, by outcome: delivered, failed, gone."}, []string{"webhook", "outcome"})
	if d.Metrics != nil {
		d.Metrics.MustRegister(s.posts)
	}
	js, err := jetstream.New(d.NATS)
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, h := range cfg.Hooks {
		c, err := bus.ResultsConsumer(ctx, js, h.Durable(), "webhook "+h.Name, cfg.AckWait, false, cfg.Create, h.subjects()...)
		faults = append(faults, err)
		s.durable = append(s.durable, c)
		for _, outcome := range []string{"delivered", "failed", "gone"} {
			s.posts.WithLabelValues(h.Name, outcome)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("AL_WEBHOOKS: %w", err)
	}
	return s, nil
}

// Run delivers until ctx ends, then lets the posts at hand finish.
func (s *Sender) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for i, h := range s.cfg.Hooks {
		wg.Go(func() {
			ctx, stop := context.WithCancel(ctx)
			defer stop()
			c := events.Consumer{Source: events.SourceFrom(s.nc, s.durable[i]), Slots: 1, AckWait: s.cfg.AckWait, Drain: s.cfg.Drain, Results: true,
				Log: s.log.With().Str("webhook", h.Name).Logger()}
			c.Handle = func(ctx context.Context, m *events.Message) error { return s.handle(ctx, h, m, stop) }
			c.Run(ctx)
		})
	}
	wg.Wait()
	return nil
}

// handle posts a result once. An answer of 410 stops the hook in this process.
func (s *Sender) handle(ctx context.Context, h Hook, m *events.Message, stop func()) error {
	log := s.log.With().Str("webhook", h.Name).Uint64("seq", m.Seq).Str("event_id", m.Event.ID()).Logger()
	if m.Event.ID() == "" { // no worker writes such a result
		log.Error().AnErr("reason", m.Err).Msg("a result that cannot be read was left out")
		return &events.Error{Code: "bad_event", Message: m.Err.Error()}
	}
	failpoint.Hit("webhook-before")
	asked, err := s.post(ctx, h, m)
	failpoint.Hit("webhook-after")
	wait := max(asked, backoff(s.cfg.Backoff, m.Delivered))
	switch {
	case err == nil:
		s.posts.WithLabelValues(h.Name, "delivered").Inc()
		log.Debug().Uint64("attempt", m.Delivered).Msg("delivered")
		return nil
	case errors.Is(err, errGone):
		s.posts.WithLabelValues(h.Name, "gone").Inc()
		log.Error().Msg("the receiver answers 410 Gone: nothing more is sent to it until the worker starts again; take it out of AL_WEBHOOKS, or mend the receiver")
		stop()
		return &events.Retry{After: wait, Err: err}
	case ctx.Err() != nil:
		return &events.Retry{Err: context.Cause(ctx)}
	}
	s.posts.WithLabelValues(h.Name, "failed").Inc()
	log.Warn().Err(err).Uint64("attempt", m.Delivered).Dur("again", wait).Msg("not delivered")
	return &events.Retry{After: wait, Err: err}
}
