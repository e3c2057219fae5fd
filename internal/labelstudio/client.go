package labelstudio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// client speaks the HTTP API of Label Studio.
type client struct {
	base  string
	token string
	http  *http.Client

	bearer bearer
}

// Limits of what is read of an answer.
const (
	maxAnswer = 256 << 20
	maxFault  = 16 << 10
)

// A request is tried so often, while Label Studio says that it is busy, or
// nothing; who calls has a longer patience.
const tries = 3

func newClient(base, token string) *client {
	return &client{base: strings.TrimRight(base, "/"), token: token, http: &http.Client{
		Timeout: 5 * time.Minute, // an import of many tasks takes long
		// A redirect would turn a POST into a GET, or take the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// apiError is an answer that is none.
type apiError struct {
	method, path string
	status       int
	message      string
	hint         string
}

func (e *apiError) Error() string {
	s := fmt.Sprintf("Label Studio, %s %s: %d: %s", e.method, e.path, e.status, e.message)
	if e.hint != "" {
		s += "; " + e.hint
	}
	return s
}

// status is the HTTP status of an error, 0 if it is none of Label Studio's.
func status(err error) int {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e.status
	}
	return 0
}

// call sends in as JSON, if it is not nil, and reads the answer into out, if
// that is not nil. What only reads, or writes the same whenever it is sent, is
// tried again after a while where that may help; other requests are not, since
// they may have had their effect.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	renewed := false
	for try := 1; ; try++ {
		err := c.once(ctx, method, path, body, out)
		again := method != http.MethodPost && try < tries && ctx.Err() == nil && (status(err) == 0 || status(err) >= 500 || status(err) == http.StatusTooManyRequests)
		if status(err) == http.StatusUnauthorized && isJWT(c.token) && !renewed {
			c.bearer.forget()
			renewed, again = true, true // it was refused: nothing has happened
		}
		if err == nil || !again {
			return err
		}
		if !renewed || status(err) != http.StatusUnauthorized {
			sleep(ctx, time.Duration(try)*time.Second)
		}
	}
}

func (c *client) once(ctx context.Context, method, path string, body []byte, out any) error {
	auth, err := c.authorization(ctx)
	if err != nil {
		return err
	}
	return c.send(ctx, method, path, body, out, auth)
}

func (c *client) send(ctx context.Context, method, path string, body []byte, out any, auth string) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("Label Studio: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return c.fault(method, path, resp)
	}
	if out == nil {
		return nil
	}
	dec := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer))
	if err := dec.Decode(out); err != nil {
		return fmt.Errorf("Label Studio, %s %s: the answer is not the JSON of its API: %w", method, path, err)
	}
	return nil
}

// fault reads what an answer complains of.
func (c *client) fault(method, path string, resp *http.Response) error {
	path, _, _ = strings.Cut(path, "?")
	e := &apiError{method: method, path: path, status: resp.StatusCode, message: http.StatusText(resp.StatusCode)}
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxFault))
	var told struct {
		Detail string          `json:"detail"`
		Faults json.RawMessage `json:"validation_errors"`
	}
	if json.Unmarshal(raw, &told) == nil && told.Detail != "" {
		e.message = told.Detail
		if len(told.Faults) > 0 && string(told.Faults) != "null" {
			e.message += ": " + string(told.Faults[:min(len(told.Faults), 1000)])
		}
	}
	switch {
	case resp.StatusCode < 400:
		e.message = "it redirects to " + resp.Header.Get("Location")
		e.hint = "set AL_LABELSTUDIO_URL to the address that it answers at"
	case resp.StatusCode == http.StatusUnauthorized:
		e.hint = refusedToken(c.token)
	case resp.StatusCode == http.StatusForbidden && strings.Contains(e.message, "reserved network"):
		e.hint = "Label Studio sends no webhooks to private addresses; start it with SSRF_PROTECTION_ENABLED=false, or let AL_LABELSTUDIO_HOOK_URL be a public one"
	case resp.StatusCode == http.StatusForbidden:
		e.hint = "the token's user may not do this: give it the project, and a role that may change it"
	case resp.StatusCode == http.StatusNotFound && strings.HasPrefix(path, "/api/projects/"):
		e.hint = "AL_LABELSTUDIO_PROJECTS names a project that does not exist, or that the token's user may not see"
	}
	return e
}

// project is what of a project matters here.
type project struct {
	ID       int                        `json:"id"`
	Title    string                     `json:"title"`
	Sampling string                     `json:"sampling"`
	Version  string                     `json:"model_version"`
	Config   map[string]json.RawMessage `json:"parsed_label_config"` // by control
}

func (c *client) project(ctx context.Context, id int) (p project, err error) {
	err = c.call(ctx, http.MethodGet, fmt.Sprintf("/api/projects/%d/", id), nil, &p)
	return p, err
}

// imageField is the key in a task's data from which the project shows the
// image.
func (p project) imageField() (string, error) {
	field := ""
	for _, raw := range p.Config {
		var control struct {
			Inputs []struct{ Type, Value string } `json:"inputs"`
		}
		if json.Unmarshal(raw, &control) != nil { // of a kind that we do not know
			continue
		}
		for _, in := range control.Inputs {
			if in.Type == "Image" && (field == "" || in.Value < field) {
				field = in.Value
			}
		}
	}
	if field == "" {
		return "", fmt.Errorf("Label Studio: project %d (%s) has no <Image> that a label refers to: finish its labeling interface under Settings", p.ID, p.Title)
	}
	if field == "filename" || strings.HasPrefix(field, "al_") {
		return "", fmt.Errorf("Label Studio: project %d (%s) shows its images from $%s, which tasks need for something else: call it $image in its labeling interface", p.ID, p.Title, field)
	}
	return field, nil
}

// task is one task of a listing or of a webhook.
type task struct {
	ID        int             `json:"id"`
	Data      json.RawMessage `json:"data"`
	Labeled   bool            `json:"is_labeled"`
	Done      int             `json:"total_annotations"` // those that were skipped are not among them
	Skipped   int             `json:"cancelled_annotations"`
	UpdatedAt string          `json:"updated_at"`

	Predictions int `json:"total_predictions"`
}

// pageSize is how many tasks are asked for at a time.
const pageSize = 500

// tasks calls f with every task of a project that fits the filters, by id.
func (c *client) tasks(ctx context.Context, projectID int, filters []any, f func(task) error) error {
	query := map[string]any{"ordering": []string{"tasks:id"}}
	if len(filters) > 0 {
		query["filters"] = map[string]any{"conjunction": "and", "items": filters}
	}
	text, err := json.Marshal(query)
	if err != nil {
		return err
	}
	last := 0
	for page, seen := 1, 0; ; page++ {
		var answer struct {
			Total int    `json:"total"`
			Tasks []task `json:"tasks"`
		}
		v := url.Values{"project": {fmt.Sprint(projectID)}, "page": {fmt.Sprint(page)}, "page_size": {fmt.Sprint(pageSize)}, "query": {string(text)}}
		err := c.call(ctx, http.MethodGet, "/api/tasks?"+v.Encode(), nil, &answer)
		if status(err) == http.StatusNotFound && page > 1 { // tasks were deleted meanwhile: there is no such page any more
			return nil
		}
		if err != nil {
			return err
		}
		for _, t := range answer.Tasks {
			if t.ID <= last {
				continue // pages move when tasks are added
			}
			last = t.ID
			if err := f(t); err != nil {
				return err
			}
		}
		if seen += len(answer.Tasks); len(answer.Tasks) == 0 || seen >= answer.Total {
			return nil
		}
	}
}

// changedSince is a filter of the data manager on when a task was changed.
func changedSince(at time.Time) map[string]any {
	return map[string]any{"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime", "value": at.UTC().Format("2006-01-02T15:04:05.000000Z")}
}

// equal is one on a field of the tasks' data.
func equal(field, value string) map[string]any {
	return map[string]any{"filter": "filter:tasks:data." + field, "operator": "equal", "type": "String", "value": value}
}

// importTasks adds tasks. It is not idempotent: after an error tasks may be
// there.
func (c *client) importTasks(ctx context.Context, projectID int, tasks []newTask) error {
	var answer struct {
		Count  *int `json:"task_count"`
		Import int  `json:"import"` // of editions that import in the background
	}
	if err := c.call(ctx, http.MethodPost, fmt.Sprintf("/api/projects/%d/import", projectID), tasks, &answer); err != nil {
		return err
	}
	for wait := 200 * time.Millisecond; answer.Count == nil; wait = min(2*wait, 5*time.Second) {
		sleep(ctx, wait)
		var state struct {
			Status string `json:"status"`
			Error  string `json:"error"`
		}
		if err := c.call(ctx, http.MethodGet, fmt.Sprintf("/api/projects/%d/imports/%d", projectID, answer.Import), nil, &state); err != nil {
			return err
		}
		switch state.Status {
		case "completed":
			return nil
		case "failed":
			return fmt.Errorf("Label Studio: import %d into project %d failed: %.1000s", answer.Import, projectID, state.Error)
		}
	}
	if *answer.Count != len(tasks) {
		return fmt.Errorf("Label Studio: project %d took %d of %d tasks", projectID, *answer.Count, len(tasks))
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
