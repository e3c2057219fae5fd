package lightly

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

// hostile is a platform without a network that answers as in an exchange,
// except for one request.
type hostile struct {
	good map[string]canned
	on   string
	body []byte
}

func (h hostile) RoundTrip(r *http.Request) (*http.Response, error) {
	on := r.Method + " " + r.URL.Path
	body := []byte(h.good[on].Body)
	if on == h.on {
		body = h.body
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Request: r, Body: io.NopCloser(bytes.NewReader(body))}, nil
}

var fuzzed = []string{onLookup, onMappings, onTags, onEmbeddings, onSampling, onJob, onNewTag}

// FuzzAnswers puts arbitrary bytes in place of each answer: the client neither
// panics nor hangs, its errors are typed, and a result keeps what Select
// promises.
func FuzzAnswers(f *testing.F) {
	x := readExchange(f, "second_query.json")
	good := map[string]canned{}
	for _, e := range x.Exchange {
		good[e.Request.Method+" "+e.Request.Path] = e.Response
	}
	q := x.query(f)
	for i, on := range fuzzed {
		f.Add(uint8(i), []byte(good[on].Body))
		for _, body := range []string{``, `null`, `[null]`, `{}`, `[{}]`, `[1,"a"]`, `{"status":"FINISHED","result":{"data":7}}`,
			`{"status":"RUNNING","waitTimeTillNextPoll":-1e308,"meta":{"total":-1,"processed":9223372036854775807}}`,
			`{"id":"60f0c0ffee0000000000a003","name":"al-iteration-1","bitMaskData":"0x"}`,
			`{"id":"60f0c0ffee0000000000a003","name":"al-iteration-1","bitMaskData":"0X000000000000000000000000000000000000000035F"}`,
			`[{"id":"..","prevTagId":null,"name":"initial-tag","bitMaskData":"0xffff"}]`, "[\"\xff\xfe\"]", `[[[[[[[[`} {
			f.Add(uint8(i), []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		c, err := New(Config{BaseURL: "http://platform", Token: testToken, Deadline: 20 * time.Millisecond, PollMin: time.Nanosecond, PollMax: time.Millisecond,
			HTTP: &http.Client{Transport: hostile{good, fuzzed[int(which)%len(fuzzed)], body}}})
		if err != nil {
			t.Fatal(err)
		}
		c.retryWait = time.Nanosecond
		r, err := c.Select(context.Background(), q)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Code == "" || e.Message == "" {
				t.Fatalf("error %#v", err)
			}
			checkError(t, err, e.Code, e.Transient, "")
			return
		}
		last := -1
		for _, row := range r.Rows {
			if row <= last || !q.Pool.Has(row) || q.Preselected.Has(row) {
				t.Fatalf("rows %v: %d is out of order or outside the pool", r.Rows, row)
			}
			last = row
		}
		if len(r.Rows)+q.Preselected.Count() > q.NSamples {
			t.Fatalf("%d rows for n_samples %d", len(r.Rows), q.NSamples)
		}
	})
}
