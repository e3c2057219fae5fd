package lightly

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Bounds of what is read from the platform, in bytes after decompression.
const (
	smallAnswer   = 16 << 20  // one object; a tag of 60 million rows
	listAnswer    = 512 << 20 // filenames of a dataset, tags with their masks
	errorAnswer   = 8 << 10
	errorTextSize = 300 // characters of the platform's words in a message
)

const (
	maxAttempts   = 4                // of a call that may be repeated, unless Config says otherwise
	maxRetryAfter = 30 * time.Second // longer waits are the caller's
)

// request is one call. The path starts with /v1 and is escaped.
type request struct {
	method, path string
	query        url.Values
	body         any   // nil = none
	limit        int64 // bytes of the answer
	decode       func(*json.Decoder) error
	signed       *signedCall // instead of path, query and body
}

func (r request) String() string {
	if r.signed != nil {
		return r.method + " " + r.signed.what
	}
	return r.method + " " + r.path
}

func get(path string, query url.Values, limit int64, decode func(*json.Decoder) error) request {
	return request{method: http.MethodGet, path: path, query: query, limit: limit, decode: decode}
}

func post(path string, body any, decode func(*json.Decoder) error) request {
	return request{method: http.MethodPost, path: path, body: body, limit: smallAnswer, decode: decode}
}

// one decodes a single JSON value into a fresh *dst.
func one[T any](dst *T) func(*json.Decoder) error {
	return func(d *json.Decoder) error {
		var v *T
		if err := d.Decode(&v); err != nil {
			return err
		}
		if v == nil {
			return errors.New("null instead of an object")
		}
		*dst = *v
		return nil
	}
}

// each decodes an array and hands over its elements as they arrive, so that
// the list itself is never in memory. begin is called first, also when a
// repeated call starts over.
func each[T any](begin func(), element func(T) error) func(*json.Decoder) error {
	return func(d *json.Decoder) error {
		begin()
		t, err := d.Token()
		if err != nil {
			return err
		}
		if t != json.Delim('[') {
			return fmt.Errorf("%v instead of a list", cmp.Or[any](t, "null"))
		}
		for d.More() {
			var v *T
			if err := d.Decode(&v); err != nil {
				return err
			}
			if v == nil {
				return errors.New("null in a list")
			}
			if err := element(*v); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	}
}

// do makes a call that may be repeated, a few times while the fault is one
// that passes.
func (c *Client) do(ctx context.Context, r request) error {
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, r)
		e, _ := errors.AsType[*Error](err)
		if e == nil || !e.Transient || e.context != nil || attempt >= c.attempts || e.RetryAfter > maxRetryAfter {
			return err
		}
		if err := c.pause(ctx, e, attempt); err != nil {
			return err
		}
	}
}

// once makes one call. Its error is nil or an *Error.
func (c *Client) once(parent context.Context, r request) error {
	timeout, prepare := c.timeout, c.prepare
	if r.signed != nil {
		timeout += time.Duration(r.signed.size/minRate) * time.Second
		prepare = r.signed.prepare
	}
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	req, err := prepare(ctx, r)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "nextbatch")
	resp, err := c.http.Do(req)
	if err != nil {
		return c.broken(parent, r, err)
	}
	defer func() {
		io.CopyN(io.Discard, resp.Body, 512) // a rest of white space, so that the connection is used again
		resp.Body.Close()
	}()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.refused(r, resp)
	}
	switch {
	case r.signed != nil:
		err = r.signed.take(resp)
	case r.decode != nil:
		err = r.decode(json.NewDecoder(http.MaxBytesReader(nil, resp.Body, r.limit)))
	}
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return badAnswer("%v: the answer is larger than %d bytes", r, r.limit)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	_, network := errors.AsType[net.Error](err)
	if network || ctx.Err() != nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return c.broken(parent, r, fmt.Errorf("the answer breaks off: %w", err))
	}
	return badAnswer("%v: %s", r, c.clean(err.Error()))
}

// prepare makes the HTTP request of a call of the API.
func (c *Client) prepare(ctx context.Context, r request) (*http.Request, error) {
	var body io.Reader
	if r.body != nil {
		raw, err := json.Marshal(r.body)
		if err != nil {
			return nil, badQuery("%v: %s", r, c.clean(err.Error()))
		}
		body = bytes.NewReader(raw)
	}
	query := url.Values{"token": {c.token}}
	for k, v := range r.query {
		query[k] = v
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path+"?"+query.Encode(), body)
	if err != nil {
		return nil, badQuery("%v: not a URL", r) // the error would quote the token
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// broken turns a failed exchange into an Error. The URL, which has the token
// in it, stands in the url.Error and is dropped with it.
func (c *Client) broken(parent context.Context, r request, err error) *Error {
	if parent.Err() != nil {
		return ended(parent, r.String())
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	e := &Error{Code: "remote_unavailable", Transient: true, Message: fmt.Sprintf("%v: %s", r, c.clean(err.Error()))}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		e.unsent = true
	}
	if n, ok := errors.AsType[net.Error](err); errors.Is(err, context.DeadlineExceeded) || ok && n.Timeout() {
		e.Code = "remote_timeout"
		e.Message = fmt.Sprintf("%v: no complete answer in time", r)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		e.Transient = false
		e.Hint = "add the authority of the platform's certificate to the system's trust store"
	}
	return e
}

// refused turns an answer that is not 2xx into an Error.
func (c *Client) refused(r request, resp *http.Response) *Error {
	e := &Error{Code: "remote_refused", status: resp.StatusCode}
	text := c.errorText(resp.Body)
	switch s := resp.StatusCode; {
	case s >= 500 && s != http.StatusNotImplemented:
		e.Code, e.Transient = "remote_unavailable", true
	case s == http.StatusTooManyRequests:
		e.Code, e.Transient, e.unsent = "remote_rate_limited", true, true
	case s == http.StatusRequestTimeout:
		e.Code, e.Transient = "remote_timeout", true
	case s == http.StatusConflict && r.signed != nil:
		e.Transient = true // the store was busy, or down: clients of old take a 5xx here for success
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		e.Code, e.Hint = "remote_unauthorized", "check the token, and what it may do on the platform"
	case s >= 300 && s < 400:
		e.Code, e.Hint = "remote_redirected", "use the final address of the platform; redirects are not followed because the token is in the URL"
		text = ""
		if to, err := resp.Location(); err == nil {
			text = c.clean("to " + to.Scheme + "://" + to.Host)
		}
	}
	if e.Transient {
		e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	e.Message = strings.TrimSuffix(fmt.Sprintf("%v: %d %s: %s", r, resp.StatusCode, http.StatusText(resp.StatusCode), text), ": ")
	return e
}

// errorText reads the platform's explanation.
func (c *Client) errorText(body io.Reader) string {
	raw, _ := io.ReadAll(io.LimitReader(body, errorAnswer))
	var b errorBody
	if json.Unmarshal(raw, &b) != nil {
		return c.clean(string(raw))
	}
	text := b.Message
	if text == "" {
		text = b.Error
	}
	if b.Code != "" {
		text = strings.TrimSuffix(b.Code+": "+text, ": ")
	}
	return c.clean(text)
}

var tokenParam = regexp.MustCompile(`(?i)\btoken=[^&\s"'<>]*`)

// redact takes the token out of a text.
func (c *Client) redact(text string) string {
	for _, secret := range []string{c.token, url.QueryEscape(c.token), url.PathEscape(c.token)} {
		text = strings.ReplaceAll(text, secret, "[token]")
	}
	return tokenParam.ReplaceAllString(text, "token=[token]")
}

// clean makes foreign text fit for a message: no token, no control
// characters, not long.
func (c *Client) clean(text string) string {
	text = strings.Join(strings.FieldsFunc(c.redact(text), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if runes := []rune(text); len(runes) > errorTextSize {
		text = string(runes[:errorTextSize]) + "…"
	}
	return text
}

// retryAfter reads the header in either form; 0 where it says nothing.
func retryAfter(header string, now time.Time) time.Duration {
	if s, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// pause waits before a call is made again.
func (c *Client) pause(ctx context.Context, e *Error, attempt int) error {
	return sleep(ctx, max(e.RetryAfter, rand.N(min(c.retryWait<<attempt, maxRetryAfter))), e.Message)
}

// sleep waits, or returns why ctx ended first.
func sleep(ctx context.Context, d time.Duration, doing string) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ended(ctx, doing)
	}
}

// checkID refuses ids that are not one plain path segment. They come from the
// platform and go into later requests, so none may lead to another path.
func checkID(id string) error {
	ok := id != "" && len(id) <= 128 && strings.Trim(id, ".") != ""
	for _, r := range id {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:=@", r))
	}
	if !ok {
		return badAnswer("the platform gave an id that is not one plain path segment")
	}
	return nil
}
