package cvat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// client speaks to the server API of CVAT, version 2. It makes each call once:
// who calls knows whether a call may be repeated.
type client struct {
	base string // without a slash at the end
	auth string
	org  string
	http *http.Client
}

const (
	callTimeout = 60 * time.Second
	maxAnswer   = 64 << 20 // bytes: the frames of a large task
	pageSize    = 100
)

func newClient(base, token, org string) (*client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the address of CVAT is %q: want http://host or https://host", base)
	}
	if token == "" {
		return nil, errors.New("CVAT needs an access token: in CVAT, Profile > Security > Access tokens")
	}
	auth := "Bearer " + token // a personal access token
	if kind, _, ok := strings.Cut(token, " "); ok && (kind == "Bearer" || kind == "Token") {
		auth = token
	}
	return &client{strings.TrimSuffix(base, "/"), auth, org, &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone(), Timeout: callTimeout, CheckRedirect: noRedirect}}, nil
}

// close lets go of connections that are kept for later calls.
func (c *client) close() { c.http.CloseIdleConnections() }

// noRedirect: a redirected POST would become a GET, and a token has no business
// elsewhere.
func noRedirect(r *http.Request, _ []*http.Request) error {
	return fmt.Errorf("it redirects to %s://%s: set AL_CVAT_URL to where CVAT is", r.URL.Scheme, r.URL.Host)
}

// statusError is an answer of CVAT that is no success.
type statusError struct {
	call string
	code int
	text string
	wait time.Duration // Retry-After
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("%s: CVAT answers %d", e.call, e.code)
	if e.text != "" {
		s += ": " + e.text
	}
	switch e.code {
	case http.StatusUnauthorized:
		s += " (is AL_CVAT_TOKEN right, and not expired?)"
	case http.StatusForbidden:
		s += " (may the token's user see and change the project? is AL_CVAT_ORG right?)"
	}
	return s
}

// gone reports whether CVAT says that something does not exist.
func gone(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.code == http.StatusNotFound
}

// refused reports whether CVAT was asked and said no to this very thing.
func refused(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	if !ok {
		return false
	}
	switch e.code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusLocked, http.StatusTooManyRequests:
		return false // that passes, or is about CVAT as a whole
	}
	return e.code >= 400 && e.code < 500
}

// denied reports whether the token's user may not do this. That can be about a
// single project.
func denied(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.code == http.StatusForbidden
}

// broken reports whether CVAT is there, but fails at this very thing.
func broken(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.code == http.StatusInternalServerError
}

// patience is after how many attempts something at which CVAT fails no longer
// holds up what comes after it: reconciliation goes on with it.
const patience = 10

// call makes one request. The answer is decoded into out unless that is nil.
func (c *client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	what := method + " " + path
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	r.Header.Set("Authorization", c.auth)
	r.Header.Set("Accept", "application/vnd.cvat+json")
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.org != "" {
		r.Header.Set("X-Organization", c.org)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("%s: %w", what, errors.Unwrap(err)) // without the URL a second time
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 2048))
		wait, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return &statusError{what, resp.StatusCode, words(text), min(time.Duration(max(wait, 0))*time.Second, time.Hour)}
	}
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if len(data) > maxAnswer {
		return fmt.Errorf("%s: the answer has more than %d MiB", what, maxAnswer>>20)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s: this is not an answer of CVAT: %w", what, err)
	}
	return nil
}

// words is what a person wants to read of an error page.
func words(b []byte) string {
	s := strings.ToValidUTF8(strings.TrimSpace(string(b)), "")
	if strings.HasPrefix(s, "<") {
		return ""
	}
	s = strings.Join(strings.Fields(s), " ")
	for len(s) > 300 {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// pages calls f with every result of a list.
func pages[T any](ctx context.Context, c *client, path string, query url.Values, f func(T)) error {
	query = url.Values(http.Header(query).Clone())
	query.Set("page_size", strconv.Itoa(pageSize))
	for page := 1; ; page++ {
		query.Set("page", strconv.Itoa(page))
		var answer struct {
			Next    *string `json:"next"`
			Results []T     `json:"results"`
		}
		if err := c.call(ctx, http.MethodGet, path, query, nil, &answer); err != nil {
			return err
		}
		for _, r := range answer.Results {
			f(r)
		}
		if answer.Next == nil || *answer.Next == "" || len(answer.Results) == 0 {
			return nil
		}
	}
}
