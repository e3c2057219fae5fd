//go:build foreign

package lightly_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"nextbatch/internal/events"
)

// TestOneHistory drives one dataset by turns: the Python client selects, an
// annotation tool labels, an event selects on top of the client's tag, the
// client on top of the event's. All of them see the same tags with the same
// samples, and no sample is selected twice.
func TestOneHistory(t *testing.T) {
	s := newSite(t)
	p := newPython(t, "1.2.37", s.url)
	dataset := p.upload("history", "thumbnails")

	type tag struct {
		Name, Previous string
		Samples        []string
		Total          int
	}
	var said struct {
		Labeled, Added []string
		Tags           []tag
	}
	p.run(&said, "query.py", dataset, token, p.path("images"), "client-1", "30", "CORESET")
	first := slices.Clone(said.Labeled) // the next answer is read into the same slices

	s.publish("labels.completed", "task-1", map[string]any{"tag": "client-1", "labeled": first[2:], "skipped": first[:2]})
	s.until("the labels are counted", func() bool {
		l := s.labelset()
		return l.Labeled == 28 && l.Skipped == 2
	})

	s.publish("selection.requested", "request-1", map[string]any{
		"preselected_tag": "client-1", "selection": map[string]any{"method": "CORESET", "batch_size": 20, "name": "event-1"}})
	s.until("the event's selection is there", func() bool { return len(s.results(events.SelectionCreated)) == 2 })
	byEvent := s.selection("event-1")

	p.run(&said, "query.py", dataset, token, p.path("images"), "client-2", "70", "CORAL", "event-1")
	if len(said.Labeled) != 70 || len(said.Added) != 20 {
		t.Errorf("on top of the event's tag the client selects %d and has %d, want 20 and 70", len(said.Added), len(said.Labeled))
	}
	second := slices.Clone(said.Added)

	// The scores of the client are those that an event without any goes by.
	s.publish("selection.requested", "request-2", map[string]any{
		"preselected_tag": "client-2", "selection": map[string]any{"method": "ACTIVE_LEARNING", "batch_size": 10, "name": "event-2"}})
	s.until("the second event's selection is there", func() bool { return len(s.results(events.SelectionCreated)) == 4 })
	if failed := s.results(events.SelectionFailed); len(failed) > 0 {
		t.Fatalf("an event failed: %s", failed[0].Data())
	}

	p.run(&said, "query.py", dataset, token, p.path("images"), "client-3", "85", "RANDOM", "event-2")
	names := func(name string) []string { return filenames(s.selection(name).Added) }
	history := [][]string{first, names("event-1"), second, names("event-2"), names("client-3")}
	previous, selected := "initial-tag", []string{}
	for i, name := range []string{"client-1", "event-1", "client-2", "event-2", "client-3"} {
		selected = append(selected, history[i]...)
		at := slices.IndexFunc(said.Tags, func(t tag) bool { return t.Name == name })
		if at < 0 {
			t.Fatalf("the client does not see tag %s", name)
		}
		seen := said.Tags[at]
		sameSet(t, name, seen.Samples, selected)
		sameSet(t, name+" on the bus", seen.Samples, s.selection(name).Filenames)
		if seen.Previous != previous || seen.Total != nImages {
			t.Errorf("tag %s comes after %q in %d samples, want after %q in %d", name, seen.Previous, seen.Total, previous, nImages)
		}
		if lines := strings.Fields(s.worker("tags", "export", "history", name)); len(lines) != 2*len(history[i]) { // "product 0001.png"
			t.Errorf("worker tags export %s prints %d words for %d samples", name, len(lines), len(history[i]))
		}
		previous = name
	}
	if len(said.Tags) != 6 {
		t.Errorf("the client sees %d tags, want 6", len(said.Tags))
	}
	if byEvent.Counts.Preselected != 30 || byEvent.Counts.Dataset != nImages {
		t.Errorf("the event's selection counts %+v", byEvent.Counts)
	}
	// Every change of the selected and labeled samples has the next number.
	var numbers []string
	for _, e := range s.results(events.SelectionCreated) {
		numbers = append(numbers, fmt.Sprint(e.Extensions()["sequence"]))
	}
	if distinct := slices.Compact(slices.Clone(numbers)); !slices.IsSorted(numbers) || len(distinct) != 5 {
		t.Errorf("the selections are numbered %q", numbers)
	}
}

// publish sends an event about the dataset history, as a program would that
// knows nothing of the HTTP server.
func (s *site) publish(eventType, id string, data map[string]any) {
	s.t.Helper()
	data["dataset"] = "history"
	e, err := json.Marshal(map[string]any{"specversion": "1.0", "source": "/test", "id": id, "type": eventType, "data": data})
	if err != nil {
		s.t.Fatal(err)
	}
	m := nats.Msg{Subject: "al.v1.in." + eventType + ".history", Data: e, Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}}
	if _, err := s.js.PublishMsg(s.t.Context(), &m); err != nil {
		s.t.Fatal(err)
	}
}

// labelset is the newest labelset.updated.
func (s *site) labelset() (l events.Labelset) {
	s.t.Helper()
	if all := s.results(events.LabelsetUpdated); len(all) > 0 {
		if err := json.Unmarshal(all[len(all)-1].Data(), &l); err != nil {
			s.t.Fatal(err)
		}
	}
	return l
}
