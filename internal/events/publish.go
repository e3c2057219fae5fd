package events

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TypeOf returns the short type of an event: aliases end in "….<type>.v1".
func TypeOf(e event.Event) string {
	t := strings.TrimSuffix(e.Type(), ".v1")
	for _, known := range append(InputTypes, OutputTypes...) {
		if t == known || strings.HasSuffix(t, "."+known) {
			return known
		}
	}
	return e.Type()
}

// DatasetOf returns the dataset of a payload that Parse or ParseOutput
// returned, "" for a failure without one.
func DatasetOf(payload any) string {
	switch p := payload.(type) {
	case *Embeddings:
		return p.Dataset
	case *Predictions:
		return p.Dataset
	case *Labels:
		return p.Dataset
	case *Request:
		return p.Dataset
	case *Created:
		return p.Dataset
	case *Failed:
		return p.Dataset
	case *Labelset:
		return p.Dataset
	}
	panic(fmt.Sprintf("events: %T is no payload", payload))
}

// MessageID is the Nats-Msg-Id of an event: equal for equal source and id.
func MessageID(source, id string) string {
	h := sha256.Sum256([]byte(source + "\x00" + id))
	return hex.EncodeToString(h[:16])
}

// Publish checks an input event and publishes it on its subject, again and
// again until JetStream says that it is stored. Sending one event twice is
// harmless.
func Publish(ctx context.Context, js jetstream.JetStream, e event.Event) (*jetstream.PubAck, error) {
	payload, err := Parse(e)
	if err != nil {
		return nil, err
	}
	header, data, err := Encode(e, Structured)
	if err != nil {
		return nil, err
	}
	msg := &nats.Msg{Subject: InSubject(TypeOf(e), DatasetOf(payload)), Header: header, Data: data}
	msg.Header.Set(jetstream.MsgIDHeader, MessageID(e.Source(), e.ID()))
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		ack, err := js.PublishMsg(ctx, msg)
		var refused jetstream.JetStreamError
		if err == nil || ctx.Err() != nil || errors.As(err, &refused) || errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrConnectionClosed) {
			return ack, err
		}
		sleep(ctx, wait)
	}
}
