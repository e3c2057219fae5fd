package lightly

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nextbatch/internal/blob"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// embeddingWait is how long an upload waits for its vectors to be in the
// dataset. After it a sampling waits for them instead.
const embeddingWait = time.Minute

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

// putCSV stores an embeddings file, checks its rows, and has a worker add it.
func (c *call) putCSV() error {
	if err := c.checkSignature(); err != nil {
		return err
	}
	d, err := c.signedDataset()
	if err != nil {
		return notFive(err)
	}
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, c.cfg.MaxCSV)
	sha, err := c.keepBody()
	if err != nil {
		return notFive(err)
	}
	if err := c.checkCSV(d, sha); err != nil {
		return notFive(err)
	}
	name := c.r.PathValue("e")
	c.user = d.Owner
	if c.user == "" {
		c.user = localUser
	}
	job, _, err := c.publish(c.r.Context(), d, events.EmbeddingsReady, events.Embeddings{
		Dataset: d.Name, Embedding: name, Embeddings: events.Reference{URI: "blob:" + sha, Format: "csv"}})
	if err != nil {
		return notFive(err)
	}
	ended, err := c.await(job, embeddingWait)
	if err != nil {
		return notFive(err)
	}
	if ended.State == state.JobDead {
		return refuse(http.StatusBadRequest, "EMBEDDING_INVALID", "%s", failure(ended))
	}
	return c.done()
}

// await waits for a job to end. One that has not even begun after a while is
// returned as it is.
func (c *call) await(id string, patience time.Duration) (job state.Job, err error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), patience)
	defer cancel()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		job, _, err = c.store.Job(ctx, id)
		if err == nil && job.Finished() {
			return job, nil
		}
		select {
		case <-ctx.Done():
			if err != nil && !errors.Is(err, state.ErrNotFound) && ctx.Err() == nil {
				return job, err
			}
			return job, c.r.Context().Err()
		case <-time.After(wait):
		}
	}
}

// checkCSV compares the filenames of an embeddings file with those of the
// dataset. The worker checks the numbers.
func (c *call) checkCSV(d state.Dataset, sha string) error {
	open, err := blob.NewOpener(blob.Config{Blobs: c.blobs, MaxBytes: c.cfg.MaxCSV})
	if err != nil {
		return err
	}
	defer open.Close()
	f, err := open.Open(c.r.Context(), blob.Ref{URI: "blob:" + sha, Format: "csv"})
	if err != nil {
		return err
	}
	defer f.Close()
	list, err := blob.ReadNames(f)
	if fault, ok := errors.AsType[*blob.Error](err); ok && !fault.Transient {
		_, what, _ := strings.Cut(fault.Message, `": `)
		return refuse(http.StatusBadRequest, "EMBEDDING_INVALID", "embeddings file: %s", what)
	}
	if err != nil {
		return err
	}
	names, err := c.store.Names(c.r.Context(), d)
	if err != nil {
		return err
	}
	have := make([]bool, names.Len())
	var unknown, missing offenders
	for _, name := range list {
		if row, ok := names.Row(name); ok {
			have[row] = true
		} else {
			unknown.add(name)
		}
	}
	if unknown.n > 0 {
		return refuse(http.StatusBadRequest, "EMBEDDING_INVALID", "embeddings file: of %d filenames, these are not in dataset %q: %v", len(list), d.Name, unknown)
	}
	for row, ok := range have {
		if !ok {
			missing.add(names.At(row))
		}
	}
	if missing.n > 0 {
		return refuse(http.StatusBadRequest, "EMBEDDING_ROW_COUNT_INVALID", "embeddings file: %d rows for the %d samples of dataset %q; these are missing: %v", len(list), d.Rows, d.Name, missing)
	}
	return nil
}

// getCSV writes the vectors of a set as they are now, in the order of the
// rows. Rows without one are left out.
func (c *call) getCSV() error {
	if err := c.checkSignature(); err != nil {
		return err
	}
	d, err := c.signedDataset()
	if err != nil {
		return err
	}
	e, ok := d.Embeddings[c.r.PathValue("e")]
	if !ok || e.Dim == 0 {
		return refuse(http.StatusNotFound, "EMBEDDING_UNKNOWN", "dataset %q has no embedding %.140q", d.Name, c.r.PathValue("e"))
	}
	names, err := c.store.Names(c.r.Context(), d)
	if err != nil {
		return err
	}
	rows := min(e.Rows(), names.Len())
	vectors, release, err := c.store.Vectors(c.r.Context(), e, e.Rows())
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("vectors of a dataset: %v", err)
	}
	if err != nil {
		return err
	}
	defer release()
	return c.lines("text/csv; charset=utf-8", func(w *bufio.Writer) error {
		w.WriteString("filenames")
		for i := range e.Dim {
			w.WriteString(",embedding_" + strconv.Itoa(i))
		}
		w.WriteString(",labels\r\n")
		var line []byte
		for row := range rows {
			v := vectors[row*e.Dim : (row+1)*e.Dim]
			if v[0] != v[0] {
				continue
			}
			line = appendField(line[:0], names.At(row))
			for _, x := range v {
				line = strconv.AppendFloat(append(line, ','), float64(x), 'g', -1, 32)
			}
			if _, err := w.Write(append(line, ",0\r\n"...)); err != nil {
				return err
			}
		}
		return nil
	})
}

// appendField writes a field of a CSV.
func appendField(dst []byte, text string) []byte {
	if !strings.ContainsAny(text, `,"`) && strings.TrimSpace(text) == text {
		return append(dst, text...)
	}
	return append(append(append(dst, '"'), strings.ReplaceAll(text, `"`, `""`)...), '"')
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

// trigger2D starts nothing: no client asks for the projection that it orders.
func (c *call) trigger2D() error {
	var in struct {
		Method string `json:"dimensionalityReductionMethod"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	if in.Method == "" {
		return bad("dimensionalityReductionMethod is missing")
	}
	if err := wordOf("dimensionalityReductionMethod", in.Method, []string{"PCA", "TSNE", "UMAP"}); err != nil {
		return err
	}
	if _, _, err := c.embedding(); err != nil {
		return err
	}
	return c.done()
}

func (c *call) list2D() error {
	if _, _, err := c.embedding(); err != nil {
		return err
	}
	return c.answer([]string{})
}

func (c *call) get2D() error {
	if _, _, err := c.embedding(); err != nil {
		return err
	}
	return refuse(http.StatusNotFound, "EMBEDDING_2D_UNKNOWN", "there is no projection %.40q", c.r.PathValue("p"))
}

func (c *call) create2D() error { return notServed("projections are not stored") }
