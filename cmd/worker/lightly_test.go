package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lone is a worker process with everything in it, as a user of the Lightly
// client has it.
type lone struct {
	*testing.T
	dir, bin, http string
	cmd            *exec.Cmd
}

func newLone(t *testing.T) *lone {
	t.Helper()
	bin, err := buildWorker()
	if err != nil {
		t.Fatal(err)
	}
	l := &lone{T: t, dir: t.TempDir(), bin: bin, http: freeAddr(t)}
	t.Cleanup(l.kill)
	return l
}

func (l *lone) start(env ...string) {
	l.Helper()
	l.cmd = exec.Command(l.bin)
	l.cmd.Env = append(append(os.Environ(), "AL_DATA_DIR="+l.dir, "AL_NATS_ADDR=127.0.0.1:0", "AL_HTTP_ADDR="+l.http, "AL_ACK_WAIT=1s"), env...)
	log, err := os.OpenFile(filepath.Join(l.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		l.Fatal(err)
	}
	defer log.Close()
	l.cmd.Stderr = log
	if err := l.cmd.Start(); err != nil {
		l.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get("http://" + l.http + "/startupz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return
			}
		}
	}
	text, _ := os.ReadFile(filepath.Join(l.dir, "log"))
	l.Fatalf("the worker does not start: %s", text)
}

func (l *lone) kill() {
	if l.cmd != nil {
		l.cmd.Process.Kill()
		l.cmd.Wait()
	}
}

// call makes a request and decodes its answer into v; it fails as the
// connection does.
func (l *lone) call(method, path string, body, v any) error {
	l.Helper()
	target := path
	if strings.HasPrefix(path, "/") {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		target = "http://" + l.http + path + sep + "token=x"
	}
	data, raw := body.([]byte)
	if !raw {
		data, _ = json.Marshal(body)
	}
	req, err := http.NewRequest(method, target, bytes.NewReader(data))
	if err != nil {
		l.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != 200 {
		l.Fatalf("%s %s: %s %s", method, path, resp.Status, answer)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(answer, v)
}

func (l *lone) must(method, path string, body, v any) {
	l.Helper()
	if err := l.call(method, path, body, v); err != nil {
		l.Fatal(err)
	}
}

// upload makes a dataset with embeddings.
func (l *lone) upload(name string, rows int) (path, embedding string) {
	l.Helper()
	var made struct{ ID, EmbeddingID, SignedWriteURL string }
	l.must("POST", "/v1/datasets", map[string]string{"name": name}, &made)
	path = "/v1/datasets/" + made.ID
	csv := []byte("filenames,embedding_0,labels\r\n")
	for i := range rows {
		l.must("POST", path+"/samples", map[string]string{"fileName": fmt.Sprintf("%d.jpg", i)}, nil)
		csv = fmt.Appendf(csv, "%d.jpg,%d,0\r\n", i, i*i)
	}
	l.must("POST", path+"/tags/initial", map[string]string{"imgType": "full"}, nil)
	l.must("GET", path+"/embeddings/writeCSVUrl?name=default", nil, &made)
	l.must("PUT", made.SignedWriteURL, csv, nil)
	return path, made.EmbeddingID
}

// TestLightlyJobsSurviveKills kills the one process that there is, at each
// step of a sampling. Started again it finishes the job, once.
func TestLightlyJobsSurviveKills(t *testing.T) {
	for _, step := range []string{"delivered", "after-claim", "before-blob", "before-commit", "after-commit", "before-ack"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := newLone(t)
			l.start()
			path, embedding := l.upload("killed", 20)
			l.cmd.Process.Signal(syscall.SIGTERM) // so that no event is left over
			l.cmd.Wait()
			l.start("NEXTBATCH_FAILPOINT=" + step + "=kill")
			var asked struct{ JobID string }
			err := l.call("POST", path+"/embeddings/"+embedding+"/sampling", map[string]any{"newTagName": "batch", "method": "CORESET",
				"config": map[string]any{"stoppingCondition": map[string]any{"nSamples": 5, "minDistance": -1}}}, &asked)
			l.cmd.Wait() // killed by itself
			l.start()
			if err != nil { // the answer was lost with the process: the list of jobs has it
				var jobs []struct{ JobID, JobType string }
				for deadline := time.Now().Add(2 * time.Minute); asked.JobID == "" && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
					l.must("GET", "/v1/jobs", nil, &jobs)
					for _, j := range jobs {
						if j.JobType == "SAMPLING" {
							asked.JobID = j.JobID
						}
					}
				}
			}
			var job struct {
				Status, Error string
				Result        struct{ Type, Data string }
			}
			for deadline := time.Now().Add(2 * time.Minute); job.Status != "FINISHED" && job.Status != "FAILED" && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
				l.must("GET", "/v1/jobs/"+asked.JobID, nil, &job)
			}
			var tags []struct{ ID, Name, BitMaskData string }
			l.must("GET", path+"/tags", nil, &tags)
			if job.Status != "FINISHED" || len(tags) != 2 || tags[1].ID != job.Result.Data || tags[1].Name != "batch" {
				t.Errorf("job %s: %+v, tags %+v", asked.JobID, job, tags)
			}
		})
	}
}

// TestLightlyRunsSurviveKills kills the process while it schedules a run: the
// run is in the list, and ends as its event does.
func TestLightlyRunsSurviveKills(t *testing.T) {
	for step, want := range map[string]struct {
		state string
		tags  int
	}{"run-stored": {"FAILED", 1}, "run-published": {"COMPLETED", 2}} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := newLone(t)
			l.start("NEXTBATCH_FAILPOINT=" + step + "=kill")
			path, _ := l.upload("killed", 20)
			var config struct{ ID string }
			l.must("POST", "/v1/docker/worker/config", json.RawMessage(`{"config":{"workerType":"FULL","selection":{"nSamples":2,"strategies":[{"input":{"type":"RANDOM"},"strategy":{"type":"WEIGHTS"}}]}}}`), &config)
			if err := l.call("POST", path+"/docker/worker/schedule", map[string]string{"configId": config.ID, "priority": "MID"}, nil); err == nil {
				t.Fatal("the process was not killed")
			}
			l.cmd.Wait()
			l.start()
			var runs []struct{ State, Message string }
			for deadline := time.Now().Add(2 * time.Minute); (len(runs) == 0 || runs[0].State != want.state) && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
				l.must("GET", "/v1/docker/runs", nil, &runs)
			}
			var tags []struct{ Name string }
			l.must("GET", path+"/tags", nil, &tags)
			if len(runs) != 1 || runs[0].State != want.state || runs[0].Message == "" || len(tags) != want.tags {
				t.Errorf("runs %+v, tags %+v; want one %s and %d tags", runs, tags, want.state, want.tags)
			}
		})
	}
}
