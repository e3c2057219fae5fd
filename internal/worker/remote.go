package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"nextbatch/internal/events"
	"nextbatch/internal/lightly"
	"nextbatch/internal/selection"
)

// Remote sends sampling queries to a Lightly-compatible platform.
type Remote struct{ Client *lightly.Client }

// Vectors is false: the platform has the embeddings.
func (Remote) Vectors() bool { return false }

// Select has the platform answer the query. The platform names the new samples
// but not their order: they are ranked by score, then by the seeded hash of
// the filename, and carry no gain.
func (r Remote) Select(ctx context.Context, q Query) (selection.Selection, error) {
	none := selection.Selection{Radius: math.NaN(), LowerBound: math.NaN()}
	if q.BatchSize == 0 {
		return none, nil
	}
	if q.DistanceCap != 0 {
		return none, &events.Error{Code: "bad_query", Message: "a distance cap cannot be sent to another platform", Hint: "leave distance_cap out, or unset AL_LIGHTLY_URL"}
	}
	if q.Cosine && slices.Contains(herding, q.Method) {
		return none, &events.Error{Code: "bad_query", Message: "a metric cannot be sent to another platform", Hint: "leave metric out, or unset AL_LIGHTLY_URL"}
	}
	filenames := make([]string, q.Rows)
	for row := range filenames {
		filenames[row] = q.Filenames(row)
	}
	lq := lightly.Query{
		Dataset: q.Dataset, Filenames: filenames, Pool: q.Pool, Preselected: q.Preselected,
		QueryTag: q.QueryTag, PreselectedTag: q.PreselectedTag, Method: string(q.Method),
		NSamples: q.Preselected.Count() + q.BatchSize, MinDistance: q.MinDistance, TagName: q.TagName, Score: q.Score,
	}
	lq.Progress = func(done, total int) {
		if q.Progress != nil {
			q.Progress(done, total)
		}
	}
	for _, v := range q.Vectors {
		lq.Scores = append(lq.Scores, lightly.NamedScores(v))
	}
	result, err := r.Client.Select(ctx, lq)
	var e *lightly.Error
	switch {
	case ctx.Err() != nil:
		return none, context.Cause(ctx)
	case errors.As(err, &e) && e.Transient:
		return none, fmt.Errorf("%w: %s", errTransient, e.Message)
	case errors.As(err, &e):
		return none, &events.Error{Code: e.Code, Message: e.Message, Hint: e.Hint}
	case err != nil:
		return none, err
	}
	scores := q.Query.Scores
	for _, row := range result.Rows {
		p := selection.Pick{Row: row, Gain: math.NaN(), Score: math.NaN(), Nearest: -1}
		if scores != nil {
			p.Score = scores[row]
		}
		none.Picks = append(none.Picks, p)
	}
	slices.SortFunc(none.Picks, func(a, b selection.Pick) int {
		if a.Score != b.Score && finite(a.Score) && finite(b.Score) {
			if a.Score > b.Score {
				return -1
			}
			return 1
		}
		return selection.CompareKeys(q.Seed, q.Filenames(a.Row), q.Filenames(b.Row))
	})
	return none, nil
}
