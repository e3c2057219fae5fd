package lightly

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"nextbatch/internal/state"
)

// computeWorker is a registered compute worker on the wire.
type computeWorker struct {
	ID             string   `json:"id"`
	Name           string   `json:"name"`
	WorkerType     string   `json:"workerType"`
	State          string   `json:"state"`
	CreatedAt      int64    `json:"createdAt"`
	LastModifiedAt int64    `json:"lastModifiedAt"`
	Labels         []string `json:"labels"`
}

// workerType is the only one.
const workerType = "FULL"

// registerWorker notes a compute worker; a name that is there keeps its id.
// Registering is a formality: the workers of this service take every run.
func (c *call) registerWorker() error {
	var in struct {
		Name       string   `json:"name"`
		WorkerType string   `json:"workerType"`
		Labels     []string `json:"labels"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	if in.Name == "" || utf8.RuneCountInString(in.Name) > 255 {
		return bad("name has %d characters: want 1 to 255", utf8.RuneCountInString(in.Name))
	}
	if in.WorkerType != workerType {
		return bad("workerType is %.40q: want %s", in.WorkerType, workerType)
	}
	now := time.Now().UTC()
	w := state.ComputeWorker{Owner: c.user, ID: state.HexID(24, "compute worker", c.user, in.Name), Name: in.Name, Labels: in.Labels, Created: now, Modified: now}
	err := c.again(func() error {
		_, rev, err := c.store.ComputeWorker(c.r.Context(), c.user, w.ID)
		if !errors.Is(err, state.ErrNotFound) {
			return err
		}
		var b state.Batch
		b.ComputeWorker(w, rev)
		return c.commit(&b)
	})
	if err != nil {
		return err
	}
	return c.answer(createdEntity{ID: w.ID})
}

// listWorkers lists the compute workers of the user, oldest first.
func (c *call) listWorkers() error {
	list := []computeWorker{}
	err := c.store.ComputeWorkers(c.r.Context(), c.user, func(w state.ComputeWorker, _ uint64) error {
		list = append(list, computeWorker{ID: w.ID, Name: w.Name, WorkerType: workerType, State: "IDLE", CreatedAt: millis(w.Created), LastModifiedAt: millis(w.Modified),
			Labels: append([]string{}, w.Labels...)})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b computeWorker) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return c.answer(list)
}

func (c *call) deleteWorker() error {
	id := c.r.PathValue("w")
	unknown := refuse(http.StatusNotFound, "DOCKER_WORKER_UNKNOWN", "there is no compute worker %.40q", id)
	if !idPattern.MatchString(id) {
		return unknown
	}
	err := c.again(func() error {
		_, rev, err := c.store.ComputeWorker(c.r.Context(), c.user, id)
		if errors.Is(err, state.ErrNotFound) {
			return unknown
		}
		if err != nil {
			return err
		}
		var b state.Batch
		b.RemoveComputeWorker(c.user, id, rev)
		return c.commit(&b)
	})
	if err != nil {
		return err
	}
	return c.done()
}

// workerConfig is the part of a run's configuration that is looked at.
type workerConfig struct {
	WorkerType string                     `json:"workerType"`
	Docker     map[string]json.RawMessage `json:"docker"`
	Lightly    map[string]json.RawMessage `json:"lightly"`
	Selection  *selectionConfig           `json:"selection"`
}

// createRunConfig stores what a run is to do. A selection that cannot be made
// is refused here, where the client's author sees it.
func (c *call) createRunConfig() error {
	var in struct {
		Config *workerConfig `json:"config"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	switch {
	case in.Config == nil:
		return bad("config is missing")
	case in.Config.WorkerType != workerType:
		return bad("config.workerType is %.40q: want %s", in.Config.WorkerType, workerType)
	case in.Config.Selection != nil:
		if _, err := in.Config.Selection.plan(); err != nil {
			return bad("%v", err)
		}
	}
	text, err := json.Marshal(in.Config)
	if err != nil {
		return err
	}
	r := state.RunConfig{Owner: c.user, ID: hexID(12), Config: text, Created: time.Now().UTC()}
	var b state.Batch
	b.RunConfig(r, 0)
	if err := c.commit(&b); err != nil {
		return err
	}
	return c.answer(createdEntity{ID: r.ID})
}

func (c *call) runConfig(id string) (cfg workerConfig, err error) {
	unknown := refuse(http.StatusNotFound, "DOCKER_WORKER_CONFIG_UNKNOWN", "there is no compute worker config %.40q", id)
	if !idPattern.MatchString(id) {
		return cfg, unknown
	}
	stored, _, err := c.store.RunConfig(c.r.Context(), c.user, id)
	if errors.Is(err, state.ErrNotFound) {
		return cfg, unknown
	}
	if err != nil {
		return cfg, err
	}
	if err := json.Unmarshal(stored.Config, &cfg); err != nil {
		return cfg, err
	}
	if cfg.Selection == nil {
		return cfg, bad("the config has no selection, and this service does nothing else")
	}
	return cfg, nil
}
