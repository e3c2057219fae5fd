package lightly_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
)

// token is that of everybody: with AL_TOKENS, or without, where any will do.
const token = "0123456789abcdef"

// buildWorker builds the real program, once for all tests; TestMain removes it.
var (
	buildWorker = sync.OnceValues(compileWorker)
	built       atomic.Bool
)

func compileWorker() (string, error) {
	built.Store(true)
	dir, err := os.MkdirTemp("", "worker")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "worker")
	if out, err := exec.Command("go", "build", "-o", bin, "nextbatch/cmd/worker").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
}

// site is a directory with a worker that runs in it, all in one process of its
// own: NATS, HTTP, selection.
type site struct {
	t   *testing.T
	dir string
	bin string
	env []string
	url string // of its HTTP server
	js  jetstream.JetStream
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// newSite starts a worker with nothing set but free ports and env.
func newSite(t *testing.T, env ...string) *site {
	t.Helper()
	bin, err := buildWorker()
	if err != nil {
		t.Fatal(err)
	}
	web := freeAddr(t)
	s := &site{t: t, dir: t.TempDir(), bin: bin, url: "http://" + web}
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "AL_") {
			s.env = append(s.env, setting)
		}
	}
	s.env = append(append(s.env, "AL_NATS_ADDR="+freeAddr(t), "AL_HTTP_ADDR="+web), env...)
	log, err := os.Create(filepath.Join(s.dir, "worker.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin)
	cmd.Dir, cmd.Env, cmd.Stderr = s.dir, s.env, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the context of the test has ended: so has the worker been told to
		if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("the worker: %v", err)
		}
		log.Close()
		if b, err := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("the worker's log: %s %v", b, err)
		}
	})
	s.until("the worker is ready", func() bool {
		r, err := http.Get(s.url + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	address, err := os.ReadFile(filepath.Join(s.dir, "nextbatch-data/nats/nats.url"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := bus.Connect(bus.Auth{URL: strings.TrimSpace(string(address)), Name: "test"}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if s.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) until(what string, holds func() bool) {
	s.t.Helper()
	for began := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			s.t.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// results are the events of a type that the worker has published, oldest
// first.
func (s *site) results(eventType string) (all []event.Event) {
	s.t.Helper()
	c, err := s.js.OrderedConsumer(s.t.Context(), bus.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"al.v1.out." + eventType + ".>"}})
	if err != nil {
		s.t.Fatal(err)
	}
	info, err := c.Info(s.t.Context())
	if err != nil || info.NumPending == 0 {
		if err != nil {
			s.t.Fatal(err)
		}
		return nil
	}
	batch, err := c.Fetch(int(info.NumPending), jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		s.t.Fatal(err)
	}
	for m := range batch.Messages() {
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, e)
	}
	if len(all) != int(info.NumPending) || batch.Error() != nil {
		s.t.Fatalf("%s: %d of %d events, %v", eventType, len(all), info.NumPending, batch.Error())
	}
	return all
}

// worker runs a command of the worker beside the one that serves.
func (s *site) worker(args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.bin, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("worker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// get decodes what the server answers to a path.
func (s *site) get(path string, answer any) {
	s.t.Helper()
	s.call(http.MethodGet, path, nil, answer)
}

// post sends JSON and decodes the answer.
func (s *site) post(path string, body, answer any) {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.call(http.MethodPost, path, text, answer)
}

func (s *site) call(method, path string, body []byte, answer any) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path+"?token="+token, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(text, answer)
	}
	if err != nil || r.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %s: %s, %v\n%s", method, path, r.Status, err, text)
	}
}
