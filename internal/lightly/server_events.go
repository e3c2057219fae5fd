package lightly

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// The entrance for CloudEvents over HTTP: structured, binary and batched, by the
// HTTP protocol binding 1.0. What is answered with 202 is in the stream AL_IN;
// what it leads to is published like the result of any other event.

const (
	maxEvent  = 1 << 20 // bytes, as on NATS
	maxBatch  = 1000    // events
	storeTime = 10 * time.Second
	batchType = "application/cloudevents-batch+json"
	// waitSeconds is how many seconds a sender is asked to wait.
	waitSeconds = "5"
)

// stored is the answer to an event: where it is.
type stored struct {
	ID        string `json:"id"`
	Source    string `json:"source"`
	Type      string `json:"type"`
	Dataset   string `json:"dataset"`
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"sequence"`
	Duplicate bool   `json:"duplicate"` // it was there: the same source, id and data
}

// faultyEvent is an event of a batch that was refused.
type faultyEvent struct {
	Index   int    `json:"index"` // from 0
	ID      string `json:"id,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// eventRefusal is the answer to events that are not taken. Its fields are also
// those of errorBody.
type eventRefusal struct {
	Code      string        `json:"code"`
	Message   string        `json:"message"`
	Error     string        `json:"error"`
	Hint      string        `json:"hint,omitempty"`
	RequestID string        `json:"requestId"`
	Faults    []faultyEvent `json:"faults,omitempty"` // of a batch
	Events    []stored      `json:"events,omitempty"` // of a batch: those that are in the stream even so
}

// postEvents takes one event or a batch. Every event of a batch is checked
// before the first is stored: a batch with a bad one is refused whole.
func (c *call) postEvents() error {
	body, err := io.ReadAll(c.r.Body)
	if err != nil {
		return err
	}
	if encoding := c.r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return c.refuseEvents(http.StatusUnsupportedMediaType, eventRefusal{Code: "unsupported_format", Message: fmt.Sprintf("content encoding %.40q is not supported", encoding), Hint: "send it as it is"})
	}
	if media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err == nil && media == batchType {
		return c.postBatch(body)
	}
	e, payload, refused := c.readEvent(nats.Header(c.r.Header), body)
	if refused != nil {
		return c.refuseEvents(statusOf(refused), eventRefusal{Code: refused.Code, Message: refused.Message, Hint: refused.Hint})
	}
	s, refused := c.keep(e, payload)
	switch {
	case refused != nil:
		return c.refuseEvents(statusOf(refused), eventRefusal{Code: refused.Code, Message: refused.Message, Hint: refused.Hint})
	case s.Duplicate:
		return c.answerEvents(http.StatusOK, s)
	}
	return c.answerEvents(http.StatusAccepted, s)
}

func (c *call) postBatch(body []byte) error {
	type item struct {
		event   event.Event
		payload any
	}
	var items []item
	var faults []faultyEvent
	header := nats.Header{"Content-Type": {"application/cloudevents+json"}}
	dec := json.NewDecoder(bytes.NewReader(body))
	broken := func(err error) error {
		return c.refuseEvents(http.StatusBadRequest, eventRefusal{Code: "bad_event", Message: fmt.Sprintf("the batch is no JSON array of events: %v", err), Hint: "nothing was stored; send a JSON array of CloudEvents"})
	}
	if token, err := dec.Token(); err != nil || token != json.Delim('[') {
		return broken(errors.Join(err, errors.New("it does not begin with [")))
	}
	for i := 0; dec.More(); i++ {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return broken(err)
		}
		if i == maxBatch {
			return c.refuseEvents(http.StatusRequestEntityTooLarge, eventRefusal{Code: "batch_too_large", Message: fmt.Sprintf("more than %d events", maxBatch), Hint: "nothing was stored; send fewer at a time"})
		}
		e, payload, refused := c.readEvent(header, raw)
		if refused != nil {
			faults = append(faults, faultyEvent{i, idOf(raw), refused.Code, refused.Message, refused.Hint})
			continue
		}
		items = append(items, item{e, payload})
	}
	if _, err := dec.Token(); err != nil {
		return broken(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return broken(errors.New("something follows it"))
	}
	if n := len(faults); n > 0 {
		first := faults[0]
		return c.refuseEvents(http.StatusBadRequest, eventRefusal{Code: "bad_batch", Faults: faults[:min(n, 20)],
			Message: fmt.Sprintf("%d of %d events are not accepted (first: event %d: %s: %s)", n, n+len(items), first.Index, first.Code, first.Message),
			Hint:    "nothing was stored; mend them or leave them out, and send the batch again"})
	}
	all := make([]stored, 0, len(items))
	for i, it := range items {
		s, refused := c.keep(it.event, it.payload)
		if refused != nil {
			fault := faultyEvent{i, it.event.ID(), refused.Code, refused.Message, refused.Hint}
			return c.refuseEvents(statusOf(refused), eventRefusal{Code: refused.Code, Faults: []faultyEvent{fault}, Events: all,
				Message: fmt.Sprintf("%d of %d events were stored, then: event %d: %s", i, len(items), i, refused.Message),
				Hint:    "send the batch again with the same ids: what is stored takes effect once"})
		}
		all = append(all, s)
	}
	return c.answerEvents(http.StatusAccepted, map[string][]stored{"events": all})
}

// idOf is the id of an event that may be broken, "" if it has none.
func idOf(raw []byte) string {
	var e struct {
		ID string `json:"id"`
	}
	json.Unmarshal(raw, &e)
	return e.ID[:min(len(e.ID), 256)]
}

// readEvent decodes an event and checks it against its schema. A dataset that
// is another user's is refused; those that events made are everybody's.
func (c *call) readEvent(header nats.Header, body []byte) (e event.Event, payload any, refused *events.Error) {
	if len(body) > maxEvent {
		return e, nil, &events.Error{Code: "event_too_large", Message: fmt.Sprintf("the event has %d bytes, %d are allowed", len(body), maxEvent),
			Hint: "put what is large into a file and refer to it"}
	}
	e, err := events.Decode(header, body)
	if err == nil {
		payload, err = events.Parse(e)
	}
	if errors.As(err, &refused) {
		return e, nil, refused
	}
	name := events.DatasetOf(payload)
	switch d, _, err := c.store.Dataset(c.r.Context(), name); {
	case errors.Is(err, state.ErrNotFound):
	case err != nil:
		return e, nil, &events.Error{Code: "unavailable", Message: "the store does not answer", Hint: "send it again with the same id"}
	case !visible(d, c.user):
		return e, nil, &events.Error{Code: "forbidden_dataset", Message: fmt.Sprintf("dataset %q belongs to another user", name), Hint: "send with the token of its owner"}
	}
	return e, payload, nil
}

// statusOf is the HTTP status of a refusal, by its code.
func statusOf(refused *events.Error) int {
	switch refused.Code {
	case "event_too_large":
		return http.StatusRequestEntityTooLarge
	case "unsupported_format":
		return http.StatusUnsupportedMediaType
	case "forbidden_dataset":
		return http.StatusForbidden
	case "id_reused":
		return http.StatusConflict
	case "unavailable":
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// keep puts an event into its stream. JetStream drops what has the identity of
// an event of the last minutes without looking at it: here it is looked at, so
// that other data under an old id is not lost.
func (c *call) keep(e event.Event, payload any) (s stored, refused *events.Error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), storeTime)
	defer cancel()
	ack, err := events.Publish(ctx, c.js, e)
	var answer *jetstream.APIError
	switch {
	case errors.As(err, &refused):
		return s, refused
	case errors.Is(err, nats.ErrMaxPayload), errors.As(err, &answer) && answer.ErrorCode == messageTooLarge:
		return s, &events.Error{Code: "event_too_large", Message: fmt.Sprintf("with its attributes the event has more than the %d bytes that the stream takes", maxEvent),
			Hint: "put what is large into a file and refer to it"}
	case err != nil:
		c.log.Error().Err(err).Str("event_id", e.ID()).Str("event_type", e.Type()).Msg("an event over HTTP was not stored")
		return s, &events.Error{Code: "unavailable", Message: "the stream did not take the event, or did not say so in time", Hint: "send it again with the same id: it takes effect once"}
	}
	s = stored{e.ID(), e.Source(), events.TypeOf(e), events.DatasetOf(payload), ack.Stream, ack.Sequence, ack.Duplicate}
	if !ack.Duplicate {
		return s, nil
	}
	m, err := state.Ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) { return c.in.GetMsg(ctx, ack.Sequence) })
	if err == nil {
		if first, err := events.Decode(m.Header, m.Data); err == nil && !bytes.Equal(bytes.TrimSpace(first.Data()), bytes.TrimSpace(e.Data())) {
			return s, &events.Error{Code: "id_reused", Message: fmt.Sprintf("an event with source %q and id %q but other data came before, as %d in %s", e.Source(), e.ID(), ack.Sequence, ack.Stream),
				Hint: "give every event an id of its own; repeat an id only to send the same event again"}
		}
	}
	return s, nil
}

// messageTooLarge is the code of JetStream's API for a message beyond the limit
// of its stream.
const messageTooLarge = 10054

func (c *call) refuseEvents(status int, r eventRefusal) error {
	r.Error, r.RequestID = r.Message, hexID(8)
	if status == http.StatusServiceUnavailable {
		c.w.Header().Set("Retry-After", waitSeconds)
	}
	return c.answerEvents(status, r)
}

func (c *call) answerEvents(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(status)
	c.w.Write(body) // a client that went away is not told
	return nil
}
