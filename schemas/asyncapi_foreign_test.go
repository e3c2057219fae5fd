//go:build foreign

package schemas_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nextbatch/schemas"
)

// TestAsyncAPI runs the AsyncAPI project's own parser on asyncapi.yaml and on
// broken copies of it. It installs the parser into a temporary directory.
func TestAsyncAPI(t *testing.T) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: install Node.js 18 or later, which brings node and npm", err)
		}
	}
	tool := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "check.mjs"} {
		data, err := os.ReadFile(filepath.Join("asyncapi_check", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tool, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = tool
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	for _, c := range []struct {
		name, file, old, new string
		want                 string // "" if the parser must refuse
	}{
		{name: "as shipped", want: "8 channels, 8 operations, 8 messages, 55 fields"},
		{name: "unknown action", file: "asyncapi.yaml", old: "action: receive", new: "action: fetch"},
		{name: "missing channel", file: "asyncapi.yaml", old: "\n  deadLetters:", new: "\n  dead:"},
		{name: "missing schema", file: "asyncapi.yaml", old: "./labels.completed/v1.json", new: "./labels.complete/v1.json"},
		{name: "undeclared parameter", file: "asyncapi.yaml", old: "ready.{dataset}", new: "ready.{data}"},
		{name: "broken schema", file: "labels.completed/v1.json", old: `"type": "object"`, new: `"type": "record"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.CopyFS(dir, schemas.FS); err != nil {
				t.Fatal(err)
			}
			if c.file != "" {
				replace(t, filepath.Join(dir, c.file), c.old, c.new)
			}
			out, err := exec.Command("node", filepath.Join(tool, "check.mjs"), filepath.Join(dir, "asyncapi.yaml")).CombinedOutput()
			if c.want == "" {
				if err == nil || !strings.Contains(string(out), "error ") {
					t.Errorf("the parser accepts it: %v\n%s", err, out)
				}
				return
			}
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%v\n%swant %s", err, out, c.want)
			}
		})
	}
}

func replace(t *testing.T, name, before, after string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), before) {
		t.Fatalf("%s does not contain %q", name, before)
	}
	if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(data), before, after)), 0o644); err != nil {
		t.Fatal(err)
	}
}
