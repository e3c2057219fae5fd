package lightly

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nextbatch/internal/state"
)

// taskSchema is a prediction task on the wire.
type taskSchema struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Categories []taskCategory `json:"categories"`
}

type taskCategory struct {
	ID   *count `json:"id"`
	Name string `json:"name"`
}

func wireTask(t state.PredictionTask) taskSchema {
	w := taskSchema{Name: t.Name, Type: t.Type}
	for _, c := range t.Categories {
		id := count(c.ID)
		w.Categories = append(w.Categories, taskCategory{&id, c.Name})
	}
	return w
}

var taskPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9 ._-]{1,254}$`)

// check refuses what is no schema.
func (t taskSchema) check() error {
	switch {
	case !taskPattern.MatchString(t.Name):
		return bad("name is %.80q: want 2 to 255 letters, digits, spaces and . _ -, beginning with a letter or digit", t.Name)
	case !slices.Contains(taskTypes, t.Type):
		return bad("type is %.40q: want one of %s", t.Type, strings.Join(taskTypes, ", "))
	case len(t.Categories) == 0:
		return bad("there are no categories")
	}
	ids, names := map[count]bool{}, map[string]bool{}
	for i, c := range t.Categories {
		switch {
		case c.ID == nil || *c.ID > math.MaxInt32 || c.Name == "":
			return bad("category %d: want an id from 0 to %d and a name", i, math.MaxInt32)
		case ids[*c.ID] || names[c.Name]:
			return refuse(http.StatusBadRequest, "PREDICTION_TASK_SCHEMA_CATEGORIES_NOT_UNIQUE", "category %d: its id %d or its name %.80q is given twice", i, *c.ID, c.Name)
		}
		ids[*c.ID], names[c.Name] = true, true
	}
	return nil
}

func unknownTask(name string, version int64) error {
	return refuse(http.StatusNotFound, "PREDICTION_TASK_SCHEMA_UNKNOWN", "the dataset has no prediction task %.80q of version %d: create its schema first", name, version)
}

// version is the number by which a client keeps predictions apart, -1 where it
// does not.
func (c *call) version() (v int64, given bool, err error) {
	const name = "predictionUUIDTimestamp"
	if !c.args.Has(name) {
		return -1, false, nil
	}
	text := c.args.Get(name)
	v, err = strconv.ParseInt(text, 10, 64)
	if err != nil || v < -1 || v > maxCount {
		return v, true, bad("query parameter %s is %.40q: want a whole number from -1 to 2^53-1", name, text)
	}
	return v, true, nil
}

// versioned reads the dataset and the version of a call.
func (c *call) versioned() (d state.Dataset, version int64, err error) {
	if version, _, err = c.version(); err != nil {
		return d, version, err
	}
	d, _, err = c.dataset()
	return d, version, err
}

// putTask creates a task or replaces its schema.
func (c *call) putTask() error {
	var in taskSchema
	if err := c.read(&in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	d, version, err := c.versioned()
	if err != nil {
		return err
	}
	t := state.PredictionTask{Dataset: d.ID, Version: version, Name: in.Name, Type: in.Type, Created: time.Now().UTC()}
	for _, one := range in.Categories {
		t.Categories = append(t.Categories, state.Category{ID: int(*one.ID), Name: one.Name})
	}
	err = c.again(func() error {
		_, rev, err := c.store.PredictionTask(c.r.Context(), d, version, in.Name)
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return err
		}
		var b state.Batch
		b.PredictionTask(t, rev)
		return c.commit(&b)
	})
	if err != nil {
		return err
	}
	return c.answer(createdEntity{ID: state.HexID(24, "task", d.ID, strconv.FormatInt(version, 10), in.Name)})
}

// listTasks lists the tasks of a version, by name; without one, of the newest.
func (c *call) listTasks() error {
	version, given, err := c.version()
	if err != nil {
		return err
	}
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	var all []state.PredictionTask
	err = c.store.PredictionTasks(c.r.Context(), d, func(t state.PredictionTask) error {
		all = append(all, t)
		if !given {
			version = max(version, t.Version)
		}
		return nil
	})
	if err != nil {
		return err
	}
	list := []taskSchema{}
	for _, t := range all {
		if t.Version == version {
			list = append(list, wireTask(t))
		}
	}
	slices.SortFunc(list, func(a, b taskSchema) int { return strings.Compare(a.Name, b.Name) })
	return c.answer(list)
}

func (c *call) getTask() error {
	d, version, err := c.versioned()
	if err != nil {
		return err
	}
	t, err := c.task(d, version, c.r.PathValue("task"))
	if err != nil {
		return err
	}
	return c.answer(wireTask(t))
}

// task reads a task, or refuses.
func (c *call) task(d state.Dataset, version int64, name string) (state.PredictionTask, error) {
	if !taskPattern.MatchString(name) {
		return state.PredictionTask{}, unknownTask(name, version)
	}
	t, _, err := c.store.PredictionTask(c.r.Context(), d, version, name)
	if errors.Is(err, state.ErrNotFound) {
		return t, unknownTask(name, version)
	}
	return t, err
}

// putPredictions replaces what was predicted for a sample, of all tasks.
func (c *call) putPredictions() error {
	var in []singleton
	if err := c.read(&in); err != nil {
		return err
	}
	version, _, err := c.version()
	if err != nil {
		return err
	}
	d, row, err := c.sample()
	if err != nil {
		return err
	}
	tasks := map[string]state.PredictionTask{}
	for i, one := range in {
		t, again := tasks[one.TaskName]
		if !again {
			if t, err = c.task(d, version, one.TaskName); err != nil {
				return err
			}
			tasks[t.Name] = t
		} else if t.Type == classificationType {
			return bad("prediction %d: a second one of task %s for one sample, and an image has one class", i, t.Name)
		}
		if err := one.check(t); err != nil {
			return bad("prediction %d: %v", i, err)
		}
		if string(one.Segmentation) == "null" {
			in[i].Segmentation = nil
		}
	}
	if in == nil {
		in = []singleton{}
	}
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	p := state.Prediction{Dataset: d.ID, Version: version, Row: row, Singletons: text, Created: time.Now().UTC()}
	if err := c.store.PutPrediction(c.r.Context(), p); err != nil {
		return err
	}
	return c.answer(createdEntity{ID: state.HexID(24, "prediction", d.ID, strconv.FormatInt(version, 10), strconv.Itoa(row))})
}

// getPredictions answers with what was predicted for a sample, [] for nothing.
func (c *call) getPredictions() error {
	version, _, err := c.version()
	if err != nil {
		return err
	}
	d, row, err := c.sample()
	if err != nil {
		return err
	}
	p, _, err := c.store.Prediction(c.r.Context(), d, version, row)
	if errors.Is(err, state.ErrNotFound) {
		return c.answer([]singleton{})
	}
	if err != nil {
		return err
	}
	of, err := c.singletonsOf(p, c.args.Get("taskName"))
	if err != nil {
		return err
	}
	return c.answer(of)
}

// listPredictions lists what was predicted for each sample, in the order of
// the mapping, [] where nothing was.
func (c *call) listPredictions() error {
	d, version, err := c.versioned()
	if err != nil {
		return err
	}
	task := c.args.Get("taskName")
	return c.list(func(item func(any) error) error {
		for block := range (d.Rows + state.SampleBlock - 1) / state.SampleBlock {
			found, err := c.store.Predictions(c.r.Context(), d, version, block)
			if err != nil {
				return err
			}
			for row := block * state.SampleBlock; row < min((block+1)*state.SampleBlock, d.Rows); row++ {
				of, err := c.singletonsOf(found[row], task)
				if err != nil {
					return err
				}
				if err := item(of); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// singletonsOf decodes what was predicted for a row: of one task, or of all
// where none is named.
func (c *call) singletonsOf(p state.Prediction, task string) ([]singleton, error) {
	all := []singleton{}
	text, err := c.store.Singletons(c.r.Context(), p)
	if err != nil || text == nil {
		return all, err
	}
	err = json.Unmarshal(text, &all)
	if task != "" {
		all = slices.DeleteFunc(all, func(s singleton) bool { return s.TaskName != task })
	}
	return all, err
}
