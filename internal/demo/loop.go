package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
)

// Who labels a batch together, and the most images that one submits at a time.
const (
	annotators = 4
	maxPage    = 4
)

// loop is one method with one seed, on a dataset of its own: a training job
// and annotators that know each other through events only. The labels
// themselves do not pass through the worker; they lie where the annotation tool
// keeps them.
type loop struct {
	*shared
	method  method
	seed    int
	dataset string

	sent atomic.Int64 // events published

	mu     sync.Mutex       // guards labels and asked
	labels map[string]uint8 // class by filename, as the annotators gave it
	asked  time.Time        // when the last request for a selection was sent

	// To be read when the loop has ended.
	accuracy []float64       // after each round, that of the random start first
	waits    []time.Duration // from each request for a selection to its answer
	first    []string        // filenames of the first batch that the method chose
	took     time.Duration
}

func newLoop(b *shared, m method, seed int) *loop {
	return &loop{shared: b, method: m, seed: seed, labels: map[string]uint8{}, dataset: fmt.Sprintf("%s-%s-%d", b.Name, m.name, seed)}
}

// run lets training job and annotators work until the last round has ended.
func (l *loop) run(ctx context.Context) error {
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.trainingJob(ctx) })
	group.Go(func() error { return l.annotationTool(ctx) })
	err := group.Wait()
	l.took = time.Since(began)
	return err
}

// roundName is the tag of a round's selection; round 0 is the random start.
func roundName(round int) string { return fmt.Sprintf("round-%02d", round) }

// trainingJob publishes embeddings, then trains and asks for the next batch
// whenever a batch is labeled.
func (l *loop) trainingJob(ctx context.Context) error {
	updates, err := l.subscribe(ctx, events.LabelsetUpdated)
	if err != nil {
		return err
	}
	defer updates.Stop()
	if err := l.ask(ctx, events.EmbeddingsReady, 0, events.Embeddings{
		Dataset:    l.dataset,
		Embeddings: l.embeddings,
		Filenames:  &events.Filenames{Ref: &l.filenames},
		Selection:  &events.Spec{Method: "RANDOM", BatchSize: &l.Start, Name: roundName(0), Seed: l.eventSeed()},
	}); err != nil {
		return err
	}
	for round := 0; ; round++ {
		if err := l.awaitLabels(ctx, updates, round); err != nil {
			return err
		}
		os.Remove(filepath.Join(l.Dir, l.predictionsFile(round))) // nobody needs it any more; round 0 has none
		features, labels := l.labeled()
		if want := l.Start + round*l.Batch; len(labels) != want {
			return fmt.Errorf("round %d is complete with %d labels, want %d", round, len(labels), want)
		}
		model := train(features, labels, uint64(l.seed)<<32|uint64(round))
		right := accuracy(model.probabilities(l.unseen), l.heldOut.classes)
		l.accuracy = append(l.accuracy, right)
		l.advance(l, len(labels), right)
		if round == l.Rounds {
			return nil
		}
		if err := l.publishPredictions(ctx, round+1, model, right); err != nil {
			return err
		}
	}
}

// predictionsFile is the name of the file that a round's selection looks at.
func (l *loop) predictionsFile(round int) string { return l.dataset + "-" + roundName(round) + ".npz" }

// publishPredictions publishes the model's view of the whole pool and asks for
// the batch of a round.
func (l *loop) publishPredictions(ctx context.Context, round int, model *classifier, right float64) error {
	data, err := npz(l.pool.names, model.probabilities(l.features))
	if err != nil {
		return err
	}
	reference, err := writeFile(l.Dir, l.predictionsFile(round), data)
	if err != nil {
		return err
	}
	return l.ask(ctx, events.PredictionsReady, round, events.Predictions{
		Dataset:     l.dataset,
		Task:        "classification",
		Predictions: reference,
		KeyedBy:     "filename",
		Model:       &events.Model{Name: "fashion-perceptron", Version: roundName(round - 1), Metrics: map[string]float64{"accuracy": right}},
		Selection: &events.Spec{Method: l.method.selector, Score: l.method.score, BatchSize: &l.Batch, Name: roundName(round),
			Seed: l.eventSeed()},
	})
}

func (l *loop) eventSeed() *uint64 {
	seed := uint64(l.seed)
	return &seed
}

// awaitLabels waits until every image of a round's selection is labeled.
func (l *loop) awaitLabels(ctx context.Context, updates jetstream.MessagesContext, round int) error {
	for {
		data, err := next(ctx, updates)
		if err != nil {
			return fmt.Errorf("waiting for the labels of round %d: %w", round, err)
		}
		set, ok := data.(*events.Labelset)
		if ok && set.Tag == roundName(round) && set.Complete {
			return nil
		}
	}
}

// labeled returns features and labels of all images that have one, in the
// order of the pool: what the annotators' order was must not matter.
func (l *loop) labeled() (features [][]float64, labels []uint8) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for row, name := range l.pool.names {
		if class, ok := l.labels[name]; ok {
			features, labels = append(features, l.features[row]), append(labels, class)
		}
	}
	return features, labels
}

// annotationTool labels what is selected, round after round.
func (l *loop) annotationTool(ctx context.Context) error {
	results, err := l.subscribe(ctx, events.SelectionCreated, events.SelectionFailed)
	if err != nil {
		return err
	}
	defer results.Stop()
	selected := map[string]bool{}
	for round := 0; round <= l.Rounds; round++ {
		data, err := next(ctx, results)
		if err != nil {
			return fmt.Errorf("waiting for the selection of round %d: %w", round, err)
		}
		if failed, ok := data.(*events.Failed); ok {
			return fmt.Errorf("selection of round %d: %s: %s (%s)", round, failed.Code, failed.Message, failed.Hint)
		}
		created := data.(*events.Created)
		l.mu.Lock()
		l.waits = append(l.waits, time.Since(l.asked))
		l.mu.Unlock()
		batch, err := l.check(created, round, selected)
		if err != nil {
			return fmt.Errorf("selection of round %d: %w", round, err)
		}
		if round == 1 {
			l.first = batch
		}
		if err := l.annotate(ctx, created.Tag.Name, batch); err != nil {
			return err
		}
	}
	return nil
}

// check returns the filenames of a selection, if it keeps its promises, and
// adds them to those selected before.
func (l *loop) check(c *events.Created, round int, selected map[string]bool) ([]string, error) {
	method, size := l.method.selector, l.Batch
	if round == 0 {
		method, size = "RANDOM", l.Start
	}
	switch {
	case c.Tag.Name != roundName(round):
		return nil, fmt.Errorf("tag %q, want %q", c.Tag.Name, roundName(round))
	case c.Method != method:
		return nil, fmt.Errorf("method %s, want %s", c.Method, method)
	case len(c.Added) != size || c.Counts.Added != size:
		return nil, fmt.Errorf("%d images (counted as %d), want %d", len(c.Added), c.Counts.Added, size)
	}
	batch := make([]string, size)
	for i, a := range c.Added {
		if _, known := l.row[a.Filename]; !known {
			return nil, fmt.Errorf("%q is not in the pool", a.Filename)
		}
		if selected[a.Filename] {
			return nil, fmt.Errorf("%s is selected twice", a.Filename)
		}
		if a.Rank != i+1 {
			return nil, fmt.Errorf("%s has rank %d, want %d", a.Filename, a.Rank, i+1)
		}
		selected[a.Filename] = true
		batch[i] = a.Filename
	}
	if c.Counts.Selected != len(selected) || len(c.Filenames) != len(selected) {
		return nil, fmt.Errorf("%d images are selected now (counted as %d), want %d", len(c.Filenames), c.Counts.Selected, len(selected))
	}
	for _, name := range c.Filenames {
		if !selected[name] {
			return nil, fmt.Errorf("%q counts as selected, but was in no selection", name)
		}
	}
	return batch, nil
}

// annotate labels a batch: every annotator takes the next few images, and says
// so when they are done.
func (l *loop) annotate(ctx context.Context, tag string, batch []string) error {
	pages := make(chan []string, len(batch))
	for size := 1; len(batch) > 0; size = size%maxPage + 1 {
		n := min(size, len(batch))
		pages <- batch[:n]
		batch = batch[n:]
	}
	close(pages)
	group, ctx := errgroup.WithContext(ctx)
	for range annotators {
		group.Go(func() error {
			for page := range pages {
				l.mu.Lock()
				for _, name := range page {
					l.labels[name] = l.pool.classes[l.row[name]]
				}
				l.mu.Unlock()
				if err := l.publish(ctx, events.LabelsCompleted, "/demo/annotation", tag+"/"+page[0],
					events.Labels{Dataset: l.dataset, Tag: tag, Labeled: page}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// ask publishes an event that asks for a selection.
func (l *loop) ask(ctx context.Context, eventType string, round int, data any) error {
	l.mu.Lock()
	l.asked = time.Now()
	l.mu.Unlock()
	return l.publish(ctx, eventType, "/demo/training", roundName(round), data)
}

// publish sends an event until the server has stored it. Its id says what it
// is about, so a repetition does nothing.
func (l *loop) publish(ctx context.Context, eventType, source, id string, data any) error {
	e := event.New()
	e.SetType(eventType)
	e.SetSource(source)
	e.SetID(l.dataset + "/" + id)
	e.SetSubject(l.dataset)
	e.SetTime(time.Now().UTC())
	e.SetDataSchema(events.DataSchema(eventType))
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		return err
	}
	if _, err := events.Publish(ctx, l.js, e); err != nil {
		return fmt.Errorf("publish %s %s: %w", eventType, e.ID(), err)
	}
	l.sent.Add(1)
	return nil
}

// subscribe reads results of the loop's dataset, in order and from the first.
func (l *loop) subscribe(ctx context.Context, eventTypes ...string) (jetstream.MessagesContext, error) {
	var subjects []string
	for _, t := range eventTypes {
		subjects = append(subjects, events.OutSubject(t, l.dataset))
	}
	consumer, err := l.js.OrderedConsumer(ctx, bus.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: subjects})
	if err != nil {
		return nil, fmt.Errorf("consume %s: %w", subjects[0], err)
	}
	return consumer.Messages()
}

// silence is how long a loop waits for an event that must come. A worker whose
// selection takes longer than this on 8,000 images is not running.
const silence = 2 * time.Minute

var errSilent = errors.New("nothing came for " + silence.String() + ": is a worker running on this server?")

// next returns the data of the next result.
func next(ctx context.Context, results jetstream.MessagesContext) (any, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, silence, errSilent)
	defer cancel()
	for {
		msg, err := results.Next(jetstream.NextContext(ctx))
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return nil, err
		case err != nil: // the server is away; the client sets the consumer up again
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		e, err := events.Decode(msg.Headers(), msg.Data())
		if err != nil {
			return nil, err
		}
		return events.ParseOutput(e)
	}
}
