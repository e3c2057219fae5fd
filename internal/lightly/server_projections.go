package lightly

import (
	"net/http"
	"slices"
	"time"

	"nextbatch/internal/state"
)

// maxProjections is how many projections a set of embeddings may have.
const maxProjections = 64

var reductions = []string{"PCA", "TSNE", "UMAP"}

func checkReduction(method string) error {
	if method == "" {
		return bad("dimensionalityReductionMethod is missing")
	}
	return wordOf("dimensionalityReductionMethod", method, reductions)
}

// trigger2D starts nothing: no client asks for the projection that it orders.
func (c *call) trigger2D() error {
	var in struct {
		Method string `json:"dimensionalityReductionMethod"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	if err := checkReduction(in.Method); err != nil {
		return err
	}
	if _, _, err := c.embedding(); err != nil {
		return err
	}
	return c.done()
}

// projection is a set of embeddings in two dimensions; a list leaves the
// coordinates out.
type projection struct {
	ID          string    `json:"id"`
	DatasetID   string    `json:"datasetId"`
	EmbeddingID string    `json:"embeddingId"`
	Name        string    `json:"name"`
	CreatedAt   int64     `json:"createdAt"`
	Method      string    `json:"dimensionalityReductionMethod"`
	First       []float64 `json:"coordinatesDimension1,omitempty"`
	Second      []float64 `json:"coordinatesDimension2,omitempty"`
}

func wireProjection(d state.Dataset, e named, p state.Projection) projection {
	return projection{ID: p.ID, DatasetID: d.ID, EmbeddingID: e.ID, Name: p.Name, CreatedAt: millis(p.Created), Method: p.Method}
}

// create2D keeps the coordinates that somebody computed, one pair for each row
// of the set. One of the same name takes the place of the former.
func (c *call) create2D() error {
	var in struct {
		Name   string  `json:"name"`
		Method string  `json:"dimensionalityReductionMethod"`
		First  numbers `json:"coordinatesDimension1"`
		Second numbers `json:"coordinatesDimension2"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	if !embeddingPattern.MatchString(in.Name) {
		return bad("name is %.140q: want up to 128 letters, digits, spaces and . _ -, beginning with a letter or digit", in.Name)
	}
	if err := checkReduction(in.Method); err != nil {
		return err
	}
	_, e, err := c.embedding()
	if err != nil {
		return err
	}
	if len(in.First) != e.Rows() || len(in.Second) != e.Rows() {
		return refuse(http.StatusBadRequest, "EMBEDDING_ROW_COUNT_INVALID", "%d and %d coordinates for an embedding of %d rows", len(in.First), len(in.Second), e.Rows())
	}
	sha, err := c.store.PutList(c.r.Context(), slices.Concat(in.First, in.Second))
	if err != nil {
		return err
	}
	made := state.Projection{ID: state.HexID(24, "projection", e.ID, in.Name), Name: in.Name, Method: in.Method, SHA256: sha, Len: 2 * e.Rows(), Created: time.Now().UTC()}
	err = c.change(func(d *state.Dataset, _ *state.Batch) error {
		e, err := embeddingByID(*d, c.r.PathValue("e"))
		if err != nil {
			return err
		}
		kept := slices.DeleteFunc(slices.Clone(e.Projections), func(p state.Projection) bool { return p.ID == made.ID })
		if len(kept) == maxProjections {
			return bad("the embedding has %d projections already", maxProjections)
		}
		e.Projections = append(kept, made)
		d.Embeddings[e.name] = e.EmbeddingSet // the record was read for this change
		return nil
	})
	if err != nil {
		return err
	}
	return c.answer(createdEntity{ID: made.ID})
}

func (c *call) list2D() error {
	d, e, err := c.embedding()
	if err != nil {
		return err
	}
	list := []projection{}
	for _, p := range e.Projections {
		list = append(list, wireProjection(d, e, p))
	}
	return c.answer(list)
}

func (c *call) get2D() error {
	d, e, err := c.embedding()
	if err != nil {
		return err
	}
	for _, p := range e.Projections {
		if p.ID != c.r.PathValue("p") {
			continue
		}
		values, err := c.store.List(c.r.Context(), state.Upload{Name: p.Name, SHA256: p.SHA256, Len: p.Len})
		if err != nil {
			return err
		}
		w := wireProjection(d, e, p)
		w.First, w.Second = values[:p.Len/2], values[p.Len/2:]
		return c.answer(w)
	}
	return refuse(http.StatusNotFound, "EMBEDDING_2D_UNKNOWN", "there is no projection %.40q", c.r.PathValue("p"))
}
