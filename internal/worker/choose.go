package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/events"
	"nextbatch/internal/selection"
	"nextbatch/internal/state"
)

// Selector answers a sampling query: the embedded engine, or another
// Lightly-compatible platform.
type Selector interface {
	Select(context.Context, Query) (selection.Selection, error)
	// Vectors reports whether queries must come with the embeddings.
	Vectors() bool
}

// Query is a selection.Query with the names by which another platform knows
// its parts.
type Query struct {
	selection.Query
	Dataset        string
	TagName        string
	QueryTag       string   // "" or initial-tag: the whole dataset
	PreselectedTag string   // "": everything selected or labeled
	Score          string   // name of the acquisition score in Scores, "" for none
	Vectors        []Vector // every acquisition score that is known
}

// Vector is one acquisition score of every row, NaN where there is none.
type Vector struct {
	Name   string
	Values []float64
}

// Engine is the embedded selector.
type Engine struct{}

// Vectors is true.
func (Engine) Vectors() bool { return true }

// Select runs the query here.
func (Engine) Select(ctx context.Context, q Query) (selection.Selection, error) {
	report := q.Progress
	q.Progress = func(done, total int) bool {
		if report != nil {
			report(done, total)
		}
		return ctx.Err() == nil
	}
	s, err := selection.Select(q.Query)
	if errors.Is(err, selection.ErrCanceled) && ctx.Err() != nil {
		return s, context.Cause(ctx)
	}
	return s, err
}

// chosen is a selection, ready to be committed.
type chosen struct {
	tag     state.Tag
	tagRev  uint64 // at which it can be created
	created events.Created

	embedding string        // the set that the bounds are of
	bounds    *state.Bounds // for the next selection; nil for none
}

// choose runs a sampling query on a view and marks its picks as selected.
func (w *Worker) choose(ctx context.Context, c *claim, v *view, q query) (chosen, error) {
	job := c.snapshot()
	d := v.dataset
	s := w.fill(inherit(q.spec, d.Policy))
	if s.Method == events.Combined && s.Strategies == nil { // in a policy that was stored before it was refused
		return chosen{}, &events.Error{Code: "bad_policy", Message: fmt.Sprintf("the policy of dataset %q has method COMBINED: %v", d.Name, events.ErrCombined),
			Hint: "set another method in the policy, or name one in the event"}
	}
	name := s.Name
	if name == "" {
		name = strings.ToLower(s.Method) + "-" + job.ID[:12]
	}
	tagRev, err := w.nameFree(ctx, d.Name, name)
	if err != nil {
		return chosen{}, err
	}
	names, err := w.store.Names(ctx, d)
	if err != nil {
		return chosen{}, err
	}
	query, err := w.tagMask(ctx, d, q.queryTag)
	if err != nil {
		return chosen{}, err
	}
	sets, err := w.sets(ctx, v, query, q.preselectedTag, q.fromScratch)
	if err != nil {
		return chosen{}, err
	}
	created := events.Created{Dataset: d.Name, QueryTag: q.queryTag, PreselectedTag: q.preselectedTag, FromScratch: q.fromScratch, Cause: job.Event,
		Tag: events.TagRef{ID: state.HexID(24, "tag", job.ID), Name: name}, Warnings: Ignored(q.spec, selection.Method(s.Method))}
	warn := func(format string, args ...any) {
		created.Warnings = append(created.Warnings, fmt.Sprintf(format, args...))
	}
	sq := Query{Dataset: d.Name, TagName: name, QueryTag: q.queryTag, PreselectedTag: q.preselectedTag}
	sq.Method, sq.Rows, sq.Filenames = selection.Method(s.Method), d.Rows, names.At
	sq.Pool, sq.Preselected = sets.pool, sets.preselected.Clone()
	sq.MinDistance, sq.Seed = *s.MinDistance, *s.Seed
	sq.ScoreExponent, sq.DistanceExponent, sq.ScoreFloor = *s.ScoreExponent, *s.DistanceExponent, *s.ScoreFloor
	sq.HerdingRadius, sq.Cosine, sq.DistanceCap = *s.Radius, s.Metric == events.Cosine, float64(*s.DistanceCap)
	sq.Progress = func(done, total int) bool { c.progress("selecting", done, total); return true }

	sq.BatchSize = *s.BatchSize
	if s.NSamples != nil {
		if sq.BatchSize = *s.NSamples - sets.preselected.Count(); sq.BatchSize < 0 {
			warn("n_samples is %d, but %d samples are selected or labeled already: nothing was added", *s.NSamples, sets.preselected.Count())
			sq.BatchSize = 0
		}
	}
	random, err := DrawRandom(&sq.Query, *s.RandomShare) // before anything about the model narrows the pool
	if err != nil {
		return chosen{}, selectError(err, names)
	}
	var scored string
	var model *events.Model
	var scores []scoreSet
	if s.Strategies == nil {
		scored, model, err = w.useScores(ctx, v, q, s, sets, names, &sq, warn)
	} else {
		scores, model, err = w.scoresFor(ctx, v, q, sets, names)
		warnStale(v, q, s.Strategies, scores, warn)
	}
	if err != nil {
		return chosen{}, err
	}
	if err := useProbabilities(v, &sq, warn); err != nil {
		return chosen{}, err
	}
	embedded, release, err := w.useEmbedding(ctx, d, s, &sq, warn)
	if err != nil {
		return chosen{}, err
	}
	defer release()
	if s.Strategies != nil {
		used := usedScores{}
		if err := Combine(ctx, &sq.Query, s.Strategies, stored{w, d, names, scores, v.probabilities, s.Embedding, sq.Seed, used}, warn); err != nil {
			return chosen{}, selectError(err, names)
		}
		scored = used.digest()
	}
	if free := sq.Pool.Count(); sq.BatchSize > free {
		warn("%d samples were asked for, but only %d can be offered: all of them were taken", sq.BatchSize+len(random), free+len(random))
		sq.BatchSize = free
	}
	if sq.Method.KeepsState() && embedded != nil && q.preselectedTag == "" && !q.fromScratch {
		w.recallBounds(ctx, &sq, embedded, s.Embedding)
	}
	sel, err := w.selector.Select(ctx, sq)
	if err != nil {
		return chosen{}, selectError(err, names)
	}
	JoinRandom(&sq.Query, &sel, random)
	if sq.MinDistance > 0 && len(sel.Picks) < sq.BatchSize {
		warn("%d of %d samples were added: the next one would be nearer than %g to one that is selected", len(sel.Picks), sq.BatchSize, sq.MinDistance)
	}

	after, batch := sets.preselected, bitmask.New(d.Rows)
	for _, p := range sel.Picks {
		v.labels.Select(p.Row)
		after.Set(p.Row)
		batch.Set(p.Row)
	}
	described := Describe(sq.Query, sel)
	created.Method, created.Parameters, created.Added, created.Coverage = described.Method, described.Parameters, described.Added, described.Coverage
	created.Herding, created.Warnings = described.Herding, append(created.Warnings, described.Warnings...)
	created.Model, created.Parameters.NSamples, created.Parameters.Strategies = model, s.NSamples, s.Strategies
	created.Parameters.RandomShare = *s.RandomShare
	for i := range random {
		created.Added[i].Random = true
	}
	if scored != "" {
		created.Parameters.Score, created.Digests.Scores = sq.Score, scored
	}
	if embedded != nil {
		created.Parameters.Embedding, created.Digests.Embedding = s.Embedding, embedded.Digest
	}
	created.Digests.Configuration = configDigest(created)
	created.Counts = events.Counts{Dataset: d.Rows, Query: sets.query.Count(), Preselected: after.Count() - len(sel.Picks), Added: len(sel.Picks), Random: len(random), Selected: after.Count()}
	for row := range after.All() {
		created.Filenames = append(created.Filenames, names.At(row))
	}
	slices.Sort(created.Filenames)

	if len(sel.Picks) > 0 {
		v.labels.SetNewest(name)
	}
	tag, err := w.newTag(ctx, created, after, batch, job.ID, d.Rows)
	if err != nil {
		return chosen{}, err
	}
	made := chosen{tag: tag, tagRev: tagRev, created: created, embedding: s.Embedding}
	if sel.State != nil {
		if made.bounds, err = w.storeBounds(sel.State, embedded); err != nil {
			return chosen{}, err
		}
	}
	w.metrics.selected.Add(float64(len(sel.Picks)))
	return made, nil
}

// fill replaces what a sampling query leaves out by the worker's defaults.
func (w *Worker) fill(s events.Spec) events.Spec {
	if s.Strategies != nil {
		s.Method = events.Combined
	}
	if s.Method == "" {
		s.Method = w.cfg.Method
		if !w.selector.Vectors() && (s.Method == string(selection.UHerding) || s.Method == string(selection.Herding)) {
			s.Method = string(selection.Coral) // which other platforms know
		}
	}
	if s.BatchSize == nil {
		s.BatchSize = &w.cfg.BatchSize
	}
	if s.Seed == nil {
		s.Seed = new(uint64)
	}
	if s.MinDistance == nil {
		s.MinDistance = new(float64)
	}
	if s.RandomShare == nil {
		s.RandomShare = new(float64)
	}
	for _, p := range []struct {
		v **float64
		d float64
	}{{&s.ScoreExponent, 1}, {&s.DistanceExponent, 1}, {&s.ScoreFloor, 0.05}} {
		if *p.v == nil {
			*p.v = &p.d
		}
	}
	if s.Radius == nil {
		s.Radius = new(float64)
	}
	if s.DistanceCap == nil {
		s.DistanceCap = new(events.DistanceCap)
	}
	if s.Embedding == "" {
		s.Embedding = "default"
	}
	return s
}

// sampleSets are the sets of rows of one query.
type sampleSets struct{ query, preselected, pool *bitmask.Mask }

// sets works out who may be picked: the query set without what is preselected
// and what annotators rejected.
func (w *Worker) sets(ctx context.Context, v *view, query *bitmask.Mask, preselectedTag string, fromScratch bool) (s sampleSets, err error) {
	preselected, skipped := v.labels.Sets(v.dataset.Rows)
	switch {
	case fromScratch:
		preselected = bitmask.New(v.dataset.Rows)
	case preselectedTag != "":
		if preselected, err = w.tagMask(ctx, v.dataset, preselectedTag); err != nil {
			return s, err
		}
	}
	s = sampleSets{query, preselected, query.Clone()}
	s.pool.Difference(preselected)
	s.pool.Difference(skipped)
	return s, nil
}

// useEmbedding puts the embedding set into the query where it is needed.
func (w *Worker) useEmbedding(ctx context.Context, d state.Dataset, s events.Spec, q *Query, warn func(string, ...any)) (*state.EmbeddingSet, func(), error) {
	none := func() {}
	if !w.selector.Vectors() || !q.Method.NeedsEmbeddings() && q.MinDistance <= 0 && !onEmbeddings(s.Strategies) {
		return nil, none, nil
	}
	set := d.Embeddings[s.Embedding]
	if len(set.Chunks) == 0 { // its vectors may be announced and not be there yet
		have := maps.Clone(d.Embeddings)
		maps.DeleteFunc(have, func(_ string, e state.EmbeddingSet) bool { return len(e.Chunks) == 0 })
		return nil, none, &events.Error{Code: "unknown_embedding", Message: fmt.Sprintf("dataset %q has no embedding %q", d.Name, s.Embedding),
			Hint: "publish embeddings.ready; embeddings that exist: " + join(slices.Sorted(maps.Keys(have)))}
	}
	matrix, release, err := w.store.Vectors(ctx, set, d.Rows)
	if err != nil {
		return nil, none, err
	}
	q.Embeddings = selection.Matrix{Rows: d.Rows, Dim: set.Dim, Data: matrix}
	for _, part := range []struct {
		mask *bitmask.Mask
		what string
	}{{q.Pool, "samples of the pool have no embedding %q and were not offered"}, {q.Preselected, "preselected samples have no embedding %q and are no centers"}} {
		missing := 0
		for row := range part.mask.Clone().All() {
			if x := matrix[row*set.Dim]; x != x {
				part.mask.Unset(row)
				missing++
			}
		}
		if missing > 0 {
			warn("%d "+part.what, missing, s.Embedding)
		}
	}
	return &set, release, nil
}
