package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"nextbatch/internal/events"
)

// pair is a worker whose sampling queries go to another one, through a proxy.
// Both are processes with a store of their own. The platform has the samples
// twice: as the dataset photos, which a client has uploaded in another order,
// and as twin, about which it gets the events that the first worker gets about
// photos.
type pair struct {
	*testing.T
	first, platform *lone
	proxy           *proxy
	names           []string
	events          int
	env             []string // of the first worker
}

const pairRows = 60

func newPair(t *testing.T, env ...string) *pair {
	p := &pair{T: t, first: newLone(t), platform: newLone(t)}
	p.platform.start()
	p.proxy = newProxy(t, p.platform.http)
	p.env = append(env, "AL_LIGHTLY_URL="+p.proxy.URL, "AL_LIGHTLY_TOKEN=remote/token", "AL_NATS_ADDR="+freeAddr(t))
	p.first.start(p.env...)
	rng := rand.New(rand.NewPCG(3, 4))
	var rows []map[string]any
	lines := []string{}
	for i := range pairRows {
		name := fmt.Sprintf("shelf %d/%03d.jpg", i%4, i)
		v := []float32{rng.Float32(), rng.Float32(), rng.Float32()}
		p.names = append(p.names, name)
		rows = append(rows, map[string]any{"filename": name, "embedding": v})
		lines = append(lines, fmt.Sprintf("%s,%v,%v,%v,0\r\n", name, v[0], v[1], v[2]))
	}
	theirs := slices.Clone(p.names)
	rng.Shuffle(len(theirs), func(i, j int) { theirs[i], theirs[j] = theirs[j], theirs[i] })
	var made struct{ ID, SignedWriteURL string }
	p.platform.must("POST", "/v1/datasets", map[string]string{"name": "photos"}, &made)
	path := "/v1/datasets/" + made.ID
	for _, name := range theirs {
		p.platform.must("POST", path+"/samples", map[string]string{"fileName": name}, nil)
	}
	p.platform.must("POST", path+"/tags/initial", map[string]string{"imgType": "full"}, nil)
	p.platform.must("GET", path+"/embeddings/writeCSVUrl?name=default", nil, &made)
	p.platform.must("PUT", made.SignedWriteURL, []byte("filenames,embedding_0,embedding_1,embedding_2,labels\r\n"+strings.Join(lines, "")), nil)
	data, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	p.both(func(dataset string) event.Event {
		return newEvent(events.EmbeddingsReady, "embeddings", events.Embeddings{Dataset: dataset, Embeddings: events.Reference{URI: "inline:", Data: data}})
	})
	return p
}

func (p *pair) restartFirst() {
	p.first.kill()
	p.first.start(p.env...)
}

// killAsked kills the platform when it has taken a sampling, before its answer
// is on the way.
func (p *pair) killAsked(_ http.ResponseWriter, _ *http.Request, forward func() (*http.Response, []byte)) {
	forward()
	p.platform.kill()
	p.platform.start()
	panic(http.ErrAbortHandler)
}

// publish sends an event with worker publish and returns what came of it.
func (l *lone) publish(e event.Event) (out []byte, failed bool) {
	l.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		l.Fatal(err)
	}
	cmd := exec.Command(l.bin, "publish", "--wait", "2m", "-")
	cmd.Env = append(os.Environ(), "AL_DATA_DIR="+l.dir)
	cmd.Stdin = bytes.NewReader(text)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err = cmd.Output()
	if err != nil && len(out) == 0 {
		l.Fatalf("publish: %v: %s", err, stderr.String())
	}
	return out, err != nil
}

// both sends an event to the first worker, and its like to the platform.
func (p *pair) both(make func(dataset string) event.Event) (ours, theirs []byte) {
	p.Helper()
	ours, failed := p.first.publish(make("photos"))
	if failed {
		p.Fatalf("the event failed: %s", ours)
	}
	if theirs, failed = p.platform.publish(make("twin")); failed {
		p.Fatalf("the event failed on the platform: %s", theirs)
	}
	return ours, theirs
}

// ask makes an event that wants n more samples.
func (p *pair) ask(method string, n int, name string) func(dataset string) event.Event {
	p.events++
	id := fmt.Sprint("ask-", p.events)
	spec := &events.Spec{Method: method, BatchSize: &n, Name: name}
	rng := rand.New(rand.NewPCG(uint64(p.events), 9))
	var rows []map[string]any
	for _, name := range p.names {
		a := rng.Float64()
		rows = append(rows, map[string]any{"filename": name, "probabilities": []float64{a, 1 - a}})
	}
	data, err := json.Marshal(rows)
	if err != nil {
		p.Fatal(err)
	}
	return func(dataset string) event.Event {
		if method == "CORESET" || method == "RANDOM" {
			return newEvent(events.SelectionRequested, id, events.Request{Dataset: dataset, Selection: *spec})
		}
		return newEvent(events.PredictionsReady, id, events.Predictions{Dataset: dataset, Task: "classification",
			Predictions: events.Reference{URI: "inline:", Data: data}, Selection: spec})
	}
}

// added are the new samples of a selection.created, sorted.
func (p *pair) added(raw []byte) (names []string) {
	p.Helper()
	var e event.Event
	var c events.Created
	if err := json.Unmarshal(raw, &e); err != nil {
		p.Fatalf("%v in %s", err, raw)
	}
	if err := e.DataAs(&c); err != nil || e.Type() != events.SelectionCreated {
		p.Fatalf("%v, event %s", err, raw)
	}
	for _, a := range c.Added {
		names = append(names, a.Filename)
	}
	slices.Sort(names)
	return names
}

// same asks both for a selection and compares them.
func (p *pair) same(method string, n int) {
	p.Helper()
	ours, theirs := p.both(p.ask(method, n, ""))
	a, b := p.added(ours), p.added(theirs)
	if len(a) != n || !slices.Equal(a, b) {
		p.Errorf("%s: the platform picks %v for us and %v for itself", method, a, b)
	}
}

const (
	toMappings = "GET /v1/datasets/*/mappings"
	toTags     = "GET /v1/datasets/*/tags"
	toScores   = "POST /v1/datasets/*/tags/*/scores"
	toMakeTag  = "POST /v1/datasets/*/tags"
	toSampling = "POST /v1/datasets/*/embeddings/*/sampling"
	toJob      = "GET /v1/jobs/*"
	toTag      = "GET /v1/datasets/*/tags/*"
)

// TestRemoteFaults: whatever happens between the two, the first worker gets
// the samples that the platform picks for itself, and asks for them once.
func TestRemoteFaults(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, method := range []string{"CORESET", "CORAL", "ACTIVE_LEARNING", "RANDOM"} {
		p.same(method, 4)
	}
	times := func(n int, m mishap) []mishap { return slices.Repeat([]mishap{m}, n) }
	type faults = map[string][]mishap
	for _, c := range []struct {
		name    string
		faults  faults
		samples int // samplings that reach the proxy
	}{
		{"5xx", faults{toMappings: times(2, refuses(503, "")), toScores: times(1, refuses(500, "")), toJob: times(3, refuses(502, "")), toTag: times(2, refuses(504, ""))}, 1},
		{"5xx longer than a call is repeated", faults{toTags: times(5, refuses(503, ""))}, 1},
		{"429", faults{toTags: times(1, refuses(429, "1")), toSampling: times(1, refuses(429, "1")), toScores: times(2, refuses(429, "")), toJob: times(1, refuses(429, "2"))}, 2},
		{"half answers", faults{toMappings: times(1, halved), toTags: times(2, halved), toScores: times(1, halved), toMakeTag: times(1, halved), toJob: times(2, halved), toTag: times(1, halved)}, 1},
		{"connections cut", faults{toMappings: times(2, cut), toScores: times(1, lost), toMakeTag: times(1, lost), toJob: times(2, cut), toTag: times(1, lost)}, 1},
		{"answer to the sampling lost", faults{toSampling: times(1, lost)}, 1},
		{"half an answer to the sampling", faults{toSampling: times(1, halved)}, 1},
		{"sampling never arrives", faults{toSampling: times(1, cut)}, 2},
		{"platform killed", faults{toJob: {after(func() { p.platform.kill(); p.platform.start() })}}, 1},
		{"platform killed when asked", faults{toSampling: {p.killAsked}}, 1},
		{"first worker killed", faults{toJob: {after(p.restartFirst)}}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.T, p.first.T, p.platform.T = t, t, t
			p.proxy.put(c.faults)
			p.same("CORAL", 2)
			p.proxy.mu.Lock()
			left := maps.Clone(p.proxy.faults)
			p.proxy.mu.Unlock()
			for k, l := range left {
				if len(l) > 0 && k != toMakeTag {
					t.Errorf("%d faults of %s were not needed", len(l), k)
				}
			}
			if n := p.proxy.counts()[toSampling]; n != c.samples {
				t.Errorf("%d samplings were asked for, want %d: %v", n, c.samples, p.proxy.counts())
			}
		})
	}
}

// TestRemoteRefusals: what the platform cannot do ends as selection.failed with
// its words, and selects nothing.
func TestRemoteRefusals(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	shorter := changes(func(body []byte) []byte {
		var in map[string]any
		if err := json.Unmarshal(body, &in); err != nil {
			t.Error(err)
		}
		list := in["scores"].([]any)
		in["scores"] = list[:len(list)-1]
		body, _ = json.Marshal(in)
		return body
	})
	var tags []struct{ ID, Name string }
	taken := after(func() {
		var sets []struct{ ID, Name string }
		p.platform.must("GET", "/v1/datasets", nil, &sets)
		i := slices.IndexFunc(sets, func(s struct{ ID, Name string }) bool { return s.Name == "photos" })
		path := "/v1/datasets/" + sets[i].ID
		p.platform.must("GET", path+"/tags", nil, &tags)
		p.platform.must("POST", path+"/tags", map[string]any{"name": "taken", "prevTagId": tags[0].ID, "bitMaskData": "0x3", "totSize": pairRows}, nil)
	})
	for _, c := range []struct {
		name, tag, code, text string
		faults                map[string][]mishap
	}{
		{"the job fails", "failing", "remote_job_failed", "has 59 of", map[string][]mishap{toScores: slices.Repeat([]mishap{shorter}, 10)}},
		{"the tag name is taken meanwhile", "taken", "tag_exists", `already has a tag "taken"`, map[string][]mishap{toSampling: {taken}}},
		{"the token is no longer good", "revoked", "remote_unauthorized", "401", map[string][]mishap{toTags: {refuses(401, "")}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.T, p.first.T, p.platform.T = t, t, t
			p.proxy.put(c.faults)
			raw, failed := p.first.publish(p.ask("CORAL", 3, c.tag)("photos"))
			var e event.Event
			var f events.Failed
			if err := json.Unmarshal(raw, &e); err != nil || !failed || e.Type() != events.SelectionFailed {
				t.Fatalf("%v, failed %v: %s", err, failed, raw)
			}
			if err := e.DataAs(&f); err != nil || f.Code != c.code || !strings.Contains(f.Message, c.text) || strings.Contains(string(raw), "remote/token") {
				t.Errorf("%v, %+v, want %s, %q", err, f, c.code, c.text)
			}
		})
	}
	p.T, p.first.T, p.platform.T = t, t, t
	p.proxy.put(nil)
	ours, theirs := p.both(p.ask("CORAL", 5, "afterwards"))
	if a, b := p.added(ours), p.added(theirs); !slices.Equal(a, b) {
		t.Errorf("afterwards the platform picks %v for us and %v for itself", a, b)
	}
}

// TestRemoteHangs: a platform that does not answer costs an attempt, no more.
func TestRemoteHangs(t *testing.T) {
	t.Parallel()
	p := newPair(t, "AL_DEADLINE=4s")
	p.proxy.put(map[string][]mishap{toTags: {hangs}, toJob: {hangs}})
	p.same("CORAL", 5)
	if n := p.proxy.counts()[toSampling]; n != 1 {
		t.Errorf("%d samplings were asked for, want 1", n)
	}
}
