package worker_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
	"nextbatch/internal/worker"
)

func strategy(inputType, rule string) events.Strategy {
	return events.Strategy{Input: events.Input{Type: inputType}, Rule: events.Rule{Type: rule}}
}

// change commits one change to the state of the service.
func (r *rig) change(f func(b *state.Batch)) {
	r.Helper()
	var b state.Batch
	f(&b)
	if _, err := r.workers[0].State().Commit(r.Context(), &b); err != nil {
		r.Fatal(err)
	}
}

// Every kind of strategy, on scores, metadata and predictions of one dataset.
func TestStrategies(t *testing.T) {
	const n = 240
	r := newRig(t, 2, worker.Config{})
	names := numbered(n)
	first := r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: vectors(names, 4, 1), Selection: &events.Spec{Method: "RANDOM", BatchSize: ptr(10), Name: "first"}}).Filenames
	r.ask(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(names), Selection: &events.Spec{Method: "RANDOM", BatchSize: ptr(0), Name: "none"}})
	names = r.rows("d") // in the order of rows
	store := r.workers[0].State()
	d, _, err := store.Dataset(t.Context(), "d")
	if err != nil {
		t.Fatal(err)
	}
	city := func(row int) string { return []string{"Bonn", "Bonn", "Bonn", "Bonn", "Riga", "Oslo"}[row%6] }
	r.change(func(b *state.Batch) {
		b.PredictionTask(state.PredictionTask{Dataset: d.ID, Version: 1, Name: "cars", Type: "OBJECT_DETECTION", Categories: []state.Category{{ID: 3, Name: "car"}, {ID: 7, Name: "tram"}}}, 0)
	})
	for row := range n - 1 { // the last one has none
		r.change(func(b *state.Batch) {
			b.Sample(state.Sample{Dataset: d.ID, Row: row, CustomMetaData: fmt.Appendf(nil, `{"place":{"city":%q},"depth":%d}`, city(row), row)}, 0)
		})
		objects := strings.Repeat(`{"type":"OBJECT_DETECTION","taskName":"cars","categoryId":7,"score":1},`, row%3)
		if err := store.PutPrediction(t.Context(), state.Prediction{Dataset: d.ID, Version: 1, Row: row, Singletons: []byte("[" + strings.TrimSuffix(objects, ",") + "]")}); err != nil {
			t.Fatal(err)
		}
	}
	rowOf := func(name string) int { return slices.Index(names, name) }
	pick := func(k int, list ...events.Strategy) *events.Created {
		t.Helper()
		c := r.ask(events.SelectionRequested, events.Request{Dataset: "d", FromScratch: true, Selection: events.Spec{Strategies: list, BatchSize: &k}})
		if c.Method != "COMBINED" || len(c.Parameters.Strategies) != len(list) {
			t.Errorf("method %s, parameters %+v", c.Method, c.Parameters)
		}
		return c
	}

	depth := strategy("METADATA", "WEIGHTS")
	depth.Input.Key = "depth"
	if c := pick(3, depth); c.Added[0].Filename != names[n-2] || c.Added[2].Filename != names[n-4] || !strings.Contains(strings.Join(c.Warnings, " "), "1 samples of the pool have no value for WEIGHTS on METADATA") {
		t.Errorf("deepest: %+v, %v", c.Added, c.Warnings)
	}
	shallow := depth
	shallow.Rule.Strength = ptr(-1.0)
	if c := pick(2, shallow); c.Added[0].Filename != names[0] {
		t.Errorf("shallowest: %+v", c.Added)
	}

	limit := strategy("METADATA", "THRESHOLD")
	limit.Input.Key, limit.Rule.Threshold, limit.Rule.Operation = "depth", ptr(100.0), "SMALLER"
	diverse := strategy("EMBEDDINGS", "DIVERSITY")
	some := pick(20, limit, diverse)
	for _, a := range some.Added {
		if rowOf(a.Filename) >= 100 {
			t.Errorf("%s is beyond the threshold", a.Filename)
		}
	}
	if again := pick(20, diverse, limit); !slices.EqualFunc(again.Added, some.Added, func(a, b events.Added) bool { return a.Filename == b.Filename }) {
		t.Error("the order of the strategies changes the selection")
	}

	even := strategy("METADATA", "BALANCE")
	even.Input.Key, even.Rule.Distribution, even.Rule.Strength = "place.city", "UNIFORM", ptr(3.0)
	count := map[string]int{}
	for _, a := range pick(60, even, diverse).Added {
		if row := rowOf(a.Filename); row < n-1 {
			count[city(row)]++
		}
	}
	if count["Bonn"] > 24 || count["Riga"] < 16 || count["Oslo"] < 16 {
		t.Errorf("cities: %v, want about 20 each", count)
	}

	trams := strategy("PREDICTIONS", "WEIGHTS")
	trams.Input.Task, trams.Input.Name, trams.Input.Categories = "cars", "CATEGORY_COUNT", []string{"tram"}
	for _, a := range pick(10, trams).Added {
		if rowOf(a.Filename)%3 != 2 {
			t.Errorf("%s has no two trams", a.Filename)
		}
	}
	half := strategy("PREDICTIONS", "BALANCE")
	half.Input.Name, half.Rule.Target = "CLASS_DISTRIBUTION", map[string]float64{"tram": 1}
	pick(5, half)

	// Of the event's own predictions, classes are called by their numbers.
	second := strategy("PREDICTIONS", "BALANCE")
	second.Input.Name, second.Rule.Target, second.Rule.Strength = "CLASS_DISTRIBUTION", map[string]float64{"1": 1}, ptr(20.0)
	lines := make([]map[string]any, n)
	for row, name := range names {
		p := []float64{1, 0}
		if row%8 == 3 {
			p = []float64{0, 1}
		}
		lines[row] = map[string]any{"filename": name, "probabilities": p}
	}
	own := r.ask(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: inline(lines),
		Selection: &events.Spec{Strategies: []events.Strategy{second}, BatchSize: ptr(5), Name: "seconds"}})
	for _, a := range own.Added {
		if rowOf(a.Filename)%8 != 3 {
			t.Errorf("%s is not of class 1", a.Filename)
		}
	}

	near := strategy("EMBEDDINGS", "SIMILARITY")
	near.Input.TagName = "first"
	if c := pick(10, near); !slices.Contains(first, c.Added[0].Filename) {
		t.Errorf("the most similar is %s, not in the tag itself", c.Added[0].Filename)
	}
	far := near
	far.Rule.Strength = ptr(-1.0)
	if c := pick(10, far); slices.Contains(first, c.Added[0].Filename) {
		t.Errorf("%s is in the tag", c.Added[0].Filename)
	}

	dense := strategy("EMBEDDINGS", "TYPICALITY")
	dense.Rule.Neighbors = ptr(5)
	inside, outside := pick(1, dense), dense
	outside.Rule.Strength = ptr(-1.0)
	if c := pick(1, outside); c.Added[0].Filename == inside.Added[0].Filename {
		t.Errorf("%s is the most and the least typical", c.Added[0].Filename)
	}

	margin := strategy("SCORES", "WEIGHTS")
	margin.Input.Score = "uncertainty_margin"
	random := strategy("RANDOM", "WEIGHTS")
	pick(10, margin, random, diverse, near, even)

	for want, list := range map[string][]events.Strategy{
		"no score \"beauty\"":              {{Input: events.Input{Type: "SCORES", Score: "beauty"}, Rule: events.Rule{Type: "WEIGHTS"}}},
		"has custom metadata \"weather\"":  {{Input: events.Input{Type: "METADATA", Key: "weather"}, Rule: events.Rule{Type: "WEIGHTS"}}},
		"of 239 samples is no number":      {{Input: events.Input{Type: "METADATA", Key: "place.city"}, Rule: events.Rule{Type: "WEIGHTS"}}},
		"no image is looked at":            {{Input: events.Input{Type: "METADATA", Key: "lightly.sharpness"}, Rule: events.Rule{Type: "WEIGHTS"}}},
		"has no tag \"second\"":            {{Input: events.Input{Type: "EMBEDDINGS", TagName: "second"}, Rule: events.Rule{Type: "SIMILARITY"}}},
		"there is no dataset \"e\"":        {{Input: events.Input{Type: "EMBEDDINGS", TagName: "first", DatasetID: "e"}, Rule: events.Rule{Type: "SIMILARITY"}}},
		"1 classes of the target are unkn": {{Input: events.Input{Type: "PREDICTIONS", Name: "CLASS_DISTRIBUTION"}, Rule: events.Rule{Type: "BALANCE", Target: map[string]float64{"bus": 1}}}},
		"no class predictions of task":     {{Input: events.Input{Type: "PREDICTIONS", Name: "CLASS_DISTRIBUTION", Task: "birds"}, Rule: events.Rule{Type: "BALANCE", Distribution: "UNIFORM"}}},
	} {
		if f := r.fails(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{Strategies: list, BatchSize: ptr(1)}}); !strings.Contains(f.Message, want) {
			t.Errorf("%s (%s), want %s", f.Message, f.Code, want)
		}
	}
}

// A combined selection records every score that its strategies use, and which is
// which.
func TestStrategyDigests(t *testing.T) {
	r, _ := scoredRound(t)
	began := time.Now().Add(-time.Hour)
	up, down := rising(8), rising(8)
	slices.Reverse(down)
	upload := func(margin, entropy []float64) {
		began = began.Add(time.Second)
		r.upload("labeled", began, "prediction-margin", margin)
		r.upload("labeled", began, "prediction-entropy", entropy)
	}
	ask := func(s events.Spec) string {
		t.Helper()
		s.BatchSize = ptr(1)
		return r.ask(events.SelectionRequested, events.Request{Dataset: "d", PreselectedTag: "labeled", Selection: s}).Digests.Scores
	}
	combined := func(list ...events.Strategy) string { t.Helper(); return ask(events.Spec{Strategies: list}) }
	on := func(name, rule string) events.Strategy {
		s := strategy("SCORES", rule)
		s.Input.Score = name
		return s
	}
	margin, entropy, least := on("prediction-margin", "WEIGHTS"), on("prediction-entropy", "WEIGHTS"), on("prediction-entropy", "THRESHOLD")
	least.Rule.Threshold, least.Rule.Operation = ptr(2.0), "BIGGER"
	diverse := strategy("EMBEDDINGS", "DIVERSITY")
	unused := entropy
	unused.Rule.Strength = ptr(0.0)

	upload(up, down)
	of := map[string]string{}
	for _, name := range []string{"prediction-margin", "prediction-entropy"} {
		of[name] = ask(events.Spec{Method: "ACTIVE_LEARNING", Score: name})
	}
	both := combined(margin, entropy)
	for what, c := range map[string]struct{ got, want string }{
		"no score":              {combined(diverse), ""},
		"one":                   {combined(margin, diverse), of["prediction-margin"]},
		"the other":             {combined(entropy), of["prediction-entropy"]},
		"one of strength 0":     {combined(margin, unused), of["prediction-margin"]},
		"two":                   {both, state.HexID(64, "", "prediction-entropy", of["prediction-entropy"], "", "prediction-margin", of["prediction-margin"])},
		"in another order":      {combined(diverse, entropy, margin), both},
		"one as a threshold":    {combined(least, margin), both},
		"one in two strategies": {combined(least, entropy), of["prediction-entropy"]},
	} {
		if c.got != c.want {
			t.Errorf("%s: digest %q, want %q", what, c.got, c.want)
		}
	}
	upload(down, up)
	if swapped := combined(margin, entropy); swapped == both || len(swapped) != 64 {
		t.Errorf("scores that changed places have digest %q, as before", swapped)
	}
}

// The block of docs/strategies.md, letter for letter, in an event.
func TestStrategiesPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/strategies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	block, _, _ := strings.Cut(rest, "```")

	const n = 320 // half of them below zero, and a quarter of those show a tram
	r := newRig(t, 1, worker.Config{})
	names := numbered(n)
	r.keep(events.Embeddings{Dataset: "d", Embeddings: vectors(names, 4, 1)})
	r.send(r.event(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(names)}))
	d, _ := r.dataset(func(d state.Dataset) bool { return len(d.Scores) > 0 })
	names = r.rows("d")
	r.change(func(b *state.Batch) {
		b.PredictionTask(state.PredictionTask{Dataset: d.ID, Version: 1, Name: "traffic", Type: "CLASSIFICATION", Categories: []state.Category{{ID: 3, Name: "car"}, {ID: 7, Name: "tram"}}}, 0)
	})
	class := func(row int) int { return []int{7, 3, 3, 3}[row/2%4] }
	for row := range n {
		r.change(func(b *state.Batch) {
			b.Sample(state.Sample{Dataset: d.ID, Row: row, CustomMetaData: fmt.Appendf(nil, `{"weather":{"temperature":%d}}`, 1-2*(row%2))}, 0)
		})
		text := fmt.Appendf(nil, `[{"type":"CLASSIFICATION","taskName":"traffic","categoryId":%d,"score":1}]`, class(row))
		if err := r.workers[0].State().PutPrediction(t.Context(), state.Prediction{Dataset: d.ID, Version: 1, Row: row, Singletons: text}); err != nil {
			t.Fatal(err)
		}
	}

	c := r.ask(events.SelectionRequested, map[string]any{"dataset": "d", "selection": json.RawMessage(block)})
	trams := 0
	for _, a := range c.Added {
		row := slices.Index(names, a.Filename)
		if row%2 == 0 {
			t.Errorf("%s is not below zero", a.Filename)
		}
		if class(row) == 7 {
			trams++
		}
	}
	if len(c.Added) != 100 || trams != 40 || c.Method != "COMBINED" || c.Digests.Scores == "" {
		t.Errorf("%d samples, of which %d show trams: want 100 with all 40 that are below zero", len(c.Added), trams)
	}
}
