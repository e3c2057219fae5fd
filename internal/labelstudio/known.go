package labelstudio

import (
	"context"
	"errors"
	"slices"
	"sync"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/state"
)

// known is what a task's data is looked up in.
type known struct {
	names   *state.Names
	tag     func(name string) (bool, error) // whether there is one
	batches func() ([]batch, error)         // newest first; read when it is asked for
}

// batch is what a selection added.
type batch struct {
	tag  state.Tag
	rows *bitmask.Mask
}

func (c *Connector) known(ctx context.Context, d state.Dataset) (k known, err error) {
	k.names, err = c.store.Names(ctx, d)
	tags := map[string]bool{}
	k.tag = func(name string) (bool, error) {
		if len(name) > maxTagName { // it would make a subject that the server does not take
			return false, nil
		}
		if _, looked := tags[name]; !looked {
			_, _, err := c.store.Tag(ctx, d.Name, name)
			if err != nil && !errors.Is(err, state.ErrNotFound) {
				return false, err
			}
			tags[name] = err == nil
		}
		return tags[name], nil
	}
	k.batches = sync.OnceValues(func() (all []batch, err error) {
		err = c.store.Tags(ctx, d.Name, func(t state.Tag) error {
			rows, err := c.store.Batch(ctx, d, t)
			if rows != nil {
				all = append(all, batch{t, rows})
			}
			return err
		})
		slices.SortFunc(all, func(a, b batch) int { return b.tag.Created.Compare(a.tag.Created) })
		return all, err
	})
	return k, err
}

// maxTagName is how long the name of a tag may be.
const maxTagName = 255

// word reads what a task says, if its sample is of the dataset. It speaks for
// the selection that the task was made of; of a task that somebody else made,
// for the newest that has picked its sample.
func (k known) word(p *connected, t task) (w word, ok bool, err error) {
	name, tag := p.filename(t.Data)
	row, ok := k.names.Row(name)
	if !ok {
		return word{}, false, nil
	}
	w = word{filename: name, row: row, task: t.ID, entry: entry{statusOf(t), t.UpdatedAt}}
	if tag != "" {
		if ok, err := k.tag(tag); ok || err != nil {
			w.tag = tag
			return w, ok, err
		}
	}
	batches, err := k.batches()
	for _, b := range batches {
		if b.rows.Has(row) {
			w.tag = b.tag.Name
			break
		}
	}
	return w, err == nil, err
}
