//go:build foreign

package lightly_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/conversations anew")

// recorder stands between a client and the worker and writes down what they
// say. One request is let through at a time, so that the order on file is the
// order in which the worker has seen them.
type recorder struct {
	t      *testing.T
	proxy  *httptest.Server
	target string // set before the first request

	mu    sync.Mutex // guards what follows
	names map[string]string
	all   []exchange
}

// newRecorder returns a recorder for the worker that will be told of.
func newRecorder(t *testing.T) *recorder {
	r := &recorder{t: t, names: map[string]string{}}
	r.proxy = httptest.NewServer(r)
	t.Cleanup(r.proxy.Close)
	return r
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	out, err := http.NewRequestWithContext(req.Context(), req.Method, r.target+req.RequestURI, bytes.NewReader(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	out.Header, out.Host = req.Header.Clone(), req.Host
	out.Header.Del("Accept-Encoding")
	res, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	for k, v := range res.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(res.StatusCode)
	w.Write(answer)
	r.note(exchange{Method: req.Method, URL: req.RequestURI, Body: body, Status: res.StatusCode, Answer: answer})
}

// note appends an exchange in the form of the file. Where a client asks again
// and again, it notes the last answer alone.
func (r *recorder) note(x exchange) {
	if signed, ok := r.names[r.proxy.URL+x.URL]; ok {
		x.URL = signed
	} else {
		x.URL = r.named(untokened(x.URL))
	}
	if again, end := polled(x); again && !end {
		return
	}
	if x.Body = r.general(x.Body); string(x.Body) == "{}" && x.Method != "POST" {
		x.Body = nil // the client sends an empty object where there is nothing to say
	}
	x.Answer = r.general(x.Answer)
	r.all = append(r.all, x)
}

// general puts names for ids, URLs and times into a body.
func (r *recorder) general(body []byte) json.RawMessage {
	if len(body) == 0 {
		return nil
	}
	if !utf8.Valid(body) {
		return encode(r.t, plain{Bytes: len(body)})
	}
	v, err := decode(body)
	if err != nil {
		return encode(r.t, plain{Text: r.named(string(body))})
	}
	return encode(r.t, r.walk(v, ""))
}

func (r *recorder) walk(v any, key string) any {
	switch v := v.(type) {
	case map[string]any:
		// In the order of the keys, so that the names come out alike each time.
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if key == "metaData" {
				v[k] = rounded(v[k])
				continue
			}
			v[k] = r.walk(v[k], k)
		}
	case []any:
		for i := range v {
			v[i] = r.walk(v[i], key)
		}
	case string:
		if key == "requestId" {
			return anyRequest
		}
		return r.named(v)
	case json.Number:
		if slices.Contains(timeKey, key) {
			return anyTime
		}
	}
	return v
}

// rounded shortens the numbers of what the client says about an image: they
// are half of a conversation, and only kept.
func rounded(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = rounded(v[i])
		}
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return json.Number(strconv.FormatFloat(f, 'g', 3, 64))
		}
	}
	return v
}

func (r *recorder) named(text string) string {
	name := func(kind string) func(string) string {
		return func(value string) string {
			if r.names[value] == "" {
				r.names[value] = fmt.Sprintf("‹%s %d›", kind, len(r.names))
			}
			return r.names[value]
		}
	}
	text = regexp.MustCompile(regexp.QuoteMeta(r.proxy.URL)+`[^"\s]*`).ReplaceAllStringFunc(text, name("url"))
	text = anyTag.ReplaceAllStringFunc(text, name("tag"))
	return anyID.ReplaceAllStringFunc(text, name("id"))
}

// finish compares what was said with the conversation on file, call by kind of
// call, or writes it. The order of what a client sends from many threads is
// another one each time; the replay compares the contents.
func (r *recorder) finish(name string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.t.Failed() {
		return
	}
	for i, x := range r.all {
		if x.Status >= 500 {
			r.t.Errorf("exchange %d: %s %s: %d %s", i, x.Method, x.URL, x.Status, x.Answer)
		}
		if strings.Contains(string(encode(r.t, x)), token) {
			r.t.Errorf("exchange %d: %s %s has the token in it", i, x.Method, x.URL)
		}
	}
	if *update {
		writeConversation(r.t, name, r.all)
		return
	}
	if diff := cmp.Diff(calls(readConversation(r.t, name)), calls(r.all)); diff != "" {
		r.t.Errorf("%s: the calls differ from those on file; -update writes them anew. -file +now:\n%s", name, diff)
	}
}
