package lightly

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/state"
)

// createInitial ends the upload of a dataset: from then on it has the tag that
// holds every row.
func (c *call) createInitial() error {
	var in struct {
		ImgType string `json:"imgType"`
		Name    string `json:"name"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	if in.ImgType == "" {
		return bad("imgType is missing")
	}
	if err := wordOf("imgType", in.ImgType, imgTypes); err != nil {
		return err
	}
	if in.Name != "" && in.Name != state.InitialTag {
		return bad("name is %.260q: the initial tag is named %s", in.Name, state.InitialTag)
	}
	var id string
	err := c.change(func(d *state.Dataset, _ *state.Batch) error {
		if !d.Draft {
			return refuse(http.StatusConflict, "TAG_INITIAL_EXISTS", "dataset %q has its initial tag already", d.Name)
		}
		d.Draft, d.ImgType, d.Upsized = false, in.ImgType, d.Rows
		id = state.InitialTagID(*d)
		return nil
	})
	if err != nil {
		return err
	}
	return c.answer(createdEntity{ID: id})
}

// noNewSamples ends an upsize that has nothing to do.
type noNewSamples struct{ initial string }

func (noNewSamples) Error() string { return "no new samples" }

// upsize gives the samples that came since the last time a tag of their own.
// That initial-tag has them goes without saying. Without any it answers with
// initial-tag: an upload that was begun again ends as it did the first time,
// and leaves no tag of nothing.
func (c *call) upsize() error {
	var in struct {
		Name    string `json:"upsizeTagName"`
		Creator string `json:"upsizeTagCreator"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	if err := checkTagName("upsizeTagName", in.Name); err != nil {
		return err
	}
	err := c.newTag(func(d *state.Dataset) (state.Tag, *bitmask.Mask, error) {
		if d.Draft {
			return state.Tag{}, nil, refuse(http.StatusBadRequest, "TAG_NO_TAG_IN_DATASET", "dataset %q has no initial tag yet", d.Name)
		}
		if d.Upsized == d.Rows {
			_, err := c.tagFree(*d, in.Name)
			return state.Tag{}, nil, cmp.Or[error](err, noNewSamples{state.InitialTagID(*d)})
		}
		rows := bitmask.New(d.Rows)
		for row := d.Upsized; row < d.Rows; row++ {
			rows.Set(row)
		}
		d.Upsized = d.Rows
		return state.Tag{Name: in.Name}, rows, nil
	})
	if none, ok := errors.AsType[noNewSamples](err); ok {
		return c.answer(createdEntity{ID: none.initial})
	}
	return err
}

// newTag stores the tag that plan returns for the dataset as it is, and
// answers with its id.
func (c *call) newTag(plan func(*state.Dataset) (state.Tag, *bitmask.Mask, error)) error {
	id := hexID(12)
	err := c.change(func(d *state.Dataset, b *state.Batch) error {
		t, rows, err := plan(d)
		if err != nil {
			return err
		}
		rev, err := c.tagFree(*d, t.Name)
		if err != nil {
			return err
		}
		t.ID, t.Dataset, t.Count, t.Rows, t.Created = id, d.Name, rows.Count(), d.Rows, time.Now().UTC()
		if t.Mask, err = c.store.PutMask(c.r.Context(), rows); err != nil {
			return err
		}
		b.Tag(t, rev)
		return nil
	})
	if err != nil {
		return err
	}
	return c.answer(createdEntity{ID: id})
}

// tagIn is the body of POST tags.
type tagIn struct {
	Name             string `json:"name"`
	PrevTagID        string `json:"prevTagId"`
	BitMaskData      string `json:"bitMaskData"`
	TotSize          *count `json:"totSize"`
	QueryTagID       string `json:"queryTagId"`
	PreselectedTagID string `json:"preselectedTagId"`
}

func (c *call) createTag() error {
	var in tagIn
	if err := c.read(&in); err != nil {
		return err
	}
	if err := checkTagName("name", in.Name); err != nil {
		return err
	}
	switch {
	case in.PrevTagID == "":
		return bad("prevTagId is missing")
	case in.TotSize == nil:
		return bad("totSize is missing")
	}
	rows, err := bitmask.FromHex(in.BitMaskData)
	if err != nil {
		return bad("bitMaskData: %v", err)
	}
	return c.newTag(func(d *state.Dataset) (t state.Tag, _ *bitmask.Mask, err error) {
		if n := rows.Len(); n > d.Rows {
			return t, nil, bad("bitMaskData has row %d, but dataset %q has %d samples", n-1, d.Name, d.Rows)
		}
		t.Name = in.Name
		if t.Prev, err = c.tagNamed(*d, in.PrevTagID, "TAG_PREVTAG_NOT_IN_DATASET", "prevTagId"); err != nil {
			return t, nil, err
		}
		if t.QueryTag, err = c.tagNamed(*d, in.QueryTagID, "TAG_QUERYTAG_NOT_IN_DATASET", "queryTagId"); err != nil {
			return t, nil, err
		}
		t.PreselectedTag, err = c.tagNamed(*d, in.PreselectedTagID, "TAG_PRESELECTEDTAG_NOT_IN_DATASET", "preselectedTagId")
		return t, rows, err
	})
}

// renameTag refuses a new name: records and events go by it.
func (c *call) renameTag() error {
	var in struct {
		Name string `json:"name"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	if err := checkTagName("name", in.Name); err != nil {
		return err
	}
	_, t, err := c.tag()
	if err != nil {
		return err
	}
	if in.Name != t.Name {
		return bad("a tag keeps its name, which is %q", t.Name)
	}
	return c.done()
}

// deleteTag deletes a tag that no other one was made from, with its scores.
// What it selected stays selected.
func (c *call) deleteTag() error {
	err := c.change(func(d *state.Dataset, b *state.Batch) error {
		t, err := c.tagOf(*d)
		if err != nil {
			return err
		}
		if t.Name == state.InitialTag {
			return refuse(http.StatusBadRequest, "TAG_UNDELETABLE_IS_INITIAL", "the initial tag stays as long as its dataset")
		}
		// A selection that is under way writes the labels: it then looks for its tags again.
		labels, labelsRev, err := c.store.Labels(c.r.Context(), d.Name)
		if err != nil {
			return err
		}
		err = c.store.Tags(c.r.Context(), d.Name, func(other state.Tag) error {
			if other.Prev == t.Name || other.QueryTag == t.Name || other.PreselectedTag == t.Name {
				return refuse(http.StatusBadRequest, "TAG_UNDELETABLE_NOT_A_LEAF", "tag %q was made from %q: delete it first", other.Name, t.Name)
			}
			return nil
		})
		if err != nil {
			return err
		}
		_, rev, err := c.store.Tag(c.r.Context(), d.Name, t.Name)
		if err != nil {
			return err
		}
		u, scoresRev, err := c.store.Uploads(c.r.Context(), d.Name, t.Name)
		if err != nil {
			return err
		}
		if len(u.Lists) > 0 {
			b.RemoveUploads(d.Name, t.Name, scoresRev)
		}
		if _, ok := d.Scores[t.Name]; ok {
			rest := map[string]state.ScoreSet{}
			for name, set := range d.Scores {
				if name != t.Name {
					rest[name] = set
				}
			}
			d.Scores = rest
		}
		b.RemoveTag(d.Name, t.Name, rev)
		b.Fence(labels, labelsRev)
		return nil
	})
	if err != nil {
		return err
	}
	return c.done()
}
