package lightly

import (
	"errors"
	"net/http"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/state"
)

// arithmeticsIn is the body of POST tags/arithmetics.
type arithmeticsIn struct {
	TagID1     string `json:"tagId1"`
	TagID2     string `json:"tagId2"`
	Operation  string `json:"operation"`
	NewTagName string `json:"newTagName"`
}

func (c *call) readArithmetics() (in arithmeticsIn, err error) {
	if err := c.read(&in); err != nil {
		return in, err
	}
	if in.Operation == "" {
		return in, bad("operation is missing")
	}
	return in, wordOf("operation", in.Operation, []string{"UNION", "INTERSECTION", "DIFFERENCE"})
}

// combine works out the rows.
func (c *call) combine(d state.Dataset, in arithmeticsIn) (rows *bitmask.Mask, left state.Tag, err error) {
	var sets [2]*bitmask.Mask
	for i, id := range []string{in.TagID1, in.TagID2} {
		t, err := c.tagByID(d, id)
		if errors.Is(err, state.ErrNotFound) {
			return nil, left, refuse(http.StatusNotFound, "TAG_UNKNOWN", "dataset %q has no tag %.40q", d.Name, id)
		}
		if err != nil {
			return nil, left, err
		}
		if i == 0 {
			left = t
		}
		if sets[i], err = c.mask(c.r.Context(), d, t); err != nil {
			return nil, left, err
		}
	}
	switch in.Operation {
	case "UNION":
		sets[0].Union(sets[1])
	case "INTERSECTION":
		sets[0].Intersect(sets[1])
	default:
		sets[0].Difference(sets[1])
	}
	return sets[0], left, nil
}

// tagBitMask answers with rows that no tag has.
type tagBitMask struct {
	BitMaskData string `json:"bitMaskData"`
}

func (c *call) arithmeticsMask() error {
	in, err := c.readArithmetics()
	if err != nil {
		return err
	}
	return c.answerMask(in)
}

func (c *call) answerMask(in arithmeticsIn) error {
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	rows, _, err := c.combine(d, in)
	if err != nil {
		return err
	}
	return c.answer(tagBitMask{rows.Hex()})
}

// arithmetics makes a tag where a name is given; else it answers as
// arithmeticsMask.
func (c *call) arithmetics() error {
	in, err := c.readArithmetics()
	if err != nil {
		return err
	}
	if in.NewTagName == "" {
		return c.answerMask(in)
	}
	if err := checkTagName("newTagName", in.NewTagName); err != nil {
		return err
	}
	return c.newTag(func(d *state.Dataset) (state.Tag, *bitmask.Mask, error) {
		rows, left, err := c.combine(*d, in)
		return state.Tag{Name: in.NewTagName, Prev: left.Name}, rows, err
	})
}
