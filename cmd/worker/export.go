package main

import (
	"context"
	"fmt"
	"io"

	"nextbatch/internal/blob"
)

// exportEmbedding writes Lightly's embeddings file.
func exportEmbedding(ctx context.Context, l *looker, args []string) error {
	d, _, err := l.store.Dataset(ctx, args[0])
	if err != nil {
		return missing(err, "dataset", args[0])
	}
	e, ok := d.Embeddings[args[1]]
	if !ok || e.Dim == 0 {
		return fmt.Errorf("dataset %q has no embedding %q", args[0], args[1])
	}
	names, err := l.store.Names(ctx, d)
	if err != nil {
		return err
	}
	return l.output("", func(w io.Writer) error {
		line := blob.AppendCSVHeader(nil, e.Dim)
		if _, err := w.Write(line); err != nil {
			return err
		}
		return l.store.EachVector(ctx, e, names, func(name string, v []float32) error {
			line = blob.AppendCSVRow(line[:0], name, v)
			_, err := w.Write(line)
			return err
		})
	})
}
