package worker_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"

	"nextbatch/internal/events"
	"nextbatch/internal/lightly"
	"nextbatch/internal/worker"
)

// With a remote platform the same events lead to the same results, and the
// batch is the platform's. The platform here answers from an exchange that is
// written from the documented API; see internal/lightly for its faults.
func TestRemotePlatform(t *testing.T) {
	text, err := os.ReadFile("../lightly/testdata/exchange/first_query.json")
	if err != nil {
		t.Fatal(err)
	}
	var x struct {
		Query struct {
			Filenames []string
			Tag       string
		}
		Want     struct{ Rows []int }
		Exchange []struct {
			Request  struct{ Method, Path string }
			Response struct {
				Status int
				Body   json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(text, &x); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	next := 0
	platform := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if next >= len(x.Exchange) {
			next++
			http.Error(w, "no more", http.StatusBadRequest)
			return
		}
		e := x.Exchange[next]
		if next++; r.Method != e.Request.Method || r.URL.Path != e.Request.Path {
			t.Errorf("request %d: %s %s, want %s %s", next, r.Method, r.URL.Path, e.Request.Method, e.Request.Path)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(e.Response.Status)
		w.Write(e.Response.Body)
	}))
	defer platform.Close()
	client, err := lightly.New(lightly.Config{BaseURL: platform.URL, Token: "token"})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, 0, worker.Config{})
	r.selector = worker.Remote{Client: client}
	r.start(1, worker.Config{})
	r.send(r.event(events.EmbeddingsReady, events.Embeddings{Dataset: "clothing", Embeddings: vectors(x.Query.Filenames, 2, 1)}))
	c := r.ask(events.SelectionRequested, events.Request{Dataset: "clothing", Selection: events.Spec{Method: "CORESET", NSamples: ptr(4), Name: x.Query.Tag}})
	var got, want []string
	for _, a := range c.Added {
		got = append(got, a.Filename)
	}
	for _, row := range x.Want.Rows {
		want = append(want, x.Query.Filenames[row])
	}
	if slices.Sort(got); !slices.Equal(got, want) || c.Tag.Name != x.Query.Tag || c.Coverage != nil {
		t.Errorf("added %v, want %v; tag %s, coverage %v", got, want, c.Tag.Name, c.Coverage)
	}
	if next != len(x.Exchange) {
		t.Errorf("%d of %d requests were made", next, len(x.Exchange))
	}

	// A platform that refuses ends the event for good, with its reason.
	f := r.fails(events.SelectionRequested, events.Request{Dataset: "clothing", Selection: events.Spec{Method: "CORESET", NSamples: ptr(6)}})
	if f.Code != "remote_refused" || f.Message == "" {
		t.Errorf("%+v", f)
	}
}
