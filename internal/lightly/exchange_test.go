package lightly

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/bitmask"
)

// testToken needs escaping in a URL.
const testToken = "secret-token/+1"

// exchange is one file of testdata/exchange: a query, the requests that the
// client has to make for it, in this order, and the answers. No platform was
// at hand: the files are written from the documented contract of the API.
type exchange struct {
	About string
	Query struct {
		Dataset        string
		Filenames      []string
		Pool           string // masks of our rows
		Preselected    string
		QueryTag       string `json:"query_tag"`
		PreselectedTag string `json:"preselected_tag"`
		Method         string
		NSamples       int     `json:"n_samples"`
		MinDistance    float64 `json:"min_distance"`
		Scores         []struct {
			Name   string
			Values []*float64 // null is NaN
		}
		Score, Tag string
	}
	Want struct {
		Tag      string
		Rows     []int
		Progress [][2]int
		Error    string
	}
	Exchange []struct {
		Request struct {
			Method, Path string
			Query        map[string]string
			Body         json.RawMessage
		}
		Response canned
	}
}

// canned is an answer.
type canned struct {
	Status int
	Body   json.RawMessage
}

func (c canned) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(c.Status)
	w.Write(c.Body)
}

func readExchange(t testing.TB, file string) (x exchange) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "exchange", file))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&x); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return x
}

func (x *exchange) query(t testing.TB) Query {
	t.Helper()
	mask := func(hex string) *bitmask.Mask {
		m, err := bitmask.FromHex(hex)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	q := Query{
		Dataset: x.Query.Dataset, Filenames: x.Query.Filenames, Pool: mask(x.Query.Pool), Preselected: mask(x.Query.Preselected),
		QueryTag: x.Query.QueryTag, PreselectedTag: x.Query.PreselectedTag, Method: x.Query.Method, NSamples: x.Query.NSamples,
		MinDistance: x.Query.MinDistance, Score: x.Query.Score, TagName: x.Query.Tag,
	}
	for _, s := range x.Query.Scores {
		v := NamedScores{Name: s.Name}
		for _, f := range s.Values {
			if f == nil {
				f = new(math.NaN())
			}
			v.Values = append(v.Values, *f)
		}
		q.Scores = append(q.Scores, v)
	}
	return q
}

// newClient returns a client with short waits for a test server.
func newClient(t testing.TB, srv *httptest.Server, change ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{BaseURL: srv.URL, Token: testToken, HTTP: srv.Client(), Timeout: time.Minute,
		PollMin: time.Millisecond, PollMax: 4 * time.Millisecond, Deadline: 2 * time.Minute}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.retryWait = time.Millisecond
	return c
}

// replay answers the requests of an exchange and reports each that is not the
// next one in method, path, query, headers or body.
func (x *exchange) replay(t *testing.T) *httptest.Server {
	var mu sync.Mutex // guards step
	step := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if step == len(x.Exchange) {
			t.Errorf("request after the last one: %s %s", r.Method, r.URL.Path)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		want := x.Exchange[step]
		step++
		query := url.Values{}
		for k, v := range want.Request.Query {
			query.Set(k, v)
		}
		body, _ := io.ReadAll(r.Body)
		type request struct {
			Method, Path, Accept, ContentType string
			Query                             url.Values
			Body                              any
		}
		wanted := request{want.Request.Method, want.Request.Path, "application/json", "", query, decoded(t, want.Request.Body)}
		if want.Request.Body != nil {
			wanted.ContentType = "application/json"
		}
		got := request{r.Method, r.URL.EscapedPath(), r.Header.Get("Accept"), r.Header.Get("Content-Type"), r.URL.Query(), decoded(t, body)}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("request %d (-want +got):\n%s", step, diff)
		}
		want.Response.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		srv.Close()
		if step != len(x.Exchange) {
			t.Errorf("%d of %d requests were made", step, len(x.Exchange))
		}
	})
	return srv
}

func decoded(t *testing.T, body []byte) (v any) {
	if len(body) > 0 {
		if err := json.Unmarshal(body, &v); err != nil {
			t.Errorf("request body: %v", err)
		}
	}
	return v
}

func TestExchanges(t *testing.T) {
	files, err := filepath.Glob("testdata/exchange/*.json")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d files, %v; want at least 6", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			x := readExchange(t, filepath.Base(file))
			c := newClient(t, x.replay(t))
			q := x.query(t)
			var progress [][2]int
			q.Progress = func(done, total int) { progress = append(progress, [2]int{done, total}) }
			got, err := c.Select(t.Context(), q)
			if x.Want.Error != "" {
				if e, ok := errors.AsType[*Error](err); !ok || e.Code != x.Want.Error {
					t.Fatalf("error %v, want code %s", err, x.Want.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Result{TagID: x.Want.Tag, TagName: q.TagName, Rows: x.Want.Rows}, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(x.Want.Progress, progress); diff != "" {
				t.Errorf("progress (-want +got):\n%s", diff)
			}
		})
	}
}
