// Package labelstudio connects datasets with projects of Label Studio: a
// selection becomes tasks in rank order, and what annotators do there becomes
// labels.completed. Labels come by webhook, and, because Label Studio sends
// each one once and some not at all, by comparing: when the connector starts,
// from time to time, and whenever something was missed. It keeps nothing but
// records in the stream, so that any number of replicas share the work, and it
// decides nothing about samples: that is the worker's.
package labelstudio

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"nextbatch/internal/annotation"
	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// HookPath is where webhooks come in, on the worker's HTTP server.
const HookPath = "/hooks/labelstudio"

// Config of a connector.
type Config struct {
	URL       string         // of Label Studio
	Token     string         // personal access token, or legacy token
	Projects  map[string]int // dataset → project; a project has one dataset
	Secrets   []string       // that webhooks may carry; the first is what webhooks are made with; default: one is made up
	ImageURL  string         // template of a task's image: see annotation.ParseTemplate; {dataset} is the dataset's name
	HookURL   string         // this service as Label Studio reaches it; "": labels come by comparing only
	Prelabels bool           // tasks come with the model's most probable class
	Every     time.Duration  // how often labels are compared; default 5 min
	Instance  string         // in the source of events; default "nextbatch"
	Create    bool           // the durable consumers may be created
	AckWait   time.Duration  // lease of a selection that is being pushed; default 30 s
}

// Deps are what a connector works with.
type Deps struct {
	JetStream jetstream.JetStream
	State     *state.Store
	Blobs     state.Blobs
	Metrics   prometheus.Registerer
	Log       zerolog.Logger
}

// Connector of one Label Studio.
type Connector struct {
	cfg      Config
	api      *client
	js       jetstream.JetStream
	store    *state.Store
	blobs    state.Blobs
	log      zerolog.Logger
	metrics  *metrics
	projects map[int]*connected
	secrets  [][sha256.Size]byte // digests: equal in length
	secret   string              // what webhooks are made with
}

// connected is a dataset and its project.
type connected struct {
	dataset string
	project int
	image   annotation.Template
	wake    chan struct{} // something was missed: compare soon
	ledger  chan struct{} // held to change the ledger: within a process it is not fought over
}

// Check says what is wrong with a configuration.
func (cfg Config) Check() error {
	var faults []error
	wrong := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !isURL(cfg.URL) {
		wrong("AL_LABELSTUDIO_URL is %q: want http://host or https://host", cfg.URL)
	}
	if cfg.Token == "" {
		wrong("AL_LABELSTUDIO_TOKEN is not set: make a personal access token under Account & Settings of Label Studio")
	}
	if len(cfg.Projects) == 0 {
		wrong("AL_LABELSTUDIO_PROJECTS is not set: want dataset:project, for example clothing:1, comma separated")
	}
	of := map[int]string{}
	for _, dataset := range slices.Sorted(maps.Keys(cfg.Projects)) {
		id := cfg.Projects[dataset]
		if id < 1 {
			wrong("AL_LABELSTUDIO_PROJECTS: project of %q is %d: want the number in the project's address", dataset, id)
		}
		if of[id] != "" {
			wrong("AL_LABELSTUDIO_PROJECTS: project %d is of both %q and %q: a project has one dataset", id, of[id], dataset)
		}
		of[id] = dataset
	}
	if _, err := cfg.template("d"); err != nil {
		wrong("AL_LABELSTUDIO_IMAGE_URL is %w", err)
	}
	if cfg.HookURL != "" && !isURL(cfg.HookURL) {
		wrong("AL_LABELSTUDIO_HOOK_URL is %q: want http://host or https://host", cfg.HookURL)
	}
	for _, s := range cfg.Secrets {
		if len(s) < 16 {
			wrong("AL_LABELSTUDIO_SECRET has a secret of %d characters: want at least 16", len(s))
		}
	}
	if cfg.Every < 0 {
		wrong("AL_LABELSTUDIO_EVERY is %v: must be positive", cfg.Every)
	}
	return errors.Join(faults...)
}

func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == ""
}

// template of a dataset's images.
func (cfg Config) template(dataset string) (annotation.Template, error) {
	name := dataset
	if strings.HasPrefix(cfg.ImageURL, "http") {
		name = url.PathEscape(dataset)
	}
	return annotation.ParseTemplate(strings.ReplaceAll(cfg.ImageURL, "{dataset}", name))
}

// New returns a connector. It asks nothing of Label Studio until Run.
func New(ctx context.Context, cfg Config, d Deps) (*Connector, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Every == 0 {
		cfg.Every = 5 * time.Minute
	}
	if cfg.AckWait == 0 {
		cfg.AckWait = 30 * time.Second
	}
	if cfg.Instance == "" {
		cfg.Instance = "nextbatch"
	}
	c := &Connector{cfg: cfg, api: newClient(cfg.URL, cfg.Token), js: d.JetStream, store: d.State, blobs: d.Blobs,
		log: d.Log.With().Str("component", tool).Logger(), metrics: newMetrics(d.Metrics), projects: map[int]*connected{}}
	for dataset, id := range cfg.Projects {
		image, err := cfg.template(dataset)
		if err != nil {
			return nil, err
		}
		c.projects[id] = &connected{dataset, id, image, make(chan struct{}, 1), make(chan struct{}, 1)}
	}
	if len(cfg.Secrets) == 0 { // the same in all replicas, and for ever
		key, err := d.State.Secret(ctx)
		if err != nil {
			return nil, err
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(HookPath))
		cfg.Secrets = []string{hex.EncodeToString(mac.Sum(nil)[:20])}
	}
	c.secret = cfg.Secrets[0]
	for _, s := range cfg.Secrets {
		c.secrets = append(c.secrets, sha256.Sum256([]byte(s)))
	}
	return c, nil
}

// Run pushes selections and compares labels until ctx ends.
func (c *Connector) Run(ctx context.Context) error {
	// All first: one that cannot be made is a fault of the configuration.
	consumers := map[int]jetstream.Consumer{}
	for id, p := range c.projects {
		// One for each dataset, so that none waits for another's project.
		name := "al-labelstudio-" + events.Token(p.dataset)
		durable, err := bus.ResultsConsumer(ctx, c.js, name, "selections for Label Studio", c.cfg.AckWait, true, c.cfg.Create, events.OutSubject(events.SelectionCreated, p.dataset))
		if err != nil {
			return err
		}
		consumers[id] = durable
	}
	var all sync.WaitGroup
	for id, p := range c.projects {
		selections := events.Consumer{Source: events.SourceFrom(c.js.Conn(), consumers[id]), Slots: 1, AckWait: c.cfg.AckWait, Drain: 10 * time.Second, Results: true,
			Handle: func(ctx context.Context, m *events.Message) error { return c.handle(ctx, p, m) }, Log: c.log}
		all.Go(func() { selections.Run(ctx) })
		all.Go(func() { c.compare(ctx, p) })
	}
	all.Wait()
	return nil
}

// Describe asks Label Studio for each project and says what it found, a line
// each; the errors are what has to be mended before a connector can work.
func Describe(ctx context.Context, cfg Config) (lines []string, err error) {
	c := &Connector{cfg: cfg, api: newClient(cfg.URL, cfg.Token)}
	var version struct{ Release string }
	if err := c.api.call(ctx, "GET", "/api/version", nil, &version); err != nil {
		return nil, err
	}
	lines = append(lines, fmt.Sprintf("Label Studio %s at %s", version.Release, c.cfg.URL))
	var faults []error
	for _, dataset := range slices.Sorted(maps.Keys(cfg.Projects)) {
		id := cfg.Projects[dataset]
		p, err := c.api.project(ctx, id)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		field, err := p.imageField()
		if err != nil {
			faults = append(faults, err)
			continue
		}
		line := fmt.Sprintf("dataset %s: project %d (%s), images in $%s", dataset, id, p.Title, field)
		hook, err := c.findHook(ctx, id)
		switch {
		case err != nil:
			faults = append(faults, err)
		case c.cfg.HookURL == "":
			line += ", no webhook: AL_LABELSTUDIO_HOOK_URL is not set"
		case hook == nil:
			line += ", no webhook yet"
		case !hook.Active:
			line += ", its webhook is switched off"
		default:
			line += ", webhook to " + hook.URL
		}
		lines = append(lines, line)
	}
	return lines, errors.Join(faults...)
}

// sample finds the sample that a task is of: by the filename that we have
// written into it, or by the address of its image.
func (p *connected) filename(data json.RawMessage) (name, tag string) {
	var ours struct {
		Filename any `json:"filename"`
		Tag      any `json:"al_selection"`
	}
	if json.Unmarshal(data, &ours) != nil {
		return "", ""
	}
	name, _ = ours.Filename.(string)
	tag, _ = ours.Tag.(string)
	if name != "" {
		return name, tag
	}
	var fields map[string]any
	if json.Unmarshal(data, &fields) != nil {
		return "", ""
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if address, ok := fields[key].(string); ok {
			if name, ok := p.image.Filename(address); ok {
				return name, tag
			}
		}
	}
	return "", tag
}
