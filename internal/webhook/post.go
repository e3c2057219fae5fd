package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"nextbatch/internal/events"
)

// errGone: the receiver wants nothing more.
var errGone = errors.New("410 Gone")

// post sends a result in structured mode. Only an answer of 2xx says that it was
// taken. Wait is how long the receiver asks to be left alone. Errors do not
// repeat the URL, whose query may hold a token.
func (s *Sender) post(ctx context.Context, h Hook, m *events.Message) (wait time.Duration, err error) {
	header, body, err := events.Encode(m.Event, events.Structured)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Timeout, fmt.Errorf("no answer within %v", s.cfg.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return 0, withoutURL(err)
	}
	now := time.Now()
	req.Header.Set("Content-Type", header.Get("Content-Type"))
	req.Header.Set("User-Agent", "nextbatch")
	req.Header.Set("webhook-id", m.Event.ID())
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("webhook-signature", signatures(h.secrets, m.Event.ID(), now, body))
	resp, err := s.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return 0, withoutURL(err)
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	switch {
	case resp.StatusCode/100 == 2:
		return 0, nil
	case resp.StatusCode == http.StatusGone:
		return 0, errGone
	case resp.StatusCode/100 == 3:
		return 0, fmt.Errorf("the receiver answers %s: redirects are not followed", resp.Status)
	}
	return retryAfter(resp.Header.Get("Retry-After"), now), fmt.Errorf("the receiver answers %s", resp.Status)
}

func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// signatures signs a delivery by Standard Webhooks 1.0, symmetrically, once with
// each secret: "v1," and the base64 of HMAC-SHA256 of id, seconds and body
// between dots.
func signatures(secrets [][]byte, id string, at time.Time, body []byte) string {
	list := make([]string, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
		mac.Write(body)
		list[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(list, " ")
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxAsked)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), maxAsked))
}

// backoff is the wait after the n-th post: twice as long each time, and up to
// half of it less, so that receivers are not hit all at once.
func backoff(first time.Duration, n uint64) time.Duration {
	wait := maxWait
	if n = max(n, 1) - 1; n < 32 && first<<n > 0 && first<<n < maxWait {
		wait = first << n
	}
	return wait - rand.N(wait/2+1)
}
