package demo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
)

// standIn stands where a worker would: it answers every input on a real server,
// selects the next filenames in line, and misbehaves where a test wants it to.
// It shows that the demo would notice.
type standIn struct {
	t     *testing.T
	js    jetstream.JetStream
	spoil func(round int, c *events.Created) any // what to send in place of a selection; may be nil

	datasets map[string]*standInDataset
}

type standInDataset struct {
	names    []string
	selected int
	labeled  map[string]bool
	ids      map[string]bool
	rounds   int
}

// serve starts a server with a stand-in on it and returns a connection.
func serve(t *testing.T, spoil func(int, *events.Created) any) *nats.Conn {
	t.Helper()
	server, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{Dir: t.TempDir()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	var conns [2]*nats.Conn
	for i := range conns {
		if conns[i], err = bus.Connect(bus.Auth{URL: server.URL}, zerolog.Nop()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conns[i].Close)
	}
	js, err := jetstream.New(conns[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), js, bus.Layout{}, true); err != nil {
		t.Fatal(err)
	}
	s := &standIn{t: t, js: js, spoil: spoil, datasets: map[string]*standInDataset{}}
	inputs, err := js.OrderedConsumer(t.Context(), bus.StreamIn, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := inputs.Messages()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			msg, err := messages.Next()
			if err != nil {
				return
			}
			if err := s.answer(msg); err != nil {
				t.Errorf("%s: %v", msg.Subject(), err)
			}
		}
	}()
	t.Cleanup(func() { messages.Stop(); <-done })
	return conns[1]
}

func (s *standIn) answer(msg jetstream.Msg) error {
	e, err := events.Decode(msg.Headers(), msg.Data())
	if err != nil {
		return err
	}
	if got, want := msg.Headers().Get("Nats-Msg-Id"), events.MessageID(e.Source(), e.ID()); got != want {
		s.t.Errorf("%s has message id %q, want %q", e.ID(), got, want)
	}
	payload, err := events.Parse(e)
	if err != nil {
		return err
	}
	name := events.DatasetOf(payload)
	d := s.datasets[name]
	if d == nil {
		d = &standInDataset{labeled: map[string]bool{}, ids: map[string]bool{}}
		s.datasets[name] = d
	}
	if d.ids[e.Source()+e.ID()] {
		return fmt.Errorf("%s is sent twice", e.ID())
	}
	d.ids[e.Source()+e.ID()] = true
	switch p := payload.(type) {
	case *events.Embeddings:
		u, err := url.Parse(p.Filenames.Ref.URI)
		if err != nil {
			return err
		}
		list, err := os.ReadFile(u.Path)
		if err != nil {
			return err
		}
		d.names = strings.Fields(string(list))
		return s.choose(e, name, d, *p.Selection)
	case *events.Predictions:
		if len(d.labeled) != d.selected {
			return fmt.Errorf("predictions with %d of %d labels", len(d.labeled), d.selected)
		}
		u, err := url.Parse(p.Predictions.URI)
		if err != nil {
			return err
		}
		if info, err := os.Stat(u.Path); err != nil || info.Size() != p.Predictions.Size {
			return fmt.Errorf("%s: want %d bytes: %v", u.Path, p.Predictions.Size, err)
		}
		return s.choose(e, name, d, *p.Selection)
	case *events.Labels:
		for _, l := range p.Labeled {
			d.labeled[l] = true
		}
		pending := d.selected - len(d.labeled)
		return s.send(events.LabelsetUpdated, name, e.ID(), events.Labelset{Dataset: name, Tag: p.Tag,
			Labeled: len(d.labeled), Pending: pending, Complete: pending == 0})
	}
	return fmt.Errorf("unexpected %s", e.Type())
}

func (s *standIn) choose(e event.Event, name string, d *standInDataset, spec events.Spec) error {
	first := d.selected
	d.selected += *spec.BatchSize
	c := events.Created{Dataset: name, Tag: events.TagRef{ID: strings.Repeat("0", 24), Name: spec.Name}, Method: spec.Method,
		Counts:  events.Counts{Dataset: len(d.names), Query: len(d.names), Preselected: first, Added: *spec.BatchSize, Selected: d.selected},
		Digests: events.Digests{Configuration: strings.Repeat("0", 64)}, Cause: events.Cause{ID: e.ID(), Source: e.Source(), Type: e.Type()},
		Parameters: events.Parameters{BatchSize: *spec.BatchSize, Seed: *spec.Seed}}
	for i, filename := range d.names[first:d.selected] {
		c.Added = append(c.Added, events.Added{Filename: filename, Rank: i + 1})
	}
	c.Filenames = slices.Clone(d.names[:d.selected])
	slices.Sort(c.Filenames)
	d.rounds++
	if s.spoil != nil {
		if other := s.spoil(d.rounds-1, &c); other != nil {
			return s.send(events.SelectionFailed, name, e.ID(), other)
		}
	}
	return s.send(events.SelectionCreated, name, e.ID(), c)
}

func (s *standIn) send(eventType, dataset, id string, data any) error {
	e := event.New()
	e.SetType(eventType)
	e.SetSource("/stand-in")
	e.SetID(id)
	e.SetSubject(dataset)
	e.SetDataSchema(events.DataSchema(eventType))
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		return err
	}
	header, body, err := events.Encode(e, events.Binary)
	if err != nil {
		return err
	}
	_, err = s.js.PublishMsg(context.Background(), &nats.Msg{Subject: events.OutSubject(eventType, dataset), Header: header, Data: body})
	return err
}

func TestRun(t *testing.T) {
	var last Status
	cfg := Config{NATS: serve(t, nil), Dir: t.TempDir(), Methods: []string{"random", "margin"}, Seeds: 2, Start: 20, Batch: 5, Rounds: 2,
		Progress: func(s Status) {
			if s.Done != last.Done+1 || s.Total != 12 {
				t.Errorf("progress %d of %d after %d", s.Done, s.Total, last.Done)
			}
			last = s
		}}
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if last.Done != 12 {
		t.Errorf("last progress: %v", last)
	}
	// The stand-in selects the same images whatever the method.
	if len(r.Curves) != 2 || r.Selected != 4*30 || r.Events != 4*(3+8+3+3) || !slices.Equal(r.Labels, []int{20, 25, 30}) {
		t.Errorf("%d curves, %d selected, %d events, labels %v", len(r.Curves), r.Selected, r.Events, r.Labels)
	}
	for i, seed := range r.Curves[0].Accuracy {
		if !slices.Equal(seed, r.Curves[1].Accuracy[i]) || len(seed) != 3 || seed[2] < 0.3 {
			t.Errorf("accuracies %v and %v of the same selections", seed, r.Curves[1].Accuracy[i])
		}
	}
	if len(r.Curves[0].FirstBatch) != 5 {
		t.Errorf("first batch %q", r.Curves[0].FirstBatch)
	}
	left, err := os.ReadDir(cfg.Dir)
	if err != nil || len(left) != 2 { // embeddings and filenames, no predictions
		t.Errorf("files left: %v, %v", left, err)
	}
}

// TestRunNoticesWrongSelections: each promise of a selection, broken.
func TestRunNoticesWrongSelections(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*events.Created) any
		want  string
	}{
		{"failure", func(c *events.Created) any {
			return events.Failed{Dataset: c.Dataset, Cause: c.Cause, Code: "bad_rows", Message: "3 rows", Hint: "fix them"}
		}, "bad_rows: 3 rows (fix them)"},
		{"too few", func(c *events.Created) any { c.Added = c.Added[1:]; return nil }, "4 images (counted as 5), want 5"},
		{"miscounted", func(c *events.Created) any { c.Counts.Added++; return nil }, "5 images (counted as 6), want 5"},
		{"twice in a batch", func(c *events.Created) any { c.Added[1].Filename = c.Added[0].Filename; return nil }, "is selected twice"},
		{"selected before", func(c *events.Created) any { c.Added[1].Filename = "fashion/00637.png"; return nil }, "fashion/00637.png is selected twice"},
		{"unknown image", func(c *events.Created) any { c.Added[1].Filename = "x.png"; return nil }, `"x.png" is not in the pool`},
		{"rank", func(c *events.Created) any { c.Added[1].Rank = 7; return nil }, "has rank 7, want 2"},
		{"other method", func(c *events.Created) any { c.Method = "CORESET"; return nil }, "method CORESET, want RANDOM"},
		{"other tag", func(c *events.Created) any { c.Tag.Name = "round-07"; return nil }, `tag "round-07", want "round-01"`},
		{"forgotten image", func(c *events.Created) any { c.Filenames = c.Filenames[1:]; return nil }, "24 images are selected now (counted as 25), want 25"},
		{"exchanged image", func(c *events.Created) any { c.Filenames[0] = "x.png"; return nil }, `"x.png" counts as selected`},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc := serve(t, func(round int, created *events.Created) any {
				if round == 1 {
					return c.spoil(created)
				}
				return nil
			})
			_, err := Run(t.Context(), Config{NATS: nc, Dir: t.TempDir(), Methods: []string{"random"}, Seeds: 1, Start: 20, Batch: 5, Rounds: 2})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "fashion-random-1: selection of round 1: ") {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	nc := serve(t, func(int, *events.Created) any {
		cancel()
		return nil
	})
	began := time.Now()
	_, err := Run(ctx, Config{NATS: nc, Dir: t.TempDir(), Seeds: 1, Start: 20, Batch: 5, Rounds: 2})
	if !errors.Is(err, context.Canceled) || time.Since(began) > 2*time.Minute {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

func TestConfig(t *testing.T) {
	_, err := Run(t.Context(), Config{Dir: "/nowhere", Methods: []string{"magic", "random", "random"}, Seeds: -1})
	for _, want := range []string{"no NATS connection", "/nowhere", `unknown method "magic": there are random, uherding, coreset, coral, margin`, `"random" is named twice`, "at least 1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	_, err = Run(t.Context(), Config{NATS: new(nats.Conn), Dir: t.TempDir(), Start: 4000, Batch: 1000, Rounds: 5})
	if err == nil || !strings.Contains(err.Error(), "4000 + 5 × 1000 labels are more than the 8000 images of the pool") {
		t.Errorf("error %v", err)
	}
}

func TestStatus(t *testing.T) {
	s := Status{Done: 3, Total: 8, Left: 71400 * time.Millisecond, Method: "coral", Seed: 2, Labels: 1000, Accuracy: 0.8123}
	if got, want := s.String(), " 37 %  round 3 of 8  1m11s left  coral, seed 2: 81.2 % right with 1,000 labels"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
