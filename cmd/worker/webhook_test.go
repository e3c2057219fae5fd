package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
)

const hookSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"

// receiver notes the ids of what is posted to it, and answers 503 now and then.
type receiver struct {
	mu  sync.Mutex // guards ids
	ids []string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	io.Copy(io.Discard, req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids = append(r.ids, req.Header.Get("webhook-id")); len(r.ids)%5 == 4 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// distinct are the ids in the order of their first post: a receiver that looks
// at ids sees no others.
func (r *receiver) distinct() (list []string, posts int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.ids {
		if !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list, len(r.ids)
}

// TestWebhooksSurviveKills kills the process before a post, and after it before
// the result is acknowledged: nothing is lost, the order is that of the stream,
// and what comes twice has the same id. The embedded server dies too, and
// forgets the last acknowledgements: then a few come once more.
func TestWebhooksSurviveKills(t *testing.T) {
	for _, step := range []string{"webhook-before", "webhook-after"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			var got receiver
			server := httptest.NewServer(&got)
			defer server.Close()
			hook := []string{"AL_WEBHOOKS=" + server.URL + "/hook;name=test", "AL_WEBHOOK_SECRETS=" + hookSecret}
			l := newLone(t)
			l.start(append(hook, "NEXTBATCH_FAILPOINT="+step+"=kill:3")...)
			batch := []map[string]any{{"id": "e", "type": events.EmbeddingsReady, "data": map[string]any{"dataset": "d",
				"embeddings": map[string]any{"uri": "inline:", "data": rowsOf(60)}, "selection": map[string]any{"batch_size": 2}}}}
			for i := range 8 {
				batch = append(batch, map[string]any{"id": fmt.Sprint(i), "type": events.SelectionRequested, "data": map[string]any{"dataset": "d", "selection": map[string]any{"batch_size": 2}}})
			}
			for _, e := range batch {
				e["specversion"], e["source"] = "1.0", "/test"
			}
			text, err := json.Marshal(batch)
			if err != nil {
				t.Fatal(err)
			}
			l.post(string(text))
			l.cmd.Wait() // killed by itself
			l.start(append(hook, "NEXTBATCH_FAILPOINT="+step+"=kill:2")...)
			l.post(string(text)) // it may not have been stored whole; the same again takes effect once
			l.cmd.Wait()
			l.start(hook...)
			l.post(string(text))

			want := l.resultIDs(9)
			for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
				if ids, _ := got.distinct(); len(ids) >= len(want) {
					break
				}
			}
			ids, posts := got.distinct()
			if !slices.Equal(ids, want) {
				t.Errorf("delivered %v, want %v", ids, want)
			}
			if posts == len(want) {
				t.Error("nothing came twice: the kills hit nothing")
			}
		})
	}
}

// rowsOf are rows of embeddings.
func rowsOf(n int) (rows []map[string]any) {
	for i := range n {
		rows = append(rows, map[string]any{"filename": fmt.Sprintf("%d.jpg", i), "embedding": []int{i, i * i % 17}})
	}
	return rows
}

// post sends a batch; a process that dies meanwhile is no failure.
func (l *lone) post(batch string) {
	l.Helper()
	resp, err := http.Post("http://"+l.http+"/v1/events?token=x", "application/cloudevents-batch+json", strings.NewReader(batch))
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil && resp.StatusCode != http.StatusAccepted {
		l.Fatalf("%s: %s", resp.Status, body)
	}
}

// resultIDs waits for n results and returns their ids in the order of the
// stream.
func (l *lone) resultIDs(n int) (ids []string) {
	l.Helper()
	address, err := os.ReadFile(filepath.Join(l.dir, "nats", "nats.url"))
	if err != nil {
		l.Fatal(err)
	}
	nc, err := bus.Connect(bus.Auth{URL: strings.TrimSpace(string(address)), Name: "test"}, zerolog.Nop())
	if err != nil {
		l.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		l.Fatal(err)
	}
	c, err := js.OrderedConsumer(l.Context(), bus.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"al.v1.out.>"}})
	if err != nil {
		l.Fatal(err)
	}
	for range n {
		m, err := c.Next(jetstream.FetchMaxWait(2 * time.Minute))
		if err != nil {
			l.Fatalf("%d of %d results: %v", len(ids), n, err)
		}
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil {
			l.Fatal(err)
		}
		ids = append(ids, e.ID())
	}
	return ids
}
