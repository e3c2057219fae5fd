package worker_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/events"
	"nextbatch/internal/selection"
	"nextbatch/internal/state"
	"nextbatch/internal/worker"
)

// policy sets the policy of a dataset.
func (r *rig) policy(dataset string, settings map[string]string) {
	r.Helper()
	p, err := events.ParsePolicy(settings)
	if err != nil {
		r.Fatal(err)
	}
	r.store(dataset, p)
}

// store sets a policy that nobody checked.
func (r *rig) store(dataset string, p events.Policy) {
	r.Helper()
	s := r.workers[0].State()
	for {
		d, rev, err := s.Dataset(r.Context(), dataset)
		if err != nil {
			r.Fatal(err)
		}
		d.Policy = &p
		var b state.Batch
		b.Dataset(d, rev)
		if _, err := s.Commit(r.Context(), &b); err == nil {
			return
		}
	}
}

// grow makes a dataset and waits for it.
func (r *rig) grow(dataset string, names []string) {
	r.Helper()
	r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: dataset, Embeddings: vectors(names, 4, 1)}))
	r.drained()
}

// quiet checks that there is no other result.
func (r *rig) quiet() {
	r.Helper()
	r.drained()
	if m, err := r.results.Next(jetstream.FetchMaxWait(100 * time.Millisecond)); err == nil {
		r.Errorf("another result: %s", m.Data())
	}
}

// labels says that samples are labeled, and returns the results that come of it.
func (r *rig) labels(tag string, names []string, results int) (set *events.Labelset, made []*events.Created) {
	r.Helper()
	r.send(r.event(events.LabelsCompleted, events.Labels{Dataset: "d", Tag: tag, Labeled: names}))
	for range results {
		switch _, data := r.next(); data := data.(type) {
		case *events.Labelset:
			set = data
		case *events.Created:
			made = append(made, data)
		default:
			r.Fatalf("%+v", data)
		}
	}
	return set, made
}

// The random share is picked as if there were no model, before the others.
func TestRandomShare(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	names := numbered(60)
	r.grow("d", names)
	r.send(r.event(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(names[:30])}))
	draw := func(method string, seed uint64, batch int, share float64) *events.Created {
		return r.ask(events.SelectionRequested, events.Request{Dataset: "d", FromScratch: true,
			Selection: events.Spec{Method: method, Seed: &seed, BatchSize: &batch, RandomShare: &share}})
	}
	randoms := func(c *events.Created) (names []string) {
		for i, a := range c.Added {
			if a.Rank != i+1 {
				t.Errorf("rank %d at %d", a.Rank, i+1)
			}
			if a.Random {
				names = append(names, a.Filename)
				if i >= c.Counts.Random || a.Gain != nil || a.Nearest != "" {
					t.Errorf("a random pick %+v", a)
				}
			}
		}
		if len(names) != c.Counts.Random || len(c.Added) != c.Counts.Added || len(slices.Compact(slices.Sorted(slices.Values(added(c))))) != len(c.Added) {
			t.Errorf("%d random of %d picks, counts %+v", len(names), len(c.Added), c.Counts)
		}
		return names
	}
	// Rounded half up, of what can be had.
	for _, c := range []struct {
		batch int
		share float64
		want  int
	}{{20, 0.1, 2}, {20, 0, 0}, {4, 0.1, 0}, {5, 0.1, 1}, {1, 0.5, 1}, {20, 1, 20}, {100, 0.1, 6}} {
		got := draw("CORESET", 0, c.batch, c.share)
		if n := len(randoms(got)); n != c.want || got.Counts.Added != min(c.batch, 60) || got.Parameters.BatchSize != min(c.batch, 60) || got.Parameters.RandomShare != c.share {
			t.Errorf("%d of %d are random, want %d of %d: %+v", n, got.Counts.Added, c.want, c.batch, got.Parameters)
		}
	}
	// The same whatever the method; another RANDOM batch goes by another hash.
	want := randoms(draw("CORESET", 7, 20, 0.2))
	for _, method := range []string{"CORAL", "ACTIVE_LEARNING", "RANDOM", "UHERDING", "HERDING"} {
		c := draw(method, 7, 20, 0.2)
		if got := randoms(c); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", method, got, want)
		}
		if method == "RANDOM" && slices.Equal(added(c)[4:8], want) || method == "ACTIVE_LEARNING" && c.Added[4].Random {
			t.Errorf("%s: %+v", method, c.Added)
		}
	}
	if plain := draw("CORESET", 7, 20, 0); slices.Equal(added(plain)[:4], want) {
		t.Error("CORESET picks what is drawn at random")
	}
	// Uniform over the pool, samples without a score included: each sample is
	// drawn about as often as any other.
	drawn := map[string]int{}
	const rounds, share = 200, 0.2
	for seed := range uint64(rounds) {
		for _, name := range randoms(draw("ACTIVE_LEARNING", seed, 20, share)) {
			drawn[name]++
		}
	}
	var chi float64
	mean := rounds * 20 * share / 60
	for _, name := range names {
		chi += math.Pow(float64(drawn[name])-mean, 2) / mean
	}
	if chi > 100 { // of 59 degrees of freedom: p < 0.001; the seeds are fixed
		t.Errorf("chi² %.0f: %v", chi, drawn)
	}
}

// The random share counts like the rest of the batch from then on.
func TestRandomShareInTheNextRound(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	r.grow("d", numbered(50))
	r.policy("d", map[string]string{"random_share": "0.25", "batch_size": "8", "method": "coreset"})
	seen := map[string]bool{}
	for round := range 6 {
		c := r.ask(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{}})
		if c.Method != "CORESET" || c.Counts.Random != 2 || c.Counts.Added != 8 || c.Counts.Preselected != 8*round || c.Counts.Selected != 8*round+8 || len(c.Filenames) != 8*round+8 {
			t.Errorf("round %d: %s, %+v", round, c.Method, c.Counts)
		}
		for _, name := range added(c) {
			if seen[name] {
				t.Errorf("%s is selected twice", name)
			}
			seen[name] = true
		}
	}
	last := r.ask(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{}})
	if last.Counts.Random != 1 || last.Counts.Added != 2 || len(last.Warnings) != 1 || !strings.Contains(last.Warnings[0], "8 samples were asked for, but only 2") {
		t.Errorf("%+v, %q", last.Counts, last.Warnings)
	}
}

func TestPolicyFillsInWhatAnEventLeavesOut(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	r.grow("d", numbered(50))
	r.policy("d", map[string]string{"method": "RANDOM", "batch_size": "7", "seed": "5", "min_distance": "0.01"})
	if c := r.ask(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{}}); c.Method != "RANDOM" || c.Counts.Added != 7 || c.Parameters.Seed != 5 || c.Parameters.MinDistance != 0.01 {
		t.Errorf("%s, %+v, %+v", c.Method, c.Counts, c.Parameters)
	}
	if c := r.ask(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{Method: "CORESET", NSamples: ptr(10), Seed: ptr(uint64(0))}}); c.Method != "CORESET" || c.Counts.Added != 3 || c.Parameters.Seed != 0 {
		t.Errorf("%s, %+v, %+v", c.Method, c.Counts, c.Parameters)
	}
	// Without select nothing happens by itself.
	r.send(r.event(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(numbered(50))}))
	r.quiet()
}

func TestPolicyOnPredictions(t *testing.T) {
	r := newRig(t, 2, worker.Config{})
	names := numbered(25)
	r.grow("d", names)
	r.policy("d", map[string]string{"method": "ACTIVE_LEARNING", "batch_size": "10", "select": "on_predictions"})
	predict := events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(names)}
	for _, want := range []int{10, 10, 5} {
		if c := r.ask(events.PredictionsReady, predict); c.Counts.Added != want || c.Method != "ACTIVE_LEARNING" || c.Cause.Type != events.PredictionsReady {
			t.Errorf("%s, %+v, want %d", c.Method, c.Counts, want)
		}
	}
	r.send(r.event(events.PredictionsReady, predict)) // nothing is left
	r.quiet()
	predict.Selection = &events.Spec{BatchSize: ptr(0)} // what is asked for is answered
	if c := r.ask(events.PredictionsReady, predict); c.Counts.Added != 0 {
		t.Errorf("%+v", c.Counts)
	}
	r.labels("", names, 1) // labels are no occasion
	r.quiet()
}

// A batch that is finished is followed by the next, until nothing is left.
func TestPolicyBatchFinished(t *testing.T) {
	r := newRig(t, 3, worker.Config{AckWait: time.Second})
	names := numbered(23)
	r.grow("d", names)
	r.policy("d", map[string]string{"batch_size": "5", "select": "batch_finished", "method": "CORAL"})
	r.send(r.event(events.LabelsCompleted, events.Labels{Dataset: "d", Labeled: names[:1]})) // of no batch
	if _, data := r.next(); data.(*events.Labelset).Labeled != 1 {
		t.Errorf("%+v", data)
	}
	r.quiet()
	batch := r.ask(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(names), Selection: &events.Spec{BatchSize: ptr(4)}})
	done := 1
	for round, want := range []int{5, 5, 5, 3, 0} {
		names := added(batch)
		if set, made := r.labels(batch.Tag.Name, names[1:], 1); len(made) != 0 || set.Batch.Complete {
			t.Errorf("round %d: unfinished, %+v %+v", round, set, made)
		}
		r.quiet()
		done += len(names)
		set, made := r.labels(batch.Tag.Name, names[:1], 1+min(want, 1))
		if !set.Batch.Complete || want == 0 {
			break
		}
		if len(made) != 1 || made[0].Counts.Added != want || made[0].Cause.Type != events.LabelsCompleted || made[0].Method != "CORAL" {
			t.Fatalf("round %d: %+v", round, made)
		}
		if stale := fmt.Sprintf("the scores are older than %d labels: the model has not seen those", done-1); !slices.Contains(made[0].Warnings, stale) {
			t.Errorf("round %d: %q does not say %q", round, made[0].Warnings, stale)
		}
		batch = made[0]
	}
	r.labels(batch.Tag.Name, added(batch), 1) // once more
	r.quiet()
	if done != 23 {
		t.Errorf("%d samples were labeled", done)
	}
	// New samples that the method cannot offer, since they have no scores, are no
	// batch; once they have some, they are.
	more := []string{"new/1.jpg", "new/2.jpg"}
	r.grow("d", more)
	r.labels(batch.Tag.Name, added(batch)[:1], 1)
	r.quiet()
	r.send(r.event(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(more)}))
	r.quiet()
	if _, made := r.labels(batch.Tag.Name, added(batch)[:1], 2); len(made) != 1 || made[0].Counts.Added != 2 {
		t.Errorf("after new samples: %+v", made)
	}
}

// A policy that was stored with COMBINED alone, before that was refused, is named
// as what is wrong, and an event does without it.
func TestPolicyCombinedAlone(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	r.grow("d", numbered(9))
	r.store("d", events.Policy{Spec: events.Spec{Method: events.Combined, BatchSize: ptr(2)}})
	r.send(r.event(events.SelectionRequested, events.Request{Dataset: "d"}))
	_, data := r.next()
	if f, ok := data.(*events.Failed); !ok || f.Code != "bad_policy" || !strings.Contains(f.Message, `the policy of dataset "d" has method COMBINED: COMBINED is what strategies make`) {
		t.Errorf("%+v", data)
	}
	if c := r.ask(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{Method: "CORESET"}}); c.Method != "CORESET" || c.Counts.Added != 2 {
		t.Errorf("%s, %+v", c.Method, c.Counts)
	}
}

// A parameter that the method does not use is warned of and not reported, but
// only where the event itself gives it.
func TestIgnoredParameters(t *testing.T) {
	r := newRig(t, 1, worker.Config{Method: "UHERDING"})
	names := numbered(20)
	r.grow("d", names)
	r.send(r.event(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(names)}))
	r.drained()
	auto, half, one := events.DistanceCap(selection.AutoCap), ptr(0.5), ptr(1)
	diverse := []events.Strategy{strategy("EMBEDDINGS", "DIVERSITY")}
	ask := func(s events.Spec) *events.Created {
		s.BatchSize = one
		return r.ask(events.SelectionRequested, events.Request{Dataset: "d", FromScratch: true, Selection: s})
	}
	for _, c := range []struct {
		spec events.Spec
		want string
	}{
		{events.Spec{Method: "CORESET", Radius: half}, "radius has no effect on CORESET"},
		{events.Spec{Method: "HERDING", Radius: half}, ""},
		{events.Spec{Radius: half, Score: "uncertainty_entropy"}, ""},
		{events.Spec{Metric: events.Cosine}, ""},
		{events.Spec{Method: "CORAL", Metric: events.Cosine}, "metric has no effect on CORAL"},
		{events.Spec{Method: "CORAL", Metric: events.Euclidean}, ""},
		{events.Spec{DistanceCap: &auto}, "distance_cap has no effect on UHERDING"},
		{events.Spec{Method: "CORAL", DistanceCap: &auto, ScoreExponent: half, DistanceExponent: half, ScoreFloor: half}, ""},
		{events.Spec{Method: "CORESET", Radius: new(float64), DistanceCap: new(events.DistanceCap)}, ""}, // as where they are left out
		{events.Spec{Method: "RANDOM", ScoreExponent: half, DistanceExponent: half, ScoreFloor: half},
			"score_exponent has no effect on RANDOM; distance_exponent has no effect on RANDOM; score_floor has no effect on RANDOM"},
		{events.Spec{Method: "POWER", ScoreExponent: half, MinDistance: half, Embedding: "default", Seed: new(uint64)}, ""},
		{events.Spec{Method: "CORESET", Score: "uncertainty_margin"}, ""},
		{events.Spec{Strategies: diverse, Radius: half, ScoreFloor: half, Score: "uncertainty_margin"}, "radius has no effect on COMBINED; score has no effect on COMBINED"},
	} {
		got := ask(c.spec)
		p := got.Parameters
		if text := strings.Join(got.Warnings, "; "); text != c.want || (p.Radius != nil) != strings.Contains(got.Method, "HERDING") && c.spec.Radius == half {
			t.Errorf("%+v: %q, want %q; %+v", c.spec, text, c.want, p)
		}
	}
	r.policy("d", map[string]string{"radius": "0.5", "distance_cap": "auto", "score_exponent": "2"})
	if c := ask(events.Spec{Method: "CORESET"}); len(c.Warnings) > 0 || c.Parameters.Radius != nil || c.Parameters.DistanceCap != nil || c.Parameters.ScoreExponent != nil {
		t.Errorf("of a policy: %q, %+v", c.Warnings, c.Parameters)
	}
}

// Annotators never run out of work: a few pending samples make more.
func TestPolicyPendingBelow(t *testing.T) {
	r := newRig(t, 2, worker.Config{})
	names := numbered(40)
	r.grow("d", names)
	r.policy("d", map[string]string{"batch_size": "10", "select": "pending_below:4", "method": "RANDOM"})
	// Nothing is pending when predictions come.
	first := r.ask(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(names)})
	batch := added(first)
	if set, made := r.labels("", batch[:6], 1); set.Pending != 4 || len(made) != 0 {
		t.Errorf("%+v %+v", set, made)
	}
	r.quiet()
	if _, made := r.labels("", batch[6:7], 2); len(made) != 1 || made[0].Counts.Added != 10 || made[0].Counts.Preselected != 10 {
		t.Fatalf("%+v", made)
	} else {
		batch = append(batch[7:], added(made[0])...)
	}
	r.send(r.event(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(names)})) // 13 are pending
	r.quiet()
	// Many at once are one occasion.
	for _, name := range batch {
		r.send(r.event(events.LabelsCompleted, events.Labels{Dataset: "d", Labeled: []string{name}}))
	}
	made, labeled := 0, 7
	for labeled < 20 || made == 0 {
		switch _, data := r.next(); data := data.(type) {
		case *events.Created:
			made += data.Counts.Added
		case *events.Labelset:
			labeled = data.Labeled
		}
	}
	r.quiet()
	if made != 10 {
		t.Errorf("%d samples were selected, want 10", made)
	}
}

func TestPolicyThatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"method=CORALL":            "did you mean CORAL?",
		"method=combined":          "method: COMBINED is what strategies make",
		"batch_size=-1":            "batch_size: -1 is below 0",
		"batch_size=ten":           `batch_size: "ten" where an integer is needed`,
		"random_share=2":           "random_share: 2 is above 1",
		"select=always":            "want on_predictions, batch_finished or pending_below:N",
		"select=pending_below:0":   "want on_predictions",
		"select=pending_below:1e3": "want on_predictions",
		"name=x1":                  "of one selection",
		"n_samples=5":              "of one selection",
		"batchsize=5":              "did you mean batch_size?",
		"sellect=on_predictions":   "sellect: unknown field; did you mean select?",
		"names=x1":                 "names: unknown field; known here: batch_size, distance_cap, distance_exponent, embedding, method, metric, min_distance, radius, random_share, score, score_exponent, score_floor, seed, select, strategies",
	} {
		key, value, _ := strings.Cut(text, "=")
		if p, err := events.ParsePolicy(map[string]string{key: value}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", text, p, err, want)
		}
	}
}
