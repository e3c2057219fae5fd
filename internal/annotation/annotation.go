// Package annotation is what the connectors of annotation tools share: how a
// sample's filename becomes the address of its image and back, what an
// annotator is told of a pick, and how labels become events. It speaks to no
// tool.
package annotation

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// Reason says in a few words why a sample was picked, for the person who is to
// label it.
func Reason(c *events.Created, a events.Added) string {
	if a.Random {
		return "picked at random"
	}
	score := ""
	if a.Score != nil {
		name := c.Parameters.Score
		if name == "" {
			name = "score"
		}
		score = name + " " + short(*a.Score)
	}
	far := ""
	if c.Method == "CORESET" || c.Method == "CORAL" { // there the gain is a distance, or weighs one
		far = "the first pick"
		if a.Nearest != "" {
			far = "unlike what was picked before it; nearest is " + a.Nearest
		}
	}
	if a.Covers != nil { // HERDING and UHERDING
		far = fmt.Sprintf("covers %d samples better than anything picked before it", *a.Covers)
	}
	switch {
	case score != "" && far != "":
		return score + "; " + far
	case score != "" || far != "":
		return score + far
	case c.Method == "RANDOM":
		return "picked at random"
	}
	return c.Method
}

func short(x float64) string { return strconv.FormatFloat(x, 'g', 3, 64) }

// Current reads the dataset of a selection, or returns false if the selection
// is of one that is gone: deleted, or made anew under its name.
func Current(ctx context.Context, s *state.Store, c *events.Created) (d state.Dataset, ok bool, err error) {
	t, _, err := s.Tag(ctx, c.Dataset, c.Tag.Name)
	if err == nil {
		d, _, err = s.Dataset(ctx, c.Dataset)
	}
	if errors.Is(err, state.ErrNotFound) {
		return d, false, nil
	}
	return d, err == nil && t.ID == c.Tag.ID, err
}

// Pending returns the picks of a selection that are neither labeled nor
// skipped yet, in order.
func Pending(ctx context.Context, s *state.Store, d state.Dataset, c *events.Created) ([]events.Added, error) {
	names, err := s.Names(ctx, d)
	if err != nil {
		return nil, err
	}
	labels, _, err := s.Labels(ctx, d.Name)
	if err != nil {
		return nil, err
	}
	var open []events.Added
	for _, a := range c.Added {
		if row, ok := names.Row(a.Filename); ok {
			if status, _ := labels.Status(row); status == state.Unlabeled {
				open = append(open, a)
			}
		}
	}
	return open, nil
}

// perEvent is how many filenames travel in one labels.completed: a filename
// may be 1 KiB, an event 1 MiB.
const perEvent = 500

// Publish says on JetStream what annotators said: labels.completed, in as many
// events as it takes. id must follow from what is said, so that saying it
// again makes no new events; it is the dataset's of this id that is meant, not
// one that is made anew under its name. It returns when all is stored.
func Publish(ctx context.Context, js jetstream.JetStream, source, id string, d state.Dataset, l events.Labels) error {
	l.Dataset = d.Name
	lists := []*[]string{&l.Labeled, &l.Skipped, &l.Unlabeled}
	for part := 0; ; part++ {
		one, room := l, perEvent
		one.Labeled, one.Skipped, one.Unlabeled = nil, nil, nil
		for i, to := range []*[]string{&one.Labeled, &one.Skipped, &one.Unlabeled} {
			n := min(room, len(*lists[i]))
			*to, *lists[i] = (*lists[i])[:n], (*lists[i])[n:]
			room -= n
		}
		if room == perEvent {
			return nil
		}
		e := event.New()
		e.SetType(events.LabelsCompleted)
		e.SetSource(source)
		e.SetID(id)
		if part > 0 {
			e.SetID(fmt.Sprintf("%s-%d", id, part+1))
		}
		e.SetTime(time.Now().UTC())
		e.SetSubject(d.Name)
		e.SetDataSchema(events.DataSchema(events.LabelsCompleted))
		e.SetExtension(events.DatasetID, d.ID)
		if err := e.SetData(event.ApplicationJSON, one); err != nil {
			return err
		}
		if _, err := events.Publish(ctx, js, e); err != nil {
			return err
		}
	}
}
