package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"nextbatch/internal/events"
	"nextbatch/internal/selection"
)

// Sources are where the strategies of a combined selection get their values:
// the state of a dataset, or files.
type Sources interface {
	// Score is an acquisition score of every row, NaN where there is none.
	Score(ctx context.Context, task, name string) ([]float64, error)
	// Classes says how much of each class every row holds, as far as it was
	// predicted; wanted bounds the classes that are told apart, nil means all.
	Classes(ctx context.Context, task string, wanted []string) (Classes, error)
	// Metadata is the value of a key of every row: float64, string, bool, or
	// nil where there is none.
	Metadata(ctx context.Context, key string) ([]any, error)
	// Tagged are vectors of at most so many samples of a tag, those of lowest
	// selection.Key.
	Tagged(ctx context.Context, dataset, tag string, most int) (selection.Matrix, error)
}

// Classes is how much of each class every row of a dataset holds. The last
// column may be all other classes together; it has the name "".
type Classes struct {
	Names  []string
	Shares selection.Matrix // rows × classes, ≥ 0; a row of zeros is of no class
}

const (
	tagSample  = 256     // samples of a tag that SIMILARITY compares with
	mostShares = 1 << 28 // float32 values of a balance: 1 GiB
)

// onEmbeddings reports whether strategies need embeddings.
func onEmbeddings(list []events.Strategy) bool {
	return slices.ContainsFunc(list, func(s events.Strategy) bool { return s.Input.Type == "EMBEDDINGS" && s.Power() != 0 })
}

// onPredictions reports whether strategies ask for classes.
func onPredictions(list []events.Strategy) bool {
	return slices.ContainsFunc(list, func(s events.Strategy) bool { return s.Input.Type == "PREDICTIONS" })
}

// Combine puts strategies that CheckStrategies accepts into a query: its pool
// loses what thresholds exclude and what lacks a value. All thresholds come
// first; then each of the others becomes a factor, a balance, or diversity.
func Combine(ctx context.Context, q *selection.Query, list []events.Strategy, src Sources, warn func(string, ...any)) error {
	q.Method, q.DistanceExponent = selection.Combined, 0
	list = slices.SortedFunc(slices.Values(list), func(a, b events.Strategy) int { return cmp.Compare(text(a), text(b)) })
	for _, filters := range []bool{true, false} {
		for _, s := range list {
			if filter := s.Rule.Type == "THRESHOLD"; filter != filters || !filter && s.Power() == 0 {
				continue
			}
			if err := combineOne(ctx, q, s, src, warn); err != nil {
				return err
			}
		}
	}
	return nil
}

// text is a strategy in words: sorted by them, the order of a list changes
// nothing.
func text(s events.Strategy) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // it came from JSON
	}
	return string(b)
}

func combineOne(ctx context.Context, q *selection.Query, s events.Strategy, src Sources, warn func(string, ...any)) error {
	switch s.Rule.Type {
	case "DIVERSITY":
		q.DistanceExponent = s.Power()
		if s.Rule.MinDistance != nil {
			q.MinDistance = max(q.MinDistance, *s.Rule.MinDistance)
		}
		return nil
	case "BALANCE":
		b, err := balance(ctx, q, s, src)
		q.Balances = append(q.Balances, b)
		return err
	}
	values, err := valuesOf(ctx, q, s, src)
	if err != nil {
		return err
	}
	missing := 0
	for row := range q.Pool.Clone().All() {
		if math.IsNaN(values[row]) {
			q.Pool.Unset(row)
			missing++
		}
	}
	if missing > 0 {
		warn("%d samples of the pool have no value for %s and were not offered", missing, s.Kind())
	}
	if s.Rule.Type == "THRESHOLD" {
		excluded := 0
		for row := range q.Pool.Clone().All() {
			if !passes(values[row], s.Rule.Operation, *s.Rule.Threshold) {
				q.Pool.Unset(row)
				excluded++
			}
		}
		if q.Pool.Count() == 0 && excluded > 0 {
			warn("%s excludes all %d samples that were left", s.Kind(), excluded)
		}
		return nil
	}
	q.Factors = append(q.Factors, selection.Factor{Name: s.Kind(), Values: factorsOf(q, s, values), Strength: s.Power()})
	return nil
}

func passes(v float64, operation string, threshold float64) bool {
	switch operation {
	case "SMALLER":
		return v < threshold
	case "SMALLER_EQUAL":
		return v <= threshold
	case "BIGGER":
		return v > threshold
	}
	return v >= threshold
}

// valuesOf is the value of every row, NaN where there is none.
func valuesOf(ctx context.Context, q *selection.Query, s events.Strategy, src Sources) ([]float64, error) {
	switch s.Kind() {
	case "SIMILARITY on EMBEDDINGS":
		to, err := src.Tagged(ctx, s.Input.DatasetID, s.Input.TagName, tagSample)
		if err != nil {
			return nil, err
		}
		if to.Rows == 0 || to.Dim != q.Embeddings.Dim {
			return nil, &events.Error{Code: "bad_query", Message: fmt.Sprintf("tag %s has %d samples with vectors of %d dimensions; want at least one, of %d", s.Input.TagName, to.Rows, to.Dim, q.Embeddings.Dim),
				Hint: "name a tag whose samples have the same kind of embeddings"}
		}
		values, err := selection.Similarity(q.Embeddings, q.Pool.Indices(), to, func() bool { return ctx.Err() == nil })
		if err != nil {
			err = cmp.Or(context.Cause(ctx), err)
		}
		return values, err
	}
	if s.Rule.Type == "TYPICALITY" {
		neighbors := 20
		if s.Rule.Neighbors != nil {
			neighbors = *s.Rule.Neighbors
		}
		plain := *q
		plain.Factors, plain.Balances, plain.Preselected = nil, nil, nil
		plain.Progress = func(int, int) bool { return ctx.Err() == nil }
		values, err := selection.Density(plain, neighbors)
		if errors.Is(err, selection.ErrCanceled) {
			err = cmp.Or(context.Cause(ctx), err)
		}
		return values, err
	}
	switch s.Input.Type {
	case "SCORES":
		return src.Score(ctx, s.Input.Task, s.Input.Score)
	case "PREDICTIONS":
		classes, err := src.Classes(ctx, s.Input.Task, s.Input.Categories)
		if err != nil {
			return nil, err
		}
		return counts(classes, s.Input.Categories), nil
	case "RANDOM":
		seed := q.Seed
		if s.Input.RandomSeed != nil {
			seed = *s.Input.RandomSeed
		}
		values := make([]float64, q.Rows)
		for row := range values {
			values[row] = float64(selection.Key(seed, q.Filenames(row))>>11) / (1 << 53)
		}
		return values, nil
	}
	return numbers(ctx, s.Input.Key, src)
}

// counts is how many objects of some classes each row holds; nil means all.
func counts(c Classes, categories []string) []float64 {
	n := make([]float64, c.Shares.Rows)
	for k, name := range c.Names {
		if categories == nil || slices.Contains(categories, name) {
			for row := range n {
				n[row] += float64(c.Shares.Row(row)[k])
			}
		}
	}
	return n
}

// numbers are metadata that must be numbers.
func numbers(ctx context.Context, key string, src Sources) ([]float64, error) {
	found, err := src.Metadata(ctx, key)
	if err != nil {
		return nil, err
	}
	values, wrong, example := make([]float64, len(found)), 0, any(nil)
	for row, v := range found {
		switch v := v.(type) {
		case float64:
			values[row] = v
		case nil:
			values[row] = math.NaN()
		default:
			wrong, example = wrong+1, v
		}
	}
	if wrong > 0 {
		return nil, &events.Error{Code: "bad_query", Message: fmt.Sprintf("metadata %q of %d samples is no number, for example %v", key, wrong, example),
			Hint: "WEIGHTS and THRESHOLD need numbers; BALANCE takes categories"}
	}
	return values, nil
}

// factorsOf maps values to (0, 1]: acquisition scores within [0, 1] are raised
// to the floor, as for CORAL; others are scaled by their range in the pool.
func factorsOf(q *selection.Query, s events.Strategy, values []float64) []float64 {
	pool := q.Pool.Indices()
	if s.Rule.Type == "SIMILARITY" { // within (0, 1] by itself
		return values
	}
	inside := s.Input.Type == "SCORES" && !slices.ContainsFunc(pool, func(row int) bool { return values[row] < 0 || values[row] > 1 })
	if !inside {
		return selection.Scale(values, pool)
	}
	raised := make([]float64, len(values))
	for row, v := range values {
		raised[row] = max(v, q.ScoreFloor, math.SmallestNonzeroFloat32)
	}
	return raised
}

// balance is BALANCE by classes, of predictions or categories of metadata.
func balance(ctx context.Context, q *selection.Query, s events.Strategy, src Sources) (b selection.Balance, err error) {
	var wanted []string
	if len(s.Rule.Target) > 0 {
		wanted = slices.Sorted(maps.Keys(s.Rule.Target))
	}
	var c Classes
	if s.Input.Type == "METADATA" {
		c, err = categories(ctx, s.Input.Key, wanted, src)
	} else {
		c, err = src.Classes(ctx, s.Input.Task, wanted)
	}
	if err != nil {
		return b, err
	}
	b = selection.Balance{Name: s.Kind(), Shares: c.Shares, Target: make([]float64, len(c.Names)), Strength: s.Power()}
	switch s.Rule.Distribution {
	case "UNIFORM":
		for k := range b.Target {
			b.Target[k] = 1 / float64(len(b.Target))
		}
		return b, nil
	case "INPUT":
		in := q.Pool.Clone()
		if q.Preselected != nil {
			in.Union(q.Preselected)
		}
		b.Target = selection.ClassShares(c.Shares, in.Indices())
		return b, nil
	}
	named := 0.0
	for _, name := range wanted {
		named += s.Rule.Target[name]
	}
	for k, name := range c.Names {
		b.Target[k] = s.Rule.Target[name]
		if name == "" && !slices.Contains(wanted, name) { // all others
			b.Target[k] = max(0, 1-named)
		}
	}
	if unknown := slices.DeleteFunc(wanted, func(name string) bool { return slices.Contains(c.Names, name) }); len(unknown) > 0 {
		return b, &events.Error{Code: "bad_query", Message: fmt.Sprintf("%d classes of the target are unknown for %s, the first is %q", len(unknown), s.Kind(), unknown[0]),
			Hint: "classes that exist: " + join(c.Names)}
	}
	return b, nil
}

// categories are the classes that the values of a key make. With wanted, others
// become one.
func categories(ctx context.Context, key string, wanted []string, src Sources) (c Classes, err error) {
	found, err := src.Metadata(ctx, key)
	if err != nil {
		return c, err
	}
	place := map[string]int{}
	for _, name := range wanted {
		place[name] = len(place)
	}
	named := func(v any) string {
		if s, ok := v.(string); ok {
			return s
		}
		return fmt.Sprint(v)
	}
	c.Names = slices.Clone(wanted)
	if wanted == nil {
		all := map[string]bool{}
		for _, v := range found {
			if v != nil {
				all[named(v)] = true
			}
		}
		c.Names = slices.Sorted(maps.Keys(all))
		for k, name := range c.Names {
			place[name] = k
		}
	} else {
		c.Names = append(c.Names, "")
	}
	if len(c.Names) == 0 {
		return c, &events.Error{Code: "bad_query", Message: fmt.Sprintf("no sample has metadata %q", key), Hint: "upload the custom metadata of the samples first"}
	}
	if int64(len(found))*int64(len(c.Names)) > mostShares {
		return c, &events.Error{Code: "bad_query", Message: fmt.Sprintf("metadata %q has %d different values for %d samples: too many classes to balance", key, len(c.Names), len(found)),
			Hint: "give a target for the classes that matter: all others count as one"}
	}
	c.Shares = selection.Matrix{Rows: len(found), Dim: len(c.Names), Data: make([]float32, len(found)*len(c.Names))}
	for row, v := range found {
		if v == nil {
			continue
		}
		k, ok := place[named(v)]
		if !ok {
			k = len(c.Names) - 1
		}
		c.Shares.Row(row)[k] = 1
	}
	return c, nil
}
