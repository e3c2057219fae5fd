//go:build foreign

package cvat_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"nextbatch/internal/cvat"
	"nextbatch/internal/cvat/cvatfake"
	"nextbatch/internal/events"
)

// CVAT's own client, cvat-sdk, works against the stand-in, so its answers have
// the shapes that the real one's have; and its models read what the connector
// sends.
func TestOfficialClient(t *testing.T) {
	python := os.Getenv("NEXTBATCH_PYTHON")
	if python == "" {
		t.Fatal("NEXTBATCH_PYTHON is not set. It names the python of a virtual environment:\n" +
			"  make deps\n" +
			"  NEXTBATCH_PYTHON=$PWD/.venv/bin/python go test -tags foreign ./...")
	}
	r := newRig(t, 1, func(c *cvat.Config) { c.Honeypots, c.CloudStorage = 0.25, 3 })
	sent := map[string][]json.RawMessage{}
	for round := range 2 { // the second with honeypots
		_, s := r.choose(40, 8)
		for _, j := range r.tasks(round + 1)[round].Jobs {
			r.cvat.SetJob(j, "", "completed")
		}
		r.settle(s.Tag.Name, events.Batch{Labeled: 8, Complete: true})
	}
	for kind, call := range map[string]string{"task": "POST /api/tasks", "data": "POST /api/tasks/N/data", "webhook": "POST /api/webhooks"} {
		for _, body := range r.cvat.Bodies(call) {
			sent[kind] = append(sent[kind], json.RawMessage(body))
		}
	}
	if n := len(sent["data"]); n != 2 || !bytes.Contains(sent["data"][1], []byte("gt_pool")) {
		t.Fatalf("%d tasks were given data: %s", n, sent["data"])
	}
	for _, d := range r.cvat.Sent() {
		var p struct{ Job json.RawMessage }
		if err := json.Unmarshal(d.Body, &p); err != nil {
			t.Fatal(err)
		}
		sent["job"] = append(sent["job"], p.Job)
	}
	input, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}

	other := cvatfake.Start(map[int]string{7: "Clothing"})
	defer other.Close()
	receiver := newRig(t, 1, func(c *cvat.Config) { c.Secrets = []string{"a secret of the sdk test"} })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-B", "testdata/python/sdk.py")
	cmd.Env = append(os.Environ(), "CVAT_URL="+other.URL, "CVAT_TOKEN="+cvatfake.Token, "HOOK_URL="+receiver.hook+cvat.HookPath)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"version 2.80.0 user anna", "project Clothing", "cannot be used with segment_size", "cannot be used with sorting_method",
		`can only be used with "random" sorting`, "not found: 404", "more data: 400", "read 2 task", "read 2 data", "read 1 webhook", " job"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}
