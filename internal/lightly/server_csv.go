package lightly

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"nextbatch/internal/blob"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// putCSV stores an embeddings file, checks its rows, and has a worker add it.
func (c *call) putCSV() error {
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
	event, err := c.newEvent(d, events.EmbeddingsReady, events.Embeddings{
		Dataset: d.Name, Embedding: name, Embeddings: events.Reference{URI: "blob:" + sha, Format: "csv"}})
	if err != nil {
		return notFive(err)
	}
	job, _, err := c.publish(event)
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

// nameMemory is how many bytes a filename may take that is checked.
const nameMemory = 1100

// checkCSV compares the filenames of an embeddings file with those of the
// dataset. The worker checks the numbers. A file with many more names than the
// dataset has is not read to its end.
func (c *call) checkCSV(d state.Dataset, sha string) error {
	open, err := blob.NewOpener(blob.Config{Blobs: c.blobs, MaxBytes: c.cfg.MaxCSV, MaxMemory: 16<<20 + int64(d.Rows)*nameMemory})
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
	return c.lines("text/csv; charset=utf-8", func(w *bufio.Writer) error {
		line := blob.AppendCSVHeader(nil, e.Dim)
		if _, err := w.Write(line); err != nil {
			return err
		}
		return c.store.EachVector(c.r.Context(), e, names, func(name string, v []float32) error {
			line = blob.AppendCSVRow(line[:0], name, v)
			_, err := w.Write(line)
			return err
		})
	})
}
