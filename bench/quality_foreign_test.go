//go:build foreign

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// The statistics of the learning curves, against numbers worked out by hand.
func TestQualityStatistics(t *testing.T) {
	out := page(t, "-m", "unittest", "-v", "test_stats")
	if !regexp.MustCompile(`(?m)^Ran ([89]|\d\d) tests in `).Match(out) {
		t.Errorf("want 8 tests or more:\n%s", out)
	}
}

// docs/quality.md and its drawings are what the kept runs say.
func TestQualityPageHoldsTheRuns(t *testing.T) {
	dir := t.TempDir()
	page(t, "report.py", dir)
	for _, name := range []string{"quality.md", "quality-cold.svg", "quality-warm.svg"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("docs/%s holds other figures than bench/quality/results.csv.gz: python3 bench/quality/report.py", name)
		}
	}
}

// page runs a command of bench/quality in the virtual environment.
func page(t *testing.T, arguments ...string) []byte {
	t.Helper()
	interpreter := os.Getenv("NEXTBATCH_PYTHON")
	if interpreter == "" {
		t.Fatal("NEXTBATCH_PYTHON is not set: make deps, then NEXTBATCH_PYTHON=$PWD/.venv/bin/python go test -tags foreign ./bench")
	}
	cmd := exec.Command(interpreter, append([]string{"-B"}, arguments...)...)
	cmd.Dir = "quality"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", arguments, err, out)
	}
	return out
}
