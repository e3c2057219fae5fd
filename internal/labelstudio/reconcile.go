package labelstudio

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"nextbatch/internal/state"
)

// hook is a webhook as Label Studio keeps it.
type hook struct {
	ID          int               `json:"id,omitempty"`
	Project     int               `json:"project"`
	URL         string            `json:"url"`
	SendPayload bool              `json:"send_payload"`
	All         bool              `json:"send_for_all_actions"`
	Actions     []string          `json:"actions"`
	Headers     map[string]string `json:"headers"`
	Active      bool              `json:"is_active"`
}

// secretHeader carries the secret of a webhook.
const secretHeader = "X-Webhook-Token"

// actions that a webhook is asked for.
var actions = []string{"ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED", "ANNOTATION_CREATED", "ANNOTATION_UPDATED", "TASKS_DELETED"}

// findHook returns our webhook of a project, or nil.
func (c *Connector) findHook(ctx context.Context, projectID int) (*hook, error) {
	if c.cfg.HookURL == "" {
		return nil, nil
	}
	var all []hook
	if err := c.api.call(ctx, http.MethodGet, fmt.Sprintf("/api/webhooks/?project=%d", projectID), nil, &all); err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].URL == c.hookURL() && all[i].Project == projectID {
			return &all[i], nil
		}
	}
	return nil, nil
}

func (c *Connector) hookURL() string { return strings.TrimRight(c.cfg.HookURL, "/") + HookPath }

// arm makes our webhook, or sets it right: Label Studio switches off one that
// failed too often, and people change them. It reports whether there was
// something to do: some labels were not told of then.
func (c *Connector) arm(ctx context.Context, projectID int) (was bool, err error) {
	if c.cfg.HookURL == "" {
		return false, nil
	}
	have, err := c.findHook(ctx, projectID)
	if err != nil {
		return false, err
	}
	want := hook{Project: projectID, URL: c.hookURL(), SendPayload: true, Actions: actions, Headers: map[string]string{secretHeader: c.secret}, Active: true}
	method, path, how := http.MethodPost, "/api/webhooks/", "made"
	if have != nil {
		slices.Sort(have.Actions)
		if have.Active && have.SendPayload && (have.All || slices.Equal(have.Actions, actions)) && maps.Equal(have.Headers, want.Headers) {
			return false, nil
		}
		method, path, how = http.MethodPatch, fmt.Sprintf("/api/webhooks/%d/", have.ID), "set right"
		if !have.Active {
			how = "switched on again"
		}
	}
	if err := c.api.call(ctx, method, path, want, nil); err != nil {
		return false, err
	}
	c.metrics.rearmed.Inc()
	c.log.Info().Int("project", projectID).Str("url", want.URL).Msg("webhook " + how)
	return true, nil
}

// Comparing again after something was missed: soon, and once more, because
// Label Studio sends some webhooks before it has written what they tell of.
var again = []time.Duration{2 * time.Second, 15 * time.Second}

// compare reconciles a project when it begins, every Config.Every, and when it
// is woken; after a failure until it succeeds.
func (c *Connector) compare(ctx context.Context, p *connected) {
	log := c.log.With().Str("dataset", p.dataset).Int("project", p.project).Logger()
	due := true // not by the timer, which the replicas share; then all is compared
	var m mark
	failures := 0
	var soon []time.Duration
	for ctx.Err() == nil {
		mine := due
		var err error
		if !due {
			mine, err = c.turn(ctx, p)
		}
		if err == nil && mine {
			if due {
				m = mark{}
			}
			err = c.reconcile(ctx, p, &m)
		}
		wait := c.cfg.Every
		due = false
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			wait, due = min(c.cfg.Every, time.Minute, time.Second<<min(failures-1, 6)), true
			c.metrics.problems.WithLabelValues("compare").Inc()
			log.Warn().Err(err).Dur("again_in", wait).Msg("labels not compared")
		default:
			failures = 0
			if len(soon) > 0 {
				wait, soon, due = soon[0], soon[1:], true
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-p.wake:
			soon, due = again[1:], true
			sleep(ctx, again[0]) // more may come at once
			select {
			case <-p.wake:
			default:
			}
		}
		timer.Stop()
	}
}

// turns is the record by which the replicas share the timer.
type turns struct {
	Last time.Time `json:"last"`
}

// turn reports whether it is this replica that compares now.
func (c *Connector) turn(ctx context.Context, p *connected) (bool, error) {
	d, _, err := c.store.Dataset(ctx, p.dataset)
	if errors.Is(err, state.ErrNotFound) {
		return true, nil // there is nothing to compare, but a webhook to look after
	}
	if err != nil {
		return false, err
	}
	var t turns
	rev, err := c.store.Tool(ctx, tool, d, "compared", &t)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return false, err
	}
	if now := time.Now(); now.Sub(t.Last) < c.cfg.Every*9/10 && now.After(t.Last) {
		return false, nil
	}
	_, err = c.store.PutTool(ctx, tool, d, "compared", turns{time.Now().UTC()}, rev)
	if errors.Is(err, state.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// mark is until when a replica has compared. To list 100,000 tasks takes Label
// Studio minutes, so from time to time only those are asked for that were
// changed since.
type mark struct {
	at   time.Time // by the clock of Label Studio; zero: compare all
	full time.Time // when all were compared
}

// All tasks are compared after so long at the latest. In between, those
// are asked for that were changed up to markSlack before the last time: clocks
// differ, and a transaction tells its changes late.
const (
	fullEvery = 6 * time.Hour
	markSlack = 10 * time.Minute
)

// reconcile compares what the tasks of a project say with what they were known
// to say, and tells the difference. The webhook comes first: what happens
// after it is armed is either in the list or told by it.
func (c *Connector) reconcile(ctx context.Context, p *connected, m *mark) error {
	began := time.Now()
	armed, err := c.arm(ctx, p.project)
	if err != nil { // without a webhook comparing is all there is
		c.metrics.problems.WithLabelValues("webhook").Inc()
		c.log.Warn().Err(err).Str("dataset", p.dataset).Int("project", p.project).Msg("no webhook; labels are looked for from time to time")
	}
	var changed []any
	if armed || began.Sub(m.full) > fullEvery {
		*m = mark{full: began}
	} else if !m.at.IsZero() {
		changed = []any{changedSince(m.at.Add(-markSlack))}
	}
	d, _, err := c.store.Dataset(ctx, p.dataset)
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	before, err := c.readLedger(ctx, d)
	if err != nil {
		return err
	}
	k, err := c.known(ctx, d)
	if err != nil {
		return err
	}
	var words []word
	var all duplicates
	total, unknown := 0, 0
	newest := m.at
	err = c.api.tasks(ctx, p.project, changed, func(t task) error {
		total++
		// A stamp may lie ahead: Label Studio writes some in another time zone.
		if at, err := time.Parse(time.RFC3339, t.UpdatedAt); err == nil && at.After(newest) && at.Before(began) {
			newest = at
		}
		all.see(p, t)
		w, ok, err := k.word(p, t)
		if ok {
			words = append(words, w)
		} else {
			unknown++
		}
		return err
	})
	if err != nil {
		return err
	}
	counts, err := c.tell(ctx, p, d, words, before)
	c.metrics.tell(counts, "comparison")
	c.metrics.ignored.WithLabelValues("unknown").Add(float64(unknown))
	if err != nil {
		return err
	}
	if err := c.removeDuplicates(ctx, all); err != nil {
		return err
	}
	m.at = newest
	c.metrics.compared.SetToCurrentTime()
	log := c.log.Debug()
	if counts.labeled+counts.skipped+counts.withdrawn > 0 {
		log = c.log.Info()
	}
	log.Str("dataset", p.dataset).Int("project", p.project).Int("tasks", total).Int("unknown", unknown).Int("labeled", counts.labeled).
		Int("skipped", counts.skipped).Int("withdrawn", counts.withdrawn).Dur("took", time.Since(began)).Msg("labels compared")
	return nil
}
