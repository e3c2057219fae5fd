package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/cvat"
	"nextbatch/internal/labelstudio"
	"nextbatch/internal/lightly"
	"nextbatch/internal/webhook"
	"nextbatch/internal/worker"
)

// runService is the worker without a command: it serves until it is told to
// stop.
func runService(ctx context.Context, a *app) error {
	cfg, err := loadConfig()
	if err != nil {
		return usageError{err}
	}
	level, _ := zerolog.ParseLevel(cfg.LogLevel)
	log := a.log.Level(level)
	s := &service{cfg: cfg, log: log, health: &health{}, registry: prometheus.NewRegistry()}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	told := ctx
	g, ctx := errgroup.WithContext(ctx)
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	if cfg.HTTPAddr != "" { // first, so that probes see a start that takes long
		listener, err := net.Listen("tcp", cfg.HTTPAddr)
		if err != nil {
			return fmt.Errorf("AL_HTTP_ADDR: %w", err)
		}
		g.Go(func() error {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		defer server.Close()
		log.Info().Str("addr", listener.Addr().String()).Msg("http")
		if warning := cfg.warning(); warning != "" {
			log.Warn().Msg(warning)
		}
	}
	if err := s.start(ctx); err != nil {
		if told.Err() != nil { // to stop
			log.Info().Err(err).Msg("stopped before it was ready")
			return nil
		}
		return err
	}
	defer s.stop()
	log.Info().Str("nats", s.where()).Str("data", cfg.DataDir).Int("slots", cfg.Slots).Msg("ready")
	g.Go(func() error { return s.probe(ctx) })
	g.Go(func() error { return s.sweep(ctx) })
	g.Go(func() error { return s.hooks.Run(ctx) })
	if s.labelstudio != nil {
		g.Go(func() error { return s.labelstudio.Run(ctx) })
	}
	if s.cvat != nil {
		g.Go(func() error { return s.cvat.Run(ctx) })
	}
	g.Go(func() error {
		err := s.worker.Run(ctx)
		server.Close() // not before: probes are answered while jobs drain
		log.Info().Msg("drained")
		return errors.Join(err, errStopped)
	})
	if err := g.Wait(); !errors.Is(err, errStopped) {
		return err
	}
	return nil
}

// errStopped ends the group once the worker has drained.
var errStopped = errors.New("stopped")

// service holds the parts of a running worker.
type service struct {
	cfg      config
	log      zerolog.Logger
	health   *health
	registry *prometheus.Registry

	embedded    *bus.Embedded // nil with an external server
	nats        *nats.Conn
	blobs       *blob.Store
	opener      *blob.Opener
	closeClouds func()
	worker      *worker.Worker
	lightly     *lightly.Server
	hooks       *webhook.Sender

	labelstudio *labelstudio.Connector // nil without
	cvat        *cvat.Connector        // nil without
}

// start brings everything up to the point where events can be consumed.
func (s *service) start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if err := s.connect(ctx); err != nil {
		return err
	}
	js, err := jetstream.New(s.nats)
	if err != nil {
		return err
	}
	if err := bus.Provision(ctx, js, s.cfg.layout(), s.cfg.Provision == "auto"); err != nil {
		return fmt.Errorf("streams are not as the protocol needs them: %w", err)
	}
	if s.blobs, err = s.cfg.openBlobs(ctx); err != nil {
		return err
	}
	for _, root := range s.cfg.Roots {
		if root == filepath.Join(s.cfg.DataDir, "files") {
			if err := os.MkdirAll(root, 0o755); err != nil {
				return err
			}
		}
	}
	if err := s.openReferences(ctx, blob.Config{JetStream: js, Blobs: s.blobs}); err != nil {
		return err
	}
	memory, words := s.cfg.budget("/")
	s.cfg.limitHeap(memory)
	s.log.Info().Msg("memory for jobs: " + words)
	var selector worker.Selector
	if s.cfg.LightlyURL != "" {
		client, err := s.cfg.platform()
		if err != nil {
			return err
		}
		selector = worker.Remote{Client: client}
	}
	s.worker, err = worker.New(ctx, worker.Config{
		Name: s.cfg.Name, Instance: s.cfg.Instance, Slots: s.cfg.Slots, MemoryBytes: memory, LabelsBatch: s.cfg.LabelsBatch, AckWait: s.cfg.AckWait,
		Deadline: s.cfg.Deadline, Drain: s.cfg.Drain, MaxAttempts: s.cfg.MaxAttempts, BatchSize: s.cfg.BatchSize,
		Method: s.cfg.Method, PublicURL: s.cfg.PublicURL,
	}, worker.Deps{NATS: s.nats, Blobs: s.blobs, Opener: s.opener, Selector: selector, Metrics: s.registry, Log: s.log})
	if err != nil {
		return err
	}
	s.lightly, err = lightly.NewServer(ctx, lightly.ServerConfig{Tokens: s.cfg.Tokens, Loopback: loopbackOnly(s.cfg.HTTPAddr), PublicURL: s.cfg.PublicURL, MaxCSV: int64(s.cfg.RefBytes), DistanceCap: s.cfg.LightlyDistanceCap},
		lightly.ServerDeps{NATS: s.nats, State: s.worker.State(), Blobs: s.blobs, Log: s.log})
	if err != nil {
		return err
	}
	hooks, err := webhook.Parse(s.cfg.Webhooks, s.cfg.WebhookSecrets)
	if err != nil {
		return err
	}
	if len(hooks) > 0 && s.cfg.PublicURL == "" {
		s.log.Warn().Msg("AL_PUBLIC_URL is not set: webhooks get large selections as file:// references to this machine")
	}
	s.hooks, err = webhook.New(ctx, webhook.Config{Hooks: hooks, Create: s.cfg.Provision == "auto", AckWait: s.cfg.AckWait, Drain: s.cfg.Drain},
		webhook.Deps{NATS: s.nats, Metrics: s.registry, Log: s.log})
	if err != nil {
		return err
	}
	if err := s.startLabelStudio(ctx, js); err != nil {
		return err
	}
	if err := s.startCvat(ctx); err != nil {
		return err
	}
	s.registry.MustRegister(worker.Backlog(js))
	s.health.started.Store(true)
	return nil
}

// Blobs that nothing names are removed after a week: longer than any attempt
// takes from writing a blob to committing the record that names it. A deleted
// dataset is kept in mind for a day: longer than any upload takes that began
// before.
const (
	sweepEvery = 6 * time.Hour
	sweepAge   = 7 * 24 * time.Hour
	purgeAge   = 24 * time.Hour
)

func (s *service) sweep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
		if err := s.worker.State().PurgeDeleted(ctx, time.Now().Add(-purgeAge)); err != nil {
			s.log.Warn().Err(err).Msg("purge deleted datasets")
		}
		before := time.Now().Add(-sweepAge)
		keep, err := s.worker.State().Referenced(ctx)
		if err != nil {
			s.log.Warn().Err(err).Msg("sweep")
			continue
		}
		n, err := s.blobs.Sweep(ctx, func(sha string) bool { return keep[sha] }, before)
		s.log.Info().Int("removed", n).AnErr("problem", err).Msg("sweep")
	}
}

// connect starts the embedded server if there is no other, and connects.
func (s *service) connect(ctx context.Context) (err error) {
	auth := s.cfg.auth()
	if auth.URL == "" {
		s.embedded, err = bus.StartEmbedded(ctx, bus.EmbeddedConfig{Dir: filepath.Join(s.cfg.DataDir, "nats"), Addr: s.cfg.NatsAddr, MaxStore: int64(s.cfg.StoreBytes)}, s.log)
		if err != nil {
			return err
		}
		auth.URL = s.embedded.URL
	}
	s.nats, err = bus.Connect(auth, s.log)
	return err
}

// where names the server without its secrets.
func (s *service) where() string {
	if s.nats == nil {
		return ""
	}
	return s.nats.ConnectedAddr()
}

func (s *service) stop() {
	if s.opener != nil {
		s.opener.Close()
	}
	if s.closeClouds != nil {
		s.closeClouds()
	}
	if s.nats != nil {
		s.nats.Drain()
		for i := 0; i < 100 && !s.nats.IsClosed(); i++ {
			time.Sleep(10 * time.Millisecond)
		}
		s.nats.Close()
	}
	if s.embedded != nil {
		s.embedded.Stop()
	}
}

func (c config) auth() bus.Auth {
	return bus.Auth{URL: c.NatsURL, Creds: c.NatsCreds, NKey: c.NatsNkey, CA: c.NatsCA, Cert: c.NatsCert, Key: c.NatsKey, Name: c.Name, InboxTag: c.NatsInbox}
}

func (c config) layout() bus.Layout {
	return bus.Layout{Replicas: c.Replicas, InBytes: int64(c.InBytes), Bytes: int64(c.StreamBytes), AckWait: c.AckWait}
}
