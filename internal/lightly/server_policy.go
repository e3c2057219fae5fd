package lightly

import (
	"errors"
	"io"
	"net/http"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// getPolicy answers what worker datasets policy --json prints.
func (c *call) getPolicy() error {
	d, _, err := c.datasetByIDOrName()
	if err != nil {
		return err
	}
	if d.Policy == nil {
		d.Policy = &events.Policy{}
	}
	return c.answer(d.Policy)
}

// putPolicy replaces the policy; an empty object takes it away.
func (c *call) putPolicy() error {
	body, err := io.ReadAll(c.r.Body)
	if err != nil {
		return err
	}
	p, err := events.DecodePolicy(body)
	if wrong, ok := errors.AsType[*events.Error](err); ok {
		return refuse(http.StatusBadRequest, "BAD_POLICY", "%s", wrong.Message)
	} else if err != nil {
		return err
	}
	err = c.again(func() error {
		d, rev, err := c.datasetByIDOrName()
		if err != nil {
			return err
		}
		if d.Policy = &p; p.IsZero() {
			d.Policy = nil
		}
		var b state.Batch
		b.Dataset(d, rev)
		return c.commit(&b)
	})
	if err != nil {
		return err
	}
	return c.answer(p)
}
