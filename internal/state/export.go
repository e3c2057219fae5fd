package state

import (
	"context"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/events"
)

// Export reads a tag of a dataset to be written out.
func (s *Store) Export(ctx context.Context, d Dataset, t Tag) (x events.Export, err error) {
	if t.Result != "" {
		x.Result, err = s.blobs.Get(ctx, t.Result)
		return x, err
	}
	names, err := s.Names(ctx, d)
	if err != nil {
		return x, err
	}
	x.Dataset, x.Tag = d.Name, events.TagRef{ID: t.ID, Name: t.Name}
	if t.Name == InitialTag { // not stored: every row
		x.Filenames = func(yield func(string) bool) {
			for row := 0; row < names.Len() && yield(names.At(row)); row++ {
			}
		}
		return x, nil
	}
	hex, err := s.MaskHex(ctx, t)
	if err != nil {
		return x, err
	}
	rows, err := bitmask.FromHex(hex)
	if err != nil {
		return x, err
	}
	x.Filenames = func(yield func(string) bool) {
		for row := range rows.All() {
			if !yield(names.At(row)) {
				return
			}
		}
	}
	return x, nil
}
