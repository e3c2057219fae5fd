package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

const maxEvent = 1 << 20

func runPublish(ctx context.Context, a *app, args []string) error {
	fs := a.flags("publish", "[--wait D] FILE|-", `Checks a CloudEvent against its schema and publishes it on its subject.

FILE holds one event in the JSON format of CloudEvents, or - for standard
input. "specversion", "id", "source" and "type" are needed, as ever; an id
that was used before sends the same event again, which is harmless.

  echo '{"specversion":"1.0","id":"1","source":"/me","type":"selection.requested",
         "data":{"dataset":"clothing","selection":{"method":"CORESET","batch_size":10}}}' |
    worker publish --wait 1m -`)
	wait := fs.Duration("wait", 0, "wait so long for the event's result and print it")
	if err := fs.parse(args); err != nil {
		return err
	}
	if fs.NArg() != 1 {
		return wrongUsage("publish takes one FILE, or - for standard input")
	}
	in := a.in
	if name := fs.Arg(0); name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxEvent+1))
	if err != nil {
		return err
	}
	if len(data) > maxEvent {
		return fmt.Errorf("the event is larger than %d bytes; put what is large into a file and refer to it", maxEvent)
	}
	e, err := events.Decode(nats.Header{"Content-Type": {"application/cloudevents+json"}}, data)
	if err != nil {
		return explain(err)
	}
	payload, err := events.Parse(e)
	if err != nil {
		return explain(err)
	}
	nc, js, err := dial(a)
	if err != nil {
		return err
	}
	defer nc.Close()
	ack, err := events.Publish(ctx, js, e)
	if err != nil {
		return explain(err)
	}
	fmt.Fprintf(a.errOut, "stored as %d in %s\n", ack.Sequence, ack.Stream)
	if *wait == 0 {
		return nil
	}
	// From the first result on: an event that is sent again has its result already.
	results, err := js.OrderedConsumer(ctx, bus.Stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"al.v1.out.*.*." + events.Token(events.DatasetOf(payload))}})
	if err != nil {
		return err
	}
	read, err := results.Messages() // not Next, which makes a new consumer for each message
	if err != nil {
		return err
	}
	defer read.Stop()
	store, err := state.Open(ctx, nc, nil)
	if err != nil {
		return err
	}
	return printResult(ctx, a, read, store, e, *wait)
}

// printResult prints the event that the published one led to. Where nothing
// was asked for there is none: then it prints the finished job.
func printResult(ctx context.Context, a *app, results jetstream.MessagesContext, store *state.Store, cause event.Event, wait time.Duration) error {
	for deadline := time.Now().Add(wait); time.Now().Before(deadline) && ctx.Err() == nil; {
		job, _, missing := store.Job(ctx, state.JobID(cause.Source(), cause.ID())) // first: results are committed with it
		m, err := results.Next(jetstream.NextMaxWait(time.Second))
		if err != nil && missing == nil && job.Finished() {
			return printJob(a, job)
		}
		if err != nil {
			continue
		}
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil || e.Extensions()["causationid"] != cause.ID() {
			continue
		}
		out, err := json.MarshalIndent(e, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintln(a.out, string(out))
		if e.Type() == events.SelectionFailed {
			return errors.New("the event failed")
		}
		return nil
	}
	return fmt.Errorf("no result within %v; worker jobs show tells how far the event is", wait)
}

func printJob(a *app, job state.Job) error {
	out, err := json.MarshalIndent(job, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out, string(out))
	if job.State == state.JobDead {
		return errors.New("the event failed")
	}
	return nil
}

// dial connects to the server that the service uses: the external one, or the
// embedded one of a running worker.
func dial(a *app) (*nats.Conn, jetstream.JetStream, error) {
	cfg, err := loadConfig()
	if err != nil {
		return nil, nil, usageError{err}
	}
	auth := cfg.auth()
	if auth.URL == "" {
		file := filepath.Join(cfg.DataDir, "nats", "nats.url")
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, fmt.Errorf("no worker has run with this data directory (%s is missing): start worker first, or set AL_DATA_DIR or AL_NATS_URL", file)
		}
		auth.URL = strings.TrimSpace(string(b))
	}
	nc, err := bus.Connect(auth, a.log)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; is the worker running?", err)
	}
	js, err := jetstream.New(nc)
	return nc, js, err
}

// explain adds an error's hint.
func explain(err error) error {
	var e *events.Error
	if errors.As(err, &e) && e.Hint != "" {
		return fmt.Errorf("%s: %s\nhint: %s", e.Code, e.Message, e.Hint)
	}
	return err
}
