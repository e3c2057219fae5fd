package main

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"nextbatch/internal/blob"
)

// pageSamples writes the files that docs/strategies.md names: samples of which half
// are below zero, and a quarter of those show a tram and no car.
func pageSamples(t *testing.T, dir string) (cold, tram map[string]bool) {
	const n, dim = 600, 8
	r := rand.New(rand.NewPCG(1, 1))
	cold, tram = map[string]bool{}, map[string]bool{}
	var names, vectors, weather, classes bytes.Buffer
	scores := struct {
		Filenames []string             `json:"filenames"`
		Scores    map[string][]float64 `json:"scores"`
	}{Scores: map[string][]float64{}}
	x := make([]float32, n*dim)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	table := csv.NewWriter(&weather)
	table.Write([]string{"filename", "weather.temperature"})
	for row := range n {
		name, temperature, class := fmt.Sprintf("%03d.jpg", row), 20*r.Float64()-10, "car"
		if row%4 == 0 {
			class = "tram"
		}
		cold[name], tram[name] = temperature < 0, class == "tram"
		names.WriteString(name)
		table.Write([]string{name, strconv.FormatFloat(temperature, 'g', -1, 64)})
		fmt.Fprintf(&classes, "{\"filename\": %q, %q: 1}\n", name, class)
		scores.Filenames = append(scores.Filenames, name)
		scores.Scores["uncertainty_margin"] = append(scores.Scores["uncertainty_margin"], r.Float64())
	}
	table.Flush()
	if err := blob.WriteNPY(&vectors, n, dim, x); err != nil {
		t.Fatal(err)
	}
	header := fmt.Sprintf("{'descr': '|S7', 'fortran_order': False, 'shape': (%d,), }", n)
	header += strings.Repeat(" ", 117-len(header)) + "\n"
	var vectorFile bytes.Buffer
	z := zip.NewWriter(&vectorFile)
	for name, content := range map[string]string{"embeddings.npy": vectors.String(), "filenames.npy": "\x93NUMPY\x01\x00v\x00" + header + names.String()} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	z.Close()
	scoreFile, err := json.Marshal(scores)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"vectors.npz": vectorFile.Bytes(), "scores.json": scoreFile, "weather.csv": weather.Bytes(), "classes.jsonl": classes.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cold, tram
}

// TestStrategiesPage runs docs/strategies.md letter for letter: its wishes and both
// command lines. The same wishes go into an event in internal/worker, and into a run of
// the Lightly API in internal/lightly.
func TestStrategiesPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/strategies.md")
	if err != nil {
		t.Fatal(err)
	}
	wishes := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(page, -1)
	lines := regexp.MustCompile(`(?m)^    (\S.*)$`).FindAllSubmatch(page, -1)
	if len(wishes) != 1 || bytes.Count(page, []byte("```")) != 2 || len(lines) != 2 {
		t.Fatalf("the page has %d blocks of JSON and %d command lines: test them all", len(wishes), len(lines))
	}
	dir := t.TempDir()
	cold, tram := pageSamples(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "wishes.json"), wishes[0][1], 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(line []byte) (out string) {
		t.Helper()
		cmd := exec.Command("sh", "-ec", string(line))
		var warnings bytes.Buffer
		cmd.Dir, cmd.Stderr = dir, &warnings
		b, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, warnings.String())
		}
		return string(b)
	}

	batch := strings.Fields(run(lines[0][1]))
	trams := 0
	for _, name := range batch {
		if !cold[name] {
			t.Errorf("%s is not below zero", name)
		}
		if tram[name] {
			trams++
		}
	}
	if len(batch) != 100 || trams < 40 || trams > 60 {
		t.Errorf("%d samples, of which %d show trams: want 100 and about half of them", len(batch), trams)
	}

	rows := strings.Split(strings.TrimSpace(run(lines[1][1])), "\n")
	if len(rows) < 20 || !strings.HasPrefix(rows[0], "MIN DISTANCE") || !strings.HasSuffix(rows[1], " 600") {
		t.Errorf("the preview is %q", rows)
	}
}
