package lightly

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"nextbatch/internal/state"
)

// embeddingWait is how long an upload waits for its vectors to be in the
// dataset. After it a sampling waits for them instead.
const embeddingWait = 150 * time.Second // clients wait for three minutes

// named is a set of embeddings with its name.
type named struct {
	name string
	state.EmbeddingSet
}

// embeddings are the sets of a dataset, newest first. A set whose file has not
// come is none: a client that finds the name would not send the file again.
func embeddings(d state.Dataset) (all []named) {
	for name, e := range d.Embeddings {
		if e.Dim > 0 {
			all = append(all, named{name, e})
		}
	}
	slices.SortFunc(all, func(a, b named) int {
		if order := b.Created.Compare(a.Created); order != 0 {
			return order
		}
		return strings.Compare(a.name, b.name)
	})
	return all
}

func embeddingByID(d state.Dataset, id string) (named, error) {
	for _, e := range embeddings(d) {
		if e.ID == id {
			return e, nil
		}
	}
	return named{}, refuse(http.StatusNotFound, "EMBEDDING_UNKNOWN", "dataset %q has no embedding %.40q", d.Name, id)
}

// embedding reads the dataset and the set that the path names.
func (c *call) embedding() (state.Dataset, named, error) {
	d, _, err := c.dataset()
	if err != nil {
		return d, named{}, err
	}
	e, err := embeddingByID(d, c.r.PathValue("e"))
	return d, e, err
}

func (c *call) listEmbeddings() error {
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	return c.list(func(item func(any) error) error {
		for _, e := range embeddings(d) {
			created := e.Created
			if created.IsZero() {
				created = d.Created
			}
			if err := item(Embedding{ID: e.ID, Name: e.name, IsProcessed: true, CreatedAt: millis(created)}); err != nil {
				return err
			}
		}
		return nil
	})
}

var embeddingPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,127}$`)

// writeCSVURL answers where to send the file of a new set. The id follows from
// the name: nothing is stored before the file has come.
func (c *call) writeCSVURL() error {
	name := c.args.Get("name")
	if name == "" {
		name = "default"
	}
	if !embeddingPattern.MatchString(name) {
		return bad("query parameter name is %.140q: want up to 128 letters, digits, spaces and . _ -, beginning with a letter or digit", name)
	}
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	if d.Embeddings[name].Dim > 0 {
		return refuse(http.StatusConflict, "EMBEDDING_NAME_EXISTS", "dataset %q has an embedding %q already", d.Name, name)
	}
	return c.answer(map[string]string{"embeddingId": state.EmbeddingID(d, name),
		"signedWriteUrl": c.sign(http.MethodPut, "/v1/signed/datasets/"+d.ID+"/embeddings/"+name+"/csv", writeURLTime)})
}

func (c *call) readCSVURL() error {
	d, e, err := c.embedding()
	if err != nil {
		return err
	}
	return c.answer(c.sign(http.MethodGet, "/v1/signed/datasets/"+d.ID+"/embeddings/"+e.name+"/csv", readURLTime))
}

func (c *call) deleteEmbedding() error {
	err := c.change(func(d *state.Dataset, _ *state.Batch) error {
		e, err := embeddingByID(*d, c.r.PathValue("e"))
		if err != nil {
			return err
		}
		rest := map[string]state.EmbeddingSet{}
		for name, other := range d.Embeddings {
			if name != e.name {
				rest[name] = other
			}
		}
		d.Embeddings = rest
		return nil
	})
	if err != nil {
		return err
	}
	return c.done()
}

// setProcessed checks the count that a client has; sets are processed when
// they are listed.
func (c *call) setProcessed() error {
	var in struct {
		RowCount *count `json:"rowCount"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	d, e, err := c.embedding()
	if err != nil {
		return err
	}
	switch {
	case in.RowCount == nil:
		return bad("rowCount is missing")
	case int(*in.RowCount) != e.Rows():
		return refuse(http.StatusBadRequest, "EMBEDDING_ROW_COUNT_INVALID", "rowCount is %d, but the embedding has %d rows and dataset %q %d", *in.RowCount, e.Rows(), d.Name, d.Rows)
	}
	return c.done()
}
