package cvat_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nextbatch/internal/cvat"
	"nextbatch/internal/cvat/cvatfake"
	"nextbatch/internal/events"
)

// post sends a webhook as CVAT does and returns the status.
func (r *rig) post(body []byte, header ...string) int {
	r.Helper()
	return r.request(http.MethodPost, body, header...)
}

func (r *rig) request(method string, body []byte, header ...string) int {
	r.Helper()
	q, err := http.NewRequestWithContext(r.Context(), method, r.hook+"/hooks/cvat", bytes.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	q.Close = true
	for i := 0; i < len(header); i += 2 {
		q.Header.Add(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

const header = "X-Signature-256"

// Only what one of our secrets signed is believed, and of that only which job
// to look at.
func TestWebhookSignatures(t *testing.T) {
	const old = "the secret of yesterday"
	r := newRig(t, 1, func(c *cvat.Config) { c.Secrets = []string{secret, old} })
	_, s := r.choose(20, 4)
	job := r.tasks(1)[0].Jobs[0]
	// What it says of the state is not believed.
	body := fmt.Appendf(nil, `{"event":"update:job","job":{"id":%d,"task_id":1,"project_id":7,"type":"annotation","state":"completed","stage":"acceptance"},"webhook_id":1}`, job)
	other := func(b []byte, c byte) []byte { b = slices.Clone(b); b[len(b)-1] = c; return b }
	good := cvatfake.Sign(secret, body)
	for name, c := range map[string]struct {
		body   []byte
		header []string
		want   int
	}{
		"right":                    {body, []string{header, good}, 200},
		"of the older secret":      {body, []string{header, cvatfake.Sign(old, body)}, 200},
		"upper-case digits":        {body, []string{header, "sha256=" + strings.ToUpper(good[7:])}, 200},
		"none":                     {body, nil, 401},
		"empty":                    {body, []string{header, ""}, 401},
		"of another secret":        {body, []string{header, cvatfake.Sign("a secret of the tesT", body)}, 401},
		"of the empty secret":      {body, []string{header, cvatfake.Sign("", body)}, 401},
		"without its prefix":       {body, []string{header, good[7:]}, 401},
		"with another prefix":      {body, []string{header, "sha1=" + good[7:]}, 401},
		"of half the length":       {body, []string{header, good[:40]}, 401},
		"no digits":                {body, []string{header, "sha256=" + strings.Repeat("g", 64)}, 401},
		"twice":                    {body, []string{header, good, header, good}, 401},
		"of another body":          {other(body, ' '), []string{header, good}, 401},
		"a byte behind":            {append(slices.Clone(body), '\n'), []string{header, good}, 401},
		"signed, no JSON":          {[]byte("hello"), []string{header, cvatfake.Sign(secret, []byte("hello"))}, 400},
		"signed, empty":            {nil, []string{header, cvatfake.Sign(secret, nil)}, 400},
		"signed, of other types":   {[]byte(`{"event":7}`), []string{header, cvatfake.Sign(secret, []byte(`{"event":7}`))}, 400},
		"signed, of another event": {[]byte(`{"event":"ping"}`), []string{header, cvatfake.Sign(secret, []byte(`{"event":"ping"}`))}, 200},
		"signed, without its job":  {[]byte(`{"event":"update:job"}`), []string{header, cvatfake.Sign(secret, []byte(`{"event":"update:job"}`))}, 200},
	} {
		if got := r.post(c.body, c.header...); got != c.want {
			t.Errorf("signature %s: %d, want %d", name, got, c.want)
		}
	}
	// Neither the body nor its replay makes labels of a job that is not done.
	looks := r.cvat.Calls("GET /api/jobs/N")
	for range 20 {
		if got := r.post(body, header, good); got != 200 {
			t.Fatal(got)
		}
	}
	r.until("the job was looked at", func() bool { return r.cvat.Calls("GET /api/jobs/N") > looks })
	r.cvat.SetJob(job, "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Complete: true})
	// A replay of what once was true says it no second time, and what is no
	// longer true is not said at all.
	r.cvat.SetJob(job, "", "in progress")
	r.settle(s.Tag.Name, events.Batch{Pending: 4})
	for _, d := range r.cvat.Sent() {
		if d.Status != 200 {
			t.Errorf("%s was answered %d", d.Event, d.Status)
		}
		if got := r.post(d.Body, header, d.Signature); got != 200 {
			t.Errorf("a replay is answered %d", got)
		}
	}
	r.cvat.SetJob(job, "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Complete: true})
	if all := r.labelEvents(); len(all) != 3 {
		t.Errorf("%d events: %+v", len(all), all)
	}
	if got := r.request(http.MethodPut, nil); got != 405 {
		t.Errorf("a PUT is answered %d", got)
	}
}

// Without a secret nothing is taken.
func TestWebhookWithoutSecret(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, func(c *cvat.Config) { c.Secrets, c.HookURL = nil, "" })
	body := []byte(`{"event":"ping"}`)
	if got := r.post(body, header, cvatfake.Sign("", body)); got != 403 {
		t.Error(got)
	}
}

// A body that is too large is refused by its length, or once it is more than a
// webhook can be; a body that does not come ends by itself. Neither takes
// memory, and honest webhooks get through beside them.
func TestWebhookBodies(t *testing.T) {
	r := newRig(t, 1, nil)
	host := strings.TrimPrefix(r.hook, "http://")
	dial := func(text string) net.Conn {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		io.WriteString(conn, text)
		return conn
	}
	status := func(conn net.Conn) int {
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Error(err)
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	const head = "POST /hooks/cvat HTTP/1.1\r\nHost: x\r\nX-Signature-256: sha256=0000000000000000000000000000000000000000000000000000000000000000\r\n"
	if got := status(dial(head + "Content-Length: 104857600\r\n\r\n")); got != 413 {
		t.Errorf("100 MB by length: %d", got)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	conn := dial(head + "Transfer-Encoding: chunked\r\n\r\n")
	go func() {
		block := strings.Repeat("x", 64<<10)
		for range 1600 { // 100 MB
			if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(block), block); err != nil {
				return
			}
		}
	}()
	if got := status(conn); got != 413 {
		t.Errorf("100 MB without length: %d", got)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
		t.Errorf("it took %d MiB", grown>>20)
	}
	// More slow bodies than are read at a time.
	var wait sync.WaitGroup
	codes := map[int]int{}
	var mu sync.Mutex
	for range 40 {
		conn := dial(head + "Content-Length: 100\r\n\r\n{")
		wait.Go(func() {
			code := status(conn)
			mu.Lock()
			codes[code]++
			mu.Unlock()
		})
	}
	wait.Wait()
	if codes[408] == 0 || codes[408]+codes[503] != 40 {
		t.Errorf("slow bodies are answered %v", codes)
	}
	body := []byte(`{"event":"ping"}`)
	if got := r.post(body, header, cvatfake.Sign(secret, body)); got != 200 {
		t.Errorf("after them: %d", got)
	}
}

// A webhook is stored before it is answered: with the server of the stream
// away CVAT is told to send it again, and nothing is asked of CVAT meanwhile.
func TestWebhookIsStoredFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, nil)
	_, s := r.choose(20, 4)
	job := r.tasks(1)[0].Jobs[0]
	r.cvat.Down(true)
	r.cvat.SetJob(job, "", "completed")
	var sent []cvatfake.Delivery
	r.until("it was sent", func() bool { sent = r.cvat.Sent(); return len(sent) > 0 })
	if len(sent) != 1 || sent[0].Status != 200 {
		t.Errorf("while CVAT does not answer: %d deliveries, status %d", len(sent), sent[0].Status)
	}
	d, _, err := r.state.Dataset(t.Context(), "clothing")
	if err != nil {
		t.Fatal(err)
	}
	var stored json.RawMessage
	if _, err := r.state.Tool(t.Context(), "cvat-inbox", d, fmt.Sprintf("job-%d", job), &stored); err != nil {
		t.Errorf("it is not stored: %v", err)
	}
	r.cvat.Down(false)
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Complete: true})
	r.until("the hint is gone", func() bool {
		_, err := r.state.Tool(t.Context(), "cvat-inbox", d, fmt.Sprintf("job-%d", job), &stored)
		return err != nil
	})

	stop, err := r.js.Stream(t.Context(), "AL")
	if err != nil {
		t.Fatal(err)
	}
	config := stop.CachedInfo().Config
	config.MaxBytes = 1 // the stream takes no writes
	if _, err := r.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	body := fmt.Appendf(nil, `{"event":"update:job","job":{"id":%d,"project_id":7}}`, job)
	if got := r.post(body, header, cvatfake.Sign(secret, body)); got != 503 {
		t.Errorf("what cannot be stored is answered %d", got)
	}
	config.MaxBytes = -1
	if _, err := r.js.UpdateStream(context.Background(), config); err != nil {
		t.Fatal(err)
	}
}
