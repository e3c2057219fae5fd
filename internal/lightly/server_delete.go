package lightly

import (
	"context"

	"nextbatch/internal/state"
)

// deleteDataset deletes a dataset with its tags, labels and scores. They all
// go by its name: none may be left to the next dataset of it.
func (c *call) deleteDataset() error {
	if _, _, err := c.flag("force"); err != nil {
		return err
	}
	var id string
	err := c.again(func() error {
		ctx := c.r.Context()
		d, rev, err := c.dataset()
		if err != nil {
			return err
		}
		_, labelsRev, err := c.store.Labels(ctx, d.Name)
		if err != nil {
			return err
		}
		var b state.Batch
		if err := c.removeTags(&b, d); err != nil {
			return err
		}
		err = c.store.AllUploads(ctx, d.Name, func(u state.Uploads, rev uint64) error {
			if err := c.flush(&b); err != nil {
				return err
			}
			b.RemoveUploads(u.Dataset, u.Tag, rev)
			return nil
		})
		if err != nil {
			return err
		}
		// In the last batch, if there are several: a selection that is under way
		// writes the labels, and makes a tag.
		b.RemoveLabels(d.Name, labelsRev)
		b.RemoveDataset(d, rev)
		id = d.ID
		return c.commit(&b)
	})
	if err != nil {
		return err
	}
	c.groups.Delete(id)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), callTime)
	defer cancel()
	if err := c.store.Purge(ctx, id); err != nil {
		c.log.Warn().Err(err).Msg("records of a deleted dataset are left to the next sweep")
	}
	return c.done()
}

// removeTags adds the deletion of all tags of a dataset to a batch.
func (c *call) removeTags(b *state.Batch, d state.Dataset) error {
	return c.store.Tags(c.r.Context(), d.Name, func(t state.Tag) error {
		_, rev, err := c.store.Tag(c.r.Context(), d.Name, t.Name)
		if err != nil {
			return err
		}
		if err := c.flush(b); err != nil {
			return err
		}
		b.RemoveTag(d.Name, t.Name, rev)
		return nil
	})
}

// flush writes a batch that is nearly full, and empties it.
func (c *call) flush(b *state.Batch) error {
	if b.Len() < state.MaxBatch-3 { // what ends a deletion comes on top
		return nil
	}
	err := c.commit(b)
	*b = state.Batch{}
	return err
}
