//go:build foreign

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
)

// documents are what people read; their code is run here letter for letter.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatal("no documents", err)
	}
	texts := map[string]string{}
	for _, path := range append(paths, "../../README.md") {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(path)] = string(b)
	}
	return texts
}

// pythonBlocks are the Python programs of the documents by the file name in
// their first line.
func pythonBlocks(t *testing.T) map[string]string {
	t.Helper()
	blocks := map[string]string{}
	for name, text := range documents(t) {
		found := regexp.MustCompile("(?s)```python\n(# (\\S+\\.py)\n.*?)```").FindAllStringSubmatch(text, -1)
		if n := strings.Count(text, "```python"); n != len(found) {
			t.Errorf("%s: %d of %d Python blocks begin with their file name", name, len(found), n)
		}
		for _, f := range found {
			if blocks[f[2]] != "" {
				t.Errorf("%s: there are two blocks named %s", name, f[2])
			}
			blocks[f[2]] = f[1]
		}
	}
	for name := range blocks {
		if !slices.Contains([]string{"publish.py", "annotate.py", "publish_raw.py", "annotate_raw.py", "read_large.py", "train.py", "train_cvat.py", "receive.py"}, name) {
			t.Errorf("nothing tests %s", name)
		}
	}
	return blocks
}

// site is a directory with a worker that runs in it.
type site struct {
	t      *testing.T
	dir    string
	bin    string
	python string
	web    string // address of its HTTP interface
	env    []string
	js     jetstream.JetStream
}

// newSite starts a service as the README does: with nothing set but free
// ports, and what the test is about.
func newSite(t *testing.T, python, bin string, env func(httpAddr string) []string) *site {
	t.Helper()
	web := freeAddr(t)
	s := &site{t: t, dir: t.TempDir(), bin: bin, python: python, web: "http://" + web}
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "AL_") {
			s.env = append(s.env, setting)
		}
	}
	s.env = append(append(s.env, "AL_NATS_ADDR="+freeAddr(t), "AL_HTTP_ADDR="+web, "LIGHTLY_SERVER_LOCATION=http://"+web), env(web)...)
	for name, code := range pythonBlocks(t) {
		s.write(name, code)
	}
	log, err := os.Create(filepath.Join(s.dir, "worker.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := s.command(t.Context(), bin)
	cmd.Stderr = log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the context of the test has ended: so has the service been told to
		if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("the service: %v", err)
		}
		log.Close()
		if b, err := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("its log: %s %v", b, err)
		}
	})
	s.until("the service is ready", func() bool {
		r, err := http.Get("http://" + web + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	url, err := os.ReadFile(filepath.Join(s.dir, "nextbatch-data/nats/nats.url"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := bus.Connect(bus.Auth{URL: strings.TrimSpace(string(url)), Name: "test"}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if s.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return cmd
}

// run runs a program in the directory and returns what it prints.
func (s *site) run(name string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := s.command(ctx, name, args...)
	var fault strings.Builder
	cmd.Stderr = &fault
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, fault.String())
	}
	return string(out)
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) until(what string, holds func() bool) {
	s.t.Helper()
	for began := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			s.t.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// messages are all of a stream.
func (s *site) messages(stream, subject string) (all []jetstream.Msg) {
	s.t.Helper()
	c, err := s.js.OrderedConsumer(s.t.Context(), stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		s.t.Fatal(err)
	}
	info, err := c.Info(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if info.NumPending == 0 {
		return nil
	}
	batch, err := c.Fetch(int(info.NumPending), jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		s.t.Fatal(err)
	}
	for m := range batch.Messages() {
		all = append(all, m)
	}
	if len(all) != int(info.NumPending) || batch.Error() != nil {
		s.t.Fatalf("%s: %d of %d messages, %v", subject, len(all), info.NumPending, batch.Error())
	}
	return all
}

// results are the events of a type that the service has published.
func (s *site) results(eventType string) (all []event.Event) {
	s.t.Helper()
	for _, m := range s.messages(bus.Stream, "al.v1.out."+eventType+".>") {
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// labels is the newest labelset.updated.
func (s *site) labels() (l events.Labelset) {
	s.t.Helper()
	if all := s.results(events.LabelsetUpdated); len(all) > 0 {
		if err := json.Unmarshal(all[len(all)-1].Data(), &l); err != nil {
			s.t.Fatal(err)
		}
	}
	return l
}

// TestReadme runs the programs and commands of the documents against the real
// service, in the order in which one reads them.
func TestReadme(t *testing.T) {
	python, bin := foreignPython(t), plainWorker(t)
	t.Run("loop", func(t *testing.T) {
		t.Parallel()
		readmeLoop(t, newSite(t, python, bin, func(string) []string { return nil }), "publish.py", "annotate.py")
	})
	t.Run("loop without the package", func(t *testing.T) {
		t.Parallel()
		readmeLoop(t, newSite(t, python, bin, func(string) []string { return nil }), "publish_raw.py", "annotate_raw.py")
	})
	t.Run("large by file", func(t *testing.T) {
		t.Parallel()
		readLarge(newSite(t, python, bin, func(string) []string { return nil }), "file")
	})
	t.Run("large by http", func(t *testing.T) {
		t.Parallel()
		readLarge(newSite(t, python, bin, func(web string) []string { return []string{"AL_PUBLIC_URL=http://" + web} }), "http")
	})
}

// readmeLoop is the README from top to bottom, with two programs of the
// documents at the ends.
func readmeLoop(t *testing.T, s *site, publish, annotate string) {
	s.run(s.python, publish)
	printed := s.run(s.python, annotate)
	var batch []string
	lines := bufio.NewScanner(strings.NewReader(printed))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 || f[0] != strconv.Itoa(len(batch)+1) || !regexp.MustCompile(`^images/\d{5}\.jpg$`).MatchString(f[1]) {
			t.Fatalf("%s prints %q after %d samples", annotate, lines.Text(), len(batch))
		}
		if score, err := strconv.ParseFloat(f[2], 64); err != nil || score < 0 || score > 1 {
			t.Errorf("the margin of %s is %s", f[1], f[2])
		}
		batch = append(batch, f[1])
	}
	if distinct := slices.Compact(slices.Sorted(slices.Values(batch))); len(batch) != 20 || len(distinct) != 20 {
		t.Fatalf("%s got %d samples, %d of them distinct, want 20", annotate, len(batch), len(distinct))
	}
	want := strings.Join(batch, "\n") + "\n"
	if got := s.run(s.bin, "tags", "export", "clothing", "batch-1"); got != want {
		t.Errorf("the tag has\n%s%s has got\n%s", got, annotate, want)
	}
	// The same files give the same batch without the service.
	for _, m := range s.messages(bus.StreamIn, "al.v1.in.*.ready.>") {
		s.fetch(m)
	}
	s.run(s.bin, "score", "--in", "predictions.npz", "--json", "--out", "offline.json")
	if got := s.run(s.bin, "select", "--embeddings", "embeddings.npz", "--scores", "offline.json", "--batch", "20"); got != want {
		t.Errorf("worker select gives\n%sthe service has given\n%s", got, want)
	}
	s.until("labelset.updated says that batch-1 is complete", func() bool { l := s.labels(); return l.Tag == "batch-1" && l.Complete })
	complete := events.Labelset{Dataset: "clothing", Tag: "batch-1", Labeled: 20, Complete: true, Batch: &events.Batch{Labeled: 20, Complete: true}}
	if diff := cmp.Diff(complete, s.labels()); diff != "" {
		t.Errorf("labelset.updated: %s", diff)
	}

	// Everything once more: the program as it is, and what it sent, without the
	// message ids by which JetStream would have noticed.
	s.run(s.python, publish)
	sent := s.messages(bus.StreamIn, "al.v1.in.>")
	if len(sent) != 3 {
		t.Errorf("the programs have sent %d events, want 3", len(sent))
	}
	for _, m := range sent {
		header := nats.Header{"Content-Type": m.Headers()["Content-Type"]}
		if _, err := s.js.PublishMsg(t.Context(), &nats.Msg{Subject: m.Subject(), Header: header, Data: m.Data()}); err != nil {
			t.Fatal(err)
		}
	}
	(&plant{t: t, js: s.js}).drained(2 * time.Minute)
	if n := len(s.results(events.SelectionCreated)); n != 1 {
		t.Errorf("%d selections were made, want 1", n)
	}
	if failed := s.results(events.SelectionFailed); len(failed) > 0 {
		t.Errorf("a repetition failed: %s", failed[0].Data())
	}
	if l := s.labels(); !cmp.Equal(l, complete) {
		t.Errorf("after the repetition labelset.updated says %+v, want %+v", l, complete)
	}

	readmeCommands(s)

	// A second annotator waits in vain, as long as it is written to.
	out, err := s.command(t.Context(), s.python, annotate).CombinedOutput()
	switch {
	case strings.Contains(string(out), "images/"):
		t.Errorf("%s has got something again:\n%s", annotate, out)
	case annotate == "annotate.py" && (err != nil || len(out) > 0), annotate != "annotate.py" && !strings.Contains(string(out), "TimeoutError"):
		t.Errorf("%s ends with %v\n%s", annotate, err, out)
	}

	s.readmeHTTP(batch)
	if printed := s.run(s.python, annotate); strings.Count(printed, "\n") != 10 {
		t.Errorf("%s prints of the batch that was asked for over HTTP\n%s", annotate, printed)
	}

	// A first batch has no scores.
	s.run(s.python, "-c", `
import numpy as np
from nextbatch import Client
with Client() as client:
    client.publish_embeddings("shoes", [f"{i}.jpg" for i in range(50)], np.random.default_rng(2).normal(size=(50, 8)), selection={"batch_size": 5})
`)
	s.write("shoes.py", strings.NewReplacer("clothing", "shoes", `"annotation"`, `"annotation-shoes"`).Replace(pythonBlocks(t)[annotate]))
	if printed := s.run(s.python, "shoes.py"); strings.Count(printed, " None\n") != 5 {
		t.Errorf("%s prints of a batch without scores\n%s", annotate, printed)
	}
}

// readmeHTTP runs the commands of the README that speak HTTP, the last of which
// prints a batch.
func (s *site) readmeHTTP(batch []string) {
	s.t.Helper()
	block := regexp.MustCompile(`(?m)^    NEXTBATCH=.*\n((?:    .*\n)+)`).FindStringSubmatch(documents(s.t)["README.md"])
	if block == nil || strings.Count(block[1], "curl ") != 2 {
		s.t.Fatal("the README has other commands that speak HTTP")
	}
	out := s.run("sh", "-ec", "NEXTBATCH="+s.web+" TOKEN=any\n"+strings.ReplaceAll(block[1], "curl ", "curl --silent --show-error --fail-with-body "))
	for _, name := range batch {
		if !strings.Contains(out, name) {
			s.t.Fatalf("%s is missing in\n%s", name, out)
		}
	}
}

// fetch copies what an event refers to into embeddings.npz or predictions.npz.
func (s *site) fetch(m jetstream.Msg) {
	s.t.Helper()
	var e struct {
		Data struct{ Embeddings, Predictions *events.Reference }
	}
	if err := json.Unmarshal(m.Data(), &e); err != nil {
		s.t.Fatal(err)
	}
	ref, name := e.Data.Embeddings, "embeddings.npz"
	if ref == nil {
		ref, name = e.Data.Predictions, "predictions.npz"
	}
	var body []byte
	var err error
	if key, ok := strings.CutPrefix(ref.URI, "nats://al-data/"); ok {
		var bucket jetstream.ObjectStore
		if bucket, err = s.js.ObjectStore(s.t.Context(), "al-data"); err == nil {
			body, err = bucket.GetBytes(s.t.Context(), key)
		}
	} else {
		body, err = os.ReadFile(strings.TrimPrefix(ref.URI, "file://"))
	}
	if err != nil {
		s.t.Fatalf("%s: %v", ref.URI, err)
	}
	s.write(name, string(body))
}

// readmeCommands runs the command lines of the README, but for the service
// itself and the demo.
func readmeCommands(s *site) {
	s.run(s.python, "-c", `
import numpy as np
rng = np.random.default_rng(1)
np.save("probs.npy", rng.dirichlet(np.ones(10), size=100))
np.save("embeddings.npy", rng.normal(size=(100, 8)).astype("float32"))
np.savez("vectors.npz", filenames=np.array(["a.png", "b.png"]), embeddings=rng.normal(size=(2, 8)))
`)
	for i, name := range []string{"a.png", "b.png"} {
		photo := image.NewGray(image.Rect(0, 0, 20, 10+i))
		var file bytes.Buffer
		if err := errors.Join(png.Encode(&file, photo), os.MkdirAll(filepath.Join(s.dir, "photos"), 0o755)); err != nil {
			s.t.Fatal(err)
		}
		s.write("photos/"+name, file.String())
	}
	ran := 0
	for _, f := range regexp.MustCompile(`(?m)^    go run \./cmd/worker +([^#\n]+)`).FindAllStringSubmatch(documents(s.t)["README.md"], -1) {
		args := strings.Fields(f[1])
		if args[0] == "demo" {
			continue
		}
		ran++
		out := s.run(s.bin, args...)
		if !slices.Contains(args, "--out") && out == "" {
			s.t.Errorf("worker %s prints nothing", f[1])
		}
		if args[0] == "select" && strings.Count(out, "\n") != 20 {
			s.t.Errorf("worker %s prints\n%s", f[1], out)
		}
	}
	if ran < 7 {
		s.t.Errorf("the README has only %d commands", ran)
	}
}

// largeRead is a consumer of a selection that is too large for an event. It
// prints a digest of the filenames in order.
const largeRead = `
import asyncio, hashlib, json, pathlib, sys, urllib.parse, urllib.request
import nats, numpy as np
from read_large import added

N = 200_000

async def main():
    nc = await nats.connect(pathlib.Path("nextbatch-data/nats/nats.url").read_text().strip())
    js = nc.jetstream()
    names = [f"{i:06d}.jpg" for i in range(N)]
    path = pathlib.Path("nextbatch-data/files/large.npz").resolve()
    np.savez(path, filenames=np.array(names), embeddings=np.random.default_rng(0).normal(size=(N, 2)).astype("float32"))
    for id, type, data in [
        ("embeddings", "embeddings.ready", {"embeddings": {"uri": f"file://{path}", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}),
        ("request", "selection.requested", {"selection": {"method": "RANDOM", "batch_size": N}}),
    ]:
        event = {"specversion": "1.0", "source": "/large", "id": id, "type": type, "data": {"dataset": "large"} | data}
        await js.publish(f"al.v1.in.{type}.large", json.dumps(event).encode(), headers={"Content-Type": "application/cloudevents+json"})
    results = await js.pull_subscribe("al.v1.out.selection.created.large", durable="reader")
    [msg] = await results.fetch(1, timeout=30)
    event = json.loads(msg.data)
    await msg.ack()
    await nc.close()

    assert "added" not in event["data"] and "filenames" not in event["data"], event["data"].keys()
    assert event["data"]["counts"]["added"] == N, event["data"]["counts"]
    assert urllib.parse.urlparse(event["dataref"]).scheme == sys.argv[1], event["dataref"]
    body = urllib.request.urlopen(event["dataref"]).read()
    assert event["datarefdigest"] == "sha-256:" + hashlib.sha256(body).hexdigest(), event["datarefdigest"]
    assert len(body) == int(event["datarefsize"]), event["datarefsize"]
    lines = [json.loads(line) for line in body.splitlines()]
    assert lines[0] == event["data"]
    assert [line["filename"] for line in lines[1 + N:]] == names  # the whole labeled set
    picked = added(event)
    assert len(picked) == N and sorted(picked) == names, len(picked)
    assert [line["added"]["rank"] for line in lines[1:1 + N]] == list(range(1, N + 1))
    print("\n".join(picked))

asyncio.run(main())
`

// readLarge: a selection of 200,000 samples reaches a Python consumer whole
// and in the order of the tag.
func readLarge(s *site, scheme string) {
	s.write("large.py", largeRead)
	picked := s.run(s.python, "large.py", scheme)
	if n := strings.Count(picked, "\n"); n != 200_000 {
		s.t.Fatalf("%d filenames arrived, want 200,000", n)
	}
	first := strings.Join(strings.SplitN(picked, "\n", 4)[:3], " ")
	if sorted := "000000.jpg 000001.jpg 000002.jpg"; first == sorted {
		s.t.Errorf("a random selection begins with %s", first)
	}
	tag := regexp.MustCompile(`(?m)^random-\S+`).FindString(s.run(s.bin, "tags", "list", "large"))
	if exported := s.run(s.bin, "tags", "export", "large", tag); exported != picked {
		s.t.Errorf("tag %q has another order than what arrived", tag)
	}
	names := make([]string, 200_000)
	for i := range names {
		names[i] = fmt.Sprintf("%06d.jpg", i)
	}
	s.write("names.txt", strings.Join(names, "\n"))
	if again := s.run(s.bin, "select", "--filenames", "names.txt", "--method", "RANDOM", "--batch", "200000"); again != picked {
		s.t.Error("worker select gives another order")
	}
}
