package lightly_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/lightly"
)

// unit uploads embeddings of length 1, on a half circle, and waits until they
// are there.
func (r *rig) unit(path string) {
	r.Helper()
	var b strings.Builder
	b.WriteString("filenames,embedding_0,embedding_1,labels\r\n")
	all := ok[[]string](r, "GET", path+"/mappings?field=fileName", nil)
	for i, name := range all {
		angle := math.Pi * float64(i) / float64(len(all))
		fmt.Fprintf(&b, "%s,%v,%v,0\r\n", name, math.Cos(angle), math.Sin(angle))
	}
	where := ok[struct{ SignedWriteURL string }](r, "GET", path+"/embeddings/writeCSVUrl?name=unit", nil)
	ok[nothing](r, "PUT", where.SignedWriteURL, b.String())
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if list := ok[[]lightly.Embedding](r, "GET", path+"/embeddings", nil); list[0].Name == "unit" && list[0].IsProcessed {
			return
		}
	}
	r.Fatal("the embeddings did not come")
}

// runOf is a run as clients see it.
type runOf struct {
	ID, State, Message, DatasetID, ConfigID, ScheduledID, DockerVersion string
	CreatedAt, LastModifiedAt                                           int64
	Artifacts                                                           []any
}

// scheduled is a run as it was scheduled.
type scheduled struct {
	ID, State, Priority string
	RunsOn              []string
}

// config stores what a run is to do.
func (r *rig) config(selection string) object {
	r.Helper()
	id := r.created("/v1/docker/worker/config", `{"config":{"workerType":"FULL","selection":`+selection+`}}`)
	return object{"configId": id, "priority": "MID", "runsOn": []string{}}
}

// scheduled schedules a run of a selection.
func (r *rig) scheduled(path, selection string) string {
	r.Helper()
	return r.created(path+"/docker/worker/schedule", r.config(selection))
}

// finished waits for the end of a run, as clients do.
func (r *rig) finished(scheduled string) (one runOf) {
	r.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		status, body := r.send("GET", "/v1/docker/runs/schedule/"+scheduled, nil)
		if status == http.StatusOK {
			if err := json.Unmarshal(body, &one); err != nil {
				r.Fatal(err)
			}
		} else if status != http.StatusNotFound {
			r.Fatalf("%d %s", status, body)
		}
		if slices.Contains([]string{"COMPLETED", "FAILED", "CRASHED", "ABORTED"}, one.State) {
			return one
		}
	}
	r.Fatalf("the run does not end: %+v", one)
	return one
}

// selected is the event that tells what a run selected.
func (r *rig) selected(dataset string, one runOf) (c events.Created) {
	r.Helper()
	stream, err := r.js.Stream(r.Context(), bus.Stream)
	if err != nil {
		r.Fatal(err)
	}
	last, err := stream.GetLastMsgForSubject(r.Context(), events.OutSubject(events.SelectionCreated, dataset))
	if err != nil {
		r.Fatal(err)
	}
	e, err := events.Decode(last.Header, last.Data)
	if err != nil {
		r.Fatal(err)
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(one.Message, "made the tag "), ";")
	if err := json.Unmarshal(e.Data(), &c); err != nil || c.Tag.Name != name {
		r.Fatalf("run %+v, but the last selection is %s, %v", one, e.Data(), err)
	}
	return c
}

func names(c events.Created) (all []string) {
	for _, a := range c.Added {
		all = append(all, a.Filename)
	}
	return all
}

func weighted(task, score string) string {
	return `{"input":{"type":"SCORES","task":"` + task + `","score":"` + score + `"},"strategy":{"type":"WEIGHTS"}}`
}

// diverse takes more fields of the strategy.
func diverse(more string) string {
	return `{"input":{"type":"EMBEDDINGS"},"strategy":{"type":"DIVERSITY"` + more + `}}`
}

// A client of release 1.2.37 uploads predictions and has runs select by them.
func TestComputeWorkerRuns(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Tokens: []string{"ada:secret", "bob:other"}})
	r.work()
	path, _ := r.dataset("photos", 40)
	r.unit(path)
	r.created(path+"/predictions/tasks?predictionUUIDTimestamp=-1", schema)
	samples := ok[[]string](r, "GET", path+"/mappings?field=_id", nil)
	for i, s := range samples { // 39 is the least certain
		r.created(path+"/predictions/samples/"+s+"?predictionUUIDTimestamp=-1", classes(float64(i)/80))
	}
	run := func(size, strategies string) events.Created {
		t.Helper()
		return r.selected("photos", r.finished(r.scheduled(path, `{`+size+`,"strategies":[`+strategies+`]}`)))
	}

	first := r.finished(r.scheduled(path, `{"nSamples":3,"strategies":[`+weighted("my-task", "uncertainty_margin")+`]}`))
	c := r.selected("photos", first)
	if c.Method != "ACTIVE_LEARNING" || c.Model.Name != "my-task" || !slices.Equal(names(c), []string{"img/039.jpg", "img/038.jpg", "img/037.jpg"}) {
		t.Errorf("by score: %s, %+v, %v", c.Method, c.Model, names(c))
	}
	if first.State != "COMPLETED" || first.ScheduledID == "" || "/v1/datasets/"+first.DatasetID != path || first.Artifacts == nil || len(first.Artifacts) != 0 || first.CreatedAt == 0 {
		t.Errorf("%+v", first)
	}
	// What is selected is not selected again.
	if c := run(`"proportionSamples":0.05`, weighted("my-task", "uncertainty_entropy")); !slices.Equal(names(c), []string{"img/036.jpg", "img/035.jpg"}) || c.Counts.Preselected != 3 {
		t.Errorf("the second run: %v of %+v", names(c), c.Counts)
	}
	if c := run(`"nSamples":2`, weighted("my-task", "uncertainty_margin")+","+diverse("")); c.Method != "CORAL" || len(c.Added) != 2 || c.Parameters.Embedding != "unit" {
		t.Errorf("both: %+v", c)
	}
	if c := run(`"nSamples":-1`, diverse(`,"stopping_condition_minimum_distance":0.5`)); c.Method != "CORESET" || c.Parameters.MinDistance != 0.5 || len(c.Added) == 0 || len(c.Added) > 6 {
		t.Errorf("by distance: %+v, %d added", c.Parameters, len(c.Added))
	}
	if c := run(`"nSamples":4`, `{"input":{"type":"RANDOM","randomSeed":7},"strategy":{"type":"WEIGHTS"}}`); c.Method != "RANDOM" || c.Parameters.Seed != 7 || len(c.Added) != 4 {
		t.Errorf("random: %+v", c)
	}

	runs := ok[[]runOf](r, "GET", "/v1/docker/runs?pageSize=5000&pageOffset=0", nil)
	page := ok[[]runOf](r, "GET", "/v1/docker/runs/query/datasetId/"+first.DatasetID+"?pageSize=2&pageOffset=4", nil)
	if len(runs) != 5 || len(page) != 1 || page[0].ID != runs[4].ID {
		t.Errorf("%d runs, a page of %d", len(runs), len(page))
	}
	if one := ok[runOf](r, "GET", "/v1/docker/runs/"+runs[0].ID, nil); one.State != "COMPLETED" || one.ID != first.ID {
		t.Errorf("%+v", one)
	}
	all := ok[[]scheduled](r, "GET", path+"/docker/worker/schedule", nil)
	if len(all) != 5 || all[0].State != "DONE" || all[0].ID != first.ScheduledID || all[0].Priority != "MID" || all[0].RunsOn == nil {
		t.Errorf("%+v", all)
	}
	if open := ok[[]scheduled](r, "GET", path+"/docker/worker/schedule?state=OPEN", nil); open == nil || len(open) != 0 {
		t.Errorf("open: %+v", open)
	}
	r.refused(404, "DOCKER_RUN_ARTIFACT_UNKNOWN", "GET", "/v1/docker/runs/"+first.ID+"/artifacts/"+first.ID+"/readurl", nil)
	r.token = "other" // another user sees nothing of it
	r.refused(404, "DOCKER_RUN_UNKNOWN", "GET", "/v1/docker/runs/"+first.ID, nil)
	r.refused(404, "DATASET_UNKNOWN", "GET", path+"/predictions/tasks", nil)
	if runs := ok[[]runOf](r, "GET", "/v1/docker/runs", nil); len(runs) != 0 {
		t.Errorf("another user's runs: %+v", runs)
	}
}

// Detections select too: an image without objects has predictions all the
// same, and one without predictions is not offered.
func TestDetectionRun(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	r.work()
	path, _ := r.dataset("streets", 6)
	object := func(category int, score float64) string {
		return fmt.Sprintf(`{"type":"OBJECT_DETECTION","taskName":"cars","categoryId":%d,"score":%g,"cropDatasetId":"a","cropSampleId":"b","bbox":[140,100,80,90]}`, category, score)
	}
	r.created(path+"/predictions/tasks", `{"name":"cars","type":"OBJECT_DETECTION","categories":[{"id":5,"name":"car"},{"id":9,"name":"bus"}]}`)
	samples := ok[[]string](r, "GET", path+"/mappings?field=_id", nil)
	for i, text := range []string{`[]`, "[" + object(5, 0.9) + "]", "[" + object(5, 0.9) + "," + object(9, 0.4) + "]", "[" + object(9, 0.2) + "]", `[` + strings.Repeat(object(5, 0.95)+",", 5) + object(9, 0.9) + `]`} {
		r.created(path+"/predictions/samples/"+samples[i], text)
	}
	one := r.finished(r.scheduled(path, `{"nSamples":9,"strategies":[`+weighted("cars", "objectness_least_confidence")+`]}`))
	c := r.selected("streets", one)
	if !slices.Equal(names(c)[:3], []string{"img/003.jpg", "img/002.jpg", "img/001.jpg"}) || len(c.Added) != 5 || !strings.Contains(one.Message, "1 samples of the pool have no score") {
		t.Errorf("%v, %s", names(c), one.Message)
	}
	r.created(path+"/predictions/samples/"+samples[5], "["+object(5, 0.9)+"]")
	one = r.finished(r.scheduled(path, `{"nSamples":1,"strategies":[`+weighted("cars", "prediction-margin")+`]}`))
	if one.State != "FAILED" || !strings.Contains(one.Message, `no score "prediction-margin"`) || !strings.Contains(one.Message, "object_frequency") {
		t.Errorf("%+v", one)
	}
}

// A run is open until a worker takes it.
func TestRunBeforeAWorker(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	path := r.bare("photos", 3)
	id := r.scheduled(path, `{"nSamples":2,"strategies":[{"input":{"type":"RANDOM"},"strategy":{"type":"WEIGHTS"}}]}`)
	r.refused(404, "DOCKER_RUN_UNKNOWN", "GET", "/v1/docker/runs/schedule/"+id, nil)
	if open := ok[[]scheduled](r, "GET", path+"/docker/worker/schedule?state=OPEN", nil); len(open) != 1 || open[0].ID != id || open[0].State != "OPEN" {
		t.Errorf("%+v", open)
	}
	r.work()
	if one := r.finished(id); one.State != "COMPLETED" || one.ScheduledID != id {
		t.Errorf("%+v", one)
	}
}

func TestRunsRefused(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	r.work()
	path, _ := r.dataset("photos", 3)
	schedule, configs := path+"/docker/worker/schedule", "/v1/docker/worker/config"
	says := func(want string, message string) {
		t.Helper()
		if !strings.Contains(message, want) {
			t.Errorf("%s\nwants %s", message, want)
		}
	}
	says(`"BALANCE on RANDOM" is not supported; served are BALANCE on METADATA`, r.refused(400, "BAD_REQUEST", "POST", configs,
		`{"config":{"workerType":"FULL","selection":{"nSamples":2,"strategies":[{"input":{"type":"RANDOM"},"strategy":{"type":"BALANCE"}}]}}}`))
	says("want FULL", r.refused(400, "BAD_REQUEST", "POST", configs, `{"config":{"workerType":"SMALL"}}`))
	says("config is missing", r.refused(400, "BAD_REQUEST", "POST", configs, `{}`))
	r.refused(404, "DOCKER_WORKER_CONFIG_UNKNOWN", "POST", schedule, object{"configId": strings.Repeat("0", 24), "priority": "MID"})
	r.refused(404, "DOCKER_WORKER_CONFIG_UNKNOWN", "POST", schedule, object{"configId": "../x"})
	says("no selection", r.refused(400, "BAD_REQUEST", "POST", schedule, r.config("null")))
	scores := `{"nSamples":1,"strategies":[` + weighted("my-task", "uncertainty_margin") + `]}`
	r.refused(400, "PREDICTION_TASK_SCHEMA_UNKNOWN", "POST", schedule, r.config(scores))
	r.created(path+"/predictions/tasks", schema)
	r.refused(400, "TAG_NO_SCORES_AVAILABLE", "POST", schedule, r.config(scores))
	sample := ok[[]string](r, "GET", path+"/mappings?field=_id", nil)[0]
	r.created(path+"/predictions/samples/"+sample, `[{"type":"CLASSIFICATION","taskName":"my-task","categoryId":7,"score":1}]`)
	says(`cannot be scored (for example "img/000.jpg": no probabilities`, r.refused(400, "BAD_REQUEST", "POST", schedule, r.config(scores)))
	similar := `{"nSamples":1,"strategies":[{"input":{"type":"EMBEDDINGS","datasetId":"` + strings.Repeat("a", 24) + `","tagName":"good"},"strategy":{"type":"SIMILARITY"}}]}`
	r.refused(400, "DATASET_UNKNOWN", "POST", schedule, r.config(similar))
	if all := ok[[]scheduled](r, "GET", schedule, nil); len(all) != 0 {
		t.Errorf("runs of what was refused: %+v", all)
	}

	// The rows of this embedding have other lengths than 1.
	one := r.finished(r.scheduled(path, `{"nSamples":1,"strategies":[`+diverse("")+`]}`))
	if one.State != "COMPLETED" {
		t.Errorf("%+v", one)
	}
	distance := `{"nSamples":1,"strategies":[` + diverse(`,"stopping_condition_minimum_distance":0.1`) + `]}`
	says("3 of 3 vectors of embedding default have another", r.refused(400, "BAD_REQUEST", "POST", schedule, r.config(distance)))
	r.unit(path)
	if one := r.finished(r.scheduled(path, distance)); one.State != "COMPLETED" {
		t.Errorf("%+v", one)
	}
	id := r.created(configs, `{"config":{"workerType":"FULL","docker":{"enable_training":true},"lightly":{"loader":{"num_workers":4}},"selection":{"nSamples":1,"strategies":[`+diverse("")+`]}}}`)
	one = r.finished(r.created(schedule, object{"configId": id, "priority": "LOW"}))
	if !strings.HasSuffix(one.Message, "without effect here: docker.enable_training, lightly.loader") {
		t.Errorf("message %q", one.Message)
	}
	draft := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "draft"})
	r.refused(400, "TAG_NO_TAG_IN_DATASET", "POST", draft+"/docker/worker/schedule", r.config(distance))
}

func TestComputeWorkers(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Tokens: []string{"ada:secret", "bob:other"}})
	register := func(body string) string { return r.created("/v1/docker/worker", body) }
	id := register(`{"name":"Default","workerType":"FULL","labels":["gpu"]}`)
	if again := register(`{"name":"Default","workerType":"FULL","labels":[]}`); again != id {
		t.Errorf("registered twice: %s and %s", id, again)
	}
	type entry struct {
		ID, Name, WorkerType, State string
		Labels                      []string
	}
	list := ok[[]entry](r, "GET", "/v1/docker/worker", nil)
	if len(list) != 1 || list[0].ID != id || list[0].Name != "Default" || !slices.Equal(list[0].Labels, []string{"gpu"}) {
		t.Errorf("%+v", list)
	}
	r.token = "other"
	r.refused(404, "DOCKER_WORKER_UNKNOWN", "DELETE", "/v1/docker/worker/"+id, "{}")
	r.token = "secret"
	ok[nothing](r, "DELETE", "/v1/docker/worker/"+id, "{}")
	r.refused(404, "DOCKER_WORKER_UNKNOWN", "DELETE", "/v1/docker/worker/"+id, "{}")
	if list := ok[[]entry](r, "GET", "/v1/docker/worker", nil); list == nil || len(list) != 0 {
		t.Errorf("%+v", list)
	}
	if again := register(`{"name":"Default","workerType":"FULL"}`); again != id {
		t.Errorf("registered anew as %s, was %s", again, id)
	}
	r.refused(400, "BAD_REQUEST", "POST", "/v1/docker/worker", `{"name":"x","workerType":"TINY"}`)
	r.refused(400, "BAD_REQUEST", "POST", "/v1/docker/worker", `{"workerType":"FULL"}`)
}
