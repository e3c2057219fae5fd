package worker

import (
	"math"

	"nextbatch/internal/selection"
)

// randomSeed is added to the seed of a selection for its random share. Seeds of
// events are below it: no order of ties, and no RANDOM batch, goes by the same
// hash.
const randomSeed = 1 << 53

// DrawRandom picks the random share of a batch from the whole pool, uniformly,
// by the seeded hash of the filename, whatever the model says. Half a sample
// and more is rounded up. The picks leave the pool and become centers, so that the
// method picks around them; the batch size becomes what is left for it.
func DrawRandom(q *selection.Query, share float64) ([]selection.Pick, error) {
	n := int(math.Floor(float64(share*float64(min(q.BatchSize, q.Pool.Count()))) + 0.5))
	if n <= 0 {
		return nil, nil
	}
	drawn, err := selection.Select(selection.Query{Method: selection.Random, Filenames: q.Filenames, Rows: q.Rows,
		Pool: q.Pool.Clone(), BatchSize: n, Seed: q.Seed + randomSeed, Progress: q.Progress})
	if err != nil {
		return nil, err
	}
	for _, p := range drawn.Picks {
		q.Pool.Unset(p.Row)
		q.Preselected.Set(p.Row)
	}
	q.BatchSize -= len(drawn.Picks)
	return drawn.Picks, nil
}

// JoinRandom puts the random share before what the method picked, and the query
// back to what it was before DrawRandom.
func JoinRandom(q *selection.Query, sel *selection.Selection, random []selection.Pick) {
	for i, p := range random {
		q.Pool.Set(p.Row)
		q.Preselected.Unset(p.Row)
		if q.Scores != nil {
			random[i].Score = q.Scores[p.Row]
		}
	}
	sel.Picks = append(random, sel.Picks...)
	q.BatchSize += len(random)
}
