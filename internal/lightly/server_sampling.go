package lightly

import (
	"errors"
	"math"
	"net/http"
	"regexp"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

var tagPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9 .:;=@_-]{2,254}$`)

func checkTagName(field, name string) error {
	if !tagPattern.MatchString(name) {
		return bad("%s is %.260q: want 3 to 255 letters, digits, spaces and . : ; = @ _ -, beginning with a letter or digit", field, name)
	}
	return nil
}

var methods = []string{"RANDOM", "CORESET", "CORAL", "ACTIVE_LEARNING"}

// samplingIn is the body of POST sampling.
type samplingIn struct {
	NewTagName       string `json:"newTagName"`
	Method           string `json:"method"`
	PreselectedTagID string `json:"preselectedTagId"`
	QueryTagID       string `json:"queryTagId"`
	RowCount         *count `json:"rowCount"`
	ScoreType        string `json:"scoreType"`
	Config           *struct {
		StoppingCondition *struct {
			NSamples    *float64 `json:"nSamples"`
			MinDistance *float64 `json:"minDistance"`
		} `json:"stoppingCondition"`
	} `json:"config"`
}

// sampleTag asks for a selection: a worker that takes the event makes it.
func (c *call) sampleTag() error {
	var in samplingIn
	if err := c.read(&in); err != nil {
		return err
	}
	if err := checkTagName("newTagName", in.NewTagName); err != nil {
		return err
	}
	if in.Method == "" {
		return bad("method is missing")
	}
	if err := wordOf("method", in.Method, methods); err != nil {
		return err
	}
	if in.ScoreType != "" && !scorePattern.MatchString(in.ScoreType) {
		return bad("scoreType is %.140q: want 1 to 255 letters, digits and _ + = , . @ : / -", in.ScoreType)
	}
	d, e, err := c.embedding()
	if err != nil {
		return err
	}
	if d.Draft {
		return refuse(http.StatusBadRequest, "TAG_NO_TAG_IN_DATASET", "dataset %q has no initial tag yet: finish the upload of its samples", d.Name)
	}
	if in.RowCount != nil && int(*in.RowCount) > d.Rows {
		return bad("rowCount is %d, but dataset %q has %d samples", *in.RowCount, d.Name, d.Rows)
	}
	spec := events.Spec{Method: in.Method, Name: in.NewTagName, Embedding: e.name, Score: in.ScoreType}
	c.capCoral(&spec)
	if err := in.stop(&spec, d.Rows); err != nil {
		return err
	}
	ask := events.Request{Dataset: d.Name, Selection: spec, FromScratch: in.PreselectedTagID == ""}
	if ask.QueryTag, err = c.tagNamed(d, in.QueryTagID, "TAG_QUERYTAG_NOT_IN_DATASET", "queryTagId"); err != nil {
		return err
	}
	if ask.PreselectedTag, err = c.tagNamed(d, in.PreselectedTagID, "TAG_PRESELECTEDTAG_NOT_IN_DATASET", "preselectedTagId"); err != nil {
		return err
	}
	if err := c.checkSampling(d, ask); err != nil {
		return err
	}
	event, err := c.newEvent(d, events.SelectionRequested, ask)
	if err != nil {
		return err
	}
	job, seq, err := c.publish(event)
	if err != nil {
		return err
	}
	return c.answer(createdEntity{JobID: jobID(job, seq)})
}

// capCoral gives CORAL the distance cap of the server.
func (c *call) capCoral(spec *events.Spec) {
	if spec.Method == "CORAL" && c.cfg.DistanceCap != 0 {
		spec.DistanceCap = &c.cfg.DistanceCap
	}
}

// stop translates the stopping condition. A count is of the whole result,
// below 1 it is a share of all rows, and -1 is no limit.
func (in *samplingIn) stop(spec *events.Spec, rows int) error {
	n := -1.0
	if in.Config != nil && in.Config.StoppingCondition != nil {
		stop := in.Config.StoppingCondition
		if stop.NSamples != nil {
			n = *stop.NSamples
		}
		if d := stop.MinDistance; d != nil && *d > 0 {
			spec.MinDistance = d
		}
	}
	switch {
	case n == -1:
		spec.BatchSize = &rows
		return nil
	case n > 0 && n < 1:
		n = math.Round(n * float64(rows))
	case n < 0 || n != math.Trunc(n) || n > 1<<53-1:
		return bad("nSamples is %v: want a whole number, a share between 0 and 1, or -1 for no limit", n)
	}
	total := int(n)
	spec.NSamples = &total
	return nil
}

// tagNamed finds the name of a tag of the dataset; no id is no tag.
func (c *call) tagNamed(d state.Dataset, id, code, field string) (string, error) {
	if id == "" {
		return "", nil
	}
	t, err := c.tagByID(d, id)
	if errors.Is(err, state.ErrNotFound) {
		return "", refuse(http.StatusBadRequest, code, "%s is %.40q, which is no tag of dataset %q", field, id, d.Name)
	}
	return t.Name, err
}

// checkSampling refuses at once what the worker would refuse later.
func (c *call) checkSampling(d state.Dataset, ask events.Request) error {
	if _, err := c.tagFree(d, ask.Selection.Name); err != nil {
		return err
	}
	if ask.Selection.Method != "CORAL" && ask.Selection.Method != "ACTIVE_LEARNING" {
		return nil
	}
	query := ask.QueryTag
	if query == "" {
		query = state.InitialTag
	}
	if _, ok := d.Scores[query]; ok {
		return nil
	}
	for _, tag := range []string{query, ask.PreselectedTag} {
		if tag == "" {
			continue
		}
		u, _, err := c.store.Uploads(c.r.Context(), d.Name, tag)
		if err != nil || len(u.Lists) > 0 {
			return err
		}
	}
	return refuse(http.StatusBadRequest, "TAG_NO_SCORES_AVAILABLE", "%s needs scores, and none were uploaded to the query tag or the preselected tag", ask.Selection.Method)
}

// tagFree refuses the name of a tag that exists, and returns the revision at
// which one of a free name can be made.
func (c *call) tagFree(d state.Dataset, name string) (rev uint64, err error) {
	_, rev, err = c.store.Tag(c.r.Context(), d.Name, name)
	if err == nil || name == state.InitialTag {
		return 0, refuse(http.StatusConflict, "TAG_NAME_EXISTS", "dataset %q has a tag %q already", d.Name, name)
	}
	if errors.Is(err, state.ErrNotFound) {
		return rev, nil
	}
	return 0, err
}
