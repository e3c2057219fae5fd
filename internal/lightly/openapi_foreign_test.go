//go:build foreign

package lightly_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const openAPI = "../../schemas/lightly-openapi.yaml"

// tool is a program of the virtual environment of the tests.
func tool(t *testing.T, name string) string {
	t.Helper()
	interpreter := os.Getenv("NEXTBATCH_PYTHON")
	if interpreter == "" {
		t.Fatal("NEXTBATCH_PYTHON is not set: see make deps")
	}
	return filepath.Join(filepath.Dir(interpreter), name)
}

func TestOpenAPIDocumentIsValid(t *testing.T) {
	out, err := exec.Command(tool(t, "openapi-spec-validator"), openAPI).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("OK")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestOpenAPIFuzz has schemathesis send what the document allows, and what it
// does not, to a server with a dataset in it. No answer may be one of 5xx, or
// another than the document promises. FUZZ_SECONDS makes it longer, with a
// seed of its own.
func TestOpenAPIFuzz(t *testing.T) {
	s := newSite(t, "AL_TOKENS=ada:"+token)
	p := newPython(t, "1.2.37", s.url)
	dataset, spare := p.upload("fuzzed", "full"), p.upload("spare", "metadata")
	p.run(new(any), "compute.py", dataset, token, p.path("images")) // predictions, tags, scores, runs
	config := filepath.Join(t.TempDir(), "schemathesis.toml")
	if err := os.WriteFile(config, []byte(s.fuzzConfig(dataset, spare)), 0o644); err != nil {
		t.Fatal(err)
	}
	seconds, seed := "30", []string{"--seed", "1"}
	if longer := os.Getenv("FUZZ_SECONDS"); longer != "" {
		seconds, seed = longer, nil // it prints the one that it takes
	}
	limit, err := time.ParseDuration(seconds + "s")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit+time.Minute)
	defer cancel()
	document, err := filepath.Abs(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, tool(t, "st"), "--config-file", config, "run", document, "--url", s.url,
		"--max-time", seconds, "--workers", "1", "--continue-on-failure", "--request-timeout", "10", "--no-color",
		"--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth")
	cmd.Args = append(cmd.Args, seed...)
	cmd.Dir = t.TempDir() // it keeps what it has found where it runs
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
	if r, err := http.Get(s.url + "/readyz"); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("after it the worker is not ready: %v", err)
	} else {
		r.Body.Close()
	}
}

// fuzzConfig tells schemathesis the token, and the ids of what there is: it
// would not guess one. What it deletes is of the spare dataset.
func (s *site) fuzzConfig(dataset, spare string) string {
	ids := func(path string) (list []string) {
		var rows []struct{ ID string }
		s.get(path, &rows)
		for _, r := range rows {
			list = append(list, r.ID)
		}
		return list
	}
	known := func(dataset string) map[string][]string {
		d := "/v1/datasets/" + dataset
		return map[string][]string{
			"d": {dataset}, "t": ids(d + "/tags"), "e": ids(d + "/embeddings"), "s": ids(d + "/samples")[:5],
			"j": ids("/v1/jobs"), "w": ids("/v1/docker/worker"), "run": ids("/v1/docker/runs"), "task": {"clothing"},
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[auth.openapi.token]\napi_key = %q\n", token)
	var parameters [2]strings.Builder
	for i, of := range []string{dataset, spare} {
		for name, values := range known(of) {
			list, _ := json.Marshal(values)
			fmt.Fprintf(&b, "[dictionaries.%s%d]\nvalues = %s\n", name, i, list)
			fmt.Fprintf(&parameters[i], "\"path.%s\" = { dictionary = \"%s%d\", probability = 0.8 }\n", name, name, i)
		}
	}
	for _, field := range []string{"queryTagId", "preselectedTagId", "prevTagId", "tagId1", "tagId2"} {
		fmt.Fprintf(&parameters[0], "\"body.%s\" = { dictionary = \"t0\", probability = 0.8 }\n", field)
	}
	b.WriteString("[parameters]\n" + parameters[0].String())
	b.WriteString("[[operations]]\ninclude-method = \"DELETE\"\n[operations.parameters]\n" + parameters[1].String())
	return b.String()
}
