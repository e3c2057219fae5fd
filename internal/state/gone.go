package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A dataset is deleted in one batch, together with what goes by its name. What
// goes by its id may be a million records, which nothing finds any more: they
// are purged after it, by whoever gets to it. A record keeps in mind that this
// is still to be done.
type gone struct {
	ID      string    `json:"id"` // of the dataset
	Deleted time.Time `json:"deleted"`
}

func goneSubject(id string) string { return "al.v1.gone." + id }

// RemoveDataset deletes a dataset that must still be at revision rev. What
// goes by its name is the caller's to delete in the same batch: see RemoveTag,
// RemoveLabels and RemoveUploads. The rest is for Purge.
func (b *Batch) RemoveDataset(d Dataset, rev uint64) {
	b.remove(datasetSubject(d.Name), rev)
	b.put(goneSubject(d.ID), gone{d.ID, time.Now().UTC()}, 0)
}

// Purge removes the samples, predictions, tasks, metadata configurations and
// annotation tools' records of a dataset that is deleted. A second time is
// harmless.
func (s *Store) Purge(ctx context.Context, id string) error {
	var faults []error
	for _, kind := range []string{"sample", "prediction", "task", "metadata", "tool.*"} {
		filter := "al.v1." + kind + "." + id + ".>"
		if err := s.stream.Purge(ctx, jetstream.WithPurgeSubject(filter)); err != nil {
			faults = append(faults, fmt.Errorf("purge %s: %w", filter, err))
		}
	}
	return errors.Join(faults...)
}

// PurgeDeleted does what Purge left, and removes what was written late by
// somebody who had found the dataset before it was deleted. Datasets that were
// deleted before a time are then forgotten: it must leave out those that may
// still be written to.
func (s *Store) PurgeDeleted(ctx context.Context, before time.Time) error {
	return list(ctx, s, goneSubject("*"), func(g gone, rev uint64) error {
		if err := s.Purge(ctx, g.ID); err != nil || !g.Deleted.Before(before) {
			return err
		}
		var b Batch
		b.remove(goneSubject(g.ID), rev)
		_, err := s.Commit(ctx, &b)
		if errors.Is(err, ErrConflict) { // another replica was faster
			return nil
		}
		return err
	})
}
