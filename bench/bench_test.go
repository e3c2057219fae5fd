package main

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"nextbatch/internal/blob"
)

// Every scenario runs at a tiny size. The rivals in Python are not installed,
// and their rows say so.
func TestQuick(t *testing.T) {
	var out strings.Builder
	kept := 0
	report, err := run(options{rows: regexp.MustCompile(""), quick: true, huge: true, repeat: 2, limit: time.Minute,
		stretch: time.Millisecond, python: filepath.Join(t.TempDir(), "python"), temp: t.TempDir()}, &out, func(Report) error { kept++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, s := range scenarios(true) {
		rows += len(s.rivals)
	}
	if kept != len(scenarios(true)) {
		t.Errorf("kept %d times, want %d", kept, len(scenarios(true)))
	}
	if len(report.Results) != rows || strings.Count(out.String(), "\n| ") != rows+2 {
		t.Errorf("%d results, want %d, in\n%s", len(report.Results), rows, &out)
	}
	for _, r := range report.Results {
		if strings.Contains(r.NotRun, "dataset-fashion-mnist") {
			continue
		}
		inPython := rival{name: r.Rival}.inPython()
		if inPython != strings.Contains(r.NotRun, "make bench installs them") || !inPython && r.NotRun != "" {
			t.Errorf("%s against %s: not run: %q", r.Name, r.Rival, r.NotRun)
		}
		if len(r.Ours) != 2 || !inPython && (len(r.Theirs) != 2 || !(r.ratio() > 0) || math.IsInf(r.ratio(), 0)) {
			t.Errorf("%s against %s: %v and %v seconds", r.Name, r.Rival, r.Ours, r.Theirs)
		}
		if r.PeakBytes < r.DataBytes || r.DataBytes != int64(4*r.Rows*r.Dim) {
			t.Errorf("%s: peak %d bytes, data %d", r.Name, r.PeakBytes, r.DataBytes)
		}
	}
}

// What the rivals read is what we select from.
func TestDataIsReadAsWritten(t *testing.T) {
	for kind := range kinds {
		path := filepath.Join(t.TempDir(), "data.npy")
		x, unmap, err := createNPY(path, 30, 20)
		if err != nil {
			t.Fatal(err)
		}
		defer unmap()
		if err := fill(kind, x); err != nil {
			t.Fatal(err)
		}
		f, err := blob.OpenPath(context.Background(), path, "npy")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, err := blob.ReadEmbeddings(f)
		if err != nil {
			t.Fatal(err)
		}
		if got.Rows != 30 || got.Dim != 20 || !slices.Equal(got.Data, x.Data) {
			t.Errorf("%s: %d × %d read, or other values", kind, got.Rows, got.Dim)
		}
		if slices.Equal(x.Row(0), x.Row(1)) {
			t.Errorf("%s: rows 0 and 1 are equal", kind)
		}
	}
}

func TestRow(t *testing.T) {
	r := Result{Name: "k-center", Rival: numpy, Ours: []float64{3, 1, 2}, Theirs: []float64{300, 100, 200}, Goal: 120,
		Note: "9 of 90 centers timed", DataBytes: 4e6, PeakBytes: 5e6, Others: 0.25}
	want := "| k-center | numpy | 2 s | ≈ 200 s | 100× | 120×, missed | 5 MB, 1.25 of data | 0.25 cores | 9 of 90 centers timed |\n"
	if got := r.row(); got != want {
		t.Errorf("row is %s want %s", got, want)
	}
	r = Result{Name: "k-center", Rival: mundig, NotRun: "too\nslow", Goal: 20}
	if got, want := r.row(), "| k-center | lightly-mundig |  |  |  | 20× |  |  | not run: too slow |\n"; got != want {
		t.Errorf("row is %s want %s", got, want)
	}
}

// A run of some rows leaves the others as they were, unless the machine is another.
func TestSaveKeepsOtherRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	first, second := scenarios(false)[0].name, scenarios(false)[1].name
	save := func(m Machine, results ...Result) Report {
		if err := (Report{m, results}).save(path); err != nil {
			t.Fatal(err)
		}
		r, err := load(path)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	here := Machine{CPU: "here"}
	save(here, Result{Name: second, Rival: numpy, Rows: 1}, Result{Name: second, Rival: bruteForce, Rows: 1})
	r := save(here, Result{Name: second, Rival: numpy, Rows: 2}, Result{Name: first, Rival: numpy, Rows: 2})
	if len(r.Results) != 3 || r.Results[0].Name != first || r.Results[1].Rows != 2 || r.Results[2].Rows != 1 {
		t.Errorf("after a run of other rows: %+v", r.Results)
	}
	if r := save(Machine{CPU: "there"}, Result{Name: first}); len(r.Results) != 1 {
		t.Errorf("after a run on another machine: %+v", r.Results)
	}
}

// The figures of the README are those of the run that is kept beside it.
func TestReadmeHoldsTheResults(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(copied, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := fillReadme(copied, "results.json"); err != nil {
		t.Fatal(err)
	}
	if filled, _ := os.ReadFile(copied); string(filled) != string(text) {
		t.Error("README.md holds other figures than results.json: go run ./bench -markdown bench/results.json")
	}
}
