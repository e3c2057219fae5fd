package lightly

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nextbatch/internal/bitmask"
)

// platform answers the requests of one exchange in any order and any number of
// times, apart from the faults that a test puts in the way.
type platform struct {
	*httptest.Server
	mu     sync.Mutex // guards all below
	good   map[string]canned
	faults map[string][]http.HandlerFunc // by request, for the first ones
	calls  map[string]int
}

// Requests of second_query.json, and some that it does not need.
const (
	pathDataset  = "/v1/datasets/60f0c0ffee0000000000d001"
	onLookup     = "GET /v1/datasets/query/name/clothing"
	onList       = "GET /v1/datasets"
	onMappings   = "GET " + pathDataset + "/mappings"
	onTags       = "GET " + pathDataset + "/tags"
	onEmbeddings = "GET " + pathDataset + "/embeddings"
	onScores     = "POST " + pathDataset + "/tags/60f0c0ffee0000000000a001/scores"
	onSampling   = "POST " + pathDataset + "/embeddings/60f0c0ffee0000000000e002/sampling"
	onJob        = "GET /v1/jobs/job-1"
	onJobs       = "GET /v1/jobs"
	onMakeTag    = "POST " + pathDataset + "/tags"
	onNewTag     = "GET " + pathDataset + "/tags/60f0c0ffee0000000000a003"
)

func newPlatform(t testing.TB) (*platform, Query) {
	x := readExchange(t, "second_query.json")
	p := &platform{good: map[string]canned{}, faults: map[string][]http.HandlerFunc{}, calls: map[string]int{}}
	for _, e := range x.Exchange {
		p.good[e.Request.Method+" "+e.Request.Path] = e.Response
	}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p, x.query(t)
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	on := r.Method + " " + r.URL.Path
	p.mu.Lock()
	n := p.calls[on]
	p.calls[on]++
	faults, good := p.faults[on], p.good[on]
	p.mu.Unlock()
	switch {
	case r.URL.Query().Get("token") != testToken:
		answer(401, `{"code":"UNAUTHORIZED"}`)(w, r)
	case n < len(faults):
		faults[n](w, r)
	case good.Status != 0:
		good.ServeHTTP(w, r)
	default:
		answer(404, `{"code":"NOT_FOUND","message":"not served","error":"not served"}`)(w, r)
	}
}

func (p *platform) count(on string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[on]
}

// How an answer can go wrong.
func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); fmt.Fprint(w, body) }
}

func answerAfter(status int, wait string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", wait)
		w.WriteHeader(status)
	}
}

func hang(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body) // the server sees the client leave only after that
	<-r.Context().Done()
}

func half(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	fmt.Fprint(w, `["img_00.jpg","img`)
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func huge(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, `{"name":"`)
	block := strings.Repeat("x", 1<<20)
	for range smallAnswer>>20 + 1 {
		fmt.Fprint(w, block)
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}
}

func times(n int, h http.HandlerFunc) []http.HandlerFunc {
	return slices.Repeat([]http.HandlerFunc{h}, n)
}

// always is more often than any call is made.
func always(h http.HandlerFunc) []http.HandlerFunc { return times(100_000, h) }

func tagAnswer(mask string) http.HandlerFunc {
	return answer(200, `{"id":"60f0c0ffee0000000000a003","prevTagId":"x","name":"al-iteration-1","bitMaskData":"`+mask+`"}`)
}

// tagsWith is the list of tags and one of the query's name in it.
func tagsWith(queryTag, preselectedTag, mask string) http.HandlerFunc {
	return answer(200, fmt.Sprintf(`[{"id":"60f0c0ffee0000000000a001","prevTagId":null,"name":"initial-tag","bitMaskData":"0xfff","totSize":12},
		{"id":"60f0c0ffee0000000000a002","prevTagId":"60f0c0ffee0000000000a001","name":"initial-selection","bitMaskData":"0x59","totSize":12},
		{"id":"60f0c0ffee0000000000a003","prevTagId":"60f0c0ffee0000000000a002","name":"al-iteration-1","bitMaskData":%q,"queryTagId":%q,"preselectedTagId":%q}]`,
		mask, queryTag, preselectedTag))
}

var ownTag = tagsWith("60f0c0ffee0000000000a001", "60f0c0ffee0000000000a002", "0x35f")

// jobs is a list with a job of the dataset and one of another, which never ends.
func jobs(status string) http.HandlerFunc {
	return answer(200, `[{"jobId":"job-0","datasetId":"other","status":"RUNNING"},{"jobId":"job-1","datasetId":"60f0c0ffee0000000000d001","status":"`+status+`"}]`)
}

func TestFaults(t *testing.T) {
	mapping := func(names string) []http.HandlerFunc { return always(answer(200, names)) }
	type faults = map[string][]http.HandlerFunc
	cases := []struct {
		name      string
		faults    faults
		config    func(*Config)
		query     func(*Query)
		code      string // of the error; empty: the query succeeds
		transient bool
		text      string         // in the message
		calls     map[string]int // how often a request was made
	}{
		{name: "no fault", calls: map[string]int{onSampling: 1, onScores: 2, onList: 0, onJobs: 0}},

		{name: "wrong token", config: func(c *Config) { c.Token = "another-token" }, code: "remote_unauthorized", calls: map[string]int{onLookup: 1}},
		{name: "token echoed", faults: faults{onLookup: always(answer(403, `{"code":"FORBIDDEN","message":"token=secret-token/+1 (secret-token/+1, secret-token%2F%2B1) may not"}`))},
			code: "remote_unauthorized", text: "FORBIDDEN: token=[token] ([token], [token]) may not"},
		{name: "dataset unknown to the lookup", faults: faults{onLookup: always(answer(200, `[]`))}, code: "unknown_dataset", calls: map[string]int{onList: 0}},
		{name: "dataset unknown to the list", faults: faults{onLookup: always(answer(404, `{}`)), onList: always(answer(200, `[{"id":"d","name":"other"}]`))},
			code: "unknown_dataset", calls: map[string]int{onList: 2}},
		{name: "list ignores the offset", faults: faults{onLookup: always(answer(501, ``)), onList: always(answer(200, `[{"id":"60f0c0ffee0000000000d001","name":"clothing"}]`))},
			calls: map[string]int{onList: 2}},
		{name: "two datasets of one name", faults: faults{onLookup: always(answer(200, `[{"id":"d1","name":"clothing"},{"id":"d2","name":"clothing"}]`))}, code: "remote_bad_answer"},
		{name: "id is a path", faults: faults{onLookup: always(answer(200, `[{"id":"../../admin","name":"clothing"}]`))}, code: "remote_bad_answer", calls: map[string]int{onMappings: 0}},

		{name: "503 twice", faults: faults{onMappings: times(2, answer(503, `down`))}, calls: map[string]int{onMappings: 3}},
		{name: "503 for ever", faults: faults{onMappings: always(answer(503, `down`))}, code: "remote_unavailable", transient: true, text: "503 Service Unavailable: down", calls: map[string]int{onMappings: maxAttempts}},
		{name: "503 to scores", faults: faults{onScores: times(2, answer(503, ``))}, calls: map[string]int{onScores: 4}},
		{name: "404 in mid-course", faults: faults{onEmbeddings: always(answer(404, `{"code":"DATASET_UNKNOWN","error":"deleted"}`))}, code: "remote_refused", text: "DATASET_UNKNOWN: deleted", calls: map[string]int{onEmbeddings: 1}},
		{name: "429", faults: faults{onTags: times(1, answer(429, ``))}, calls: map[string]int{onTags: 2}},
		{name: "429 until tomorrow", faults: faults{onTags: always(answerAfter(429, "86400"))}, code: "remote_rate_limited", transient: true, calls: map[string]int{onTags: 1}},
		{name: "429 to sampling", faults: faults{onSampling: times(2, answer(429, ``))}, calls: map[string]int{onSampling: 3, onJobs: 0}},
		{name: "timeout", faults: faults{onTags: always(hang)}, config: func(c *Config) { c.Timeout = time.Second }, code: "remote_timeout", transient: true, calls: map[string]int{onTags: maxAttempts}},
		{name: "half an answer twice", faults: faults{onMappings: times(2, half)}, calls: map[string]int{onMappings: 3}},
		{name: "half an answer for ever", faults: faults{onMappings: always(half)}, code: "remote_unavailable", transient: true, text: "breaks off"},
		{name: "redirect to another host", faults: faults{onTags: always(redirect("http://elsewhere.invalid"))}, code: "remote_redirected", text: "to http://elsewhere.invalid", calls: map[string]int{onTags: 1}},

		{name: "malformed", faults: faults{onTags: always(answer(200, `[{"id":}]`))}, code: "remote_bad_answer", calls: map[string]int{onTags: 1}},
		{name: "web page", faults: faults{onMappings: always(answer(200, `<html>log in</html>`))}, code: "remote_bad_answer"},
		{name: "null for a list", faults: faults{onTags: always(answer(200, `null`))}, code: "remote_bad_answer", text: "null instead of a list"},
		{name: "null in a list", faults: faults{onMappings: mapping(`["img_00.jpg",null]`)}, code: "remote_bad_answer"},
		{name: "NaN", faults: faults{onEmbeddings: always(answer(200, `[{"id":"e1","createdAt":NaN}]`))}, code: "remote_bad_answer"},
		{name: "oversized", faults: faults{onNewTag: always(huge)}, code: "remote_bad_answer", text: "larger than"},
		{name: "mask of letters", faults: faults{onNewTag: always(tagAnswer("0xzz"))}, code: "remote_bad_answer", text: "mask of tag al-iteration-1"},
		{name: "mask beyond the dataset", faults: faults{onNewTag: always(tagAnswer("0x135f"))}, code: "remote_bad_answer", text: "beyond the 12 samples"},
		{name: "mask without preselected rows", faults: faults{onNewTag: always(tagAnswer("0x35e"))}, code: "remote_bad_answer", text: "lacks 1 preselected"},
		{name: "mask with too many rows", faults: faults{onNewTag: always(tagAnswer("0xfff"))}, code: "remote_bad_answer", text: "12 rows for n_samples 8"},
		{name: "filename twice", faults: faults{onMappings: mapping(`["img_00.jpg","img_00.jpg","img_01.jpg"]`)}, code: "remote_bad_answer", text: `1 filenames ("img_00.jpg") more than once`},
		{name: "filenames missing", faults: faults{onMappings: mapping(`["img_00.jpg","img_01.jpg","img_02.jpg","img_03.jpg","img_04.jpg","img_05.jpg","img_06.jpg","x.jpg"]`)},
			code: "unknown_filenames", text: `5 filenames ("img_07.jpg", "img_08.jpg", "img_09.jpg", …) of 12`},
		{name: "no initial tag", faults: faults{onTags: always(answer(200, `[]`))}, code: "remote_dataset_not_ready"},
		{name: "samples not in the initial tag", faults: faults{onTags: always(answer(200, `[{"id":"i","prevTagId":null,"name":"all","bitMaskData":"0x7ff","totSize":11}]`))}, code: "remote_dataset_not_ready", text: `1 filenames ("img_09.jpg")`},
		{name: "no embedding", faults: faults{onEmbeddings: always(answer(200, `[]`))}, code: "remote_dataset_not_ready"},
		{name: "newest embedding is not ready", faults: faults{onEmbeddings: always(answer(200, `[{"id":"e1","createdAt":9},{"id":"60f0c0ffee0000000000e002","isProcessed":true,"createdAt":5},{"id":"e3","createdAt":7}]`))}},
		{name: "named embedding", query: func(q *Query) { q.Embedding = "new" }},
		{name: "named embedding unknown", query: func(q *Query) { q.Embedding = "clip" }, code: "remote_dataset_not_ready", text: "no embedding clip"},
		{name: "tag cannot be made", query: func(q *Query) { q.Pool = bitmask.FromIndices(0, 1, 6, 8, 9) }, faults: faults{onMakeTag: always(answer(400, `{"code":"DATASET_TAG_INVALID"}`))},
			code: "remote_refused", text: "DATASET_TAG_INVALID", calls: map[string]int{onMakeTag: 1}},
		{name: "made tag has other rows", query: func(q *Query) { q.Pool, q.Preselected = bitmask.FromIndices(0), bitmask.New(0) }, // row 1 there
			faults: faults{onTags: always(answer(200, `[{"id":"i","prevTagId":null,"name":"initial-tag","bitMaskData":"0xfff"},{"id":"s","prevTagId":"i","name":"`+setName(bitmask.FromIndices(1))+`","bitMaskData":"0x3"}]`))},
			code:   "tag_exists", text: "other rows", calls: map[string]int{onMakeTag: 0}},
		{name: "long explanation", faults: faults{onTags: always(answer(400, strings.Repeat("no\x00 ", 5000)))}, code: "remote_refused", text: "400 Bad Request: " + strings.Repeat("no ", errorTextSize/3) + "…"},

		{name: "sampling refused", faults: faults{onSampling: always(answer(400, `{"code":"EMBEDDING_NOT_READY","error":"wait"}`))}, code: "remote_refused", text: "EMBEDDING_NOT_READY: wait", calls: map[string]int{onSampling: 1, onTags: 1}},
		{name: "answer to sampling lost, tag comes", faults: faults{onSampling: always(hang), onTags: []http.HandlerFunc{nil, nil, ownTag}},
			config: func(c *Config) { c.Timeout = 2 * time.Second }, calls: map[string]int{onSampling: 1, onTags: 3}},
		{name: "answer to sampling lost, nothing comes", faults: faults{onSampling: always(half)}, code: "remote_outcome_unknown", transient: true, calls: map[string]int{onSampling: 1, onTags: 1 + maxLooks}},
		{name: "answer to sampling lost, its job fails", faults: faults{onSampling: always(half), onJobs: append(times(3, jobs("RUNNING")), always(jobs("FAILED"))...)},
			code: "remote_outcome_unknown", transient: true, calls: map[string]int{onSampling: 1, onJobs: 3 + maxLooks}},
		{name: "answer to sampling lost, list of jobs fails", faults: faults{onSampling: always(half), onJobs: always(answer(500, ``))}, code: "remote_unavailable", transient: true},
		{name: "no job id", faults: faults{onSampling: always(answer(200, `{}`))}, code: "remote_outcome_unknown", transient: true, calls: map[string]int{onSampling: 1}},
		{name: "tag name taken before", faults: faults{onTags: always(tagsWith("60f0c0ffee0000000000a001", "", "0x35f"))}, code: "tag_exists", calls: map[string]int{onSampling: 0, onScores: 0}},
		{name: "tag of another size", faults: faults{onTags: always(tagsWith("60f0c0ffee0000000000a001", "60f0c0ffee0000000000a002", "0xfff"))}, code: "tag_exists"},
		{name: "tag name taken meanwhile", faults: faults{onSampling: always(answer(409, `{"code":"TAG_NAME_EXISTS"}`)), onTags: []http.HandlerFunc{nil, tagsWith("60f0c0ffee0000000000a002", "60f0c0ffee0000000000a002", "0x35f")}},
			code: "tag_exists", calls: map[string]int{onSampling: 1}},
		{name: "tag name kept by a hidden job", faults: faults{onSampling: always(answer(409, `{"code":"TAG_NAME_EXISTS"}`))}, code: "remote_refused", transient: true, calls: map[string]int{onSampling: 1}},
		{name: "own tag is there", faults: faults{onTags: always(ownTag)}, calls: map[string]int{onSampling: 0, onScores: 0, onJob: 0}},

		{name: "job fails", faults: faults{onJob: always(answer(200, `{"status":"FAILED","error":"TAG_NO_SCORES_AVAILABLE\nat worker 7"}`))}, code: "remote_job_failed", text: "TAG_NO_SCORES_AVAILABLE at worker 7"},
		{name: "job fails, twin was faster", faults: faults{onJob: always(answer(200, `{"status":"FAILED"}`)), onTags: []http.HandlerFunc{nil, ownTag}}},
		{name: "job never ends", faults: faults{onJob: always(answer(200, `{"status":"RUNNING","waitTimeTillNextPoll":1e300}`))}, config: func(c *Config) { c.Deadline = 3 * time.Second }, code: "remote_deadline", transient: true},
		{name: "job not visible for a while", faults: faults{onJob: times(maxPollErrors-1, answer(404, `{"code":"JOB_UNKNOWN"}`))}, calls: map[string]int{onJob: maxPollErrors}},
		{name: "job not visible for ever", faults: faults{onJob: always(answer(404, ``))}, code: "remote_job_vanished", transient: true, calls: map[string]int{onJob: maxPollErrors}},
		{name: "job forgotten, tag made", faults: faults{onJob: always(answer(404, ``)), onTags: []http.HandlerFunc{nil, ownTag}}},
		{name: "polls fail in every way", faults: faults{onJob: {answer(500, ``), half, answer(200, `[`), answer(200, `{{`), answer(200, `null`), answerAfter(429, "0"), hang, answer(200, `{"status":"UNKNOWN"}`)}},
			config: func(c *Config) { c.Timeout = 2 * time.Second }, calls: map[string]int{onJob: 9}},
		{name: "token revoked while polling", faults: faults{onJob: always(answer(401, ``))}, code: "remote_unauthorized", calls: map[string]int{onJob: 1}},
		{name: "job finished without result", faults: faults{onJob: always(answer(200, `{"status":"FINISHED"}`))}, code: "remote_bad_answer"},
		{name: "job finished with null", faults: faults{onJob: always(answer(200, `{"status":"FINISHED","result":{"type":"SAMPLING","data":null}}`))}, code: "remote_bad_answer"},
		{name: "job made another tag", faults: faults{onNewTag: always(answer(200, `{"id":"60f0c0ffee0000000000a003","name":"other","bitMaskData":"0x35f"}`))}, code: "remote_bad_answer", text: `named "other"`},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, q := newPlatform(t)
			for on, hs := range tt.faults {
				for i, h := range hs {
					if h == nil { // this one is answered well
						hs[i] = p.good[on].ServeHTTP
					}
				}
				p.faults[on] = hs
			}
			if tt.query != nil {
				tt.query(&q)
			}
			change := tt.config
			if change == nil {
				change = func(*Config) {}
			}
			c := newClient(t, p.Server, change)
			r, err := c.Select(t.Context(), q)
			checkError(t, err, tt.code, tt.transient, tt.text)
			if want := []int{0, 1, 6, 8}; tt.code == "" && !slices.Equal(r.Rows, want) {
				t.Errorf("rows %v, want %v", r.Rows, want)
			}
			for on, want := range tt.calls {
				if got := p.count(on); got != want {
					t.Errorf("%s: %d calls, want %d", on, got, want)
				}
			}
		})
	}
}

// checkError compares an error, and looks for the token in all that could be
// printed of it.
func checkError(t *testing.T, err error, code string, transient bool, text string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Fatalf("error %v, want none", err)
		}
		return
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != code || e.Transient != transient || !strings.Contains(e.Message, text) {
		t.Fatalf("error %#v, want code %s, transient %v, text %q", err, code, transient, text)
	}
	for err := error(e); err != nil; err = errors.Unwrap(err) {
		for _, secret := range []string{testToken, url.QueryEscape(testToken), "another-token"} {
			if printed := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(printed, secret) {
				t.Errorf("the token is in %s", printed)
			}
		}
	}
}
