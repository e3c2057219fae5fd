package lightly_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/lightly"
)

// structured is an event as a JSON object.
func structured(id, eventType string, data object) object {
	return object{"specversion": "1.0", "id": id, "source": "/test", "type": eventType, "data": data}
}

// first is embeddings.ready for ten samples, with a selection of three.
func first(dataset string) object {
	var rows []object
	for i := range 10 {
		rows = append(rows, object{"filename": fmt.Sprintf("%d.jpg", i), "embedding": []int{i, i * i}})
	}
	return object{"dataset": dataset, "embeddings": object{"uri": "inline:", "data": rows}, "selection": object{"method": "CORESET", "batch_size": 3, "name": "batch"}}
}

// publish posts to the entrance and returns the status and the answer.
func (r *rig) publish(header http.Header, body string) (int, object) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), "POST", r.base+"/v1/events", strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	var answer object
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		r.Fatalf("%s: %v", resp.Status, err)
	}
	return resp.StatusCode, answer
}

// headers are those of a request with the rig's token.
func (r *rig) headers(pairs ...string) http.Header {
	h := http.Header{"Authorization": {"Bearer " + r.token}}
	for i := 0; i < len(pairs); i += 2 {
		h[http.CanonicalHeaderKey(pairs[i])] = []string{pairs[i+1]}
	}
	return h
}

const (
	one   = "application/cloudevents+json"
	batch = "application/cloudevents-batch+json"
)

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// inputs counts what is in AL_IN.
func (r *rig) inputs() uint64 {
	r.Helper()
	s, err := r.js.Stream(r.Context(), bus.StreamIn)
	if err != nil {
		r.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// results waits for n results.
func (r *rig) results(n int) (all []event.Event) {
	r.Helper()
	c, err := r.js.OrderedConsumer(r.Context(), bus.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"al.v1.out.>"}})
	if err != nil {
		r.Fatal(err)
	}
	for range n {
		m, err := c.Next(jetstream.FetchMaxWait(2 * time.Minute))
		if err != nil {
			r.Fatalf("%d of %d results: %v", len(all), n, err)
		}
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil {
			r.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// TestEventsOverHTTP: structured, binary and batch do what they do over NATS.
func TestEventsOverHTTP(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Tokens: []string{"alice:token-a"}})
	r.token = "token-a"
	r.work()
	status, a := r.publish(r.headers("Content-Type", one), text(structured("1", "embeddings.ready", first("clothing"))))
	if status != 202 || a["stream"] != "AL_IN" || a["sequence"] != 1.0 || a["duplicate"] != false || a["dataset"] != "clothing" || a["type"] != "embeddings.ready" {
		t.Fatalf("structured: %d %v", status, a)
	}
	binary := r.headers("Content-Type", "application/json", "ce-specversion", "1.0", "ce-id", "2", "ce-source", "/te%20st", "ce-type", "selection.requested", "ce-correlationid", "round 1")
	if status, a = r.publish(binary, `{"dataset":"clothing","selection":{"method":"RANDOM","batch_size":2}}`); status != 202 || a["source"] != "/te%20st" && a["source"] != "/te st" {
		t.Fatalf("binary: %d %v", status, a)
	}
	labels := func(id, name string) object {
		return structured(id, "labels.completed", object{"dataset": "clothing", "labeled": []string{name}})
	}
	status, a = r.publish(r.headers("Content-Type", batch+"; charset=utf-8"), text([]object{labels("3", "1.jpg"), labels("4", "2.jpg"), labels("3", "1.jpg")}))
	list, _ := a["events"].([]any)
	if status != 202 || len(list) != 3 || list[1].(object)["sequence"] != 4.0 || list[2].(object)["duplicate"] != true || list[2].(object)["sequence"] != 3.0 {
		t.Fatalf("batch: %d %v", status, a)
	}
	if status, a = r.publish(r.headers("Content-Type", batch), "[]"); status != 202 {
		t.Errorf("an empty batch: %d %v", status, a)
	}
	for n := 3; ; n++ { // the labels may come in one, and before the selection
		all := r.results(n)
		if e := all[n-1]; e.Type() == events.SelectionFailed {
			t.Fatalf("%s", e.Data())
		}
		at := slices.IndexFunc(all, func(e event.Event) bool { return e.Extensions()["causationid"] == "2" })
		if at < 0 {
			continue
		}
		if all[at].Type() != events.SelectionCreated || all[at].Extensions()["correlationid"] != "round 1" {
			t.Errorf("the binary event leads to %v", all[at])
		}
		return
	}
}

// TestEventsThatAreRefused: each answer says what is wrong, and nothing of it
// is stored.
func TestEventsThatAreRefused(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Tokens: []string{"alice:token-a", "bob:token-b"}})
	r.token = "token-a"
	r.work()
	r.created("/v1/datasets", object{"name": "hers"})
	good := structured("1", "selection.requested", object{"dataset": "d", "selection": object{}})
	with := func(field string, value any) string {
		e := structured("1", "selection.requested", object{"dataset": "d", "selection": object{}})
		e[field] = value
		return text(e)
	}
	for name, c := range map[string]struct {
		header http.Header
		body   string
		status int
		code   string
		says   string
	}{
		"no token":        {http.Header{"Content-Type": {one}}, text(good), 401, "UNAUTHORIZED", "token"},
		"wrong token":     {http.Header{"Content-Type": {one}, "Authorization": {"Bearer token-c"}}, text(good), 401, "UNAUTHORIZED", "token"},
		"other scheme":    {http.Header{"Content-Type": {one}, "Authorization": {"Basic token-a"}}, text(good), 401, "UNAUTHORIZED", "token"},
		"no body":         {r.headers("Content-Type", one), "", 400, "bad_event", ""},
		"no JSON":         {r.headers("Content-Type", one), "{", 400, "bad_event", ""},
		"no event":        {r.headers("Content-Type", "application/json"), `{"dataset":"d"}`, 400, "bad_event", "specversion"},
		"a form":          {r.headers("Content-Type", "application/x-www-form-urlencoded"), "a=b", 400, "bad_event", "CloudEvent"},
		"wrong version":   {r.headers("Content-Type", one), with("specversion", "0.3"), 415, "unsupported_format", "0.3"},
		"no id":           {r.headers("Content-Type", one), with("id", ""), 400, "bad_event", "id"},
		"wrong type":      {r.headers("Content-Type", one), with("type", "selection.request"), 400, "unknown_type", "did you mean selection.requested"},
		"a result":        {r.headers("Content-Type", one), with("type", "selection.created"), 400, "unknown_type", "selection.created"},
		"a typo in data":  {r.headers("Content-Type", one), with("data", object{"dataset": "d", "selektion": object{}}), 400, "bad_data", "selektion"},
		"other dataset":   {r.headers("Content-Type", one), with("subject", "e"), 400, "bad_event", "subject"},
		"other format":    {r.headers("Content-Type", "application/cloudevents+avro"), "x", 415, "unsupported_format", "avro"},
		"compressed":      {r.headers("Content-Type", one, "Content-Encoding", "gzip"), "x", 415, "unsupported_format", "gzip"},
		"a header twice":  {http.Header{"Authorization": {"Bearer token-a"}, "Ce-Specversion": {"1.0"}, "Ce-Id": {"1", "2"}, "Ce-Source": {"/t"}, "Ce-Type": {"selection.requested"}}, "{}", 400, "bad_event", "twice"},
		"broken percents": {r.headers("ce-specversion", "1.0", "ce-id", "%zz", "ce-source", "/t", "ce-type", "selection.requested"), "{}", 400, "bad_event", "percent"},
		"too large":       {r.headers("Content-Type", one), with("data", object{"dataset": "d", "selection": object{"name": strings.Repeat("x", 1<<20)}}), 413, "event_too_large", "bytes"},
		"100 MB":          {r.headers("Content-Type", one), strings.Repeat(" ", 100<<20), 413, "PAYLOAD_TOO_LARGE", "bytes"},
		"a batch of what": {r.headers("Content-Type", batch), text(good), 400, "bad_event", "array"},
		"a broken batch":  {r.headers("Content-Type", batch), "[" + text(good), 400, "bad_event", "array"},
		"after the batch": {r.headers("Content-Type", batch), "[]]", 400, "bad_event", "follows"},
		"one bad of two":  {r.headers("Content-Type", batch), "[" + text(good) + "," + with("type", "x") + "]", 400, "bad_batch", "1 of 2 events"},
		"a large batch":   {r.headers("Content-Type", batch), "[" + strings.Repeat(text(good)+",", 1000) + text(good) + "]", 413, "batch_too_large", "1000"},
		"another's":       {http.Header{"Content-Type": {one}, "Authorization": {"Bearer token-b"}}, with("data", object{"dataset": "hers", "selection": object{}}), 403, "forbidden_dataset", "hers"},
	} {
		status, a := r.publish(c.header, c.body)
		message, _ := a["message"].(string)
		if status != c.status || a["code"] != c.code || message == "" || a["error"] != message || !strings.Contains(message, c.says) {
			t.Errorf("%s: %d %v, want %d %s with %q", name, status, a, c.status, c.code, c.says)
		}
	}
	if n := r.inputs(); n != 0 {
		t.Errorf("%d events are in the stream", n)
	}
	// 100 MB that do not say how long they are: cut off while they come, which the
	// sender may notice by its connection before it reads the answer.
	endless, err := http.NewRequestWithContext(t.Context(), "POST", r.base+"/v1/events", io.MultiReader(strings.NewReader(`{"id":"`), io.LimitReader(zeros{}, 100<<20)))
	if err != nil {
		t.Fatal(err)
	}
	endless.Header = r.headers("Content-Type", one)
	if resp, err := http.DefaultClient.Do(endless); err == nil {
		if resp.Body.Close(); resp.StatusCode != 413 {
			t.Errorf("100 MB in chunks: %s", resp.Status)
		}
	}
	if n := r.inputs(); n != 0 {
		t.Errorf("%d events are in the stream", n)
	}
	// In the query, as CloudEvents' web hooks allow.
	if status, _ := r.publish(http.Header{"Content-Type": {one}}, text(good)); status != 401 {
		t.Errorf("without a token: %d", status)
	}
	resp, err := http.Post(r.base+"/v1/events?access_token=token-a", one, strings.NewReader(text(good)))
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != 202 {
		t.Errorf("with access_token: %s", resp.Status)
	}
}

// zeros is a body of nothing but 0.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// TestReplayedEvents: the same again is told so, other data under an old id is
// refused, and nothing is there twice.
func TestReplayedEvents(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	r.work()
	e := structured("1", "embeddings.ready", first("clothing"))
	for i, want := range []int{202, 200, 200} {
		if status, a := r.publish(r.headers("Content-Type", one), text(e)); status != want || a["sequence"] != 1.0 || a["duplicate"] != (i > 0) {
			t.Errorf("time %d: %d %v", i, status, a)
		}
	}
	binary := r.headers("Content-Type", "application/json", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/test", "ce-type", "embeddings.ready")
	if status, a := r.publish(binary, " "+text(e["data"])+"\n"); status != 200 || a["sequence"] != 1.0 {
		t.Errorf("in the other mode: %d %v", status, a)
	}
	e["data"].(object)["selection"] = object{"method": "RANDOM", "batch_size": 1}
	if status, a := r.publish(r.headers("Content-Type", one), text(e)); status != 409 || a["code"] != "id_reused" {
		t.Errorf("other data: %d %v", status, a)
	}
	if status, a := r.publish(r.headers("Content-Type", batch), text([]object{structured("2", "selection.requested", object{"dataset": "clothing", "selection": object{"batch_size": 1}}), e})); status != 409 || len(a["events"].([]any)) != 1 {
		t.Errorf("other data in a batch: %d %v", status, a)
	}
	if all := r.results(2); all[0].Type() != events.SelectionCreated || all[1].Type() != events.SelectionCreated || r.inputs() != 2 {
		t.Errorf("%d inputs lead to %v", r.inputs(), all)
	}
}

// TestSlowEvents: a body that does not come ends the request, and holds nobody
// else up.
func TestSlowEvents(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true, BodyTime: 2 * time.Second})
	r.work()
	slow, err := net.Dial("tcp", strings.TrimPrefix(r.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "POST /v1/events?token=x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\n{", one)
	if status, a := r.publish(r.headers("Content-Type", one), text(structured("1", "embeddings.ready", first("d")))); status != 202 {
		t.Errorf("beside it: %d %v", status, a)
	}
	slow.SetReadDeadline(time.Now().Add(time.Minute))
	answer, err := io.ReadAll(slow)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
		t.Errorf("%v: %s", err, answer)
	}
	if r.results(1); r.inputs() != 1 {
		t.Errorf("%d events are in the stream", r.inputs())
	}
}

// TestExportFormats: the batch of a selection in its order, by names or ids.
func TestExportFormats(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	r.work()
	r.publish(r.headers("Content-Type", one), text(structured("1", "embeddings.ready", first("my clothing"))))
	var made events.Created
	if err := json.Unmarshal(r.results(1)[0].Data(), &made); err != nil {
		t.Fatal(err)
	}
	var names, rows, lines strings.Builder
	rows.WriteString("rank,filename,score,gain,covers,nearest,random\n")
	for i, a := range made.Added {
		fmt.Fprintln(&names, a.Filename)
		gain := ""
		if a.Gain != nil {
			gain = fmt.Sprint(*a.Gain)
		}
		fmt.Fprintf(&rows, "%d,%s,,%s,,%s,\n", i+1, a.Filename, gain, a.Nearest)
		lines.WriteString(text(a) + "\n")
	}
	dataset := ok[[]lightly.Dataset](r, "GET", "/v1/datasets", nil)[0]
	path := "/v1/datasets/" + dataset.ID + "/tags/" + made.Tag.ID + "/filenames?format="
	for format, want := range map[string]string{"txt": names.String(), "csv": rows.String(), "jsonl": lines.String()} {
		for _, path := range []string{path, "/v1/datasets/my%20clothing/tags/batch/filenames?format="} {
			if status, got := r.send("GET", path+format, nil); status != 200 || string(got) != want {
				t.Errorf("%s%s: %d\n%s\nwant\n%s", path, format, status, got, want)
			}
		}
	}
	if again := ok[events.Created](r, "GET", path+"json", nil); text(again) != text(made) {
		t.Errorf("json: %+v\nwant %+v", again, made)
	}
	if all := ok[[]string](r, "GET", "/v1/datasets/"+dataset.ID+"/tags/"+made.Tag.ID+"/filenames", nil); !slices.Equal(slices.Sorted(slices.Values(all)), made.Filenames) {
		t.Errorf("for Lightly's clients: %v", all)
	}
	var every strings.Builder
	every.WriteString("filename\n")
	for i := range 10 {
		fmt.Fprintf(&every, "%d.jpg\n", i)
	}
	if _, got := r.send("GET", "/v1/datasets/my%20clothing/tags/initial-tag/filenames?format=csv", nil); string(got) != every.String() {
		t.Errorf("initial-tag: %s", got)
	}
	if x := ok[struct{ Filenames []string }](r, "GET", "/v1/datasets/my%20clothing/tags/initial-tag/filenames?format=json", nil); len(x.Filenames) != 10 {
		t.Errorf("initial-tag: %v", x)
	}
	r.refused(400, "BAD_REQUEST", "GET", path+"xml", nil)
	r.refused(400, "BAD_REQUEST", "GET", path+"csv&pageSize=1", nil)
	r.refused(404, "TAG_UNKNOWN", "GET", "/v1/datasets/my%20clothing/tags/nothing/filenames?format=csv", nil)
	r.refused(404, "DATASET_UNKNOWN", "GET", "/v1/datasets/nothing/tags/batch/filenames?format=csv", nil)
	r.refused(404, "DATASET_UNKNOWN", "GET", "/v1/datasets/my%20clothing/tags/batch/filenames", nil)
}

// TestPolicyOverHTTP: what is put is there for events, and only what a selection
// may have can be put.
func TestPolicyOverHTTP(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Tokens: []string{"alice:token-a", "bob:token-b"}})
	r.token = "token-a"
	r.work()
	r.publish(r.headers("Content-Type", one), text(structured("1", "embeddings.ready", first("my clothing"))))
	r.results(1)
	const path = "/v1/datasets/my%20clothing/policy"
	if p := ok[object](r, "GET", path, nil); len(p) != 0 {
		t.Errorf("%v before there is one", p)
	}
	want := object{"method": "RANDOM", "batch_size": 2.0, "select": "pending_below:5", "random_share": 0.5}
	if p := ok[object](r, "PUT", path, object{"method": "random", "batch_size": 2, "select": "pending_below:5", "random_share": 0.5}); text(p) != text(want) {
		t.Errorf("put: %v", p)
	}
	if p := ok[object](r, "GET", path, nil); text(p) != text(want) {
		t.Errorf("get: %v", p)
	}
	for _, body := range []any{object{"batch_size": "2"}, object{"batch_size": -1}, object{"select": "always"}, object{"select": 1}, object{"select": nil}, object{"name": "x"}, object{"n_samples": 3}, object{"colour": "red"}, "[]", "", "{", `{"seed":1,"seed":2}`} {
		r.refused(400, "BAD_POLICY", "PUT", path, body)
	}
	r.publish(r.headers("Content-Type", one), text(structured("2", "labels.completed", object{"dataset": "my clothing", "labeled": []string{"0.jpg"}})))
	for _, e := range r.results(3)[1:] {
		if e.Type() == events.SelectionCreated && !strings.Contains(string(e.Data()), `"random":1`) || e.Type() == events.SelectionFailed {
			t.Errorf("%s", e.Data())
		}
	}
	if p := ok[object](r, "PUT", path, object{}); len(p) != 0 || len(ok[object](r, "GET", path, nil)) != 0 {
		t.Errorf("taken away: %v", p)
	}
	r.created("/v1/datasets", object{"name": "hers"})
	r.token = "token-b"
	r.refused(404, "DATASET_UNKNOWN", "PUT", "/v1/datasets/hers/policy", object{})
	r.refused(404, "DATASET_UNKNOWN", "GET", "/v1/datasets/hers/policy", nil)
}
