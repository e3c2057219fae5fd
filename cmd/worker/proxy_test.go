package main

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"
	"time"
)

// proxy stands between a client and a server, and does to single requests what
// networks and servers do at times.
type proxy struct {
	*httptest.Server
	to     string // host and port
	mu     sync.Mutex
	faults map[string][]mishap // guarded by mu, as is what follows
	calls  map[string]int
}

// mishap answers a request badly; forward asks the server.
type mishap func(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, []byte))

func newProxy(t *testing.T, to string) *proxy {
	p := &proxy{to: to, faults: map[string][]mishap{}, calls: map[string]int{}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() { p.CloseClientConnections(); p.Close() })
	return p
}

// idInPath is an id, also one of a job.
var idInPath = regexp.MustCompile(`/[0-9a-f]{24,}(-\d+)?\b`)

// kind is a request without its ids: GET /v1/datasets/*/tags.
func kind(r *http.Request) string {
	return r.Method + " " + idInPath.ReplaceAllString(r.URL.Path, "/*")
}

// put lets the next requests of a kind go wrong, and counts anew.
func (p *proxy) put(faults map[string][]mishap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = map[string][]mishap{}
	for k, v := range faults {
		p.faults[k] = v
	}
	p.calls = map[string]int{}
}

// counts returns how often requests of each kind were made since put.
func (p *proxy) counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.calls)
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k := kind(r)
	p.mu.Lock()
	p.calls[k]++
	var fault mishap
	if list := p.faults[k]; len(list) > 0 {
		fault, p.faults[k] = list[0], list[1:]
	}
	p.mu.Unlock()
	forward := func() (*http.Response, []byte) {
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host, out.RequestURI = "http", p.to, ""
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			panic(http.ErrAbortHandler) // as if there were no proxy
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		return resp, body
	}
	if fault != nil {
		fault(w, r, forward)
		return
	}
	pass(w, r, forward)
}

// pass is no mishap.
func pass(w http.ResponseWriter, _ *http.Request, forward func() (*http.Response, []byte)) {
	resp, body := forward()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	w.Write(body)
}

// refuses answers instead of the server.
func refuses(status int, retryAfter string) mishap {
	return func(w http.ResponseWriter, r *http.Request, _ func() (*http.Response, []byte)) {
		io.Copy(io.Discard, r.Body)
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
	}
}

// cut ends the connection before the server has the request.
func cut(http.ResponseWriter, *http.Request, func() (*http.Response, []byte)) {
	panic(http.ErrAbortHandler)
}

// lost ends the connection after the server has answered.
func lost(_ http.ResponseWriter, _ *http.Request, forward func() (*http.Response, []byte)) {
	forward()
	panic(http.ErrAbortHandler)
}

// halved ends the connection in the middle of the answer.
func halved(w http.ResponseWriter, _ *http.Request, forward func() (*http.Response, []byte)) {
	resp, body := forward()
	maps.Copy(w.Header(), resp.Header)
	w.Header().Set("Content-Length", "1000000")
	w.WriteHeader(resp.StatusCode)
	w.Write(body[:len(body)/2])
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// hangs never answers.
func hangs(_ http.ResponseWriter, r *http.Request, _ func() (*http.Response, []byte)) {
	io.Copy(io.Discard, r.Body)
	select {
	case <-r.Context().Done():
	case <-time.After(time.Minute):
	}
}

// after does something, and then lets the request pass.
func after(do func()) mishap {
	return func(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, []byte)) {
		do()
		pass(w, r, forward)
	}
}

// changes alters the body of the request on its way.
func changes(edit func([]byte) []byte) mishap {
	return func(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, []byte)) {
		body, _ := io.ReadAll(r.Body)
		body = edit(body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		pass(w, r, forward)
	}
}
