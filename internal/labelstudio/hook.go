package labelstudio

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"nextbatch/internal/state"
)

// Limits of a webhook. Label Studio waits for a second, and does not come
// again.
const (
	maxHook  = 16 << 20
	readTime = 10 * time.Second // until the body must be here
	workTime = 10 * time.Second // until its labels must be stored
)

// ServeHTTP takes a webhook: it answers when its labels are stored. Whatever
// is wrong with it, the labels that it tells of are not lost, as long as its
// secret is right: they are compared soon.
func (c *Connector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, outcome, why string) {
		c.metrics.hooks.WithLabelValues(outcome).Inc()
		c.log.Warn().Str("outcome", outcome).Str("from", r.RemoteAddr).Msg("webhook refused: " + why)
		w.Header().Set("Connection", "close") // what is left of the body is not read
		http.Error(w, why, status)
	}
	if !c.authentic(r) {
		refuse(http.StatusUnauthorized, "unauthorized", "no secret, or a wrong one, in the header "+secretHeader)
		return
	}
	c.metrics.last.SetToCurrentTime()
	if r.ContentLength > maxHook {
		c.wakeAll()
		refuse(http.StatusRequestEntityTooLarge, "too_large", "larger than 16 MiB: the labels are compared instead")
		return
	}
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(readTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHook))
	control.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		c.wakeAll()
		refuse(http.StatusRequestEntityTooLarge, "too_large", "larger than 16 MiB: the labels are compared instead")
		return
	case err != nil:
		c.wakeAll()
		refuse(http.StatusRequestTimeout, "broken_off", "the body did not come")
		return
	}
	var e hookEvent
	if err := json.Unmarshal(body, &e); err != nil {
		c.wakeAll()
		refuse(http.StatusBadRequest, "bad_json", "not the JSON of a webhook of Label Studio")
		return
	}
	// Who sent it does not wait for long, but the work goes on.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), workTime)
	defer cancel()
	outcome, err := c.hear(ctx, e)
	if err != nil {
		c.wakeAll()
		c.log.Warn().Err(err).Str("action", e.Action).Msg("webhook not stored")
		c.metrics.hooks.WithLabelValues("not_stored").Inc()
		http.Error(w, "not stored; the labels are compared later", http.StatusServiceUnavailable)
		return
	}
	c.metrics.hooks.WithLabelValues(outcome).Inc()
	w.WriteHeader(http.StatusNoContent)
}

// authentic reports whether a request carries one of the secrets. The time
// that it takes says nothing about them.
func (c *Connector) authentic(r *http.Request) bool {
	given := r.Header.Get(secretHeader)
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && given == "" {
		given = bearer
	}
	digest := sha256.Sum256([]byte(given))
	right := 0
	for _, s := range c.secrets {
		right |= subtle.ConstantTimeCompare(digest[:], s[:])
	}
	return right == 1
}

// wakeAll lets all projects be compared soon.
func (c *Connector) wakeAll() {
	for _, p := range c.projects {
		p.rouse()
	}
}

func (p *connected) rouse() {
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

// hookEvent is the body of a webhook.
type hookEvent struct {
	Action  string `json:"action"`
	Project *struct {
		ID int `json:"id"`
	} `json:"project"`
	Tasks oneOrAll `json:"task"`
}

// oneOrAll is a task, or a list of them.
type oneOrAll []task

func (o *oneOrAll) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, (*[]task)(o))
	}
	var t task
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	*o = oneOrAll{t}
	return nil
}

// hear acts on a webhook and says what became of it.
func (c *Connector) hear(ctx context.Context, e hookEvent) (outcome string, err error) {
	if e.Project == nil { // one that was made without its contents
		c.wakeAll()
		return "no_contents", nil
	}
	p := c.projects[e.Project.ID]
	if p == nil {
		return "other_project", nil
	}
	switch e.Action {
	case "ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED":
	case "ANNOTATIONS_DELETED", "TASKS_DELETED": // with numbers of what is no more
		p.rouse()
		return "deleted", nil
	default:
		return "other_action", nil
	}
	d, _, err := c.store.Dataset(ctx, p.dataset)
	if errors.Is(err, state.ErrNotFound) {
		return "unknown", nil
	}
	if err != nil {
		return "", err
	}
	k, err := c.known(ctx, d)
	if err != nil {
		return "", err
	}
	var words []word
	unknown := 0
	for _, t := range e.Tasks {
		w, ok, err := k.word(p, t)
		if err != nil {
			return "", err
		}
		if ok {
			words = append(words, w)
		} else {
			unknown++
		}
	}
	c.metrics.ignored.WithLabelValues("unknown").Add(float64(unknown))
	counts, err := c.tell(ctx, p, d, words, nil)
	c.metrics.tell(counts, "webhook")
	if counts.stale > 0 { // overtaken, or the clock of Label Studio went back
		p.rouse()
	}
	if len(words) == 0 {
		return "unknown", err
	}
	return "taken", err
}
