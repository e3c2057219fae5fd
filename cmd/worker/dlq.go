package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
)

func runDLQ(ctx context.Context, a *app, args []string) error {
	return a.look(ctx, "dlq", "[list | show SEQ | replay SEQ] [--json]",
		"Dead letters: events that could not be handled, whole, with the reason. replay publishes one again under a new id.", args,
		map[string]verb{"list": {run: listDead}, "show": {run: showDead, args: []string{"SEQ"}}, "replay": {run: replayDead, args: []string{"SEQ"}}})
}

// deadLetter is one message of al.v1.dlq.
type deadLetter struct {
	Seq      uint64    `json:"seq"`
	Time     time.Time `json:"time"`
	Subject  string    `json:"subject"`
	Code     string    `json:"code"`
	Message  string    `json:"message"`
	Hint     string    `json:"hint,omitempty"`
	Attempts string    `json:"attempts"`
	Job      string    `json:"job"`
}

func letterOf(seq uint64, t time.Time, h nats.Header) deadLetter {
	return deadLetter{seq, t, h.Get("Al-Subject"), h.Get("Al-Code"), h.Get("Al-Message"), h.Get("Al-Hint"), h.Get("Al-Attempts"), h.Get("Al-Job")}
}

func listDead(ctx context.Context, l *looker, _ []string) error {
	cons, err := l.js.OrderedConsumer(ctx, bus.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"al.v1.dlq.>"}})
	if err != nil {
		return err
	}
	info, err := cons.Info(ctx)
	if err != nil {
		return err
	}
	all := []deadLetter{}
	for left := int(info.NumPending); left > 0; {
		batch, err := cons.Fetch(min(left, 500), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return err
		}
		before := len(all)
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			all = append(all, letterOf(meta.Sequence.Stream, meta.Timestamp, m.Headers()))
		}
		if len(all) == before {
			return fmt.Errorf("%d dead letters did not come", left)
		}
		left -= len(all) - before
	}
	var rows [][]any
	for _, d := range all {
		rows = append(rows, []any{d.Seq, d.Time.Format(time.RFC3339), d.Subject, d.Attempts, d.Code, d.Message})
	}
	return l.print(all, "SEQ\tTIME\tSUBJECT\tATTEMPTS\tCODE\tMESSAGE", rows)
}

func (l *looker) dead(ctx context.Context, args []string) (*jetstream.RawStreamMsg, error) {
	seq, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return nil, wrongUsage("SEQ %q is no number", args[0])
	}
	s, err := l.js.Stream(ctx, bus.Stream)
	if err != nil {
		return nil, err
	}
	m, err := s.GetMsg(ctx, seq)
	if err != nil || m.Header.Get("Al-Code") == "" {
		return nil, fmt.Errorf("no dead letter %d", seq)
	}
	return m, nil
}

func showDead(ctx context.Context, l *looker, args []string) error {
	m, err := l.dead(ctx, args)
	if err != nil {
		return err
	}
	d := letterOf(m.Sequence, m.Time, m.Header)
	if l.json {
		return l.print(struct {
			deadLetter
			Event string `json:"event"`
		}{d, string(m.Data)}, "", nil)
	}
	fmt.Fprintf(l.out, "%s: %s\n", d.Code, d.Message)
	if d.Hint != "" {
		fmt.Fprintf(l.out, "hint: %s\n", d.Hint)
	}
	fmt.Fprintf(l.out, "attempts %s, job %s, published to %s\n\n%s\n", d.Attempts, d.Job, d.Subject, m.Data)
	return nil
}

func replayDead(ctx context.Context, l *looker, args []string) error {
	m, err := l.dead(ctx, args)
	if err != nil {
		return err
	}
	e, err := events.Decode(m.Header, m.Data)
	if err != nil {
		return fmt.Errorf("it is no event that could be sent again: %w", explain(err))
	}
	// The job of the old id is finished; a number that follows from the letter
	// makes a second replay the same event.
	e.SetID(fmt.Sprintf("%s.replay-%d", e.ID(), m.Sequence))
	ack, err := events.Publish(ctx, l.js, e)
	if err != nil {
		return explain(err)
	}
	fmt.Fprintf(l.out, "sent again as %s, stored as %d in %s\n", e.ID(), ack.Sequence, ack.Stream)
	return nil
}
