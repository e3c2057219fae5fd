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
	"nextbatch/internal/score"
	"nextbatch/internal/state"
)

// scored are the acquisition scores of one predictions.ready, in the order of
// its rows.
type scored struct {
	names   []string // nil: positional
	vectors []score.Vector
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
		set := state.ScoreSet{Task: p.Task, Model: p.Model, Seq: c.m.Seq}
		for _, vector := range s.vectors {
			values := make([]float64, v.dataset.Rows)
			for i := range values {
				values[i] = math.NaN()
			}
			for i, row := range rows {
				values[row] = vector.Values[i]
			}
			stored, err := w.store.PutScores(ctx, vector.Name, names, values)
			if err != nil {
				return err
			}
			set.Scores = append(set.Scores, stored)
		}
		v.fresh = &set
		if sets[tag].Seq <= c.m.Seq { // else newer predictions overtook these: a selection still uses its own
			sets[tag] = set
		}
		v.dataset.Scores = sets
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
	sets, err := w.sets(ctx, v, query, p.PreselectedTag)
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
	err = w.read(ctx, c, p.Predictions, func(f *blob.File) (err error) {
		s.names, s.vectors, err = Score(ctx, f, p.Task, score.Options{Normalization: p.Normalization, Strict: true})
		return err
	})
	if err == nil && s.rows() == 0 {
		err = &events.Error{Code: "bad_predictions", Message: "no predictions"}
	}
	return s, err
}

// Score reads the predictions of a task and scores them. Names is nil where
// the file has none.
func Score(ctx context.Context, f *blob.File, task string, o score.Options) (names []string, vectors []score.Vector, err error) {
	if task == score.TaskClassification {
		m, err := blob.ReadClassification(f)
		if err != nil {
			return nil, nil, err
		}
		vectors = score.NewVectors(task, m.Rows())
		if m.Float32.Data != nil {
			err = classify(ctx, vectors, m.Float32, o)
		} else {
			err = classify(ctx, vectors, m.Float64, o)
		}
		return m.Names, vectors, badScores(err, nameOf(m.Names))
	}
	return scoreImages(ctx, f, task, o)
}

// classify scores a matrix on all cores.
func classify[F score.Float](ctx context.Context, dst []score.Vector, m score.Matrix[F], o score.Options) error {
	const step = 1 << 14 // rows between looks at the context
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			var bad []error
			for from, to := k*m.Rows/workers, (k+1)*m.Rows/workers; from < to && ctx.Err() == nil; from += step {
				bad = append(bad, score.ClassifyRange(dst, m, from, min(from+step, to), o))
			}
			errs[k] = score.JoinRows(bad...)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return score.JoinRows(errs...)
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
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	var refusal *blob.Error
	if errors.As(err, &refusal) {
		return nil, nil, err
	}
	if err == nil && n > 0 {
		vectors, err = result()
	}
	return names, vectors, badScores(err, nameOf(names))
}
