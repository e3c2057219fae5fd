package worker_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
	"nextbatch/internal/worker"
)

// One round as users know it: a first selection, labels, predictions, the
// next selection.
func TestRound(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	names := numbered(200)
	first := r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "clothing", Embeddings: vectors(names, 8, 1),
		Selection: &events.Spec{Method: "CORESET", NSamples: ptr(20), Name: "initial-selection"}})
	if first.Counts != (events.Counts{Dataset: 200, Query: 200, Added: 20, Selected: 20}) || len(first.Added) != 20 || len(first.Filenames) != 20 {
		t.Fatalf("first selection: %+v", first.Counts)
	}
	if first.Coverage == nil || first.Coverage.LowerBound <= 0 || first.Coverage.LowerBound > first.Coverage.Radius {
		t.Errorf("coverage %+v", first.Coverage)
	}
	for i, a := range first.Added {
		if a.Rank != i+1 || (a.Gain == nil) != (i == 0) || (a.Nearest == "") != (i == 0) {
			t.Errorf("pick %d: %+v", i, a)
		}
	}

	// Annotators label half of it, reject one, and then the rest.
	var batch []string
	for _, a := range first.Added {
		batch = append(batch, a.Filename)
	}
	label := func(l events.Labels) *events.Labelset {
		l.Dataset, l.Tag = "clothing", "initial-selection"
		r.send(r.event(events.LabelsCompleted, l))
		_, data := r.next()
		return data.(*events.Labelset)
	}
	want := events.Labelset{Dataset: "clothing", Tag: "initial-selection", Labeled: 10, Pending: 9, Skipped: 1, Batch: &events.Batch{Labeled: 10, Pending: 9, Skipped: 1}}
	if diff := cmp.Diff(&want, label(events.Labels{Labeled: batch[:10], Skipped: batch[10:11]})); diff != "" {
		t.Error(diff)
	}
	want = events.Labelset{Dataset: "clothing", Tag: "initial-selection", Labeled: 19, Skipped: 1, Complete: true, Batch: &events.Batch{Labeled: 19, Skipped: 1, Complete: true}}
	if diff := cmp.Diff(&want, label(events.Labels{Labeled: batch[11:]})); diff != "" {
		t.Error(diff)
	}
	want = events.Labelset{Dataset: "clothing", Tag: "initial-selection", Labeled: 18, Pending: 1, Skipped: 1, Batch: &events.Batch{Labeled: 18, Pending: 1, Skipped: 1}}
	if diff := cmp.Diff(&want, label(events.Labels{Unlabeled: batch[:1]})); diff != "" {
		t.Errorf("a withdrawn label: %s", diff)
	}

	// n_samples counts what is selected or labeled: the skipped one is neither.
	second := r.ask(events.PredictionsReady, events.Predictions{Dataset: "clothing", Task: "classification", Predictions: probabilities(names),
		Model: &events.Model{Name: "resnet", Version: "1"}, Selection: &events.Spec{Method: "CORAL", NSamples: ptr(50)}})
	if second.Counts != (events.Counts{Dataset: 200, Query: 200, Preselected: 19, Added: 31, Selected: 50}) {
		t.Errorf("second selection: %+v", second.Counts)
	}
	if second.Parameters.Score != "uncertainty_margin" || second.Model.Name != "resnet" || second.Tag.Name == "" {
		t.Errorf("second selection: %+v, tag %q", second.Parameters, second.Tag.Name)
	}
	for _, a := range second.Added {
		if slices.Contains(batch, a.Filename) {
			t.Errorf("%s was selected twice", a.Filename)
		}
		if a.Score == nil || a.Gain == nil {
			t.Errorf("%s has no score or gain", a.Filename)
		}
	}
	if !slices.IsSorted(second.Filenames) || len(second.Filenames) != 50 {
		t.Errorf("%d filenames, sorted %v", len(second.Filenames), slices.IsSorted(second.Filenames))
	}

	// The stored scores serve a request, over a query tag too.
	third := r.ask(events.SelectionRequested, events.Request{Dataset: "clothing", Selection: events.Spec{Method: "ACTIVE_LEARNING", BatchSize: ptr(5), Score: "uncertainty_entropy"}})
	if len(third.Added) != 5 || third.Parameters.Score != "uncertainty_entropy" || !slices.IsSortedFunc(third.Added, func(a, b events.Added) int {
		return -int(1e9 * (*a.Score - *b.Score))
	}) {
		t.Errorf("third selection: %+v", third.Added)
	}
	query := r.ask(events.SelectionRequested, events.Request{Dataset: "clothing", QueryTag: second.Tag.Name, PreselectedTag: "initial-selection",
		Selection: events.Spec{Method: "RANDOM", BatchSize: ptr(100)}})
	if query.Counts.Query != 50 || query.Counts.Added != 31 || len(query.Warnings) != 1 {
		t.Errorf("over a query tag: %+v, %q", query.Counts, query.Warnings)
	}
}

// A batch is finished when its own samples are, whatever waits of the batches
// before it.
func TestBatchIsFinishedByItself(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	first := r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: vectors(numbered(50), 2, 1), Selection: &events.Spec{Method: "RANDOM", BatchSize: ptr(5)}})
	second := r.ask(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{Method: "RANDOM", BatchSize: ptr(3)}})
	label := func(c *events.Created, n int) *events.Labelset {
		var names []string
		for _, a := range c.Added[:n] {
			names = append(names, a.Filename)
		}
		r.send(r.event(events.LabelsCompleted, events.Labels{Dataset: "d", Tag: c.Tag.Name, Labeled: names}))
		_, data := r.next()
		return data.(*events.Labelset)
	}
	for _, step := range []struct {
		of   *events.Created
		n    int
		want events.Labelset
	}{
		{second, 2, events.Labelset{Labeled: 2, Pending: 6, Batch: &events.Batch{Labeled: 2, Pending: 1}}},
		{second, 3, events.Labelset{Labeled: 3, Pending: 5, Batch: &events.Batch{Labeled: 3, Complete: true}}},
		{first, 4, events.Labelset{Labeled: 4, Pending: 1, Batch: &events.Batch{Labeled: 4, Pending: 1}}},
		{first, 5, events.Labelset{Labeled: 5, Complete: true, Batch: &events.Batch{Labeled: 5, Complete: true}}},
	} {
		step.want.Dataset, step.want.Tag = "d", step.of.Tag.Name
		if diff := cmp.Diff(&step.want, label(step.of, step.n)); diff != "" {
			t.Errorf("%d of tag %s: %s", step.n, step.of.Tag.Name, diff)
		}
	}

	// A record that was written before batches were counted says the same.
	s := r.workers[0].State()
	d, _, err := s.Dataset(t.Context(), "d")
	if err != nil {
		t.Fatal(err)
	}
	tag, _, err := s.Tag(t.Context(), "d", second.Tag.Name)
	if err != nil {
		t.Fatal(err)
	}
	want := tag.Batch
	tag.Batch = ""
	if batch, err := s.Batch(t.Context(), d, tag); err != nil || batch.Hex() != want || batch.Count() != 3 {
		t.Errorf("%v, %v; want %s", batch, err, want)
	}
}

func TestNSamplesAtAndBelowWhatIsSelected(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	spec := func(n int) *events.Spec { return &events.Spec{Method: "RANDOM", NSamples: &n} }
	first := r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: vectors(numbered(30), 2, 1), Selection: spec(10)})
	for n, warnings := range map[int]int{10: 0, 3: 1, 0: 1} {
		c := r.ask(events.SelectionRequested, events.Request{Dataset: "d", Selection: *spec(n)})
		if len(c.Added) != 0 || !slices.Equal(c.Filenames, first.Filenames) || len(c.Warnings) != warnings {
			t.Errorf("n_samples %d: %d added, %d filenames, warnings %q", n, len(c.Added), len(c.Filenames), c.Warnings)
		}
	}
	if c := r.ask(events.SelectionRequested, events.Request{Dataset: "d", Selection: *spec(99)}); len(c.Added) != 20 || len(c.Warnings) != 1 {
		t.Errorf("n_samples beyond the dataset: %d added, %q", len(c.Added), c.Warnings)
	}
}

// What selects samples without saying how uses the defaults, and says so.
func TestDefaults(t *testing.T) {
	r := newRig(t, 1, worker.Config{BatchSize: 7})
	c := r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: vectors(numbered(30), 2, 1), Selection: &events.Spec{}})
	if c.Method != "HERDING" || len(c.Added) != 7 || len(c.Warnings) != 1 || !strings.HasPrefix(c.Tag.Name, "uherding-") {
		t.Errorf("%s, %d added, %q, tag %s", c.Method, len(c.Added), c.Warnings, c.Tag.Name)
	}
	c = r.ask(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(numbered(30)), Selection: &events.Spec{}})
	if c.Method != "UHERDING" || len(c.Added) != 7 || len(c.Warnings) != 0 || c.Parameters.Score != "uncertainty_margin" || c.Parameters.Radius != nil {
		t.Errorf("%s by %q, %d added, %q, radius %v", c.Method, c.Parameters.Score, len(c.Added), c.Warnings, c.Parameters.Radius)
	}
	gained := 0.0
	for _, a := range c.Added {
		if a.Covers == nil || *a.Covers < 1 || a.Gain == nil || a.Score == nil || a.Nearest == "" {
			t.Fatalf("%+v does not say why", a)
		}
		gained += *a.Gain
	}
	if h := c.Herding; h == nil || h.Landmarks != 23 || h.Radius <= 0 || h.Loss != 0 || math.Abs(h.CoveredBefore+gained-h.CoveredAfter) > 1e-9 {
		t.Errorf("%+v with gains of %v", h, gained)
	}
	fixed := r.ask(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{Radius: ptr(0.5)}})
	if fixed.Herding.Radius != 0.5 || fixed.Parameters.Radius == nil || *fixed.Parameters.Radius != 0.5 {
		t.Errorf("radius %v of %v, want 0.5", fixed.Herding.Radius, fixed.Parameters.Radius)
	}
	direction := r.ask(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{Metric: events.Cosine}})
	if fixed.Parameters.Metric != "" || direction.Parameters.Metric != events.Cosine || direction.Herding.Radius > 2 {
		t.Errorf("metrics %q and %q, radius %v by direction", fixed.Parameters.Metric, direction.Parameters.Metric, direction.Herding.Radius)
	}
}

// Equal inputs give equal results byte for byte, whatever the order in which
// rows arrived, in one event or in several, and whichever replica does it.
func TestSelectionDoesNotDependOnOrder(t *testing.T) {
	names := numbered(300)
	var want string
	for k, shuffle := range []uint64{1, 2, 3} {
		r := newRig(t, 1+k, worker.Config{Slots: 1 + k})
		if k < 2 {
			r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: vectors(names, 4, shuffle)}))
		} else { // in three events, the second half first
			var rows []json.RawMessage
			if err := json.Unmarshal(vectors(names, 4, shuffle).Data, &rows); err != nil {
				t.Fatal(err)
			}
			for _, part := range [][]json.RawMessage{rows[150:], rows[:20], rows[20:150]} {
				r.n = 0
				e := r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: inline(part)})
				e.SetID(fmt.Sprintf("part-%d", len(part)))
				r.send(e)
			}
			for len(r.rows("d")) < 300 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		var got []string
		for i, method := range []string{"CORAL", "RANDOM", "CORESET", "ACTIVE_LEARNING", "UHERDING", "HERDING"} {
			e := r.event(events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(names),
				Selection: &events.Spec{Method: method, BatchSize: ptr(25), Seed: ptr(uint64(5))}})
			e.SetID(fmt.Sprint("predictions-", i))
			r.send(e)
			out, data := r.next()
			if _, ok := data.(*events.Created); !ok {
				t.Fatalf("%s: %s", out.Type(), out.Data())
			}
			got = append(got, string(out.Data()))
		}
		if all := strings.Join(got, "\n"); want == "" {
			want = all
		} else if all != want {
			t.Errorf("run %d differs:\n%s", k, cmp.Diff(strings.Split(want, ","), strings.Split(all, ",")))
		}
	}
}

// rows lists the filenames of a dataset, in row order.
func (r *rig) rows(dataset string) []string {
	d, _, err := r.workers[0].State().Dataset(r.Context(), dataset)
	if err != nil {
		return nil
	}
	names, err := r.workers[0].State().Names(r.Context(), d)
	if err != nil {
		r.Fatal(err)
	}
	list := make([]string, names.Len())
	for i := range list {
		list[i] = names.At(i)
	}
	return list
}

// An event that is sent again takes effect once; the same identity with other
// data is refused, not swallowed.
func TestSameEventAgain(t *testing.T) {
	r := newRig(t, 3, worker.Config{AckWait: time.Second})
	r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: vectors(numbered(50), 2, 1)}))
	e := r.event(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{Method: "RANDOM", BatchSize: ptr(3)}})
	header, data, err := events.Encode(e, events.Binary)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 { // without a message id: JetStream keeps all of them
		if _, err := r.js.PublishMsg(t.Context(), &nats.Msg{Subject: events.InSubject(e.Type(), "d"), Header: header, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	if _, data := r.next(); len(data.(*events.Created).Added) != 3 {
		t.Errorf("%+v", data)
	}
	other := e.Clone()
	if err := other.SetData("application/json", events.Request{Dataset: "d", Selection: events.Spec{Method: "RANDOM", BatchSize: ptr(4)}}); err != nil {
		t.Fatal(err)
	}
	header, data, err = events.Encode(other, events.Structured)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.js.PublishMsg(t.Context(), &nats.Msg{Subject: events.InSubject(e.Type(), "d"), Header: header, Data: data}); err != nil {
		t.Fatal(err)
	}
	if _, data := r.next(); data.(*events.Failed).Code != "id_reused" {
		t.Errorf("%+v", data)
	}
	r.drained()
	if m, err := r.results.Next(jetstream.FetchMaxWait(200 * time.Millisecond)); err == nil {
		t.Errorf("another result: %s", m.Data())
	}
}

// drained waits until nothing is pending.
func (r *rig) drained() {
	r.Helper()
	quiet := 0 // times in a row: a message that moves between consumers' lists is not counted for a moment
	for began := time.Now(); time.Since(began) < 2*time.Minute; time.Sleep(20 * time.Millisecond) {
		left := 0
		for _, name := range []string{bus.WorkConsumer, bus.LabelsConsumer} {
			c, err := r.js.Consumer(r.Context(), bus.StreamIn, name)
			if err != nil {
				r.Fatal(err)
			}
			left += c.CachedInfo().NumAckPending + int(c.CachedInfo().NumPending)
		}
		if quiet++; left > 0 {
			quiet = 0
		}
		if quiet == 3 {
			return
		}
	}
	r.Fatal("not drained")
}

func TestExpiredEventIsDropped(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: vectors(numbered(50), 2, 1)}))
	e := r.event(events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{Method: "RANDOM", BatchSize: ptr(3)}})
	e.SetExtension("expirytime", time.Now().Add(-time.Second).UTC().Format(time.RFC3339))
	r.send(e)
	r.drained()
	job, _, err := r.workers[0].State().Job(t.Context(), state.JobID(e.Source(), e.ID()))
	if err != nil || job.State != state.JobDone || job.Stage != "expired" || job.Tag != "" {
		t.Errorf("job %+v, %v", job, err)
	}
}

// The record of a job that is done says what its event brought, not how far the
// work once was.
func TestJobsSayWhatCame(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	names := numbered(50)
	for _, c := range []struct {
		kind       string
		data       any
		stage, tag string
	}{
		{events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: vectors(names, 2, 1)}, "50 embeddings", ""},
		{events.PredictionsReady, events.Predictions{Dataset: "d", Task: "classification", Predictions: probabilities(names[:30])}, "scores of 30 samples", ""},
		{events.SelectionRequested, events.Request{Dataset: "d", Selection: events.Spec{Method: "CORESET", Name: "batch", BatchSize: ptr(2)}}, "", "batch"},
	} {
		e := r.event(c.kind, c.data)
		r.send(e)
		r.drained()
		job, _, err := r.workers[0].State().Job(t.Context(), state.JobID(e.Source(), e.ID()))
		if err != nil || job.State != state.JobDone || job.Stage != c.stage || job.Tag != c.tag || job.Done != 0 || job.Total != 0 {
			t.Errorf("%s: job %+v, %v", c.kind, job, err)
		}
	}
}

// A large selection reaches a consumer whole, by reference.
func TestLargeSelectionByReference(t *testing.T) {
	r := newRig(t, 1, worker.Config{})
	const n = 200_000
	var csv bytes.Buffer
	csv.WriteString("filename,x\n")
	want := numbered(n)
	for i, name := range want {
		fmt.Fprintf(&csv, "%s,%d\n", name, i)
	}
	ref := r.file("large.csv", csv.Bytes())
	r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: ref, Selection: &events.Spec{Method: "RANDOM", BatchSize: ptr(n)}}))
	e, data := r.next()
	c := data.(*events.Created)
	if c.Added != nil || c.Filenames != nil || c.Counts.Added != n {
		t.Fatalf("%d added and %d filenames inline, counts %+v", len(c.Added), len(c.Filenames), c.Counts)
	}
	u, err := url.Parse(e.Extensions()["dataref"].(string))
	if err != nil || u.Scheme != "file" {
		t.Fatal(u, err)
	}
	object, err := os.ReadFile(u.Path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(object)
	if got := e.Extensions()["datarefdigest"]; got != "sha-256:"+hex.EncodeToString(sum[:]) {
		t.Errorf("digest %s", got)
	}
	if got := e.Extensions()["datarefsize"]; got != fmt.Sprint(len(object)) {
		t.Errorf("size %v, want %d", got, len(object))
	}
	var added, filenames []string
	lines := bufio.NewScanner(bytes.NewReader(object))
	lines.Buffer(nil, 1<<20)
	for number := 0; lines.Scan(); number++ {
		var line struct {
			Counts   *events.Counts
			Added    *events.Added
			Filename string
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		switch {
		case number == 0:
			if *line.Counts != c.Counts {
				t.Errorf("counts %+v", line.Counts)
			}
		case line.Added != nil:
			added = append(added, line.Added.Filename)
			if line.Added.Rank != len(added) {
				t.Fatalf("rank %d at %d", line.Added.Rank, len(added))
			}
		default:
			filenames = append(filenames, line.Filename)
		}
	}
	if !slices.Equal(filenames, want) {
		t.Errorf("%d filenames, want all %d", len(filenames), n)
	}
	if slices.Sort(added); !slices.Equal(added, want) {
		t.Errorf("%d added, want all %d", len(added), n)
	}

	// Who consumes results gets them whole.
	durable, err := bus.ResultsConsumer(t.Context(), r.js, "al-test", "", time.Minute, true, true, "al.v1.out."+events.SelectionCreated+".*")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	consumer := events.Consumer{Source: events.SourceFrom(r.nc, durable), Slots: 1, AckWait: time.Minute, Results: true}
	consumer.Handle = func(ctx context.Context, m *events.Message) error {
		defer stop()
		if err := errors.Join(m.Err, m.FetchLists(ctx, r.blobs.Get)); err != nil {
			t.Error(err)
			return nil
		}
		c := m.Payload.(*events.Created)
		if !slices.Equal(c.Filenames, want) || len(c.Added) != n || c.Added[n-1].Rank != n {
			t.Errorf("%d filenames and %d added arrive, want %d", len(c.Filenames), len(c.Added), n)
		}
		return nil
	}
	if err := consumer.Run(ctx); err != nil {
		t.Fatal(err)
	}
	info, err := durable.Info(t.Context())
	if err != nil || info.NumAckPending+int(info.NumPending) != 0 {
		t.Errorf("%+v is left, %v", info, err)
	}
}

// 10,000 labels, one image an event, over four replicas: all count. They wait
// in the stream when the replicas start, so that what is measured is folding.
func TestTenThousandLabels(t *testing.T) {
	r := newRig(t, 0, worker.Config{})
	const n = 10_000
	names := numbered(n)
	lines := make([]string, n)
	for i, name := range names {
		lines[i] = name + ",1"
	}
	r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "d", Embeddings: r.file("d.csv", []byte("filename,x\n"+strings.Join(lines, "\n")))}))
	rand.New(rand.NewPCG(1, 1)).Shuffle(n, func(i, j int) { names[i], names[j] = names[j], names[i] })
	published := time.Now()
	for i, name := range names {
		p := events.Labels{Dataset: "d", Labeled: []string{name}}
		if i%10 == 9 {
			p.Labeled, p.Skipped = nil, p.Labeled
		}
		header, data, err := events.Encode(r.event(events.LabelsCompleted, p), events.Structured)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.js.PublishMsgAsync(&nats.Msg{Subject: events.InSubject(events.LabelsCompleted, "d"), Header: header, Data: data}, jetstream.WithStallWait(20*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	<-r.js.PublishAsyncComplete()
	stored := time.Now()
	r.start(4, worker.Config{})
	var last *events.Labelset
	results := 0
	for last == nil || last.Labeled+last.Skipped < n {
		_, data := r.next()
		last = data.(*events.Labelset)
		results++
	}
	if last.Labeled != 9000 || last.Skipped != 1000 {
		t.Errorf("%+v", last)
	}
	folded := time.Since(stored)
	t.Logf("%d labels: published in %v, folded in %v with %d commits, %.0f a second", n, stored.Sub(published).Round(time.Millisecond),
		folded.Round(time.Millisecond), results, n/folded.Seconds())
	r.drained()
}
