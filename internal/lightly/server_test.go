package lightly_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/lightly"
	"nextbatch/internal/state"
	"nextbatch/internal/worker"
)

// rig is a NATS server with a worker and a Lightly server on it, and a client.
type rig struct {
	*testing.T
	nc    *nats.Conn
	js    jetstream.JetStream
	blobs *blob.Store
	nats  string
	base  string // of the Lightly server
	token string
}

func newRig(t *testing.T, cfg lightly.ServerConfig) *rig {
	t.Helper()
	e, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{Dir: t.TempDir()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	r := &rig{T: t, nats: e.URL, token: "secret"}
	if r.blobs, err = blob.OpenStore(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	r.nc = r.dial()
	if r.js, err = jetstream.New(r.nc); err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), r.js, bus.Layout{}, true); err != nil {
		t.Fatal(err)
	}
	r.base = r.serve(cfg)
	return r
}

func (r *rig) dial() *nats.Conn {
	r.Helper()
	nc, err := bus.Connect(bus.Auth{URL: r.nats}, zerolog.Nop())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(nc.Close)
	return nc
}

func (r *rig) log() zerolog.Logger {
	return zerolog.New(zerolog.NewTestWriter(r.T)).Level(zerolog.WarnLevel)
}

// serve runs one more Lightly server and returns its address.
func (r *rig) serve(cfg lightly.ServerConfig) string {
	r.Helper()
	nc := r.dial()
	store, err := state.Open(r.Context(), nc, r.blobs)
	if err != nil {
		r.Fatal(err)
	}
	s, err := lightly.NewServer(r.Context(), cfg, lightly.ServerDeps{NATS: nc, State: store, Blobs: r.blobs, Log: r.log()})
	if err != nil {
		r.Fatal(err)
	}
	return serveHTTP(r, s)
}

func serveHTTP(t testing.TB, s *lightly.Server) string {
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return h.URL
}

// work runs a worker until it is told to stop.
func (r *rig) work() (stop func()) {
	r.Helper()
	nc := r.dial()
	opener, err := blob.NewOpener(blob.Config{Blobs: r.blobs})
	if err != nil {
		r.Fatal(err)
	}
	w, err := worker.New(r.Context(), worker.Config{}, worker.Deps{NATS: nc, Blobs: r.blobs, Opener: opener, Log: r.log()})
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx) }()
	stop = func() { cancel(); <-ended; opener.Close() }
	r.Cleanup(stop)
	return stop
}

// object is any JSON object.
type object = map[string]any

// send makes a request and returns the status and the body of the answer. A
// path gets the token; a whole URL is taken as it is.
func (r *rig) send(method, path string, body any) (int, []byte) {
	r.Helper()
	target := path
	if strings.HasPrefix(path, "/") {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		target = r.base + path + sep + "token=" + url.QueryEscape(r.token)
	}
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			r.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(r.Context(), method, target, reader)
	if err != nil {
		r.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return resp.StatusCode, answer
}

// ok makes a request that succeeds and decodes the answer into T.
func ok[T any](r *rig, method, path string, body any) (v T) {
	r.Helper()
	status, answer := r.send(method, path, body)
	if status != http.StatusOK {
		r.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	if _, none := any(v).(nothing); none {
		if len(answer) > 0 {
			r.Fatalf("%s %s: answer %s, want none", method, path, answer)
		}
		return v
	}
	if err := json.Unmarshal(answer, &v); err != nil {
		r.Fatalf("%s %s: %v in %.200s", method, path, err, answer)
	}
	return v
}

// nothing is an answer without a body.
type nothing struct{}

// refused makes a request that is refused with a status and a code, and
// returns the message.
func (r *rig) refused(status int, code, method, path string, body any) string {
	r.Helper()
	got, answer := r.send(method, path, body)
	var e struct{ Code, Message, Error, RequestID string }
	if err := json.Unmarshal(answer, &e); err != nil || got != status || e.Code != code || e.Message == "" || e.Error != e.Message || e.RequestID == "" {
		r.Errorf("%s %.200s: %d %.300s, want %d %s", method, path, got, answer, status, code)
	}
	return e.Message
}

// created makes a request that makes something, and returns its id.
func (r *rig) created(path string, body any) string {
	r.Helper()
	made := ok[struct{ ID, JobID string }](r, "POST", path, body)
	if made.ID == "" {
		return made.JobID
	}
	return made.ID
}

// dataset makes one with n samples, its initial tag and an embedding, as an
// upload does, and returns its path.
func (r *rig) dataset(name string, n int) (path, embedding string) {
	r.Helper()
	path = "/v1/datasets/" + r.created("/v1/datasets", object{"name": name, "type": "Images"})
	for i := range n {
		r.created(path+"/samples", object{"fileName": fmt.Sprintf("img/%03d.jpg", i)})
	}
	r.created(path+"/tags/initial", object{"imgType": "full", "creator": "USER_PIP"})
	return path, r.embed(path, "default")
}

// csv makes an embeddings file for the samples of a dataset.
func (r *rig) csv(path string) string {
	r.Helper()
	var b strings.Builder
	b.WriteString("filenames,embedding_0,embedding_1,labels\r\n")
	for i, name := range ok[[]string](r, "GET", path+"/mappings?field=fileName", nil) {
		fmt.Fprintf(&b, "%s,%d.5,%v,0\r\n", name, i%17, float64(i)/7)
	}
	return b.String()
}

func (r *rig) embed(path, name string) (id string) {
	r.Helper()
	where := ok[struct{ SignedWriteURL, EmbeddingID string }](r, "GET", path+"/embeddings/writeCSVUrl?name="+name, nil)
	ok[nothing](r, "PUT", where.SignedWriteURL, r.csv(path))
	return where.EmbeddingID
}

// finish polls a job until it ends.
func (r *rig) finish(job string) lightly.JobStatus {
	r.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		s := ok[lightly.JobStatus](r, "GET", "/v1/jobs/"+job, nil)
		if s.Status == "FINISHED" || s.Status == "FAILED" {
			return s
		}
	}
	r.Fatalf("job %s does not end", job)
	panic("unreachable")
}

// select asks for a sampling and returns the tag that it makes.
func (r *rig) sampling(path, embedding string, body object) lightly.Tag {
	r.Helper()
	s := r.finish(r.created(path+"/embeddings/"+embedding+"/sampling", body))
	if s.Status != "FINISHED" {
		r.Fatalf("sampling %v: %s", body, s.Error)
	}
	return ok[lightly.Tag](r, "GET", path+"/tags/"+s.Result.Data.(string), nil)
}

func stop(n any, distance float64) object {
	return object{"stoppingCondition": object{"nSamples": n, "minDistance": distance}}
}
