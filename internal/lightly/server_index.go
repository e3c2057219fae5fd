package lightly

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"sync"

	"nextbatch/internal/state"
)

// datasetIndex finds the name of a dataset, under which the state keeps it, by
// its id.
type datasetIndex struct {
	mu    sync.Mutex // guards names
	names map[string]string
}

func (x *datasetIndex) name(id string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.names[id]
}

func (x *datasetIndex) add(d state.Dataset) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.names == nil {
		x.names = map[string]string{}
	}
	x.names[d.ID] = d.Name
}

func (x *datasetIndex) replace(names map[string]string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.names = names
}

// byID reads a dataset by its id, or ErrNotFound. An id that is not in the
// index, or no more the one of its name, is looked for among all datasets.
func (s *Server) byID(ctx context.Context, id string) (state.Dataset, uint64, error) {
	for fresh := false; ; fresh = true {
		if name := s.index.name(id); name != "" {
			d, rev, err := s.store.Dataset(ctx, name)
			if err == nil && d.ID == id || err != nil && !errors.Is(err, state.ErrNotFound) {
				return d, rev, err
			}
		}
		if fresh {
			return state.Dataset{}, 0, state.ErrNotFound
		}
		names := map[string]string{}
		if err := s.store.Datasets(ctx, func(d state.Dataset) error { names[d.ID] = d.Name; return nil }); err != nil {
			return state.Dataset{}, 0, err
		}
		s.index.replace(names)
	}
}

func visible(d state.Dataset, user string) bool { return d.Owner == "" || d.Owner == user }

var idPattern = regexp.MustCompile(`^[a-f0-9]{24}$`)

// dataset reads the dataset that the path names. Another user's is as unknown
// as one that does not exist.
func (c *call) dataset() (state.Dataset, uint64, error) {
	id := c.r.PathValue("d")
	unknown := refuse(http.StatusNotFound, "DATASET_UNKNOWN", "there is no dataset %.40q", id)
	if !idPattern.MatchString(id) {
		return state.Dataset{}, 0, unknown
	}
	d, rev, err := c.byID(c.r.Context(), id)
	if errors.Is(err, state.ErrNotFound) || err == nil && !visible(d, c.user) {
		return d, 0, unknown
	}
	return d, rev, err
}
