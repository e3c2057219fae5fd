//go:build foreign

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// TestPythonClient runs the tests of clients/python beside a service, as a
// training job and an annotation tool would run.
func TestPythonClient(t *testing.T) {
	python, bin := foreignPython(t), plainWorker(t)
	t.Parallel()
	s := newSite(t, python, bin, func(string) []string { return nil })
	tests, err := filepath.Abs("../../clients/python")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	cmd := s.command(ctx, python, "-B", "-m", "pytest", "-q", "-rA", "--durations=5", tests)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("pytest: %v\n%s", err, out)
	}
	if !regexp.MustCompile(`(?m)^[5-9]\d passed( in |, \d+ warnings? in )`).Match(out) {
		t.Errorf("pytest did not run all of its 50 tests or more:\n%s", out)
	}
}

// foreignPython is the interpreter of the virtual environment.
func foreignPython(t *testing.T) string {
	t.Helper()
	python := os.Getenv("NEXTBATCH_PYTHON")
	if python == "" {
		t.Fatal("NEXTBATCH_PYTHON is not set. It names the python of a virtual environment:\n" +
			"  make deps\n" +
			"  NEXTBATCH_PYTHON=$PWD/.venv/bin/python go test -tags foreign ./...")
	}
	return python
}

// plainWorker builds the binary that people run, without failpoints.
func plainWorker(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "worker")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}
