package lightly

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nextbatch/internal/state"
)

// maxSamples is how many rows a dataset may have.
const maxSamples = 10_000_000

// Versions that no client finds newer than itself: a client below the minimum
// refuses to work, one below the latest warns.
func (c *call) latestVersion() error  { return c.answer("1.1.0") }
func (c *call) minimumVersion() error { return c.answer("1.0.0") }

func (c *call) quota() error       { return c.answer(strconv.Itoa(maxSamples)) }
func (c *call) quotaObject() error { return c.answer(map[string]int{"maxDatasetSize": maxSamples}) }

// change lets f change the dataset that the path names, and add more records
// to the batch that is then written; again if somebody else was faster.
func (c *call) change(f func(d *state.Dataset, b *state.Batch) error) error {
	return c.again(func() error {
		d, rev, err := c.dataset()
		if err != nil {
			return err
		}
		var b state.Batch
		if err := f(&d, &b); err != nil {
			return err
		}
		touch(&d)
		b.Dataset(d, rev)
		return c.commit(&b)
	})
}

// again repeats what somebody else was faster at, until the call ends.
func (c *call) again(f func() error) error {
	for {
		err := f()
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
		select {
		case <-c.r.Context().Done():
			return err
		case <-time.After(rand.N(5 * time.Millisecond)):
		}
	}
}

// touch moves the time of the last change: clients sort by it.
func touch(d *state.Dataset) {
	now := time.Now().UTC()
	if next := d.Modified.Add(time.Millisecond); now.Before(next) {
		now = next
	}
	d.Modified = now
}

func (c *call) wireDataset(d state.Dataset) Dataset {
	w := Dataset{ID: d.ID, Name: d.Name, UserID: d.Owner, Type: d.Type, NSamples: int64(d.Rows), CreatedAt: millis(d.Created), LastModifiedAt: millis(d.Modified), ImgType: d.ImgType}
	if w.UserID == "" {
		w.UserID = c.user
	}
	if w.Type == "" {
		w.Type = "Images"
	}
	return w
}

// datasets are those that the user sees and keep wants, oldest first.
func (c *call) datasets(keep func(state.Dataset) bool) (all []state.Dataset, err error) {
	err = c.store.Datasets(c.r.Context(), func(d state.Dataset) error {
		if visible(d, c.user) && keep(d) {
			all = append(all, d)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b state.Dataset) int {
		if order := a.Created.Compare(b.Created); order != 0 {
			return order
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all, err
}

func (c *call) answerDatasets(keep func(state.Dataset) bool) error {
	shared, _, err := c.flag("shared")
	if err != nil {
		return err
	}
	p, err := c.page()
	if err != nil {
		return err
	}
	var all []state.Dataset
	if !shared { // those of others that are shared with the user: there are none
		if all, err = c.datasets(keep); err != nil {
			return err
		}
	}
	from, to := p.of(len(all))
	return c.list(func(item func(any) error) error {
		for _, d := range all[from:to] {
			if err := item(c.wireDataset(d)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *call) listDatasets() error {
	return c.answerDatasets(func(state.Dataset) bool { return true })
}

func (c *call) queryDatasets() error {
	exact, _, err := c.flag("exact")
	if err != nil {
		return err
	}
	name := c.r.PathValue("name")
	return c.answerDatasets(func(d state.Dataset) bool {
		return d.Name == name || !exact && strings.HasPrefix(d.Name, name)
	})
}

var datasetPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9 _-]{2,127}$`)

func checkDatasetName(name string) error {
	if !datasetPattern.MatchString(name) {
		return bad("name is %.140q: want 3 to 128 letters, digits, spaces, _ and -, beginning with a letter or digit", name)
	}
	return nil
}

// newDataset is the body of POST datasets.
type newDataset struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	ImgType string `json:"imgType"`
}

var imgTypes = []string{"full", "thumbnail", "meta"}

func (c *call) createDataset() error {
	var in newDataset
	if err := c.read(&in); err != nil {
		return err
	}
	if err := cmp.Or(checkDatasetName(in.Name), wordOf("type", in.Type, []string{"Images", "Videos", "Crops"}), wordOf("imgType", in.ImgType, imgTypes)); err != nil {
		return err
	}
	now := time.Now().UTC()
	d := state.Dataset{ID: hexID(12), Name: in.Name, Owner: c.user, Type: in.Type, ImgType: in.ImgType, Draft: true, Created: now, Modified: now}
	err := c.again(func() error {
		_, rev, err := c.store.Dataset(c.r.Context(), d.Name)
		if err == nil {
			return refuse(http.StatusConflict, "DATASET_NAME_EXISTS", "there is a dataset %q already; names are unique among all users", d.Name)
		}
		if !errors.Is(err, state.ErrNotFound) {
			return err
		}
		var b state.Batch
		b.Dataset(d, rev)
		return c.commit(&b)
	})
	if err != nil {
		return err
	}
	c.index.add(d)
	return c.answer(createdEntity{ID: d.ID})
}

func (c *call) getDataset() error {
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	return c.answer(c.wireDataset(d))
}

// renameDataset refuses a new name: records and events go by it.
func (c *call) renameDataset() error {
	var in struct {
		Name string `json:"name"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	if err := checkDatasetName(in.Name); err != nil {
		return err
	}
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	if in.Name != d.Name {
		return bad("a dataset keeps its name, which is %q", d.Name)
	}
	return c.done()
}

func (c *call) datasetChildren() error {
	if _, _, err := c.dataset(); err != nil {
		return err
	}
	return c.answer([]Dataset{})
}

// datasource says that there is none: then clients upload to this server.
func (c *call) datasource() error {
	if _, _, err := c.dataset(); err != nil {
		return err
	}
	return refuse(http.StatusNotFound, "DATASET_DATASOURCE_UNKNOWN", "the dataset has no datasource: its images are kept by this server")
}

// registerUpload takes note of nothing: the samples themselves say how many
// there are.
func (c *call) registerUpload() error {
	var in struct {
		Total     *count `json:"total"`
		Processed *count `json:"processed"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	if in.Total == nil || in.Processed == nil {
		return bad("total or processed is missing")
	}
	if _, _, err := c.dataset(); err != nil {
		return err
	}
	return c.done()
}
