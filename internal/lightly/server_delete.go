package lightly

import (
	"errors"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// deleteDataset deletes a dataset with its tags, labels and scores at once.
// The records of its samples go after it: nothing finds them any more.
func (c *call) deleteDataset() error {
	if _, _, err := c.flag("force"); err != nil {
		return err
	}
	var gone state.Dataset
	err := c.again(func() error {
		ctx := c.r.Context()
		d, rev, err := c.dataset()
		if err != nil {
			return err
		}
		// A selection that is under way writes the labels: it then finds nothing.
		_, labelsRev, err := c.store.Labels(ctx, d.Name)
		if err != nil {
			return err
		}
		var b state.Batch
		b.RemoveLabels(d.Name, labelsRev)
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
		b.RemoveDataset(d.Name, rev)
		gone = d
		return c.commit(&b)
	})
	if err != nil {
		return err
	}
	c.groups.Delete(gone.ID)
	if err := errors.Join(c.removeSamples(gone), c.store.RemovePredictions(c.r.Context(), gone)); err != nil {
		c.log.Warn().Err(err).Str("dataset", events.Token(gone.Name)).Msg("samples or predictions of a deleted dataset are left over")
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
	if b.Len() < state.MaxBatch-2 {
		return nil
	}
	err := c.commit(b)
	*b = state.Batch{}
	return err
}

func (c *call) removeSamples(d state.Dataset) error {
	for block := range (d.Rows + state.SampleBlock - 1) / state.SampleBlock {
		all, err := c.store.SampleRevisions(c.r.Context(), d, block)
		if err != nil {
			return err
		}
		var b state.Batch
		for row, rev := range all {
			if err := c.flush(&b); err != nil {
				return err
			}
			b.RemoveSample(d.ID, row, rev)
		}
		if b.Len() > 0 {
			if err := c.commit(&b); err != nil {
				return err
			}
		}
	}
	return nil
}
