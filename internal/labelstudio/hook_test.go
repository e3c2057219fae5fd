package labelstudio_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/events"
	"nextbatch/internal/labelstudio"
	"nextbatch/internal/state"
)

// offline is the configuration of a connector that only takes webhooks.
var offline = labelstudio.Config{URL: "http://127.0.0.1:1", Token: "none", Projects: map[string]int{dataset: 7},
	Secrets: []string{secret, retired}, ImageURL: "s3://bucket/data/{filename}"}

// told is a task as a webhook tells of it.
type told struct {
	sample  int
	stamp   int // seconds
	labeled bool
	done    int
	skipped int
	data    string // instead of the filename
	tag     string
}

func (w told) String() string {
	if w.data == "" {
		w.data = fmt.Sprintf(`{"filename":%q,"al_selection":%q,"image":"s3://elsewhere/x.jpg"}`, file(w.sample), w.tag)
	}
	return fmt.Sprintf(`{"id":%d,"data":%s,"is_labeled":%v,"total_annotations":%d,"cancelled_annotations":%d,"updated_at":%q}`,
		1000+w.sample, w.data, w.labeled, w.done, w.skipped, time.Unix(1.8e9, 0).Add(time.Duration(w.stamp)*time.Second).UTC().Format("2006-01-02T15:04:05.000000Z"))
}

// body of a webhook about one task, as Label Studio sends it when an
// annotation is made.
func (w told) body() string {
	return fmt.Sprintf(`{"action":"ANNOTATION_CREATED","annotation":{"id":1,"result":[{"value":{"choices":["a"]}}]},"task":%s,"project":{"id":7,"title":"t"}}`, w)
}

func labeled(sample, stamp int) told {
	return told{sample: sample, stamp: stamp, labeled: true, done: 1}
}

func TestWebhookSecret(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, offline)
	for _, c := range []struct {
		header, value string
		want          int
	}{
		{"X-Webhook-Token", "", 401}, {"X-Webhook-Token", "wrong", 401}, {"X-Webhook-Token", secret[:len(secret)-1], 401}, {"X-Webhook-Token", secret + "x", 401},
		{"Authorization", "Bearer wrong", 401}, {"Authorization", secret, 401}, {"X-Other", secret, 401},
		{"X-Webhook-Token", secret, 204}, {"X-Webhook-Token", retired, 204}, {"Authorization", "Bearer " + secret, 204},
	} {
		if got := r.post(labeled(0, 1).body(), c.header, c.value); got != c.want {
			t.Errorf("%s: %s: %d, want %d", c.header, c.value, got, c.want)
		}
		if n := len(r.sent()); c.want == 401 && n > 0 {
			t.Fatalf("%s: %s: %d events were published", c.header, c.value, n)
		}
	}
	if n := r.counted("webhooks_total", "unauthorized"); n != 7 {
		t.Errorf("%v unauthorized webhooks counted, want 7", n)
	}
	resp, err := http.Get(r.hook)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("GET: %d", resp.StatusCode)
	}
}

// A label is stored when the answer comes, once, with the tag of its
// selection, and reaches the dataset.
func TestWebhookTellsOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 10, offline)
	r.send(events.SelectionRequested, events.Request{Dataset: dataset, Selection: events.Spec{Method: "RANDOM", Name: "batch-1"}})
	r.until("there is a selection", func() bool { _, _, err := r.store.Tag(t.Context(), dataset, "batch-1"); return err == nil })

	first := labeled(1, 10)
	first.tag = "batch-1"
	other := labeled(2, 10)
	other.tag = "no-such-tag"
	long := labeled(7, 10)
	long.tag = strings.Repeat("x", 1<<20)
	byURL := labeled(3, 10)
	byURL.data = fmt.Sprintf(`{"picture":"s3://bucket/data/%s","note":"s3://bucket/data"}`, file(3))
	steps := []struct {
		what string
		w    told
		want *events.Labels // nil: nothing is said
	}{
		{"a label", first, &events.Labels{Labeled: []string{file(1)}}},
		{"the same webhook again", first, nil},
		{"the annotation was changed", labeled(1, 20), nil},
		{"the first one, late", first, nil},
		{"of a tag that does not exist", other, &events.Labels{Labeled: []string{file(2)}}},
		{"of a tag that nobody could have made", long, &events.Labels{Labeled: []string{file(7)}}},
		{"a task that somebody else made", byURL, &events.Labels{Labeled: []string{file(3)}}},
		{"skipped", told{sample: 4, stamp: 10, skipped: 1}, &events.Labels{Skipped: []string{file(4)}}},
		{"skipped, then labeled", labeled(4, 11), &events.Labels{Labeled: []string{file(4)}}},
		{"one of two annotators", told{sample: 5, stamp: 10, done: 1}, nil},
		{"both annotators", told{sample: 5, stamp: 11, done: 2, labeled: true}, &events.Labels{Labeled: []string{file(5)}}},
		{"labeled, and skipped by another", told{sample: 6, stamp: 11, done: 1, skipped: 1, labeled: true}, &events.Labels{Labeled: []string{file(6)}}},
		{"withdrawn", told{sample: 6, stamp: 12}, &events.Labels{Unlabeled: []string{file(6)}}},
		{"withdrawn twice", told{sample: 6, stamp: 13}, nil},
		{"labeled before that, told late", labeled(6, 12), nil},
	}
	var want []events.Labels
	for _, s := range steps {
		if got := r.post(s.w.body()); got != http.StatusNoContent {
			t.Errorf("%s: %d", s.what, got)
		}
		if s.want != nil {
			s.want.Dataset, s.want.Tag = dataset, "batch-1" // which has picked all of them
			want = append(want, *s.want)
		}
		if diff := cmp.Diff(want, r.sent()); diff != "" {
			t.Fatalf("%s, - want + got:\n%s", s.what, diff)
		}
	}
	for i, s := range []state.Status{0, state.Labeled, state.Labeled, state.Labeled, state.Labeled, state.Labeled, state.Unlabeled} {
		r.until(fmt.Sprintf("sample %d has status %d", i, s), func() bool { return r.status(i) == s })
	}
	if n := len(r.messages("AL", "al.v1.dlq.>")); n > 0 {
		t.Errorf("%d dead letters", n)
	}
	// Another connector, on another replica or after a restart, knows the same.
	r.connect(offline)
	for _, s := range steps {
		r.post(s.w.body())
	}
	if extra := r.sent()[len(want):]; len(extra) > 0 {
		t.Errorf("a second connector says %+v", extra)
	}
}

// What cannot be taken is answered as Label Studio likes it, counted, and
// publishes nothing.
func TestWebhookIgnores(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, offline)
	good := labeled(0, 1).body()
	unknown := func(data string) string { w := labeled(0, 1); w.data = data; return w.body() }
	for _, c := range []struct {
		body, outcome string
		want          int
	}{
		{strings.Replace(good, `"id":7`, `"id":8`, 1), "other_project", 204},
		{strings.Replace(good, "ANNOTATION_CREATED", "PROJECT_UPDATED", 1), "other_action", 204},
		{strings.Replace(good, "ANNOTATION_CREATED", "START_TRAINING", 1), "other_action", 204},
		{`{"action":"ANNOTATION_CREATED"}`, "no_contents", 204},
		{`{"action":"ANNOTATIONS_DELETED","annotations":[{"id":1}],"project":{"id":7}}`, "deleted", 204},
		{`{"action":"TASKS_DELETED","tasks":[{"id":1}],"project":{"id":7}}`, "deleted", 204},
		{unknown(`{"filename":"nobody knows.jpg"}`), "unknown", 204},
		{unknown(`{"filename":["a"]}`), "unknown", 204}, {unknown(`{"filename":7,"image":{"a":[]}}`), "unknown", 204},
		{unknown(`null`), "unknown", 204}, {unknown(`[]`), "unknown", 204}, {unknown(`"x"`), "unknown", 204},
		{strings.Replace(good, `"task":{`, `"task":null,"x":{`, 1), "unknown", 204},
		{`{"action":"ANNOTATIONS_CREATED","task":[],"project":{"id":7}}`, "unknown", 204},
		{"", "bad_json", 400}, {"no JSON", "bad_json", 400}, {"[1]", "bad_json", 400}, {good[:len(good)-1], "bad_json", 400}, {strings.Repeat("[", 1<<20), "bad_json", 400},
		{strings.Replace(good, `"total_annotations":1`, `"total_annotations":"many"`, 1), "bad_json", 400},
	} {
		before := r.counted("webhooks_total", c.outcome)
		if got := r.post(c.body); got != c.want {
			t.Errorf("%.100s: %d, want %d", c.body, got, c.want)
		}
		if n := r.counted("webhooks_total", c.outcome) - before; n != 1 {
			t.Errorf("%.100s: outcome %s is counted %v times", c.body, c.outcome, n)
		}
	}
	if sent := r.sent(); len(sent) > 0 {
		t.Errorf("published %+v", sent)
	}
	if n := r.counted("tasks_ignored_total", "unknown"); n != 7 {
		t.Errorf("%v unknown tasks counted, want 7", n)
	}
}

// 100 MB are refused: of a stranger nothing is read, of Label Studio no more
// than the limit, whether it says how much will come or not.
func TestWebhookTooLarge(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, offline)
	const size = 100 << 20
	for _, c := range []struct {
		name, secret string
		announced    bool
		want         int
		most         int64 // bytes that are taken off our hands, with what the sockets hold
	}{
		{"a stranger", "wrong", true, 401, 8 << 20}, {"a stranger, unannounced", "wrong", false, 401, 8 << 20},
		{"Label Studio", secret, true, 413, 8 << 20}, {"Label Studio, unannounced", secret, false, 413, 24 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := url.Parse(r.hook)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp", u.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			how := fmt.Sprintf("Content-Length: %d", size)
			if !c.announced {
				how = "Transfer-Encoding: chunked"
			}
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nX-Webhook-Token: %s\r\n%s\r\n\r\n", u.Path, c.secret, how)
			answer := make(chan int, 1)
			go func() {
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					answer <- 0
					return
				}
				answer <- resp.StatusCode
			}()
			block := []byte(strings.Repeat(" ", 64<<10))
			sent := int64(0)
			for sent < size && err == nil {
				if !c.announced {
					fmt.Fprintf(conn, "%x\r\n", len(block))
				}
				var n int
				n, err = conn.Write(block)
				sent += int64(n)
				if !c.announced {
					io.WriteString(conn, "\r\n")
				}
			}
			if got := <-answer; got != c.want && got != 0 { // a reset can overtake the answer
				t.Errorf("%d, want %d", got, c.want)
			}
			if sent > c.most {
				t.Errorf("%d bytes were taken", sent)
			}
		})
	}
	if a, b := r.counted("webhooks_total", "unauthorized"), r.counted("webhooks_total", "too_large"); a != 2 || b != 2 {
		t.Errorf("counted %v unauthorized and %v too large, want 2 and 2", a, b)
	}
}

// A body that does not come is given up, and others are served meanwhile.
func TestWebhookSlow(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, offline)
	u, err := url.Parse(r.hook)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nX-Webhook-Token: %s\r\nContent-Length: 1000\r\n\r\n{", u.Path, secret)
	if got := r.post(labeled(0, 1).body()); got != http.StatusNoContent {
		t.Errorf("beside a slow one: %d", got)
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("a slow one: %d", resp.StatusCode)
	}
	if n := r.counted("webhooks_total", "broken_off"); n != 1 {
		t.Errorf("%v are counted, want 1", n)
	}
}

// Many annotators at once, over two replicas and in any order, and a bulk of
// thousands: each sample ends as its newest word says.
func TestWebhooksAtOnce(t *testing.T) {
	t.Parallel()
	const n, words, bulk = 6, 15, 3000
	r := newRig(t, n+bulk, offline)
	hooks := []string{r.hook}
	r.connect(offline)
	hooks = append(hooks, r.hook)
	var all sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	for i := range n { // all in one record of the ledger
		for stamp := range words + i%3 {
			w := []told{labeled(i, stamp), {sample: i, stamp: stamp}, {sample: i, stamp: stamp, skipped: 1}}[stamp%3]
			all.Go(func() {
				req, err := http.NewRequest(http.MethodPost, hooks[rand.IntN(2)], strings.NewReader(w.body()))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("X-Webhook-Token", secret)
				began := time.Now()
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusNoContent {
					t.Errorf("sample %d: %d", i, resp.StatusCode)
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
			})
		}
	}
	all.Wait()
	slices.Sort(took)
	t.Logf("%d webhooks at a time: half in %v, 99 %% in %v", len(took), took[len(took)/2], took[len(took)*99/100])

	var tasks []string
	for i := range bulk {
		tasks = append(tasks, labeled(n+i, 1).String())
	}
	began := time.Now()
	if got := r.post(`{"action":"ANNOTATIONS_CREATED","annotation":[],"task":[` + strings.Join(tasks, ",") + `],"project":{"id":7}}`); got != http.StatusNoContent {
		t.Errorf("bulk: %d", got)
	}
	t.Logf("a webhook of %d annotations took %v", bulk, time.Since(began))
	for i := range n {
		want := []state.Status{state.Labeled, state.Unlabeled, state.Skipped}[(words+i%3-1)%3]
		r.until(fmt.Sprintf("sample %d has status %d", i, want), func() bool { return r.status(i) == want })
	}
	r.until("the last of the bulk is labeled", func() bool { return r.status(n+bulk-1) == state.Labeled && r.status(n) == state.Labeled })
	http.DefaultClient.CloseIdleConnections()
}

// Webhooks one after another, as one annotator makes them: how long they take.
func TestWebhookTime(t *testing.T) {
	t.Parallel()
	r := newRig(t, 200, offline)
	var took []time.Duration
	for i := range 200 {
		began := time.Now()
		if got := r.post(labeled(i, 1).body()); got != http.StatusNoContent {
			t.Fatalf("%d", got)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("half in %v, 95 %% in %v, all in %v", took[100], took[190], took[199])
	r.until("all are labeled", func() bool { return r.status(199) == state.Labeled && r.status(0) == state.Labeled })
}
