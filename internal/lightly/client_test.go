package lightly

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"nextbatch/internal/bitmask"
)

// TestNewJobsAreNotWaitedFor: after a lost answer only the jobs that were there
// at the first look can be ours.
func TestNewJobsAreNotWaitedFor(t *testing.T) {
	p, q := newPlatform(t)
	p.faults[onSampling] = always(half)
	p.faults[onJobs] = always(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `[{"jobId":"job-%d","datasetId":"60f0c0ffee0000000000d001","status":"RUNNING"}]`, p.count(onJobs))
	})
	_, err := newClient(t, p.Server, func(c *Config) { c.Deadline = 2 * time.Minute }).Select(t.Context(), q)
	checkError(t, err, "remote_outcome_unknown", true, "")
}

func TestWaitsAsLongAsAsked(t *testing.T) {
	t.Parallel()
	p, q := newPlatform(t)
	p.faults[onTags] = times(1, answerAfter(503, "1"))
	start := time.Now()
	if _, err := newClient(t, p.Server).Select(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("asked again after %v, want 1 s", took)
	}
	p, q = newPlatform(t)
	p.faults[onJob] = times(9, answer(404, ``))
	start = time.Now()
	if _, err := newClient(t, p.Server, func(c *Config) { c.PollMin, c.PollMax = 10*time.Millisecond, 30*time.Millisecond }).Select(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 250*time.Millisecond { // 10, 20 and eight times 30 ms
		t.Errorf("ten polls in %v, want them further apart", took)
	}
}

// TestTokenAsID: a platform may use the token where it is not taken for text.
func TestTokenAsID(t *testing.T) {
	x := readExchange(t, "second_query.json")
	h := hostile{good: map[string]canned{}, on: onMappings, body: []byte(`{`)}
	for _, e := range x.Exchange {
		h.good[e.Request.Method+" "+e.Request.Path] = e.Response
	}
	const token = "60f0c0ffee0000000000d001" // the id of the dataset
	c, err := New(Config{BaseURL: "http://platform", Token: token, HTTP: &http.Client{Transport: h}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Select(t.Context(), x.query(t))
	checkError(t, err, "remote_bad_answer", false, "GET /v1/datasets/[token]/mappings: ")
	if strings.Contains(fmt.Sprintf("%#v", err), token) {
		t.Errorf("the token is in %#v", err)
	}
}

func TestConnectionRefused(t *testing.T) {
	p, q := newPlatform(t)
	p.Close()
	_, err := newClient(t, p.Server).Select(t.Context(), q)
	checkError(t, err, "remote_unavailable", true, "connection refused")
}

func TestUnknownAuthority(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of us
	srv.StartTLS()
	defer srv.Close()
	_, q := newPlatform(t)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := newClient(t, srv, func(c *Config) { c.HTTP = &http.Client{Transport: transport} })
	_, err := c.Select(t.Context(), q)
	checkError(t, err, "remote_unavailable", false, "certificate")
}

// TestRedirectIsNotFollowed: neither the request nor a Referer with the token
// reaches the other host.
func TestRedirectIsNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s reached the other host", r.URL) }))
	defer other.Close()
	p, q := newPlatform(t)
	p.faults[onSampling] = always(redirect(other.URL))
	_, err := newClient(t, p.Server).Select(t.Context(), q)
	checkError(t, err, "remote_redirected", false, other.URL)
}

func TestCanceled(t *testing.T) {
	for _, on := range []string{onMappings, onSampling, onJob} {
		p, q := newPlatform(t)
		ctx, cancel := context.WithCancel(t.Context())
		p.faults[on] = always(func(w http.ResponseWriter, r *http.Request) { cancel(); hang(w, r) })
		_, err := newClient(t, p.Server).Select(ctx, q)
		checkError(t, err, "canceled", true, on)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v is not context.Canceled", on, err)
		}
		if n := p.count(on); n != 1 {
			t.Errorf("%s: %d calls, want 1", on, n)
		}
	}
}

func TestBadQueries(t *testing.T) {
	p, good := newPlatform(t)
	c := newClient(t, p.Server)
	nan := slices.Clone(good.Scores[0].Values)
	nan[4], nan[10] = math.NaN(), math.Inf(1)
	for name, change := range map[string]func(*Query){
		"no dataset":            func(q *Query) { q.Dataset = "" },
		"no tag name":           func(q *Query) { q.TagName = "" },
		"tag is the query tag":  func(q *Query) { q.TagName = q.QueryTag },
		"no pool":               func(q *Query) { q.Pool = nil },
		"rows beyond filenames": func(q *Query) { q.Pool = bitmask.FromIndices(12) },
		"nothing at all":        func(q *Query) { q.Pool, q.Preselected = bitmask.New(12), bitmask.New(0) },
		"n below preselected":   func(q *Query) { q.NSamples = 3 },
		"n zero":                func(q *Query) { q.NSamples, q.Preselected = 0, bitmask.New(0) },
		"n -2":                  func(q *Query) { q.NSamples = -2 },
		"distance NaN":          func(q *Query) { q.MinDistance = math.NaN() },
		"filename twice":        func(q *Query) { q.Filenames = slices.Repeat([]string{"a.jpg"}, 12) },
		"scores too short":      func(q *Query) { q.Scores = []NamedScores{{"a", nan[:3]}} },
		"score named twice":     func(q *Query) { q.Scores = append(slices.Clone(q.Scores), q.Scores[0]) },
		"score unknown":         func(q *Query) { q.Score = "BALD" },
		"score NaN in the pool": func(q *Query) { q.Scores = []NamedScores{{"uncertainty_margin", nan}} },
	} {
		t.Run(name, func(t *testing.T) {
			q := good
			change(&q)
			_, err := c.Select(t.Context(), q)
			text := ""
			if name == "score NaN in the pool" {
				text = `2 filenames ("img_04.jpg", "img_10.jpg") of 8`
			}
			checkError(t, err, "bad_query", false, text)
		})
	}
}

func TestNew(t *testing.T) {
	for name, cfg := range map[string]Config{
		"empty":      {},
		"no token":   {BaseURL: "http://localhost"},
		"no scheme":  {BaseURL: "localhost:8080", Token: testToken},
		"file":       {BaseURL: "file:///etc", Token: testToken},
		"user":       {BaseURL: "http://user:" + testToken + "@host", Token: testToken},
		"query":      {BaseURL: "http://host/?token=" + testToken, Token: testToken},
		"no URL":     {BaseURL: "http://host/%zz" + testToken, Token: testToken},
		"poll range": {BaseURL: "http://host", Token: testToken, PollMin: time.Hour, PollMax: time.Second},
		"negative":   {BaseURL: "http://host", Token: testToken, Timeout: -1},
	} {
		if _, err := New(cfg); err == nil || strings.Contains(err.Error(), testToken) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	c, err := New(Config{BaseURL: "https://host/prefix/", Token: testToken})
	if err != nil || c.base != "https://host/prefix" || c.timeout != 3*time.Minute || c.pollMax != 30*time.Second {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, "-1": 0, "soon": 0, "99999999999999999999": 0,
		"Mon, 06 May 2024 07:09:09 GMT": time.Minute, "Mon, 06 May 2024 07:00:00 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", header, got, want)
		}
	}
}
