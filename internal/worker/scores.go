package worker

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// scoreSet are acquisition scores that a query can use: those of predictions,
// or lists that were uploaded.
type scoreSet struct {
	names []string
	task  string    // of predictions
	newer time.Time // when its newest list came
	model *events.Model
	seq   uint64                                                                        // of the event that brought them; 0 for lists that were uploaded
	load  func(ctx context.Context, i int) (values []float64, digest string, err error) // of every row of the dataset, NaN where there is none
}

// preferredScores are those that a query uses if it names none, the first that
// exists; else the first of the set.
var preferredScores = []string{"uncertainty_margin", "prediction-margin", "objectness_least_confidence"}

// pick returns the index of the named score, or of the one to use by default;
// -1 if there is none.
func (s scoreSet) pick(name string) int {
	if name != "" {
		return slices.Index(s.names, name)
	}
	for _, name := range preferredScores {
		if i := slices.Index(s.names, name); i >= 0 {
			return i
		}
	}
	return 0
}

// useScores puts the acquisition scores of a query into it, and takes rows
// without one out of the pool where the method needs one. It returns the
// digest of the scores that decide, "" where none do.
func (w *Worker) useScores(ctx context.Context, v *view, ask query, s events.Spec, sets sampleSets, names *state.Names, q *Query, warn func(string, ...any)) (string, *events.Model, error) {
	needed := q.Method.NeedsScores()
	found, misfits, err := w.scoreSets(ctx, v, ask, sets, names)
	if err != nil {
		return "", nil, err
	}
	var set scoreSet
	use := -1
	var have []string
	for _, f := range found { // the newest of those that have the score
		have = append(have, f.names...)
		if i := f.pick(s.Score); i >= 0 && (use < 0 || f.newer.After(set.newer)) {
			set, use = f, i
		}
	}
	over := queryName(ask.queryTag)
	switch {
	case use >= 0:
	case len(found) == 0 && !needed:
		return "", nil, nil
	case len(misfits) > 0 && needed:
		return "", nil, &events.Error{Code: "scores_mismatch",
			Message: fmt.Sprintf("no uploaded scores fit this query: %s", strings.Join(misfits, "; ")),
			Hint:    "upload one score for each sample of the query set to the query tag, or one for each sample of it that is not preselected to the preselected tag, in the order of the dataset"}
	case len(found) > 0:
		return "", nil, &events.Error{Code: "unknown_score", Message: fmt.Sprintf("no score %q for %s", s.Score, over),
			Hint: "scores that exist: " + join(have)}
	case q.Method.Unscored() != "" && s.Score == "":
		warn("no scores exist for %s: %s acts as %s", over, q.Method, q.Method.Unscored())
		q.Method = q.Method.Unscored()
		return "", nil, nil
	default:
		return "", nil, &events.Error{Code: "no_scores", Message: fmt.Sprintf("%s needs acquisition scores, and dataset %q has none for %s", s.Method, v.dataset.Name, over),
			Hint: "publish predictions.ready first, or select with CORESET or RANDOM"}
	}
	var digest string
	for i, name := range set.names {
		if i != use && w.selector.Vectors() { // only another platform wants all of them
			continue
		}
		values, sum, err := set.load(ctx, i)
		if err != nil {
			return "", nil, err
		}
		q.Vectors = append(q.Vectors, Vector{name, values})
		if i == use {
			q.Score, q.Scores, digest = name, values, sum
		}
	}
	if !needed {
		return "", set.model, nil
	}
	if text := staleness(v, ask, set.seq); text != "" {
		warn("%s", text)
	}
	missing := 0
	for row := range q.Pool.Clone().All() {
		if math.IsNaN(q.Scores[row]) {
			q.Pool.Unset(row)
			missing++
		}
	}
	if missing > 0 {
		warn("%d samples of the pool have no score %s and were not offered", missing, q.Score)
	}
	return digest, set.model, nil
}

// scoresFor finds the scores that strategies can use, and the model of the
// newest.
func (w *Worker) scoresFor(ctx context.Context, v *view, ask query, sets sampleSets, names *state.Names) (found []scoreSet, model *events.Model, err error) {
	if !w.selector.Vectors() {
		return nil, nil, &events.Error{Code: "bad_query", Message: "strategies cannot be sent to another platform", Hint: "name a method, or unset AL_LIGHTLY_URL"}
	}
	found, _, err = w.scoreSets(ctx, v, ask, sets, names)
	newest := scoreSet{}
	for _, f := range found {
		if f.newer.After(newest.newer) {
			newest = f
		}
	}
	return found, newest.model, err
}

// scoreSets finds the scores that fit a query: those that its own event
// brought, or else those of the newest predictions for the query tag, the
// lists uploaded to the query tag with a score for each of its samples, and
// the lists uploaded to the preselected tag with a score for each sample of
// the query set that is not in it. Misfits says what else was uploaded to
// those tags.
func (w *Worker) scoreSets(ctx context.Context, v *view, ask query, sets sampleSets, names *state.Names) (found []scoreSet, misfits []string, err error) {
	if v.fresh != nil {
		return []scoreSet{w.predicted(*v.fresh, names.Len())}, nil, nil
	}
	if set, ok := v.dataset.Scores[queryName(ask.queryTag)]; ok {
		found = append(found, w.predicted(set, names.Len()))
	}
	type place struct {
		tag  string
		rows *bitmask.Mask
	}
	places := []place{{queryName(ask.queryTag), sets.query}}
	if ask.preselectedTag != "" {
		places = append(places, place{ask.preselectedTag, sets.query.Subtract(sets.preselected)})
	}
	for _, p := range places {
		u, _, err := w.store.Uploads(ctx, v.dataset.Name, p.tag)
		if err != nil {
			return nil, nil, err
		}
		want := p.rows.Count()
		fit, others := uploadsOf(u, want)
		if len(others) > 0 {
			misfits = append(misfits, fmt.Sprintf("tag %s has %s, and %d are needed", p.tag, strings.Join(others, ", "), want))
		}
		if len(fit) > 0 {
			found = append(found, w.uploaded(fit, p.rows, names))
		}
	}
	return found, misfits, nil
}

// uploadsOf returns the lists of n scores, and says what the others are.
func uploadsOf(u state.Uploads, n int) (fit []state.Upload, others []string) {
	for _, l := range u.Lists {
		if l.Len == n {
			fit = append(fit, l)
		} else {
			others = append(others, fmt.Sprintf("%d of %s", l.Len, l.Name))
		}
	}
	return fit, others
}

// predicted are the scores of predictions.
func (w *Worker) predicted(set state.ScoreSet, rows int) scoreSet {
	s := scoreSet{newer: set.Created, task: set.Task, model: set.Model, seq: set.Seq}
	for _, v := range set.Scores {
		s.names = append(s.names, v.Name)
	}
	s.load = func(ctx context.Context, i int) ([]float64, string, error) {
		values, err := w.store.Scores(ctx, set.Scores[i], rows)
		return values, set.Scores[i].Digest, err
	}
	return s
}

// uploaded are lists that have one score for each of some rows, ascending.
func (w *Worker) uploaded(lists []state.Upload, of *bitmask.Mask, names *state.Names) scoreSet {
	var s scoreSet
	for _, l := range lists {
		s.names = append(s.names, l.Name)
		if l.Created.After(s.newer) {
			s.newer = l.Created
		}
	}
	s.load = func(ctx context.Context, i int) ([]float64, string, error) {
		list, err := w.store.List(ctx, lists[i])
		if err != nil {
			return nil, "", err
		}
		values := make([]float64, names.Len())
		for row := range values {
			values[row] = math.NaN()
		}
		for k, row := range of.Indices() {
			values[row] = list[k]
		}
		return values, state.ScoresDigest(names, values), nil
	}
	return s
}

// queryName is the name of a query tag; the default is the whole dataset.
func queryName(tag string) string {
	if tag == "" {
		return state.InitialTag
	}
	return tag
}
