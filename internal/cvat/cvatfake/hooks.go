package cvatfake

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Delivery is a webhook that was sent, or that was lost.
type Delivery struct {
	Event     string
	Body      []byte
	Signature string
	Status    int // 0: lost, or no answer
}

// Sent returns the deliveries so far.
func (c *CVAT) Sent() (all []Delivery) {
	c.sending.Wait()
	c.with(func() { all = slices.Clone(c.sent) })
	return all
}

// Hooks counts the webhooks that there are.
func (c *CVAT) Hooks() (n int) {
	c.with(func() { n = len(c.hooks) })
	return n
}

// Sign is the value of X-Signature-256.
func Sign(secret string, body []byte) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(body)
	return "sha256=" + hex.EncodeToString(h.Sum(nil))
}

// send queues a webhook for each hook of a project that listens.
func (c *CVAT) send(event string, project int, data map[string]any) {
	for _, h := range c.hooks {
		if h.project == project && h.active && slices.Contains(h.events, event) {
			m := maps.Clone(data)
			m["event"], m["webhook_id"], m["sender"] = event, h.id, c.user()
			c.deliver(h, event, m)
		}
	}
}

// deliver sends a webhook beside what else goes on, and again when the answer
// is 5xx, 408 or 429, or none.
func (c *CVAT) deliver(h *webhook, event string, m map[string]any) {
	body, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	d := Delivery{Event: event, Body: body}
	if h.secret != "" {
		d.Signature = Sign(h.secret, body)
	}
	if c.losing {
		c.sent = append(c.sent, d)
		return
	}
	c.sending.Go(func() {
		for try := range 4 {
			time.Sleep(time.Duration(try) * 50 * time.Millisecond)
			d.Status = c.post(h.target, d)
			c.with(func() {
				c.sent = append(c.sent, d)
				h.last = d.Status
			})
			if d.Status != 0 && d.Status < 500 && d.Status != http.StatusRequestTimeout && d.Status != http.StatusTooManyRequests {
				return
			}
		}
	})
}

func (c *CVAT) post(target string, d Delivery) int {
	r, err := http.NewRequest(http.MethodPost, target, bytes.NewReader(d.Body))
	if err != nil {
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	if d.Signature != "" {
		r.Header.Set("X-Signature-256", d.Signature)
	}
	resp, err := c.sender.Do(r)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (c *CVAT) hookRoutes(mux *http.ServeMux) {
	find := func(n int) *webhook {
		if i := slices.IndexFunc(c.hooks, func(h *webhook) bool { return h.id == n }); i >= 0 {
			return c.hooks[i]
		}
		return nil
	}
	type spec struct {
		Target      *string  `json:"target_url"`
		Type        *string  `json:"type"`
		Project     *int     `json:"project_id"`
		Events      []string `json:"events"`
		Secret      *string  `json:"secret"`
		Active      *bool    `json:"is_active"`
		Description *string  `json:"description"`
	}
	apply := func(h *webhook, in spec) {
		for _, s := range []struct{ to, from *string }{{&h.target, in.Target}, {&h.secret, in.Secret}, {&h.description, in.Description}} {
			if s.from != nil {
				*s.to = *s.from
			}
		}
		if in.Events != nil {
			h.events = in.Events
		}
		if in.Active != nil {
			h.active = *in.Active
		}
	}
	mux.HandleFunc("GET /api/webhooks", func(w http.ResponseWriter, r *http.Request) {
		var all []any
		for _, h := range c.hooks {
			if is(r, "project_id", h.project) {
				all = append(all, c.hookJSON(h))
			}
		}
		list(w, r, all)
	})
	mux.HandleFunc("POST /api/webhooks", func(w http.ResponseWriter, r *http.Request) {
		var in spec
		if !body(w, r, &in) {
			return
		}
		if in.Type == nil || *in.Type != "project" || in.Project == nil || c.projects[*in.Project] == "" || in.Target == nil || len(in.Events) == 0 {
			refuse(w, "a webhook of a project needs type, project_id, target_url and events")
			return
		}
		h := &webhook{id: 100 + c.next(), project: *in.Project, active: true}
		apply(h, in)
		c.hooks = append(c.hooks, h)
		answer(w, http.StatusCreated, c.hookJSON(h))
	})
	mux.HandleFunc("PATCH /api/webhooks/{id}", func(w http.ResponseWriter, r *http.Request) {
		var in spec
		if h := find(number(r)); h == nil {
			none(w)
		} else if body(w, r, &in) {
			apply(h, in)
			answer(w, http.StatusOK, c.hookJSON(h))
		}
	})
	mux.HandleFunc("DELETE /api/webhooks/{id}", func(w http.ResponseWriter, r *http.Request) {
		c.hooks = slices.DeleteFunc(c.hooks, func(h *webhook) bool { return h.id == number(r) })
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /api/webhooks/{id}/ping", func(w http.ResponseWriter, r *http.Request) {
		h := find(number(r))
		if h == nil {
			none(w)
			return
		}
		made := time.Now()
		body, _ := json.Marshal(map[string]any{"event": "ping", "webhook": c.hookJSON(h), "sender": c.user()})
		d := Delivery{Event: "ping", Body: body, Signature: Sign(h.secret, body)}
		d.Status = c.post(h.target, d)
		h.last = d.Status
		c.sent = append(c.sent, d)
		answer(w, http.StatusOK, map[string]any{"id": c.next(), "webhook_id": h.id, "event": "ping", "status_code": d.Status, "redelivery": false, "attempt": 1,
			"request_duration": time.Since(made).Milliseconds(), "created_date": stamp(made), "updated_date": stamp(made), "changed_fields": "", "request": map[string]any{}, "response": ""})
	})
}
