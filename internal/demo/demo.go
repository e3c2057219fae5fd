// Package demo runs the whole active-learning loop on real photos and draws
// the learning curve. It plays both users of a worker, the training job and the
// annotators, and knows of the worker only what they do: events over NATS and
// files below a root that the worker may read. It starts no worker and no
// server, and it decides nothing about selection.
//
// The training job describes every photo of a pool by its 64 leading principal
// components and publishes them with embeddings.ready. In each round it trains
// a small perceptron from scratch on the labels there are, measures it on photos
// that are never in the pool, and publishes its class probabilities with
// predictions.ready. The annotators, who know the truth, answer each
// selection.created with many labels.completed of one to four images.
package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"nextbatch/internal/events"
)

// method is a way to select, under the name that tables and curves show.
type method struct {
	name     string
	selector string // in events
	score    string // acquisition score, "" where the method looks at none
	about    string
}

var methods = []method{
	{"random", "RANDOM", "", "any image, by chance"},
	{"uherding", "UHERDING", "uncertainty_margin", "what covers most of the images that are hard to tell"},
	{"coreset", "CORESET", "", "the image most different from all selected ones"},
	{"coral", "CORAL", "uncertainty_margin", "different and hard to tell: margin × distance"},
	{"margin", "ACTIVE_LEARNING", "uncertainty_margin", "the image whose two best classes are closest"},
}

// Methods lists the names of the methods that the demo can compare.
func Methods() []string {
	var names []string
	for _, m := range methods {
		names = append(names, m.name)
	}
	return names
}

// Config of a demo. The zero value of a field means its default.
type Config struct {
	NATS     *nats.Conn   // required: a connection to the server of a running worker
	Dir      string       // required: an existing directory below a file root of that worker
	Name     string       // prefix of the datasets; default "fashion". Each is used once: take another for a second demo on one server
	Methods  []string     // of Methods; default all
	Seeds    int          // repetitions of each method, with seeds 1, 2, …; default 10
	Start    int          // labels before the first round, a random selection; default 100
	Batch    int          // labels per round; default 100
	Rounds   int          // default 9
	Parallel int          // loops at a time; default 2
	Progress func(Status) // called after every round, never concurrently; nil: not called
}

func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		value    *int
		standard int
	}{{&c.Seeds, 10}, {&c.Start, 100}, {&c.Batch, 100}, {&c.Rounds, 9}, {&c.Parallel, 2}} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if c.Name == "" {
		c.Name = "fashion"
	}
	if c.Methods == nil {
		c.Methods = Methods()
	}
	var faults []error
	if c.NATS == nil {
		faults = append(faults, errors.New("no NATS connection"))
	}
	if info, err := os.Stat(c.Dir); err != nil {
		faults = append(faults, err)
	} else if !info.IsDir() {
		faults = append(faults, fmt.Errorf("%s is not a directory", c.Dir))
	}
	for i, name := range c.Methods {
		if !slices.Contains(Methods(), name) {
			faults = append(faults, fmt.Errorf("unknown method %q: there are %s", name, strings.Join(Methods(), ", ")))
		}
		if slices.Contains(c.Methods[:i], name) {
			faults = append(faults, fmt.Errorf("method %q is named twice", name))
		}
	}
	if c.Seeds < 1 || c.Start < 1 || c.Batch < 1 || c.Rounds < 1 || c.Parallel < 1 {
		faults = append(faults, errors.New("seeds, start, batch, rounds and parallel must be at least 1"))
	} else if total := c.Start + c.Rounds*c.Batch; c.Rounds > poolSize || c.Batch > poolSize || total > poolSize {
		faults = append(faults, fmt.Errorf("%d + %d × %d labels are more than the %d images of the pool", c.Start, c.Rounds, c.Batch, poolSize))
	}
	if err := errors.Join(faults...); err != nil {
		return c, fmt.Errorf("demo: %w", err)
	}
	return c, nil
}

// Status says how far a demo is.
type Status struct {
	Done, Total   int // rounds, over all methods and seeds
	Elapsed, Left time.Duration
	Method        string // of the round that has ended
	Seed          int
	Labels        int
	Accuracy      float64
}

// String is one line for a terminal.
func (s Status) String() string {
	return fmt.Sprintf("%3d %%  round %d of %d  %s left  %s, seed %d: %.1f %% right with %s labels",
		100*s.Done/s.Total, s.Done, s.Total, s.Left.Round(time.Second), s.Method, s.Seed, 100*s.Accuracy, thousands(s.Labels))
}

// shared is what all loops of a demo share.
type shared struct {
	Config
	*collection
	js jetstream.JetStream

	embeddings, filenames events.Reference

	began time.Time
	mu    sync.Mutex // guards done and the calls of Progress
	done  int
}

// Run runs the loop once per method and seed. It needs a worker that consumes
// on the same server. What a selection must not do, such as selecting an image
// twice, is an error, and so is a selection.failed.
func Run(ctx context.Context, cfg Config) (Report, error) {
	b, err := prepare(cfg)
	if err != nil {
		return Report{}, err
	}
	var loops []*loop
	for seed := range b.Seeds {
		for _, m := range methods {
			if slices.Contains(b.Methods, m.name) {
				loops = append(loops, newLoop(b, m, seed+1))
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(b.Parallel)
	b.began = time.Now()
	for _, l := range loops {
		group.Go(func() error {
			if err := l.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", l.dataset, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Report{}, err
	}
	return b.report(loops), nil
}

// prepare loads the photos and writes the files that every dataset begins with.
func prepare(cfg Config) (*shared, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &shared{Config: cfg}
	if b.js, err = jetstream.New(cfg.NATS); err != nil {
		return nil, err
	}
	if b.collection, err = theCollection(); err != nil {
		return nil, err
	}
	if b.embeddings, err = writeFile(cfg.Dir, cfg.Name+"-embeddings.npy", npyFloats(b.features)); err != nil {
		return nil, err
	}
	b.filenames, err = writeFile(cfg.Dir, cfg.Name+"-filenames.txt", []byte(strings.Join(b.pool.names, "\n")+"\n"))
	return b, err
}

// advance notes that a loop has ended a round.
func (b *shared) advance(l *loop, labels int, accuracy float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done++
	if b.Progress == nil {
		return
	}
	s := Status{Done: b.done, Total: len(b.Methods) * b.Seeds * (b.Rounds + 1), Elapsed: time.Since(b.began),
		Method: l.method.name, Seed: l.seed, Labels: labels, Accuracy: accuracy}
	s.Left = s.Elapsed / time.Duration(s.Done) * time.Duration(s.Total-s.Done)
	b.Progress(s)
}
