package lightly

import (
	"context"
	"io"
	"net/http"
	"net/url"
)

// signedCall is a call on a URL that the platform has signed, perhaps of
// another host. Whoever has the URL may make it: it goes without the token,
// and into no message.
type signedCall struct {
	url, what string                     // what names it in messages
	body      func() io.Reader           // from its beginning; nil = none
	size      int64                      // of the body, or of the answer where one is expected
	head      string                     // Range header
	take      func(*http.Response) error // reads the answer; its errors are those of the connection
}

func (s *signedCall) prepare(ctx context.Context, r request) (*http.Request, error) {
	var body io.Reader
	if s.body != nil {
		body = s.body()
	}
	u, err := url.Parse(s.url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, badAnswer("%v: the platform gave a URL that is not one of http or https", r)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, s.url, body)
	if err != nil {
		return nil, badAnswer("%v: the platform gave a URL that cannot be called", r)
	}
	if body != nil {
		req.ContentLength = s.size
	}
	if s.head != "" {
		req.Header.Set("Range", s.head)
	}
	return req, nil
}

// put sends a body to a signed URL.
func (c *Client) put(ctx context.Context, to, what string, body func() io.Reader, size int64) error {
	return c.do(ctx, request{method: http.MethodPut, signed: &signedCall{url: to, what: what, body: body, size: size,
		take: func(*http.Response) error { return nil }}})
}
