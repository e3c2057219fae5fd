package webhook

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
)

const secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"

// The example of the specification of Standard Webhooks.
func TestSignature(t *testing.T) {
	key, err := base64.RawStdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := signatures([][]byte{key, []byte("other")}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,"; !strings.HasPrefix(got, want) || strings.Count(got, "v1,") != 2 {
		t.Errorf("%s, want %s and another", got, want)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "99999999": time.Hour, "99999999999999999999": 0,
		"Sat, 31 Jan 2026 12:00:30 GMT": 30 * time.Second, "Sat, 31 Jan 2026 11:00:00 GMT": 0, "Sun, 31 Jan 2027 11:00:00 GMT": time.Hour} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	for n, most := range map[uint64]time.Duration{0: time.Second, 1: time.Second, 3: 4 * time.Second, 9: 256 * time.Second, 10: maxWait, 40: maxWait, 1 << 60: maxWait} {
		if got := backoff(time.Second, n); got > most || got < most/2 {
			t.Errorf("after post %d: %v, want %v or up to half of it less", n, got, most)
		}
	}
}

func TestParse(t *testing.T) {
	hooks, err := Parse([]string{"https://a/b?token=x", "http://c;name=tool;types=selection.created|selection.created;datasets=my clothing|shoes"}, []string{secret, "tool:" + secret[6:] + "==", "tool:" + secret})
	if err != nil {
		t.Fatal(err)
	}
	if h := hooks[0]; h.url != "https://a/b?token=x" || len(h.secrets) != 1 || !slices.Equal(h.subjects(), []string{"al.v1.out.>"}) || len(h.Name) != 12 {
		t.Errorf("%+v", h)
	}
	if h := hooks[1]; h.Durable() != "al-webhook-tool" || len(h.secrets) != 2 || !slices.Equal(h.subjects(), []string{"al.v1.out.selection.created.my=20clothing", "al.v1.out.selection.created.shoes"}) {
		t.Errorf("%+v %v", h, h.subjects())
	}
	for hook, want := range map[string]string{
		"":                          "want https://",
		"ftp://a/hidden":            "want https://",
		"https:///hidden":           "want https://",
		"https://a/hidden#x":        "want https://",
		"https://a/hidden;x=1":      "want name=",
		"https://a/hidden;name=A b": "want up to 32",
		"https://a/hidden;types=selection.request": "want some of selection.created",
		"https://a/hidden;datasets=":               "empty name",
		"https://a/hidden,https://a/hidden?x":      "another hook",
	} {
		_, err := Parse(strings.Split(hook, ","), []string{secret})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: %v, want %q", hook, err, want)
		}
	}
	for list, want := range map[string]string{"": "no secret", "whsec_hidden!": "want whsec_", "aGlkZGVu": "6 bytes", "nobody:" + secret: "no hook nobody"} {
		_, err := Parse([]string{"https://a"}, strings.FieldsFunc(list, func(r rune) bool { return r == ',' }))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: %v, want %q", list, err, want)
		}
	}
}

// rig is a NATS server and a receiver, which answers as it is told.
type rig struct {
	*testing.T
	nc     *nats.Conn
	js     jetstream.JetStream
	server *httptest.Server

	mu     sync.Mutex // guards the fields below
	posts  []string   // ids, as they came
	inside int
	hangs  bool                                                // some posts are given up while the receiver is still at them
	answer func(w http.ResponseWriter, r *http.Request, n int) // n-th post, from 1
}

func newRig(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n int)) *rig {
	t.Helper()
	e, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{Dir: t.TempDir()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	r := &rig{T: t, answer: answer}
	if r.nc, err = bus.Connect(bus.Auth{URL: e.URL}, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.nc.Close)
	if r.js, err = jetstream.New(r.nc); err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), r.js, bus.Layout{}, true); err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewServer(http.HandlerFunc(r.receive))
	t.Cleanup(r.server.Close)
	return r
}

func (r *rig) receive(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender was stopped
	}
	id := req.Header.Get("webhook-id")
	e, err := events.Decode(nats.Header(req.Header), body)
	if err != nil || e.ID() != id || e.Extensions()["dataref"] != dataref || !strings.HasPrefix(req.Header.Get("Content-Type"), "application/cloudevents+json") {
		r.Errorf("%s: %v\n%s", id, err, body)
	}
	seconds, err := strconv.ParseInt(req.Header.Get("webhook-timestamp"), 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); err != nil || age < -time.Minute || age > 5*time.Minute {
		r.Errorf("%s: timestamp %v, %v", id, age, err)
	}
	key, _ := base64.StdEncoding.DecodeString(secret[6:])
	if want := signatures([][]byte{key}, id, time.Unix(seconds, 0), body); req.Header.Get("webhook-signature") != want || req.URL.Path != "/hook" || req.Method != http.MethodPost {
		r.Errorf("%s %s: signature %s, want %s", req.Method, req.URL, req.Header.Get("webhook-signature"), want)
	}
	r.mu.Lock()
	r.posts = append(r.posts, id)
	n := len(r.posts)
	if r.inside++; r.inside > 1 && r.Context().Err() == nil && !r.hangs {
		r.Errorf("%d posts at a time", r.inside)
	}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.inside--
		r.mu.Unlock()
	}()
	r.answer(w, req, n)
}

func (r *rig) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.posts)
}

// sender runs one until stop.
func (r *rig) sender(hook string) (reg *prometheus.Registry, stop func()) {
	r.Helper()
	hooks, err := Parse([]string{r.server.URL + "/hook" + hook}, []string{secret})
	if err != nil {
		r.Fatal(err)
	}
	reg = prometheus.NewRegistry()
	s, err := New(r.Context(), Config{Hooks: hooks, Create: true, Timeout: 3 * time.Second, Backoff: 5 * time.Millisecond, Drain: 10 * time.Millisecond},
		Deps{NATS: r.nc, Metrics: reg, Log: zerolog.New(zerolog.NewTestWriter(r.T)).Level(zerolog.ErrorLevel)})
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	r.Cleanup(stop)
	return reg, stop
}

const dataref = "http://127.0.0.1:1/v1/blobs/0"

// result publishes labelset.updated and returns its id.
func (r *rig) result(dataset string, n int) string {
	r.Helper()
	e := event.New()
	e.SetID(fmt.Sprintf("set_%s_%d", events.Token(dataset), n))
	e.SetSource("/al/test")
	e.SetType(events.LabelsetUpdated)
	if err := e.SetData("application/json", events.Labelset{Dataset: dataset, Labeled: n}); err != nil {
		r.Fatal(err)
	}
	e.SetExtension("dataref", dataref) // is passed on, not fetched
	header, data, err := events.Encode(e, events.Mode(n%2))
	if err != nil {
		r.Fatal(err)
	}
	if _, err := r.js.PublishMsg(r.Context(), &nats.Msg{Subject: events.OutSubject(e.Type(), dataset), Header: header, Data: data}); err != nil {
		r.Fatal(err)
	}
	return e.ID()
}

func (r *rig) until(what string, holds func() bool) {
	r.Helper()
	for began := time.Now(); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			r.Fatalf("it does not come to pass that %s; posts %v", what, r.seen())
		}
	}
}

// TestOperatorsCommand: the consumer that docs/http.md adds by hand is the one
// that the hook of that page wants.
func TestOperatorsCommand(t *testing.T) {
	page, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	setting := regexp.MustCompile(`AL_WEBHOOKS='(.*)'`).FindSubmatch(page)
	command := regexp.MustCompile(`nats consumer add AL (\S+) (.*)\\\n(.*)\n`).FindSubmatch(page)
	if setting == nil || command == nil {
		t.Fatal("the page has no hook, or no command")
	}
	hooks, err := Parse([]string{string(setting[1])}, []string{secret})
	if err != nil {
		t.Fatal(err)
	}
	c := jetstream.ConsumerConfig{Durable: string(command[1]), AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverNewPolicy,
		AckWait: 30 * time.Second, MaxAckPending: 1, MaxDeliver: -1}
	filter := regexp.MustCompile(`--filter '(\S+)' `)
	flags := string(command[2]) + string(command[3])
	for _, m := range filter.FindAllStringSubmatch(flags, -1) {
		c.FilterSubjects = append(c.FilterSubjects, m[1])
	}
	const want = "--pull --deliver new --ack explicit --wait 30s --max-pending 1 --max-deliver=-1 --replay instant --defaults"
	if rest := strings.Join(strings.Fields(filter.ReplaceAllString(flags, "")), " "); rest != want {
		t.Errorf("flags %s, want %s", rest, want)
	}
	r := newRig(t, nil)
	if _, err := New(t.Context(), Config{Hooks: hooks}, Deps{NATS: r.nc}); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("without the consumer: %v", err)
	}
	if _, err := r.js.CreateConsumer(t.Context(), bus.Stream, c); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), Config{Hooks: hooks}, Deps{NATS: r.nc}); err != nil {
		t.Error(err)
	}
}

// TestReceiverFails in every way, one after another, and recovers: nothing is
// lost, the order is kept, repetitions have the same id.
func TestReceiverFails(t *testing.T) {
	failures := []func(w http.ResponseWriter, r *http.Request){
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "1"); w.WriteHeader(429) },
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(307)
		},
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
		func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },                      // no answer
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },                   // the connection breaks
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 1<<20)) }, // taken
	}
	r := newRig(t, func(w http.ResponseWriter, req *http.Request, n int) {
		if n <= 2*len(failures) {
			failures[(n-1)%len(failures)](w, req)
		}
	})
	r.hangs = true
	r.result("before", 1) // that there was a hook
	reg, _ := r.sender("")
	var want []string
	for i := range 10 {
		want = append(want, r.result("clothing", i))
	}
	r.until("everything is delivered and acknowledged", func() bool {
		c, err := r.js.Consumer(r.Context(), bus.Stream, r.durable())
		return err == nil && len(slices.Compact(r.seen())) == len(want) && c.CachedInfo().NumAckPending+int(c.CachedInfo().NumPending) == 0
	})
	posts := r.seen()
	if got := slices.Compact(slices.Clone(posts)); !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
	if got, want := r.outcomes(reg), fmt.Sprintf("delivered 10, failed %d, gone 0", len(posts)-10); got != want || len(posts) < 2*len(failures)+8 {
		t.Errorf("metrics: %s after %d posts, want %s", got, len(posts), want)
	}
}

// outcomes are the counts of al_webhook_posts_total.
func (r *rig) outcomes(reg *prometheus.Registry) string {
	r.Helper()
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "al_webhook_posts_total" {
		r.Fatalf("%v, %v", families, err)
	}
	var all []string
	for _, m := range families[0].Metric {
		all = append(all, fmt.Sprintf("%s %v", m.Label[0].GetValue(), m.Counter.GetValue()))
	}
	return strings.Join(all, ", ")
}

func (r *rig) durable() string {
	hooks, err := Parse([]string{r.server.URL + "/hook"}, []string{secret})
	if err != nil {
		r.Fatal(err)
	}
	return hooks[0].Durable()
}

// TestReceiverIsGone: it is left alone until the worker starts again, and has
// missed nothing.
func TestReceiverIsGone(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		if n <= 2 {
			w.WriteHeader([]int{200, 410}[n-1])
		}
	})
	reg, stop := r.sender(";name=tool")
	want := []string{r.result("d", 1), r.result("d", 2), r.result("d", 3)}
	r.until("it says so", func() bool { return r.outcomes(reg) == "delivered 1, failed 0, gone 1" })
	stop() // it has ended by itself: this does not wait
	if n := len(r.seen()); n != 2 {
		t.Errorf("%d posts, want 2", n)
	}
	r.sender(";name=tool")
	r.until("the rest arrives", func() bool { return len(r.seen()) == 4 })
	if got := slices.Compact(r.seen()); !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
}

// TestReplicas: several senders share a hook; one posts at a time, in order, and
// only what the hook wants.
func TestReplicas(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		if n%3 == 0 {
			w.WriteHeader(502)
		}
	})
	var stops []func()
	for range 3 {
		_, stop := r.sender(";types=labelset.updated|selection.failed;datasets=my clothing")
		stops = append(stops, stop)
	}
	var want []string
	for i := range 20 {
		r.result("other", i)
		want = append(want, r.result("my clothing", i))
		if i == 10 {
			stops[0]()
		}
	}
	r.until("everything is delivered", func() bool { return len(slices.Compact(r.seen())) == len(want) })
	if got := slices.Compact(r.seen()); !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
}
