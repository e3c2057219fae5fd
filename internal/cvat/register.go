package cvat

import (
	"context"
	"sync"
)

// hooks makes sure that projects have our webhook.
type hooks struct {
	mu  sync.Mutex   // held while CVAT is asked: within a process it is done one at a time
	set map[int]bool // by project: our secret was given to it
}

// ensure makes the webhook of a dataset's project where it is missing, gives
// it our secret once per process, and removes what replicas made twice. A
// failure is no reason not to go on: labels are found without webhooks too.
func (h *hooks) ensure(ctx context.Context, c *Connector, dataset string) {
	if c.cfg.HookURL == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	project := c.cfg.Projects[dataset]
	if err := h.register(ctx, c, project); err != nil && ctx.Err() == nil {
		c.metrics.problems.WithLabelValues("webhook").Inc()
		c.log.Warn().Err(err).Str("dataset", dataset).Int("project", project).Msg("the webhook is not set up: labels are found only by looking at all jobs")
	}
}

func (h *hooks) register(ctx context.Context, c *Connector, project int) error {
	all, err := c.client.webhooks(ctx, project)
	if err != nil {
		return err
	}
	ours := 0
	for _, w := range all {
		switch {
		case w.Target != c.target():
		case ours == 0:
			ours = w.ID
			if !w.Active {
				c.log.Warn().Int("project", project).Int("webhook", w.ID).Msg("the webhook is switched off in CVAT: labels are found only by looking at all jobs")
			}
		default:
			if err := c.client.deleteWebhook(ctx, w.ID); err != nil {
				return err
			}
		}
	}
	if ours != 0 && h.set[project] {
		return nil
	}
	err = c.client.putWebhook(ctx, ours, project, c.target(), c.cfg.Secrets[0])
	h.set[project] = err == nil
	return err
}
