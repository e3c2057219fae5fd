package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/blob"
	"nextbatch/internal/score"
	"nextbatch/internal/selection"
	"nextbatch/internal/worker"
)

// scoreFile is what worker score --json prints, and one of the forms that worker
// select --scores reads.
type scoreFile struct {
	Filenames []string             `json:"filenames"`
	Scores    map[string][]float64 `json:"scores"`
}

func runScore(ctx context.Context, a *app, args []string) error {
	fs := a.flags("score", "--in FILE [--task T] [--format F] [--normalization N] [--lenient] [--out FILE] [--json]", `Turns predictions into acquisition scores, without a server.

  worker score --in probs.npy
  worker score --task object_detection --in predictions.jsonl --out scores.parquet

Formats: npy, npz, parquet, safetensors, csv, jsonl, Lightly's prediction tree (a
folder), and with --format what docs/events.md lists. Where the file has no
filenames, a sample's name is its row number.`)
	task := fs.String("task", "classification", "classification, object_detection, semantic_segmentation or keypoint_detection")
	in := fs.String("in", "", "predictions: a file, or the folder of a prediction tree")
	format := fs.String("format", "", "npy, npz, parquet, safetensors, csv, jsonl, lightly, coco, ultralytics or fiftyone; default by extension")
	normalization := fs.String("normalization", "none", "none; softmax for logits; sum for weights")
	lenient := fs.Bool("lenient", false, "score rows that are no probabilities as Lightly did, instead of refusing them")
	out := fs.String("out", "", "write to a file instead of standard output: .csv, .parquet, .json, or .txt for a table")
	asJSON := fs.Bool("json", false, `print {"filenames": […], "scores": {name: […]}}`)
	if err := fs.parse(args); err != nil {
		return err
	}
	if *in == "" || fs.NArg() > 0 {
		return wrongUsage("score needs --in FILE; worker score --help")
	}
	kind, err := outputKind(*out, *asJSON, "txt", "csv", "json", "parquet")
	if err != nil {
		return err
	}
	f, err := blob.OpenPath(ctx, *in, *format)
	if err != nil {
		return tell(err)
	}
	defer f.Close()
	names, vectors, err := worker.Score(ctx, f, *task, score.Options{Normalization: *normalization, Strict: !*lenient})
	if err != nil {
		return tell(err)
	}
	if len(vectors) == 0 || len(vectors[0].Values) == 0 {
		return fmt.Errorf("%s holds no predictions", *in)
	}
	if names == nil {
		names = rowNumbers(len(vectors[0].Values))
	}
	return a.output(*out, func(w io.Writer) error { return writeScores(w, kind, names, vectors) })
}

// samples are the rows that a local selection works on.
type samples struct {
	names     []string
	rows      map[string]int
	matrix    selection.Matrix
	scores    []float64
	scoreName string
	all       map[string][]float64 // every score of the file
}

func loadSamples(ctx context.Context, embeddings, filenames, scores, useScore string) (s samples, err error) {
	if embeddings != "" {
		f, err := blob.OpenPath(ctx, embeddings, "")
		if err != nil {
			return s, err
		}
		defer f.Close()
		e, err := blob.ReadEmbeddings(f)
		if err != nil {
			return s, err
		}
		s.names, s.matrix = e.Names, selection.Matrix{Rows: e.Rows, Dim: e.Dim, Data: e.Data}
	}
	if filenames != "" {
		if s.names, err = readNames(ctx, filenames); err != nil {
			return s, err
		}
	}
	var table scoreFile
	var vector []float64
	if scores != "" {
		if table, vector, err = readScores(ctx, scores); err != nil {
			return s, err
		}
	}
	if s.names == nil { // nobody names the samples: their row numbers do
		s.names = table.Filenames
		if n := max(s.matrix.Rows, len(vector)); s.names == nil {
			s.names = rowNumbers(n)
		}
	}
	if len(s.names) == 0 {
		return s, wrongUsage("select needs --embeddings, --filenames or --scores to know the samples")
	}
	if s.matrix.Data != nil && s.matrix.Rows != len(s.names) {
		return s, fmt.Errorf("%d filenames for %d embeddings", len(s.names), s.matrix.Rows)
	}
	s.rows = make(map[string]int, len(s.names))
	for row, name := range s.names {
		s.rows[name] = row
	}
	switch {
	case vector != nil && len(vector) != len(s.names):
		return s, fmt.Errorf("%d scores for %d samples", len(vector), len(s.names))
	case vector != nil:
		s.scores, s.scoreName = vector, "scores"
		s.all = map[string][]float64{"scores": vector}
	case len(table.Scores) > 0:
		err = s.join(table, useScore)
	case scores != "":
		err = fmt.Errorf(`%s has no scores; want {"filenames": […], "scores": {"uncertainty_margin": […]}}, as worker score --json prints it`, scores)
	}
	return s, err
}

// join puts the scores of a file into the order of the samples.
func (s *samples) join(t scoreFile, use string) error {
	for name := range t.Scores {
		if use == "" && (s.scoreName == "" || name == "uncertainty_margin" || name < s.scoreName && s.scoreName != "uncertainty_margin") || name == use {
			s.scoreName = name
		}
	}
	if values, ok := t.Scores[s.scoreName]; !ok || len(values) != len(t.Filenames) {
		return fmt.Errorf("no score %q for each of %d filenames", use, len(t.Filenames))
	}
	s.all = make(map[string][]float64, len(t.Scores))
	for name, list := range t.Scores {
		if len(list) == len(t.Filenames) {
			s.all[name] = make([]float64, len(s.names))
		}
	}
	seen := bitmask.New(len(s.names))
	for i, name := range t.Filenames {
		row, ok := s.rows[name]
		switch {
		case !ok:
			return fmt.Errorf("scores: filename %q is not among the samples", name)
		case seen.Has(row):
			return fmt.Errorf("scores: filename %q occurs twice", name)
		}
		for name, ordered := range s.all {
			ordered[row] = t.Scores[name][i]
		}
		seen.Set(row)
	}
	s.scores = s.all[s.scoreName]
	if n := seen.Count(); n != len(s.names) {
		return fmt.Errorf("scores for %d of %d samples", n, len(s.names))
	}
	return nil
}

// preselect moves filenames of a file from the pool to the centers.
func (s *samples) preselect(ctx context.Context, q *selection.Query, file string) error {
	if file == "" {
		return nil
	}
	rows, err := s.rowsOf(ctx, file)
	for _, row := range rows {
		q.Pool.Unset(row)
		q.Preselected.Set(row)
	}
	return err
}

// rowsOf are the rows of the filenames in a file.
func (s *samples) rowsOf(ctx context.Context, file string) (rows []int, err error) {
	names, err := readNames(ctx, file)
	if err != nil {
		return nil, err
	}
	unknown, first := 0, ""
	for _, name := range names {
		if row, ok := s.rows[name]; ok {
			rows = append(rows, row)
		} else if unknown++; unknown == 1 {
			first = name
		}
	}
	if unknown > 0 {
		return nil, fmt.Errorf("%s: %d of %d filenames are not among the samples (first %q)", file, unknown, len(names), first)
	}
	return rows, nil
}

func readNames(ctx context.Context, path string) ([]string, error) {
	f, err := blob.OpenPath(ctx, path, "")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return blob.ReadNames(f)
}

// readScores reads what worker score writes, or a vector.
func readScores(ctx context.Context, path string) (t scoreFile, vector []float64, err error) {
	ext := strings.ToLower(filepath.Ext(path))
	if ext == ".json" {
		b, err := os.ReadFile(path)
		if err != nil {
			return t, nil, err
		}
		if err := json.Unmarshal(b, &t); err != nil {
			return t, nil, fmt.Errorf("%s: %w; want the output of worker score --json", path, err)
		}
		return t, nil, nil
	}
	f, err := blob.OpenPath(ctx, path, "")
	if err != nil {
		return t, nil, err
	}
	defer f.Close()
	if ext == ".csv" || ext == ".parquet" {
		names, columns, err := blob.ReadScores(f)
		t = scoreFile{names, map[string][]float64{}}
		for _, c := range columns {
			t.Scores[c.Name] = c.Values
		}
		return t, nil, err
	}
	vector, err = blob.ReadVector(f)
	var b *blob.Error
	if errors.As(err, &b) && b.Code == "unsupported_format" {
		err = fmt.Errorf("--scores takes what worker score writes as .json, .csv or .parquet, or a vector as .npy, not %s", path)
	}
	return t, vector, err
}

func rowNumbers(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}

// tell adds the hint of an error of a file.
func tell(err error) error {
	var b *blob.Error
	if errors.As(err, &b) && b.Code == "reference_missing" {
		return errors.New(b.Message) // the hint is for senders of events
	}
	if errors.As(err, &b) && b.Hint != "" {
		return fmt.Errorf("%w\nhint: %s", err, b.Hint)
	}
	return explain(err)
}

// progress is a line on a terminal that is rewritten; elsewhere it is silent.
type progress struct {
	w     io.Writer
	what  string
	began time.Time
	drawn bool
}

func newProgress(w io.Writer, what string) *progress {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		w = nil
	}
	return &progress{w: w, what: what, began: time.Now()}
}

func (p *progress) show(done, total int) {
	took := time.Since(p.began)
	if p.w == nil || took < 300*time.Millisecond {
		return
	}
	left := "?"
	if done > 0 {
		left = (took * time.Duration(max(0, total-done)) / time.Duration(done)).Round(time.Second).String()
	}
	fmt.Fprintf(p.w, "\r%s %d of %d, %s left \x1b[K", p.what, done, total, left)
	p.drawn = true
}

func (p *progress) end() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
