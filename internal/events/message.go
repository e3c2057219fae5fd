package events

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

// openInput reads a delivery of an input. What is wrong with the event stands
// in Err.
func openInput(msg delivery) *Message { return open(msg, Parse, InSubject) }

// openResult does the same for a result.
func openResult(msg delivery) *Message { return open(msg, ParseOutput, OutSubject) }

func open(msg delivery, parse func(event.Event) (any, error), subject func(eventType, dataset string) string) *Message {
	m := &Message{
		Seq: msg.meta.Sequence.Stream, Time: msg.meta.Timestamp, Delivered: msg.meta.NumDelivered,
		Subject: msg.Subject, Header: msg.Header, Data: msg.Data, msg: msg,
	}
	if m.Event, m.Err = Decode(m.Header, m.Data); m.Err != nil {
		return m
	}
	if m.Payload, m.Err = parse(m.Event); m.Err != nil {
		return m
	}
	if want := subject(TypeOf(m.Event), DatasetOf(m.Payload)); want != m.Subject {
		m.Payload, m.Err = nil, &Error{"subject_mismatch",
			fmt.Sprintf("published to %s, but an event of this type and dataset belongs on %s", m.Subject, want),
			"publish it to that subject: permissions are given by subject"}
	}
	return m
}

// FetchLists puts the lists of a selection.created that travel by reference
// into its payload; of any other result it changes nothing. The object is the
// one that package worker writes: JSON lines, the data first, then {"added": …}
// for each pick and {"filename": …} for each sample. get returns a blob by its
// SHA-256 and checks it.
func (m *Message) FetchLists(ctx context.Context, get func(ctx context.Context, sha256 string) ([]byte, error)) error {
	c, ok := m.Payload.(*Created)
	digest, _ := m.Event.Extensions()["datarefdigest"].(string)
	sha, byReference := strings.CutPrefix(digest, "sha-256:")
	if !ok || !byReference {
		return nil
	}
	object, err := get(ctx, sha)
	if err != nil {
		return fmt.Errorf("the lists of %s: %w", m.Event.ID(), err)
	}
	lines := bufio.NewScanner(bytes.NewReader(object))
	lines.Buffer(nil, maxBody)
	lines.Scan() // the data, which the event has
	for lines.Scan() {
		var line struct {
			Added    *Added
			Filename string
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("the lists of %s: %w", m.Event.ID(), err)
		}
		if line.Added != nil {
			c.Added = append(c.Added, *line.Added)
		} else {
			c.Filenames = append(c.Filenames, line.Filename)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the lists of %s: %w", m.Event.ID(), err)
	}
	if len(c.Added) != c.Counts.Added || len(c.Filenames) != c.Counts.Selected {
		return fmt.Errorf("the lists of %s have %d and %d lines, want %d and %d", m.Event.ID(), len(c.Added), len(c.Filenames), c.Counts.Added, c.Counts.Selected)
	}
	return nil
}
