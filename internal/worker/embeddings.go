package worker

import (
	"context"
	"fmt"
	"time"

	"nextbatch/internal/blob"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// embeddings reads the vectors of an embeddings.ready. The returned function
// adds its rows and vectors to a dataset.
func (w *Worker) embeddings(ctx context.Context, c *claim, p *events.Embeddings) (func(context.Context, *view) error, error) {
	c.progress("reading embeddings", 0, 0)
	e, err := w.readEmbeddings(ctx, c, p)
	if err != nil {
		return nil, refused(err)
	}
	set := p.Embedding
	if set == "" {
		set = "default"
	}
	return func(ctx context.Context, v *view) error {
		c.progress("storing embeddings", 0, e.Rows)
		names, err := w.store.Names(ctx, v.dataset)
		if err != nil {
			return err
		}
		rows := make([]int, e.Rows)
		var fresh []string
		for i, name := range e.Names {
			row, known := names.Row(name)
			if !known {
				row = v.dataset.Rows + len(fresh)
				fresh = append(fresh, name)
			}
			rows[i] = row
		}
		old := v.dataset.Embeddings[set]
		if old.Dim != 0 && old.Dim != e.Dim && e.Rows < v.dataset.Rows+len(fresh) {
			return &events.Error{Code: "dimension_mismatch",
				Message: fmt.Sprintf("embedding %q of dataset %q has %d dimensions, these vectors have %d", set, p.Dataset, old.Dim, e.Dim),
				Hint:    fmt.Sprintf("send vectors for all %d samples to replace the set, or give the new ones another name in \"embedding\"", v.dataset.Rows)}
		}
		copied := old.Copied(rows, e.Dim)
		if err := c.fits(w.need(ctx, v, c.m, load{bytes: c.memory.decoded, names: fresh, dim: e.Dim, copied: 4 * int64(copied) * int64(e.Dim)})); err != nil {
			return err
		}
		if v.dataset, err = w.store.AppendNames(ctx, v.dataset, fresh); err != nil {
			return err
		}
		if names, err = w.store.Names(ctx, v.dataset); err != nil {
			return err
		}
		if old.ID == "" {
			old.ID, old.Created = state.EmbeddingID(v.dataset, set), time.Now().UTC()
		}
		changed, err := w.store.PutVectors(ctx, old, names, rows, e.Dim, e.Data)
		if err != nil {
			return err
		}
		sets := map[string]state.EmbeddingSet{set: changed}
		for name, other := range v.dataset.Embeddings {
			if name != set {
				sets[name] = other
			}
		}
		v.dataset.Embeddings = sets
		v.stored = fmt.Sprintf("%d embeddings", e.Rows)
		return nil
	}, nil
}

// readEmbeddings decodes the file and joins it with its filenames.
func (w *Worker) readEmbeddings(ctx context.Context, c *claim, p *events.Embeddings) (e blob.Embeddings, err error) {
	err = w.read(ctx, c, p.Embeddings, func(f *blob.File) (err error) {
		e, err = blob.ReadEmbeddings(f)
		return err
	})
	if err != nil || p.Filenames == nil || p.Filenames.Empty() {
		if err == nil && e.Names == nil {
			err = &events.Error{Code: "no_filenames", Message: "neither the embeddings file nor the event carries filenames",
				Hint: "give the event \"filenames\": a list, or a reference to one, in the order of the rows"}
		}
		return e, err
	}
	if e.Names != nil {
		return e, &events.Error{Code: "bad_data", Message: "both the embeddings file and the event carry filenames", Hint: "leave \"filenames\" out of the event"}
	}
	e.Names = p.Filenames.List
	if p.Filenames.Ref != nil {
		err = w.read(ctx, c, *p.Filenames.Ref, func(f *blob.File) (err error) {
			e.Names, err = blob.ReadNames(f)
			return err
		})
	} else {
		err = blob.CheckNames(e.Names)
	}
	if err == nil && len(e.Names) != e.Rows {
		err = &events.Error{Code: "row_count", Message: fmt.Sprintf("%d filenames for %d embeddings", len(e.Names), e.Rows),
			Hint: "one filename per row, in the order of the rows"}
	}
	return e, err
}

// read opens a reference and hands it to a decoder, with the memory that the
// attempt has for it.
func (w *Worker) read(ctx context.Context, c *claim, ref events.Reference, decode func(*blob.File) error) error {
	f, err := w.open.Open(ctx, blobRef(ref))
	if err != nil {
		return w.metrics.unreadable(err)
	}
	defer f.Close()
	f.Limit(c.memory.decode-c.memory.decoded, c.more)
	err = decode(f)
	w.metrics.bytes.Add(float64(f.Size()))
	c.memory.decoded += f.Taken()
	if more := shortOf(err); more > 0 {
		return c.short(more)
	}
	return w.metrics.unreadable(err)
}

// blobRef is a reference of an event as package blob has it.
func blobRef(ref events.Reference) blob.Ref {
	b := blob.Ref{URI: ref.URI, Format: ref.Format, SHA256: ref.SHA256, Size: ref.Size, Data: ref.Data}
	if ref.Files != nil {
		b.Files = []blob.FileRef{}
	}
	for _, f := range ref.Files {
		b.Files = append(b.Files, blob.FileRef(f))
	}
	return b
}
