// Package annotation is what the connectors of annotation tools share: how a
// sample's filename becomes the address of its image and back, what an
// annotator is told of a pick, and how labels become events. It speaks to no
// tool.
package annotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
	score, covers, far := "", "", "the first pick"
	if a.Score != nil {
		score = cmp.Or(c.Parameters.Score, "score") + " " + short(*a.Score)
	}
	if a.Covers != nil {
		covers = fmt.Sprintf("covers %d samples better than anything picked before it", *a.Covers)
	}
	if a.Nearest != "" {
		far = "unlike what was picked before it; nearest is " + a.Nearest
	}
	var parts []string // a score may be at hand that the method makes nothing of
	switch c.Method {
	case "RANDOM":
		parts = []string{"picked at random"}
	case "ACTIVE_LEARNING":
		parts = []string{score}
	case "POWER":
		parts = []string{"drawn by " + cmp.Or(score, "its score")}
	case "FILTER_CLUSTER":
		parts = []string{score, "one of a group of samples of high score"}
	case "CORESET":
		parts = []string{far}
	case "CORAL":
		parts = []string{score, far}
	case "HERDING":
		parts = []string{covers}
	case "UHERDING":
		parts = []string{score, covers}
	case "TYPICLUST":
		parts = []string{"typical of its group"}
	case "TYPICALITY":
		parts = []string{"where samples lie densest"}
	case "BADGE":
		parts = []string{"between classes", far}
	case events.Combined:
		parts = combined(c.Parameters.Strategies, far)
	}
	why := strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), "; ")
	return cmp.Or(why, c.Method)
}

// combined says by which strategies a sample was the best; thresholds only say which
// samples there are.
func combined(list []events.Strategy, far string) []string {
	var kinds []string
	apart := ""
	for _, s := range list {
		if s.Rule.Type == "THRESHOLD" || s.Power() == 0 {
			continue
		}
		kinds = append(kinds, s.Kind())
		if s.Rule.Type == "DIVERSITY" {
			apart = far
		}
	}
	if kinds == nil {
		return nil
	}
	return []string{"the best by " + strings.Join(kinds, " and "), apart}
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
