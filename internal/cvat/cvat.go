// Package cvat connects CVAT: a selection becomes a task there, and what
// annotators finish, undo or delete becomes labels.completed. It owns the
// records of those tasks. It refuses to decide what a label is worth, and it
// believes no webhook: that only says which job to look at, and what is true
// is read back from CVAT. So a webhook that is lost, late, doubled or replayed
// changes nothing; what none told of is found by looking at every job now and
// then.
//
// Everything goes through durable consumers that hand out one message at a
// time over all replicas: a selection to push, a job to look at, a dataset to
// reconcile. Each step at CVAT stands between two writes of the task's record,
// and whoever finds the record half way goes on from there.
package cvat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// Tool is the name of the connector in records and subjects.
const (
	Tool  = "cvat"
	inbox = "cvat-inbox" // what there is to look at
)

// HookPath is where webhooks come in, on the worker's HTTP server.
const HookPath = "/hooks/cvat"

// Config of the connector.
type Config struct {
	URL, Token   string         // of CVAT; a personal access token, or "Token KEY"
	Org          string         // slug of the organization; "" is the user's own workspace
	Projects     map[string]int // dataset → project; a project has one dataset
	Secrets      []string       // of the webhook; the first is given to CVAT, any is accepted
	JobSize      int            // images per job; default 50
	ImageURL     string         // where CVAT finds an image: a URL, or a path on its share or cloud storage; {dataset} is the dataset's name; default "{filename}"
	CloudStorage int            // number of the cloud storage that paths are in; 0 = the share that the server has mounted
	HookURL      string         // this service as CVAT reaches it; "" = the webhook is set up by hand, or there is none
	Stage        string         // annotation, validation or acceptance: a job counts once it is completed in this stage or has passed it
	Empty        string         // labeled or skipped: what an image without annotations in such a job is
	Honeypots    float64        // share of images of a job that are labeled already; 0 ≤ share < 1

	Every    time.Duration // between two looks at all jobs; default 5 minutes
	AckWait  time.Duration // lease of a message; default 30 s
	Drain    time.Duration // how long handlers may go on when Run's context ends
	Create   bool          // the durable consumers may be created
	Instance string        // source of the events
}

// Deps are what the connector works with.
type Deps struct {
	NATS  *nats.Conn
	State *state.Store
	Blobs interface { // lists of large selections
		Get(ctx context.Context, sha256 string) ([]byte, error)
	}
	Metrics prometheus.Registerer
	Log     zerolog.Logger
}

// Connector is the connection to one CVAT.
type Connector struct {
	cfg     Config
	images  map[string]images // by dataset
	client  *client
	js      jetstream.JetStream
	state   *state.Store
	deps    Deps
	log     zerolog.Logger
	metrics *metrics
	bodies  chan struct{} // slots of webhooks that are being read

	hooks  hooks
	pushes []events.Source // of each dataset
	looks  events.Source
}

// New checks the configuration and prepares the consumers. CVAT need not be up.
func New(ctx context.Context, cfg Config, deps Deps) (*Connector, error) {
	c, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	c.deps, c.state, c.log = deps, deps.State, deps.Log.With().Str("component", Tool).Logger()
	c.metrics = newMetrics(deps.Metrics)
	c.bodies, c.hooks.set = make(chan struct{}, maxBodies), map[int]bool{}
	if c.js, err = jetstream.New(deps.NATS); err != nil {
		return nil, err
	}
	for _, dataset := range c.datasets() {
		from, err := bus.ResultsConsumer(ctx, c.js, "al-cvat-"+events.Token(dataset), "selections that become tasks in CVAT", c.cfg.AckWait, true, cfg.Create,
			events.OutSubject(events.SelectionCreated, dataset))
		if err != nil {
			return nil, err
		}
		c.pushes = append(c.pushes, events.SourceFrom(deps.NATS, from))
	}
	looks, err := bus.ResultsConsumer(ctx, c.js, "al-cvat-inbox", "jobs of CVAT to look at", c.cfg.AckWait, true, cfg.Create, "al.v1.tool."+inbox+".>")
	if err != nil {
		return nil, err
	}
	c.looks = events.SourceFrom(deps.NATS, looks)
	return c, nil
}

// Check says what is wrong with a configuration. It does not ask CVAT.
func (cfg Config) Check() error {
	_, err := prepare(cfg)
	return err
}

// prepare checks a configuration and fills in its defaults.
func prepare(cfg Config) (*Connector, error) {
	def := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	def(&cfg.ImageURL, "{filename}")
	def(&cfg.Stage, "annotation")
	def(&cfg.Empty, "labeled")
	def(&cfg.Instance, "nextbatch")
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{{&cfg.Every, 5 * time.Minute}, {&cfg.AckWait, 30 * time.Second}} {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
	if cfg.JobSize == 0 {
		cfg.JobSize = 50
	}
	c := &Connector{cfg: cfg, images: map[string]images{}}
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	var err error
	if c.client, err = newClient(cfg.URL, cfg.Token, cfg.Org); err != nil {
		faults = append(faults, err)
	}
	owner := map[int]string{}
	for _, dataset := range c.datasets() {
		n := cfg.Projects[dataset]
		if n < 1 {
			bad("AL_CVAT_PROJECTS has %s:%d: want the number in the project's address, as in clothing:7", dataset, n)
		} else if owner[n] != "" {
			bad("AL_CVAT_PROJECTS gives project %d to %q and %q: each dataset needs its own", n, owner[n], dataset)
		}
		owner[n] = dataset
		if c.images[dataset], err = newImages(cfg.ImageURL, dataset); err != nil {
			bad("AL_CVAT_IMAGE_URL is %w", err)
		} else if c.images[dataset].remote && cfg.CloudStorage != 0 {
			bad("AL_CVAT_IMAGE_URL is a URL and AL_CVAT_CLOUD_STORAGE is set: images are in one place")
		}
	}
	if len(cfg.Projects) == 0 {
		bad("AL_CVAT_PROJECTS is empty: name a project for each dataset, as in clothing:7")
	}
	if rank(cfg.Stage) < 0 {
		bad("AL_CVAT_STAGE is %q: want annotation, validation or acceptance", cfg.Stage)
	}
	if cfg.Empty != "labeled" && cfg.Empty != "skipped" {
		bad("AL_CVAT_EMPTY is %q: want labeled or skipped", cfg.Empty)
	}
	if !(cfg.Honeypots >= 0 && cfg.Honeypots < 1) {
		bad("AL_CVAT_HONEYPOTS is %v: want a share from 0 to less than 1", cfg.Honeypots)
	}
	if cfg.JobSize < 1 || cfg.JobSize > maxPart {
		bad("AL_CVAT_JOB_SIZE is %d: want 1 to %d", cfg.JobSize, maxPart)
	}
	if cfg.CloudStorage < 0 {
		bad("AL_CVAT_CLOUD_STORAGE is %d: want its number, or 0 for the share", cfg.CloudStorage)
	}
	if cfg.Every < time.Second {
		bad("AL_CVAT_EVERY is %v: must be at least 1s", cfg.Every)
	}
	if u, err := url.Parse(cfg.HookURL); cfg.HookURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "") {
		bad("AL_CVAT_HOOK_URL is %q: want http://host or https://host", cfg.HookURL)
	}
	if cfg.HookURL != "" && len(cfg.Secrets) == 0 {
		bad("AL_CVAT_HOOK_URL needs AL_CVAT_SECRET: without it anyone could send webhooks")
	}
	for _, s := range cfg.Secrets {
		if len(s) < 16 || len(s) > 64 {
			bad("a secret of AL_CVAT_SECRET has %d bytes: want 16 to 64", len(s))
		}
	}
	return c, errors.Join(faults...)
}

// target is the address of the webhook.
func (c *Connector) target() string { return strings.TrimSuffix(c.cfg.HookURL, "/") + HookPath }

// rank orders the stages of a job; -1 is none.
func rank(stage string) int {
	return slices.Index([]string{"annotation", "validation", "acceptance"}, stage)
}

// Describe asks CVAT whether everything is there, and says what it found line
// by line. It changes nothing.
func Describe(ctx context.Context, cfg Config) (lines []string, err error) {
	c, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	defer c.client.close()
	version, err := c.client.version(ctx)
	if err != nil {
		return nil, err
	}
	user, err := c.client.user(ctx)
	if err != nil {
		return nil, err
	}
	lines = append(lines, fmt.Sprintf("CVAT at %s: version %s, user %s", cfg.URL, version, user))
	var faults []error
	for _, dataset := range c.datasets() {
		n := c.cfg.Projects[dataset]
		name, err := c.client.project(ctx, n)
		if err != nil {
			faults = append(faults, fmt.Errorf("dataset %s: %w", dataset, err))
			continue
		}
		hooks, err := c.client.webhooks(ctx, n)
		if err != nil {
			faults = append(faults, fmt.Errorf("dataset %s: %w", dataset, err))
			continue
		}
		words := "it has no webhook of ours"
		for _, h := range hooks {
			switch {
			case h.Target != c.target():
			case !h.Active:
				words = fmt.Sprintf("webhook %d is switched off", h.ID)
			case h.Status == 0:
				words = fmt.Sprintf("webhook %d was not used yet", h.ID)
			default:
				words = fmt.Sprintf("webhook %d was answered %d last", h.ID, h.Status)
			}
		}
		lines = append(lines, fmt.Sprintf("CVAT project %d (%s) for dataset %s: %s; all jobs are looked at every %v", n, name, dataset, words, c.cfg.Every))
	}
	return lines, errors.Join(faults...)
}

func (c *Connector) datasets() []string { return slices.Sorted(maps.Keys(c.cfg.Projects)) }

// Run works until ctx ends.
func (c *Connector) Run(ctx context.Context) error {
	defer c.client.close()
	g, ctx := errgroup.WithContext(ctx)
	consumer := func(from events.Source, handle func(context.Context, *events.Message) error) {
		one := events.Consumer{Source: from, Slots: 1, AckWait: c.cfg.AckWait, Drain: c.cfg.Drain, Results: true, Log: c.log, Handle: handle}
		g.Go(func() error { return one.Run(ctx) })
	}
	for _, from := range c.pushes {
		consumer(from, c.selection)
	}
	consumer(c.looks, c.look)
	g.Go(func() error { return c.tick(ctx) })
	return g.Wait()
}
