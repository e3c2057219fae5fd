//go:build foreign

package labelstudio_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"nextbatch/internal/events"
)

// Tasks come with what the model would label, and the project shows it; while
// the model has other classes than the project, the selection waits.
func TestPrelabels(t *testing.T) {
	s := newStudio(t)
	project := s.project(t, nil)
	const samples, n = 40, 12
	r := newRig(t, samples, offline)
	predict := func(classes int, name string) {
		var lines []string
		for i := range samples - 1 { // the last has none
			p := make([]float64, classes)
			p[i%classes] = 1
			line, err := json.Marshal(map[string]any{"filename": file(i), "probabilities": p})
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(line))
		}
		k := n
		r.send(events.PredictionsReady, events.Predictions{Dataset: dataset, Task: "classification",
			Predictions: events.Reference{URI: "inline:", Format: "jsonl", Data: json.RawMessage("[" + strings.Join(lines, ",") + "]")},
			Selection:   &events.Spec{Method: "RANDOM", Name: name, BatchSize: &k}})
	}
	cfg := s.config(project)
	cfg.Prelabels = true
	predict(7, "round 1")
	r.until("round 1 is selected", func() bool { _, _, err := r.store.Tag(t.Context(), dataset, "round 1"); return err == nil })
	r.connect(cfg)
	r.start()
	r.until("seven classes for ten choices are a problem", func() bool { return r.counted("problems_total", "push") > 0 })
	if rows := s.rows(t, project, 0); len(rows) > 0 {
		t.Fatalf("%d tasks with labels that cannot be right", len(rows))
	}
	predict(10, "round 2")
	r.until("round 2 is selected", func() bool { _, _, err := r.store.Tag(t.Context(), dataset, "round 2"); return err == nil })
	labeled := 0
	for _, row := range r.pushed(s, project, 2*n) {
		var task struct {
			Predictions []struct {
				Version string `json:"model_version"`
				Result  []struct {
					From  string `json:"from_name"`
					To    string `json:"to_name"`
					Value struct{ Choices []string }
				}
			}
		}
		s.must(t, http.MethodGet, fmt.Sprintf("/api/tasks/%d/", row.ID), nil, &task)
		if len(task.Predictions) != 1 {
			t.Errorf("%s: %d predictions", row.Data.Filename, len(task.Predictions))
			continue
		}
		result := task.Predictions[0].Result
		i := r.sample(row.Data.Filename)
		if i == samples-1 {
			if len(result) != 0 {
				t.Errorf("%s has a label, and the model none: %+v", row.Data.Filename, result)
			}
			continue
		}
		if len(result) != 1 || result[0].From != "class" || result[0].To != "img" || len(result[0].Value.Choices) != 1 || result[0].Value.Choices[0] != fmt.Sprint("c", i%10) {
			t.Errorf("%s: %+v, want c%d", row.Data.Filename, result, i%10)
		}
		labeled++
	}
	if labeled < 2*n-1 {
		t.Errorf("%d labels", labeled)
	}
	var now struct {
		Version string `json:"model_version"`
	}
	if s.must(t, http.MethodGet, fmt.Sprintf("/api/projects/%d/", project), nil, &now); now.Version != "nextbatch" {
		t.Errorf("the project shows predictions of %q", now.Version)
	}
}
