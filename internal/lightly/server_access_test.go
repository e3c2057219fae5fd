package lightly_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"nextbatch/internal/events"
	"nextbatch/internal/lightly"
)

// TestTokens: who may do what.
func TestTokens(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Tokens: []string{"alice:token-a", "bob:token-b"}})
	for _, token := range []string{"", "x", "token-", "token-a "} {
		r.token = token
		r.refused(401, "UNAUTHORIZED", "GET", "/v1/datasets", nil)
		r.refused(401, "UNAUTHORIZED", "POST", "/v1/datasets", object{"name": "stranger"})
	}
	if v := ok[string](r, "GET", "/v1/versions/pip/latest?currentVersion=1.1.5", nil); v != "1.1.0" {
		t.Errorf("latest version %q", v)
	}
	r.token = "token-a"
	r.work()
	hers, e := r.dataset("hers", 5)
	s := hers + "/samples/" + ok[[]string](r, "GET", hers+"/mappings?field=_id", nil)[0]
	tag := ok[[]lightly.Tag](r, "GET", hers+"/tags", nil)[0].ID
	job := r.created(hers+"/embeddings/"+e+"/sampling", object{"newTagName": "sel", "method": "CORESET", "config": stop(2, -1)})
	r.finish(job)

	r.token = "token-b"
	if all := ok[[]object](r, "GET", "/v1/datasets", nil); len(all) != 0 {
		t.Errorf("bob sees %v", all)
	}
	if all := ok[[]object](r, "GET", "/v1/datasets/query/name/her?exact=False", nil); len(all) != 0 {
		t.Errorf("bob finds %v", all)
	}
	if all := ok[[]object](r, "GET", "/v1/jobs", nil); len(all) != 0 {
		t.Errorf("bob sees jobs %v", all)
	}
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"GET", hers, nil}, {"DELETE", hers, object{}}, {"PUT", hers, object{"name": "hers"}}, {"GET", hers + "/tags", nil}, {"GET", hers + "/tags/" + tag, nil},
		{"DELETE", hers + "/tags/" + tag, object{}}, {"GET", hers + "/mappings?field=_id", nil}, {"GET", hers + "/samples", nil}, {"GET", hers + "/samples/partial", nil},
		{"POST", hers + "/samples", object{"fileName": "bob.jpg"}}, {"PUT", s, object{"thumbName": "x"}}, {"GET", s, nil}, {"GET", s + "/readurl", nil},
		{"GET", s + "/writeurl", nil}, {"GET", s + "/writeurls", nil}, {"GET", hers + "/embeddings", nil}, {"GET", hers + "/embeddings/writeCSVUrl", nil},
		{"GET", hers + "/embeddings/" + e + "/readCSVUrl", nil}, {"DELETE", hers + "/embeddings/" + e, object{}},
		{"POST", hers + "/tags/" + tag + "/scores", object{"scoreType": "x", "scores": []int{1}}}, {"GET", hers + "/tags/" + tag + "/scores", nil},
		{"POST", hers + "/embeddings/" + e + "/sampling", object{"newTagName": "bob", "method": "RANDOM"}},
		{"POST", hers + "/tags", object{"name": "bob", "prevTagId": tag, "bitMaskData": "0x1", "totSize": 5}}, {"POST", hers + "/tags/upsize", object{"upsizeTagName": "bob"}},
		{"POST", hers + "/tags/initial", object{"imgType": "full"}}, {"GET", hers + "/tags/" + tag + "/export/basic/filenames", nil},
		{"POST", hers + "/tags/arithmetics", object{"tagId1": tag, "tagId2": tag, "operation": "UNION"}},
	} {
		r.refused(404, "DATASET_UNKNOWN", c.method, c.path, c.body)
	}
	r.refused(404, "JOB_UNKNOWN", "GET", "/v1/jobs/"+job, nil)
	r.refused(409, "DATASET_NAME_EXISTS", "POST", "/v1/datasets", object{"name": "hers"})

	r.token = "token-a"
	if d := ok[lightly.Dataset](r, "GET", hers, nil); d.NSamples != 5 || d.UserID != "alice" {
		t.Errorf("after bob: %+v", d)
	}
	if tags := ok[[]lightly.Tag](r, "GET", hers+"/tags", nil); len(tags) != 2 {
		t.Errorf("after bob: tags %+v", tags)
	}
}

// TestJobsOfAFormerDataset: whoever makes a dataset of a name that another
// user's had does not see that one's jobs.
func TestJobsOfAFormerDataset(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Tokens: []string{"alice:token-a", "bob:token-b"}})
	r.token = "token-a"
	stop := r.work()
	d, e := r.dataset("shoes", 5)
	sampling := object{"newTagName": "sel", "method": "CORESET", "config": object{}}
	done := r.created(d+"/embeddings/"+e+"/sampling", sampling)
	r.finish(done)
	stop()
	sampling["newTagName"] = "late"
	waiting := r.created(d+"/embeddings/"+e+"/sampling", sampling)
	ok[nothing](r, "DELETE", d, object{})
	for range 2 { // the second time with a dataset of the name
		r.token = "token-b"
		for _, job := range []string{done, waiting} {
			r.refused(404, "JOB_UNKNOWN", "GET", "/v1/jobs/"+job, nil)
		}
		if all := ok[[]object](r, "GET", "/v1/jobs", nil); len(all) != 0 {
			t.Errorf("bob sees jobs %v", all)
		}
		r.token = "token-a"
		if s := ok[lightly.JobStatus](r, "GET", "/v1/jobs/"+done, nil); s.Status != "FAILED" {
			t.Errorf("alice's job after her dataset was deleted: %+v", s)
		}
		r.token = "token-b"
		r.send("POST", "/v1/datasets", object{"name": "shoes"})
	}
}

// TestHosts: without tokens only what this machine calls itself is answered.
func TestHosts(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	for host, want := range map[string]int{"localhost:8080": 200, "127.0.0.1": 200, "[::1]:80": 200, "LOCALHOST": 200, "evil.example": 403, "127.0.0.1.evil.example:80": 403, "10.0.0.1": 403, "": 403} {
		req, _ := http.NewRequest("GET", r.base+"/v1/datasets?token=x", nil)
		if req.Host = host; host == "" {
			req.Host = "."
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Host %q: %d, want %d", host, resp.StatusCode, want)
		}
	}
	for _, header := range []http.Header{{"Origin": {"http://evil.example"}}, {"Sec-Fetch-Site": {"cross-site"}}, {"Origin": {"null"}}} {
		req, _ := http.NewRequest("POST", r.base+"/v1/datasets?token=x", strings.NewReader(`{"name":"planted"}`))
		req.Header = header
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 403 {
			t.Errorf("a page of another site, %v: %d", header, resp.StatusCode)
		}
	}
	r.token = ""
	r.refused(401, "UNAUTHORIZED", "GET", "/v1/datasets", nil)
	r.base, r.token = r.serve(lightly.ServerConfig{}), "x"
	if m := r.refused(401, "UNAUTHORIZED", "GET", "/v1/datasets", nil); !strings.Contains(m, "AL_TOKENS") {
		t.Errorf("the message does not say what to set: %s", m)
	}
}

func TestBadTokens(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	for _, list := range [][]string{{"alice"}, {"alice:"}, {":secret"}, {"a b:secret"}, {"alice:secret", "bob:secret"}} {
		_, err := lightly.NewServer(t.Context(), lightly.ServerConfig{Tokens: list}, lightly.ServerDeps{NATS: r.nc})
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "AL_TOKENS") {
			t.Errorf("%q: %v", list, err)
		}
	}
}

// TestPathsThatAreNot: an answer of the API all the same.
func TestPathsThatAreNot(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	for _, path := range []string{"/v1", "/v1/", "/v1/nothing", "/v1/datasets/a/b/c/d", "/v1//datasets", "/v1/../v1/datasets", "/v1/datasets/%2e%2e/tags", "/users/datasets/x"} {
		req, _ := http.NewRequest("GET", r.base+path, nil)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		var e struct{ Code string }
		json.NewDecoder(resp.Body).Decode(&e)
		resp.Body.Close()
		if resp.StatusCode/100 != 4 || e.Code == "" {
			t.Errorf("%s: %d %s", path, resp.StatusCode, e.Code)
		}
	}
	r.refused(405, "METHOD_NOT_ALLOWED", "PATCH", "/v1/datasets", nil)
	r.refused(405, "METHOD_NOT_ALLOWED", "GET", "/v1/datasets/", nil)
	for _, id := range []string{"x", strings.Repeat("0", 24), strings.Repeat("A", 24)} {
		r.refused(404, "DATASET_UNKNOWN", "GET", "/v1/datasets/"+id, nil)
	}
	for _, id := range []string{"x", strings.Repeat("0", 32) + "-0", strings.Repeat("0", 32) + "-9999999999999999999", strings.Repeat("0", 32) + "-7", strings.Repeat("0", 32)} {
		r.refused(404, "JOB_UNKNOWN", "GET", "/v1/jobs/"+id, nil)
	}
}

// TestJobsOutliveWorkers: a sampling that no worker runs for waits, and is
// done when one comes.
func TestJobsOutliveWorkers(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	end := r.work()
	d, e := r.dataset("patience", 8)
	end()
	job := r.created(d+"/embeddings/"+e+"/sampling", object{"newTagName": "later", "method": "CORESET", "config": stop(3, -1)})
	s := ok[lightly.JobStatus](r, "GET", "/v1/jobs/"+job, nil)
	if s.Status != "WAITING" || s.WaitTimeTillNextPoll != 1 || s.ID != job || s.CreatedAt == 0 {
		t.Errorf("without a worker: %+v", s)
	}
	other := *r
	other.base = r.serve(lightly.ServerConfig{Loopback: true})
	if s := ok[lightly.JobStatus](&other, "GET", "/v1/jobs/"+job, nil); s.Status != "WAITING" {
		t.Errorf("another server: %+v", s)
	}
	r.work()
	s = r.finish(job)
	if s.Status != "FINISHED" || s.Result.Type != "SAMPLING" || s.FinishedAt == 0 {
		t.Fatalf("with a worker: %+v", s)
	}
	if tag := ok[lightly.Tag](r, "GET", d+"/tags/"+s.Result.Data.(string), nil); tag.Name != "later" || rowsOf(t, tag).Count() != 3 {
		t.Errorf("tag %+v", tag)
	}
	ok[nothing](r, "DELETE", d+"/tags/"+s.Result.Data.(string), object{})
	if s := ok[lightly.JobStatus](r, "GET", "/v1/jobs/"+job, nil); s.Status != "FAILED" || !strings.Contains(s.Error, "deleted") {
		t.Errorf("after its tag was deleted: %+v", s)
	}
}

// TestDeletedDatasets stay deleted, whatever comes late, and leave nothing to
// the next one of the name.
func TestDeletedDatasets(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	end := r.work()
	d, e := r.dataset("phoenix", 6)
	r.created(d+"/tags/"+ok[[]lightly.Tag](r, "GET", d+"/tags", nil)[0].ID+"/scores", object{"scoreType": "uncertainty_margin", "scores": ramp(6)})
	r.sampling(d, e, object{"newTagName": "sel", "method": "CORESET", "config": stop(2, -1)})
	ok[nothing](r, "PUT", d+"/samples/"+ok[[]string](r, "GET", d+"/mappings?field=_id", nil)[3], object{"customMetaData": object{"old": true}})
	end()
	late := r.created(d+"/embeddings/"+e+"/sampling", object{"newTagName": "late", "method": "CORESET", "config": stop(2, -1)})
	ok[nothing](r, "DELETE", d+"?force=True", object{})
	r.refused(404, "DATASET_UNKNOWN", "GET", d, nil)
	r.refused(404, "DATASET_UNKNOWN", "POST", d+"/samples", object{"fileName": "late.jpg"})
	if all := ok[[]object](r, "GET", "/v1/datasets", nil); len(all) != 0 {
		t.Errorf("datasets %v", all)
	}

	again := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "phoenix"})
	if again == d {
		t.Fatal("the id came back")
	}
	r.created(again+"/samples", object{"fileName": "new.jpg"})
	if tags := ok[[]lightly.Tag](r, "GET", again+"/tags", nil); len(tags) != 0 {
		t.Errorf("tags of the new one: %+v", tags)
	}
	if samples := ok[[]lightly.Sample](r, "GET", again+"/samples", nil); len(samples) != 1 || samples[0].CustomMetaData != nil {
		t.Errorf("samples of the new one: %+v", samples)
	}
	initial := r.created(again+"/tags/initial", object{"imgType": "full"})
	if scores := ok[[]object](r, "GET", again+"/tags/"+initial+"/scores", nil); len(scores) != 0 {
		t.Errorf("scores of the new one: %v", scores)
	}
	r.work()
	if s := r.finish(late); s.Status != "FAILED" || !strings.Contains(s.Error, "DATASET_UNKNOWN") {
		t.Errorf("the job on the old one: %+v", s)
	}
	r.embed(again, "default")
	if tags := ok[[]lightly.Tag](r, "GET", again+"/tags", nil); len(tags) != 1 || tags[0].TotSize != 1 {
		t.Errorf("tags of the new one after the job on the old one: %+v", tags)
	}
	list := ok[[]lightly.Embedding](r, "GET", again+"/embeddings", nil)
	if tag := r.sampling(again, list[0].ID, object{"newTagName": "sel", "method": "CORESET", "config": stop(1, -1)}); rowsOf(t, tag).Count() != 1 {
		t.Errorf("a name of the old one again: %+v", tag)
	}
}

// TestDatasetOfEvents is everybody's, with its initial tag.
func TestDatasetOfEvents(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Tokens: []string{"alice:token-a"}})
	r.token = "token-a"
	r.work()
	var all []lightly.Dataset
	send := func(id, rows string, total int64) {
		t.Helper()
		m := events.Embeddings{Dataset: "by.events", Embeddings: events.Reference{URI: "inline:", Data: json.RawMessage(rows)}}
		data, _ := json.Marshal(object{"specversion": "1.0", "type": events.EmbeddingsReady, "source": "/test", "id": id, "data": m})
		if _, err := r.js.Publish(t.Context(), events.InSubject(events.EmbeddingsReady, "by.events"), data); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if all = ok[[]lightly.Dataset](r, "GET", "/v1/datasets", nil); len(all) == 1 && all[0].NSamples == total {
				return
			}
		}
		t.Fatalf("datasets %+v, want one of %d samples", all, total)
	}
	send("1", `[{"filename":"a,b.jpg","embedding":[1]},{"filename":"c.jpg","embedding":[2]},{"filename":"d.jpg","embedding":[3]}]`, 3)
	send("2", `[{"filename":"e.jpg","embedding":[4]}]`, 4) // in a blob of its own
	if all[0].Name != "by.events" || all[0].Type != "Images" || all[0].UserID == "" {
		t.Fatalf("datasets %+v", all)
	}
	d := "/v1/datasets/" + all[0].ID
	if tags := ok[[]lightly.Tag](r, "GET", d+"/tags", nil); len(tags) != 1 || tags[0].Name != "initial-tag" || tags[0].BitMaskData != "0xf" {
		t.Errorf("tags %+v", tags)
	}
	r.refused(409, "TAG_INITIAL_EXISTS", "POST", d+"/tags/initial", object{"imgType": "full"})
	e := ok[[]lightly.Embedding](r, "GET", d+"/embeddings", nil)[0]
	if _, csv := r.send("GET", ok[string](r, "GET", d+"/embeddings/"+e.ID+"/readCSVUrl", nil), nil); string(csv) != "filenames,embedding_0,labels\r\n\"a,b.jpg\",1,0\r\nc.jpg,2,0\r\nd.jpg,3,0\r\ne.jpg,4,0\r\n" {
		t.Errorf("csv %q", csv)
	}
	r.created(d+"/samples", object{"fileName": "f.jpg"})
	up := r.created(d+"/tags/upsize", object{"upsizeTagName": "more", "upsizeTagCreator": "USER_PIP"})
	if tag := ok[lightly.Tag](r, "GET", d+"/tags/"+up, nil); tag.BitMaskData != "0x10" || tag.TotSize != 5 {
		t.Errorf("upsize %+v", tag)
	}
}
