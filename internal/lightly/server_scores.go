package lightly

import (
	"net/http"
	"regexp"
	"slices"
	"time"

	"nextbatch/internal/state"
)

var scorePattern = regexp.MustCompile(`^[a-zA-Z0-9_+=,.@:/-]{1,255}$`)

// scoresIn is the body of POST scores.
type scoresIn struct {
	ScoreType string  `json:"scoreType"`
	Scores    numbers `json:"scores"`
}

// numberText is how many bytes of JSON a score may take, white space included.
const numberText = 64

// createScores keeps a list as it comes: to which rows its numbers belong is
// known when a sampling uses it.
func (c *call) createScores() error {
	d, _, err := c.tag()
	if err != nil {
		return err
	}
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, smallBody+int64(d.Rows)*numberText)
	var in scoresIn
	if err := c.read(&in); err != nil {
		return err
	}
	if !scorePattern.MatchString(in.ScoreType) {
		return bad("scoreType is %.140q: want 1 to 255 letters, digits and _ + = , . @ : / -", in.ScoreType)
	}
	if len(in.Scores) == 0 {
		return bad("scores is missing or empty")
	}
	if len(in.Scores) > d.Rows {
		return bad("%d scores for a dataset of %d samples", len(in.Scores), d.Rows)
	}
	sha, err := c.store.PutList(c.r.Context(), in.Scores)
	if err != nil {
		return err
	}
	made := state.Upload{Name: in.ScoreType, SHA256: sha, Len: len(in.Scores), Created: time.Now().UTC()}
	// With the dataset, which whoever deletes the tag writes too: else the scores could come after it, for the next tag of its name.
	err = c.change(func(d *state.Dataset, b *state.Batch) error {
		t, err := c.tagOf(*d)
		if err != nil {
			return err
		}
		u, rev, err := c.store.Uploads(c.r.Context(), d.Name, t.Name)
		if err != nil {
			return err
		}
		made.ID = state.HexID(24, "scores", t.ID, in.ScoreType)
		u.Lists = slices.DeleteFunc(u.Lists, func(l state.Upload) bool { return l.Name == made.Name })
		if u.Lists = append(u.Lists, made); len(u.Lists) > maxLists {
			return bad("tag %q has %d score types already", t.Name, maxLists)
		}
		b.Uploads(u, rev)
		return nil
	})
	if err != nil {
		return err
	}
	return c.answer(createdEntity{ID: made.ID})
}

// maxLists is how many score types a tag may have.
const maxLists = 256

// scoreInfo is one list of a tag.
type scoreInfo struct {
	ID        string    `json:"id"`
	TagID     string    `json:"tagId"`
	ScoreType string    `json:"scoreType"`
	CreatedAt int64     `json:"createdAt"`
	Scores    []float64 `json:"scores,omitempty"`
}

func (c *call) listScores() error {
	d, t, err := c.tag()
	if err != nil {
		return err
	}
	u, _, err := c.store.Uploads(c.r.Context(), d.Name, t.Name)
	if err != nil {
		return err
	}
	list := []scoreInfo{}
	for _, l := range u.Lists {
		list = append(list, scoreInfo{ID: l.ID, TagID: t.ID, ScoreType: l.Name, CreatedAt: millis(l.Created)})
	}
	return c.answer(list)
}

func (c *call) getScores() error {
	d, t, err := c.tag()
	if err != nil {
		return err
	}
	u, _, err := c.store.Uploads(c.r.Context(), d.Name, t.Name)
	if err != nil {
		return err
	}
	for _, l := range u.Lists {
		if l.ID == c.r.PathValue("score") {
			values, err := c.store.List(c.r.Context(), l)
			if err != nil {
				return err
			}
			return c.answer(scoreInfo{l.ID, t.ID, l.Name, millis(l.Created), values})
		}
	}
	return refuse(http.StatusNotFound, "SCORE_UNKNOWN", "tag %q has no score %.40q", t.Name, c.r.PathValue("score"))
}
