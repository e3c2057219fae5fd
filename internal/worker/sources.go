package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nextbatch/internal/events"
	"nextbatch/internal/selection"
	"nextbatch/internal/state"
)

// stored are the Sources of a dataset of the service.
type stored struct {
	w             *Worker
	dataset       state.Dataset
	names         *state.Names
	scores        []scoreSet       // that fit the query
	probabilities selection.Matrix // of the classes of the event's own predictions, if it has some
	embedding     string
	seed          uint64
	used          usedScores // by Score
}

func (s stored) Score(ctx context.Context, task, name string) ([]float64, error) {
	use, at := scoreSet{}, -1
	var have []string
	for _, set := range s.scores {
		have = append(have, set.names...)
		ofTask := task == "" || set.task == task || set.model != nil && set.model.Name == task
		if i := slices.Index(set.names, name); i >= 0 && ofTask && (at < 0 || set.newer.After(use.newer)) {
			use, at = set, i
		}
	}
	if at < 0 {
		of := ""
		if task != "" {
			of = " of task " + task
		}
		return nil, &events.Error{Code: "unknown_score", Message: fmt.Sprintf("no score %q%s for this query", name, of), Hint: "scores that exist: " + join(have)}
	}
	values, digest, err := use.load(ctx, at)
	s.used[[2]string{task, name}] = digest
	return values, err
}

// Classes are those of the event's own predictions, named by their numbers from
// 0, or else of the newest predictions that were uploaded for a task.
func (s stored) Classes(ctx context.Context, task string, wanted []string) (Classes, error) {
	t, err := s.task(ctx, task)
	if s.probabilities.Data != nil && (task == "" || err != nil) {
		return s.predicted(wanted)
	}
	if err != nil {
		return Classes{}, err
	}
	column := make(map[int]int, len(t.Categories)) // by category id
	all := make([]string, len(t.Categories))
	for i, category := range t.Categories {
		column[category.ID], all[i] = i, category.Name
	}
	c, place, err := s.columns(all, wanted)
	if err != nil {
		return c, err
	}
	for block := range (s.dataset.Rows + state.SampleBlock - 1) / state.SampleBlock {
		found, err := s.w.store.Predictions(ctx, s.dataset, t.Version, block)
		if err != nil {
			return c, err
		}
		for row, p := range found {
			text, err := s.w.store.Singletons(ctx, p)
			if err != nil {
				return c, err
			}
			if row >= s.dataset.Rows {
				continue
			}
			if err := addObjects(c.Shares.Row(row), text, t, column, place); err != nil {
				return c, fmt.Errorf("predictions for %s: %w", s.names.At(row), err)
			}
		}
	}
	return c, nil
}

// columns makes a matrix with a column for each wanted class of a task, nil
// meaning all, and one for the rest; place is the column of each class.
func (s stored) columns(all, wanted []string) (c Classes, place []int, err error) {
	place = make([]int, len(all))
	for i, name := range all {
		if place[i] = -1; wanted == nil || slices.Contains(wanted, name) {
			place[i] = len(c.Names)
			c.Names = append(c.Names, name)
		}
	}
	rest := len(c.Names)
	if rest < len(all) {
		c.Names = append(c.Names, "")
	}
	for i, k := range place {
		if k < 0 {
			place[i] = rest
		}
	}
	if int64(s.dataset.Rows)*int64(len(c.Names)) > mostShares {
		return c, nil, &events.Error{Code: "bad_query", Message: fmt.Sprintf("%d classes for %d samples: too many to tell apart", len(c.Names), s.dataset.Rows),
			Hint: "name the classes that matter: all others count as one"}
	}
	c.Shares = selection.Matrix{Rows: s.dataset.Rows, Dim: len(c.Names), Data: make([]float32, s.dataset.Rows*len(c.Names))}
	return c, place, nil
}

// predicted are the classes of the event's own predictions; a sample without is
// of none.
func (s stored) predicted(wanted []string) (Classes, error) {
	all := make([]string, s.probabilities.Dim)
	for i := range all {
		all[i] = strconv.Itoa(i)
	}
	c, place, err := s.columns(all, wanted)
	if err != nil {
		return c, err
	}
	for row := range c.Shares.Rows {
		of, to := s.probabilities.Row(row), c.Shares.Row(row)
		for i, p := range of {
			if p == p {
				to[place[i]] += p
			}
		}
	}
	return c, nil
}

// addObjects adds what was predicted for one sample: each object by its
// probabilities, or by its category where there are none.
func addObjects(shares []float32, text []byte, t state.PredictionTask, column map[int]int, place []int) error {
	var objects []struct {
		TaskName      string
		CategoryID    int
		Probabilities []float32
	}
	if len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, &objects); err != nil {
		return err
	}
	for _, o := range objects {
		if o.TaskName != t.Name {
			continue
		}
		if len(o.Probabilities) == len(place) {
			for i, p := range o.Probabilities {
				shares[place[i]] += p
			}
		} else if i, ok := column[o.CategoryID]; ok {
			shares[place[i]]++
		}
	}
	return nil
}

// task finds the newest version of a task with predictions; without a name, of
// the only one.
func (s stored) task(ctx context.Context, name string) (newest state.PredictionTask, err error) {
	var known []string
	err = s.w.store.PredictionTasks(ctx, s.dataset, func(t state.PredictionTask) error {
		if !slices.Contains(known, t.Name) {
			known = append(known, t.Name)
		}
		if (name == "" || t.Name == name) && (newest.Name == "" || t.Version > newest.Version) {
			newest = t
		}
		return nil
	})
	slices.Sort(known)
	switch {
	case err != nil:
		return newest, err
	case newest.Name == "":
		return newest, &events.Error{Code: "bad_query", Message: fmt.Sprintf("dataset %q has no class predictions of task %q", s.dataset.Name, name),
			Hint: "upload them with the Lightly API; tasks that have some: " + join(known)}
	case name == "" && len(known) > 1:
		return newest, &events.Error{Code: "bad_query", Message: "which task's predictions?", Hint: "give input.task: " + join(known)}
	}
	return newest, nil
}

func (s stored) Metadata(ctx context.Context, key string) ([]any, error) {
	if strings.HasPrefix(key, "lightly.") {
		return nil, &events.Error{Code: "bad_query", Message: fmt.Sprintf("metadata %q is not computed here: no image is looked at", key), Hint: "upload what you know of the samples as custom metadata"}
	}
	values, found := make([]any, s.dataset.Rows), 0
	put := func(row int, one state.Sample) error {
		if row < len(values) && one.CustomMetaData != nil {
			v, err := ValueAt(one.CustomMetaData, key)
			if err != nil {
				return fmt.Errorf("custom metadata of %s: %w", s.names.At(row), err)
			}
			if values[row] = v; v != nil {
				found++
			}
		}
		return nil
	}
	for block := range (s.dataset.Rows + state.SampleBlock - 1) / state.SampleBlock {
		all, more, err := s.w.store.Samples(ctx, s.dataset, block)
		if err != nil {
			return nil, err
		}
		for row, one := range all {
			if err := put(row, one); err != nil {
				return nil, err
			}
		}
		for row := block * state.SampleBlock; more && row < min(s.dataset.Rows, (block+1)*state.SampleBlock); row++ {
			if _, ok := all[row]; ok {
				continue
			}
			one, _, err := s.w.store.Sample(ctx, s.dataset, row)
			if err == nil {
				err = put(row, one)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	if found == 0 && s.dataset.Rows > 0 {
		return nil, &events.Error{Code: "bad_query", Message: fmt.Sprintf("no sample of dataset %q has custom metadata %q", s.dataset.Name, key), Hint: "keys are paths with dots, for example weather.temperature"}
	}
	return values, nil
}

// ValueAt returns the number, text or truth value that a path leads to, nil for
// none. A key that is the whole path, as a column of CSV can be, comes first.
func ValueAt(object json.RawMessage, path string) (any, error) {
	var v any
	if err := json.Unmarshal(object, &v); err != nil {
		return nil, err
	}
	steps := strings.Split(path, ".")
	if flat, ok := v.(map[string]any); ok && flat[path] != nil {
		steps = []string{path}
	}
	for _, step := range steps {
		inner, ok := v.(map[string]any)
		if !ok {
			return nil, nil
		}
		v = inner[step]
	}
	switch v.(type) {
	case float64, string, bool:
		return v, nil
	}
	return nil, nil
}

func (s stored) Tagged(ctx context.Context, dataset, tag string, most int) (m selection.Matrix, err error) {
	d := s.dataset
	if dataset != "" && dataset != d.Name && dataset != d.ID {
		if d, err = s.other(ctx, dataset); err != nil {
			return m, err
		}
	}
	mask, err := s.w.tagMask(ctx, d, tag)
	if err != nil {
		return m, err
	}
	set := d.Embeddings[s.embedding]
	if len(set.Chunks) == 0 {
		return m, &events.Error{Code: "unknown_embedding", Message: fmt.Sprintf("dataset %q has no embedding %q", d.Name, s.embedding), Hint: "publish embeddings.ready first"}
	}
	names, err := s.w.store.Names(ctx, d)
	if err != nil {
		return m, err
	}
	vectors, release, err := s.w.store.Vectors(ctx, set, d.Rows)
	if err != nil {
		return m, err
	}
	defer release()
	var rows []int
	for row := range mask.All() {
		if x := vectors[row*set.Dim]; x == x {
			rows = append(rows, row)
		}
	}
	return Sampled(selection.Matrix{Rows: d.Rows, Dim: set.Dim, Data: vectors}, rows, s.seed, most, names.At), nil
}

// Sampled copies the vectors of at most so many of the rows, those of lowest
// selection.Key.
func Sampled(x selection.Matrix, rows []int, seed uint64, most int, filename func(int) string) selection.Matrix {
	slices.SortFunc(rows, func(a, b int) int { return selection.CompareKeys(seed, filename(a), filename(b)) })
	rows = rows[:min(len(rows), most)]
	m := selection.Matrix{Rows: len(rows), Dim: x.Dim}
	for _, row := range rows {
		m.Data = append(m.Data, x.Row(row)...)
	}
	return m
}

// other finds another dataset by its name or id.
func (s stored) other(ctx context.Context, which string) (d state.Dataset, err error) {
	found := errors.New("found")
	err = s.w.store.Datasets(ctx, func(o state.Dataset) error {
		if o.Name == which || o.ID == which {
			d = o
			return found
		}
		return nil
	})
	switch err {
	case found:
		return d, nil
	case nil:
		return d, &events.Error{Code: "unknown_dataset", Message: fmt.Sprintf("there is no dataset %.80q", which), Hint: "worker datasets list shows those there are"}
	}
	return d, err
}
