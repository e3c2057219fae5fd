package worker

import (
	"context"
	"fmt"
	"math"

	"nextbatch/internal/blob"
	"nextbatch/internal/events"
	"nextbatch/internal/score"
	"nextbatch/internal/selection"
)

// keeper keeps what classes are predicted beside the scores that are made of
// them, in the order of the files, two classes where there is only one: the most
// probable class of each row, and, if it has room, all probabilities, normalized.
type keeper struct {
	selection.Matrix
	room    func(rows, classes int) error // is asked before memory is taken; nil: only the top is kept
	err     error                         // what it said
	top     []float64
	classes int
}

// begin makes room for what is predicted of another file, and returns it. A nil
// keeper keeps nothing.
func (k *keeper) begin(c *blob.Classification) (probabilities []float32, top []float64, err error) {
	if k == nil {
		return nil, nil, nil
	}
	classes := max(c.Cols, 2)
	if len(k.top) > 0 && classes != k.classes {
		k.err = &events.Error{Code: "bad_predictions", Message: fmt.Sprintf("files with %d and with %d classes", k.classes, classes)}
	} else if k.room != nil {
		k.err = k.room(c.Rows, classes)
	}
	if k.err != nil {
		return nil, nil, k.err
	}
	before := len(k.top)
	k.top, k.classes = append(k.top, make([]float64, c.Rows)...), classes
	if k.room != nil {
		k.Data = append(k.Data, make([]float32, c.Rows*classes)...)
		probabilities = k.Data[before*classes:]
		k.Rows, k.Dim = k.Rows+c.Rows, classes
	}
	return probabilities, k.top[before:], nil
}

// Probabilities reads class probabilities as Score does. Names is nil where the
// file has none.
func Probabilities(ctx context.Context, f *blob.File, o score.Options) ([]string, selection.Matrix, error) {
	keep := keeper{room: func(int, int) error { return nil }}
	names, _, err := scoreAndKeep(ctx, f, score.TaskClassification, o, &keep)
	return names, keep.Matrix, err
}

// keeps returns a keeper for classes, which keeps probabilities if the selection
// that the event asks for, or may make the policy of its dataset ask for, needs
// them.
func (w *Worker) keeps(ctx context.Context, c *claim, p *events.Predictions) *keeper {
	if p.Task != score.TaskClassification {
		return nil
	}
	d, _, err := w.store.Dataset(ctx, p.Dataset)
	if err != nil {
		d.Policy = nil // the attempt will tell
	}
	var spec events.Spec
	switch {
	case p.Selection != nil:
		spec = *p.Selection
	case !occasion(d.Policy, c.m):
		return new(keeper)
	}
	spec = w.fill(inherit(spec, d.Policy))
	if !selection.Method(spec.Method).NeedsProbabilities() && !onPredictions(spec.Strategies) {
		return new(keeper)
	}
	return &keeper{room: func(rows, classes int) error {
		c.memory.classes = classes
		if c.job.Memory > 0 && c.memory.bytes >= c.job.Memory {
			return nil // an attempt before this one found out what is needed
		}
		return c.fits(need{probabilityBytes(rows, classes), {"all else", c.memory.bytes}})
	}}
}

// probabilityBytes is what class probabilities take: in the order of the file,
// in that of the dataset, and in the engine.
func probabilityBytes(rows, classes int) part {
	return part{fmt.Sprintf("class probabilities of %d × %d", rows, classes), 3 * 4 * int64(rows) * int64(classes)}
}

// inRows brings class probabilities into the order of the dataset; rows without
// are NaN.
func inRows(m selection.Matrix, rows []int, all int) selection.Matrix {
	if m.Data == nil {
		return m
	}
	ordered := selection.Matrix{Rows: all, Dim: m.Dim, Data: make([]float32, all*m.Dim)}
	for i := range ordered.Data {
		ordered.Data[i] = float32(math.NaN())
	}
	for i, row := range rows {
		copy(ordered.Row(row), m.Row(i))
	}
	return ordered
}

// useProbabilities puts the class probabilities of the event into the query
// where its method needs them, and takes rows without out of the pool.
func useProbabilities(v *view, q *Query, warn func(string, ...any)) error {
	if !q.Method.NeedsProbabilities() {
		return nil
	}
	if q.Probabilities = v.probabilities; q.Probabilities.Data == nil {
		return &events.Error{Code: "no_probabilities", Message: fmt.Sprintf("%s needs class probabilities, which are not kept: only an event that brings them can ask for it", q.Method),
			Hint: "put the selection into predictions.ready of task classification, have a policy select on_predictions, or use worker select --probs"}
	}
	missing := 0
	for row := range q.Pool.Clone().All() {
		if p := q.Probabilities.Row(row)[0]; p != p {
			q.Pool.Unset(row)
			missing++
		}
	}
	if missing > 0 {
		warn("%d samples of the pool have no class probabilities and were not offered", missing)
	}
	return nil
}
