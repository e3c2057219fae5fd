package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/blob"
	"nextbatch/internal/events"
	"nextbatch/internal/hugepage"
	"nextbatch/internal/score"
	"nextbatch/internal/selection"
	"nextbatch/internal/state"
)

// scored are the acquisition scores of one predictions.ready, in the order of
// its rows.
type scored struct {
	names         []string // nil: positional
	vectors       []score.Vector
	probabilities selection.Matrix // of the classes, where the selection needs them
	top           []float64        // of a classification: the most probable of so many classes
	classes       int
}

func (s scored) rows() int {
	if len(s.vectors) == 0 {
		return 0
	}
	return len(s.vectors[0].Values)
}

// predictions reads and scores the predictions. The returned function adds
// the scores to a dataset.
func (w *Worker) predictions(ctx context.Context, c *claim, p *events.Predictions) (func(context.Context, *view) error, error) {
	c.progress("scoring", 0, 0)
	s, err := w.score(ctx, c, p)
	if err != nil {
		return nil, refused(err)
	}
	return func(ctx context.Context, v *view) error {
		names, err := w.store.Names(ctx, v.dataset)
		if err != nil {
			return err
		}
		rows, err := w.rowsOf(ctx, v, names, p, s)
		if err != nil {
			return err
		}
		tag := p.QueryTag
		if tag == "" {
			tag = state.InitialTag
		}
		sets := map[string]state.ScoreSet{}
		for name, set := range v.dataset.Scores {
			sets[name] = set
		}
		set := state.ScoreSet{Task: p.Task, Model: p.Model, Seq: c.m.Seq, Created: c.m.Time.UTC()}
		put := func(name string, of []float64) (state.ScoreVector, error) {
			values := make([]float64, v.dataset.Rows)
			for i := range values {
				values[i] = math.NaN()
			}
			for i, row := range rows {
				values[row] = of[i]
			}
			return w.store.PutScores(ctx, name, names, values)
		}
		for _, vector := range s.vectors {
			stored, err := put(vector.Name, vector.Values)
			if err != nil {
				return err
			}
			set.Scores = append(set.Scores, stored)
		}
		if s.top != nil {
			top, err := put("top", s.top)
			if err != nil {
				return err
			}
			set.Top, set.Classes = &top, s.classes
		}
		v.fresh, v.probabilities = &set, inRows(s.probabilities, rows, v.dataset.Rows)
		if sets[tag].Seq <= c.m.Seq { // else newer predictions overtook these: a selection still uses its own
			sets[tag] = set
		}
		v.dataset.Scores = sets
		v.stored = fmt.Sprintf("scores of %d samples", len(rows))
		return nil
	}, nil
}

// rowsOf finds the dataset row of each prediction.
func (w *Worker) rowsOf(ctx context.Context, v *view, names *state.Names, p *events.Predictions, s scored) ([]int, error) {
	query, err := w.tagMask(ctx, v.dataset, p.QueryTag)
	if err != nil {
		return nil, err
	}
	switch p.KeyedBy {
	case "", "filename":
		return rowsByName(names, query, p, s)
	}
	if s.names != nil {
		return nil, &events.Error{Code: "bad_data", Message: "the predictions carry filenames, and keyed_by is " + p.KeyedBy, Hint: "leave keyed_by out"}
	}
	sets, err := w.sets(ctx, v, query, p.PreselectedTag, false)
	if err != nil {
		return nil, err
	}
	order := query
	if p.KeyedBy == "unlabeled_order" {
		order = query.Clone()
		order.Difference(sets.preselected)
	}
	rows := order.Indices()
	if len(rows) != s.rows() {
		return nil, &events.Error{Code: "row_count", Message: fmt.Sprintf("%d predictions, but the %s has %d samples", s.rows(), p.KeyedBy, len(rows)),
			Hint: "send filenames with the predictions: positions shift whenever samples are labeled"}
	}
	return rows, nil
}

func rowsByName(names *state.Names, query *bitmask.Mask, p *events.Predictions, s scored) ([]int, error) {
	if s.names == nil {
		return nil, &events.Error{Code: "no_filenames", Message: "the predictions carry no filenames",
			Hint: `add them, or say which order they follow: "keyed_by": "query_order" or "unlabeled_order"`}
	}
	rows := make([]int, len(s.names))
	var unknown, outside offenders
	for i, name := range s.names {
		row, ok := names.Row(name)
		switch {
		case !ok:
			unknown.add(name)
		case !query.Has(row):
			outside.add(name)
		}
		rows[i] = row
	}
	if unknown.n > 0 {
		return nil, &events.Error{Code: "unknown_filenames", Message: unknown.of(len(s.names), "filenames are not in the dataset"),
			Hint: "add them with embeddings.ready first; filenames are compared byte by byte"}
	}
	if outside.n > 0 {
		return nil, &events.Error{Code: "not_in_query_set", Message: outside.of(len(s.names), "filenames are not in query tag "+p.QueryTag),
			Hint: "leave these predictions out, or query_tag"}
	}
	return rows, nil
}

// score decodes the predictions and scores them, one image in memory at a time
// where images are large.
func (w *Worker) score(ctx context.Context, c *claim, p *events.Predictions) (s scored, err error) {
	keep := w.keeps(ctx, c, p)
	err = w.read(ctx, c, p.Predictions, func(f *blob.File) (err error) {
		s.names, s.vectors, err = scoreAndKeep(ctx, f, p.Task, score.Options{Normalization: p.Normalization, Strict: true}, keep)
		return err
	})
	if keep != nil {
		s.probabilities, s.top, s.classes, err = keep.Matrix, keep.top, keep.classes, cmp.Or(keep.err, err)
	}
	if err == nil && s.rows() == 0 {
		err = &events.Error{Code: "bad_predictions", Message: "no predictions"}
	}
	return s, err
}

// Score reads the predictions of a task and scores them. Names is nil where
// the file has none.
func Score(ctx context.Context, f *blob.File, task string, o score.Options) (names []string, vectors []score.Vector, err error) {
	return scoreAndKeep(ctx, f, task, o, nil)
}

// scoreAndKeep is Score that keeps the probabilities of classes, unless keep is
// nil.
func scoreAndKeep(ctx context.Context, f *blob.File, task string, o score.Options, keep *keeper) (names []string, vectors []score.Vector, err error) {
	if task != score.TaskClassification {
		return scoreImages(ctx, f, task, o)
	}
	rows := 0
	var bad error // of the rows: those of other files are worth a look too
	names, err = blob.ReadClassification(f, func(c *blob.Classification) (err error) {
		var part []score.Vector
		if c.Float32 {
			part, err = classify[float32](ctx, c, o, keep)
		} else {
			part, err = classify[float64](ctx, c, o, keep)
		}
		if err != nil && !isRows(err) {
			return err
		}
		vectors = appendScores(vectors, part)
		bad = joinBad(bad, err, rows, c.Rows)
		rows += c.Rows
		return nil
	})
	err = cmp.Or(err, bad)
	if err := scoreError(ctx, err, names); err != nil {
		return nil, nil, err
	}
	return names, vectors, nil
}

// appendScores adds the scores of another file.
func appendScores(to, part []score.Vector) []score.Vector {
	if to == nil {
		return part
	}
	for i := range to {
		to[i].Values = append(to[i].Values, part[i].Values...)
	}
	return to
}

// joinBad adds the bad rows of another file, before which there are so many.
func joinBad(bad, err error, before, rows int) error {
	if more, ok := errors.AsType[*score.RowsError](err); ok {
		for i := range more.First {
			more.First[i].Row += before
		}
	}
	bad = score.JoinRows(bad, err)
	if all, ok := errors.AsType[*score.RowsError](bad); ok {
		all.Total = before + rows
	}
	return bad
}

// classify scores a matrix on all cores, each of which reads and scores a block
// of rows at a time.
func classify[F score.Float](ctx context.Context, c *blob.Classification, o score.Options, keep *keeper) ([]score.Vector, error) {
	kept, top, err := keep.begin(c)
	if err != nil {
		return nil, err
	}
	vectors := score.NewVectors(score.TaskClassification, c.Rows)
	for _, v := range vectors {
		hugepage.Advise(v.Values)
	}
	errs := make([]error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for k := range errs {
		wg.Go(func() {
			buf := blob.RowBuffer[F](c)
			for ctx.Err() == nil {
				m, first, err := blob.NextRows(c, buf)
				if err == nil && m.Rows == 0 {
					return
				}
				if err == nil {
					err = score.ClassifyRows(vectors, first, m, o)
				}
				if err == nil && top != nil {
					score.Top(top[first:], m)
				}
				if err == nil && kept != nil {
					score.Probabilities(kept[first*keep.Dim:], m, o)
				}
				errs[k] = score.JoinRows(errs[k], err)
				if err != nil && !isRows(err) {
					return
				}
			}
		})
	}
	wg.Wait()
	return vectors, cmp.Or(ctx.Err(), score.JoinRows(errs...))
}

// isRows reports whether an error is about bad rows, so that the others are
// worth a look too.
func isRows(err error) bool {
	_, ok := errors.AsType[*score.RowsError](err)
	return ok
}

func nameOf(names []string) func(int) string {
	return func(row int) string {
		if row < len(names) {
			return names[row]
		}
		return fmt.Sprintf("row %d", row)
	}
}

// scoreImages feeds the scorer of a task one image at a time.
func scoreImages(ctx context.Context, f *blob.File, task string, o score.Options) (names []string, vectors []score.Vector, err error) {
	n := 0
	next := func() error {
		n++
		return ctx.Err()
	}
	var result func() ([]score.Vector, error)
	switch task {
	case score.TaskObjectDetection:
		s, e := score.NewDetection(score.DefaultDetection(), o)
		if err = e; err == nil {
			result = s.Result
			names, err = blob.EachDetections(f, func(d blob.Detections) error { return cmp.Or(next(), d.Add(s)) })
		}
	case score.TaskSemanticSegmentation:
		s, e := score.NewSegmentation(o)
		if err = e; err == nil {
			result = s.Result
			names, err = blob.EachPixels(f, func(p blob.Pixels) error { return cmp.Or(next(), p.Add(s)) })
		}
	case score.TaskKeypointDetection:
		s, e := score.NewKeypoints(o)
		if err = e; err == nil {
			result = s.Result
			names, err = blob.EachKeypoints(f, func(i [][]float64) error { return cmp.Or(next(), s.Add(i)) })
		}
	default:
		return nil, nil, &events.Error{Code: "bad_task", Message: fmt.Sprintf("unknown task %q", task),
			Hint: "tasks: classification, object_detection, semantic_segmentation, keypoint_detection"}
	}
	if err == nil && n > 0 {
		vectors, err = result()
	}
	return names, vectors, scoreError(ctx, err, names)
}

// scoreError is what the sender is told: the end of the context before all
// else, faults of the file as they are.
func scoreError(ctx context.Context, err error, names []string) error {
	var refusal *blob.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &refusal):
		return err
	}
	return badScores(err, nameOf(names))
}
