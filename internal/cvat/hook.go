package cvat

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"nextbatch/internal/failpoint"
	"nextbatch/internal/state"
)

// Bounds of a webhook. CVAT's are a few kilobytes, and it waits ten seconds.
const (
	maxBody   = 1 << 20
	bodyTime  = 5 * time.Second
	storeTime = 5 * time.Second
	maxBodies = 32 // read at a time: what strangers send may not fill the memory
)

// payload is what is read of a webhook: which thing it is about.
type payload struct {
	Event string   `json:"event"`
	Job   *cvatJob `json:"job"`
	Task  *struct {
		ID        int `json:"id"`
		ProjectID int `json:"project_id"`
	} `json:"task"`
}

// ServeHTTP receives a webhook of CVAT. It checks the signature over the very
// bytes, stores what to look at, and answers; nothing is asked of CVAT here. An
// answer of 2xx means: stored, or of no interest.
func (c *Connector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	code, outcome, words := c.receive(w, r)
	c.metrics.hooks.WithLabelValues(outcome).Inc()
	log := c.log.Debug()
	if code >= 400 {
		log = c.log.Warn()
	}
	log.Int("status", code).Str("outcome", outcome).Str("from", r.RemoteAddr).Msg("webhook: " + words)
	if code >= 400 {
		w.Header().Set("Connection", "close") // what is left of the body is not read
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	fmt.Fprintln(w, words)
}

func (c *Connector) receive(w http.ResponseWriter, r *http.Request) (code int, outcome, words string) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed, "bad", "a webhook is a POST"
	}
	if len(c.cfg.Secrets) == 0 {
		return http.StatusForbidden, "unsigned", "webhooks are off: set AL_CVAT_SECRET to the secret that the webhook has in CVAT"
	}
	mac, ok := signature(r.Header.Values("X-Signature-256"))
	if !ok {
		return http.StatusUnauthorized, "unsigned", "X-Signature-256: sha256=… is missing: give the webhook a secret in CVAT"
	}
	if r.ContentLength > maxBody {
		return http.StatusRequestEntityTooLarge, "large", "larger than a webhook of CVAT"
	}
	select {
	case c.bodies <- struct{}{}:
		defer func() { <-c.bodies }()
	default:
		w.Header().Set("Retry-After", "1")
		return http.StatusServiceUnavailable, "busy", "too many at a time"
	}
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(bodyTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return http.StatusRequestEntityTooLarge, "large", "larger than a webhook of CVAT"
	}
	if err != nil {
		return http.StatusRequestTimeout, "slow", "the body did not come"
	}
	control.SetReadDeadline(time.Time{})
	if !c.signed(body, mac) {
		return http.StatusUnauthorized, "forged", "the signature is of another secret: AL_CVAT_SECRET must be the one of the webhook in CVAT"
	}
	var p payload
	if err := json.Unmarshal(body, &p); err != nil {
		return http.StatusBadRequest, "bad", "no webhook of CVAT: " + err.Error()
	}
	project, what := 0, ""
	switch {
	case p.Event == "update:job" && p.Job != nil && p.Job.ID > 0:
		project, what = p.Job.ProjectID, fmt.Sprintf("job-%d", p.Job.ID)
	case p.Event == "delete:task" && p.Task != nil && p.Task.ID > 0:
		project, what = p.Task.ProjectID, taskRecord(p.Task.ID)
	default:
		return http.StatusOK, "ignored", "nothing to do"
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTime)
	defer cancel()
	for dataset, n := range c.cfg.Projects {
		if n != project {
			continue
		}
		d, _, err := c.state.Dataset(ctx, dataset)
		if errors.Is(err, state.ErrNotFound) {
			return http.StatusOK, "ignored", "nothing to do"
		}
		if err == nil {
			err = c.put(ctx, d, what)
		}
		if err != nil { // CVAT sends it again, or looking at all jobs finds it
			c.log.Error().Err(err).Str("what", what).Msg("store a webhook")
			return http.StatusServiceUnavailable, "unstored", "could not be stored"
		}
		failpoint.Hit("cvat-hooked")
		return http.StatusOK, "stored", "stored"
	}
	return http.StatusOK, "ignored", "nothing to do"
}

// signature reads the header, of which there must be one.
func signature(header []string) (mac []byte, ok bool) {
	if len(header) != 1 {
		return nil, false
	}
	text, ok := strings.CutPrefix(header[0], "sha256=")
	if !ok {
		return nil, false
	}
	mac, err := hex.DecodeString(text)
	return mac, err == nil && len(mac) == sha256.Size
}

// signed reports whether the body was signed with one of our secrets. How long
// it takes does not depend on which, or on how much is right.
func (c *Connector) signed(body, mac []byte) bool {
	ok := 0
	for _, secret := range c.cfg.Secrets {
		h := hmac.New(sha256.New, []byte(secret))
		h.Write(body)
		ok |= subtle.ConstantTimeCompare(h.Sum(nil), mac)
	}
	return ok == 1
}
