package cvat

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"nextbatch/internal/annotation"
	"nextbatch/internal/events"
	"nextbatch/internal/failpoint"
	"nextbatch/internal/state"
)

// say publishes what is new in said. The record is written before, with what
// is about to be said, and after: so a crash in between says it again, with the
// same id, even if CVAT tells something else by then.
func (c *Connector) say(ctx context.Context, d state.Dataset, id string, p *part, rev uint64, said []byte) error {
	if string(said) == p.Said {
		_, err := c.save(ctx, d, id, p, rev)
		return err
	}
	p.Before, p.Said = p.Said, string(said)
	p.Changes++
	rev, err := c.save(ctx, d, id, p, rev)
	if err != nil {
		return err
	}
	failpoint.Hit("cvat-saying")
	_, err = c.finishSaying(ctx, d, id, p, rev)
	return err
}

// finishSaying publishes what a record says is about to be said.
func (c *Connector) finishSaying(ctx context.Context, d state.Dataset, id string, p *part, rev uint64) (uint64, error) {
	if p.Before == "" {
		return rev, nil
	}
	labels := events.Labels{Tag: p.Tag}
	for i, file := range p.Files {
		if p.Said[i] == p.Before[i] {
			continue
		}
		switch p.Said[i] {
		case labeled:
			labels.Labeled = append(labels.Labeled, file)
		case skipped:
			labels.Skipped = append(labels.Skipped, file)
		default:
			labels.Unlabeled = append(labels.Unlabeled, file)
		}
	}
	_, _, err := c.state.Tag(ctx, d.Name, p.Tag)
	if errors.Is(err, state.ErrNotFound) {
		labels.Tag = "" // it was deleted; the labels are not
	} else if err != nil {
		return rev, err
	}
	unique := state.HexID(32, id, strconv.Itoa(p.Changes), p.Said)
	if err := annotation.Publish(ctx, c.js, "/"+c.cfg.Instance+"/cvat", unique, d, labels); err != nil {
		return rev, err
	}
	failpoint.Hit("cvat-said")
	p.Before = ""
	if rev, err = c.save(ctx, d, id, p, rev); err != nil {
		return rev, err
	}
	for status, list := range map[string][]string{"labeled": labels.Labeled, "skipped": labels.Skipped, "withdrawn": labels.Unlabeled} {
		c.metrics.labels.WithLabelValues(status).Add(float64(len(list)))
	}
	left := strings.Count(p.Said, string(nothing))
	c.log.Info().Str("dataset", d.Name).Str("tag", p.Tag).Int("task", p.Task).Int("labeled", len(labels.Labeled)).Int("skipped", len(labels.Skipped)).
		Int("withdrawn", len(labels.Unlabeled)).Int("left", left).Bool("finished", left == 0).Msg("labels")
	return rev, nil
}
