package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Source is a durable pull consumer. It is asked over plain NATS: the client's
// own pull takes an input without a body but with a Status header for the
// server's answer to the pull, and such an input would never be settled.
type Source struct {
	Conn             *nats.Conn
	Stream, Consumer string
}

// delivery is one message and how to settle it.
type delivery struct {
	*nats.Msg
	meta *nats.MsgMetadata
	conn *nats.Conn
}

// pull asks for up to n messages, waiting for the first one if wait > 0. No
// message is no error.
func (s Source) pull(n int, wait time.Duration) (got []delivery, err error) {
	inbox := s.Conn.NewInbox()
	// A channel, because a synchronous subscription reads statuses too.
	answers := make(chan *nats.Msg, n+8)
	sub, err := s.Conn.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	ask, err := json.Marshal(struct {
		Batch   int           `json:"batch"`
		Expires time.Duration `json:"expires,omitempty"`
		NoWait  bool          `json:"no_wait,omitempty"`
	}{n, wait, wait == 0})
	if err != nil {
		return nil, err
	}
	if err := s.Conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+s.Stream+"."+s.Consumer, inbox, ask); err != nil {
		return nil, err
	}
	silence := time.NewTimer(wait + 2*time.Second)
	defer silence.Stop()
	for len(got) < n {
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-silence.C:
			if len(got) == 0 {
				err = fmt.Errorf("pull from %s: no answer", s.Consumer)
			}
			return got, err
		}
		if m.Reply == "" { // the server's word on the pull
			switch status := m.Header.Get("Status"); status {
			case "100":
				continue
			case "404", "408":
				return got, nil
			default:
				if len(got) > 0 {
					return got, nil
				}
				return nil, fmt.Errorf("pull from %s: %s %s", s.Consumer, status, m.Header.Get("Description"))
			}
		}
		if !strings.HasPrefix(m.Reply, "$JS.ACK.") {
			return got, errors.New("a message that JetStream did not deliver")
		}
		meta, err := m.Metadata()
		if err != nil {
			return got, err
		}
		got = append(got, delivery{m, meta, s.Conn})
	}
	return got, nil
}

// The answers to a delivery, as the protocol of JetStream writes them.

func (d delivery) ack() error        { return d.conn.Publish(d.Reply, []byte("+ACK")) }
func (d delivery) inProgress() error { return d.conn.Publish(d.Reply, []byte("+WPI")) }

// doubleAck waits until the server has taken the acknowledgement.
func (d delivery) doubleAck(ctx context.Context) error {
	_, err := d.conn.RequestWithContext(ctx, d.Reply, []byte("+ACK"))
	return err
}

func (d delivery) nak(after time.Duration) error {
	return d.conn.Publish(d.Reply, fmt.Appendf(nil, `-NAK {"delay": %d}`, after.Nanoseconds()))
}

func (d delivery) term(reason string) error {
	return d.conn.Publish(d.Reply, []byte("+TERM "+reason))
}

// SourceFrom is SourceOf for a consumer at hand.
func SourceFrom(nc *nats.Conn, c jetstream.Consumer) Source {
	info := c.CachedInfo()
	return Source{nc, info.Stream, info.Name}
}

// SourceOf names a consumer that exists.
func SourceOf(ctx context.Context, nc *nats.Conn, stream jetstream.Stream, name string) (Source, error) {
	info, err := stream.Consumer(ctx, name)
	if err != nil {
		return Source{}, fmt.Errorf("consumer %s: %w", name, err)
	}
	return SourceFrom(nc, info), nil
}
