package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"nextbatch/internal/events"
	"nextbatch/internal/selection"
	"nextbatch/internal/worker"
)

// readStrategies reads a list of strategies, a selection block that has one, or a
// selection_config of LightlyOne, which calls its size otherwise.
func readStrategies(path string) (w wishes, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return w, err
	}
	block := map[string]json.RawMessage{}
	if text = bytes.TrimSpace(text); bytes.HasPrefix(text, []byte("{")) {
		if err := json.Unmarshal(text, &block); err != nil {
			return w, fmt.Errorf("%s: %w", path, err)
		}
	} else {
		block["strategies"] = text
	}
	if n := string(block["nSamples"]); n == "-1" { // no limit
		block["proportionSamples"] = json.RawMessage("1")
	} else if n != "" && n != "null" {
		block["batch_size"] = block["nSamples"]
	}
	if share := block["proportionSamples"]; share != nil {
		if err := json.Unmarshal(share, &w.share); err != nil || w.share != nil && !(*w.share >= 0 && *w.share <= 1) {
			return w, fmt.Errorf("%s: proportionSamples is %s, not in 0 … 1", path, share)
		}
	}
	delete(block, "nSamples")
	delete(block, "proportionSamples")
	if text, err = json.Marshal(block); err == nil {
		w.Spec, err = events.ParseSpec(text)
	}
	if err == nil && w.Strategies == nil {
		err = errors.New("it has no strategies")
	}
	if err != nil {
		return w, fmt.Errorf("%s: %w", path, err)
	}
	return w, nil
}

// fileSources are the worker.Sources of files.
type fileSources struct {
	samples
	metadata string // files with a row per sample
	classes  string
	tags     tagFiles
	seed     uint64
}

// tagFiles are files of filenames by the tag that they stand for.
type tagFiles map[string]string

func (t tagFiles) add(pair string) error {
	name, file, ok := strings.Cut(pair, "=")
	if !ok || name == "" || file == "" {
		return errors.New("want NAME=FILE")
	}
	t[name] = file
	return nil
}

func (f fileSources) Score(_ context.Context, _, name string) ([]float64, error) {
	if f.all == nil {
		return nil, errors.New("strategies on SCORES need --scores FILE")
	}
	values, ok := f.all[name]
	if !ok {
		return nil, fmt.Errorf("--scores has no score %q", name)
	}
	return values, nil
}

func (f fileSources) Metadata(_ context.Context, key string) ([]any, error) {
	if f.metadata == "" {
		return nil, errors.New("strategies on METADATA need --metadata FILE")
	}
	values := make([]any, len(f.names))
	return values, f.eachRow(f.metadata, func(row int, object json.RawMessage) (err error) {
		values[row], err = worker.ValueAt(object, key)
		return err
	})
}

func (f fileSources) Classes(_ context.Context, _ string, wanted []string) (c worker.Classes, err error) {
	if f.classes == "" {
		return c, errors.New("strategies on PREDICTIONS need --classes FILE")
	}
	type amount struct {
		row   int
		class string
		value float32
	}
	var all []amount
	found := map[string]bool{}
	err = f.eachRow(f.classes, func(row int, object json.RawMessage) error {
		var of map[string]any
		if err := json.Unmarshal(object, &of); err != nil {
			return err
		}
		delete(of, "filename")
		for name, v := range of {
			n, ok := v.(float64)
			if !ok || n < 0 {
				return fmt.Errorf("class %q is %v, not a number of at least 0", name, v)
			}
			if wanted != nil && !slices.Contains(wanted, name) {
				name = "" // all others together
			}
			found[name] = true
			all = append(all, amount{row, name, float32(n)})
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	c.Names = slices.Sorted(maps.Keys(found))
	place := map[string]int{}
	for k, name := range c.Names {
		place[name] = k
	}
	c.Shares = selection.Matrix{Rows: len(f.names), Dim: len(c.Names), Data: make([]float32, len(f.names)*len(c.Names))}
	for _, a := range all {
		c.Shares.Row(a.row)[place[a.class]] += a.value
	}
	return c, nil
}

func (f fileSources) Tagged(ctx context.Context, dataset, tag string, most int) (m selection.Matrix, err error) {
	if dataset != "" {
		return m, errors.New("SIMILARITY with datasetId needs the service, which has other datasets")
	}
	if f.tags[tag] == "" {
		return m, fmt.Errorf("SIMILARITY with tag %s needs --tag %s=FILE, the filenames that have it", tag, tag)
	}
	rows, err := f.rowsOf(ctx, f.tags[tag])
	if err != nil {
		return m, err
	}
	return worker.Sampled(f.matrix, rows, f.seed, most, func(row int) string { return f.names[row] }), nil
}

// eachRow reads a table with a row per sample: JSON lines with a filename, or
// CSV with a column of that name, whose numbers are numbers.
func (f fileSources) eachRow(path string, use func(row int, object json.RawMessage) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	next := jsonRows(file)
	if strings.HasSuffix(strings.ToLower(path), ".csv") {
		next = csvRows(file)
	}
	seen := make([]bool, len(f.names))
	for n := 1; ; n++ {
		object, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var of struct{ Filename *string }
		if err == nil {
			err = json.Unmarshal(object, &of)
		}
		switch {
		case err != nil:
		case of.Filename == nil:
			err = errors.New("no filename")
		default:
			row, known := f.rows[*of.Filename]
			switch {
			case !known:
				err = fmt.Errorf("%q is not among the samples", *of.Filename)
			case seen[row]:
				err = fmt.Errorf("%q comes a second time", *of.Filename)
			default:
				seen[row] = true
				err = use(row, object)
			}
		}
		if err != nil {
			return fmt.Errorf("%s, row %d: %w", path, n, err)
		}
	}
}

func jsonRows(r io.Reader) func() (json.RawMessage, error) {
	d := json.NewDecoder(bufio.NewReader(r))
	return func() (row json.RawMessage, err error) {
		err = d.Decode(&row)
		return row, err
	}
}

func csvRows(r io.Reader) func() (json.RawMessage, error) {
	c := csv.NewReader(bufio.NewReader(r))
	head, err := c.Read()
	return func() (json.RawMessage, error) {
		if err != nil {
			return nil, err
		}
		cells, err := c.Read()
		if err != nil {
			return nil, err
		}
		row := map[string]any{}
		for i, cell := range cells {
			if cell == "" {
				continue
			}
			row[head[i]] = cell
			if v, err := strconv.ParseFloat(cell, 64); err == nil && head[i] != "filename" && v == v && v-v == 0 {
				row[head[i]] = v
			}
		}
		return json.Marshal(row)
	}
}

// writePreview says how many samples remain at each smallest distance: those that
// CORESET picks before the next would be nearer. The distances are those at which
// about a twentieth of them less remains, rounded down, so that as many remain.
func writePreview(w io.Writer, sel selection.Selection, preselected int) error {
	type step struct {
		distance float64
		remain   int
	}
	var steps []step
	for i, p := range slices.Backward(sel.Picks) { // distances fall from pick to pick; the first of all has none
		if d := roundDown(p.Gain); d >= 0 && (len(steps) == 0 || d > steps[len(steps)-1].distance) {
			steps = append(steps, step{d, i + 1})
		}
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "MIN DISTANCE\tSAMPLES REMAIN")
	last := math.MaxInt
	for i, s := range steps {
		if s.remain <= last-max(1, len(sel.Picks)/20) || i == len(steps)-1 {
			fmt.Fprintf(t, "%v\t%d\n", s.distance, preselected+s.remain)
			last = s.remain
		}
	}
	return t.Flush()
}

// roundDown leaves six digits of a distance.
func roundDown(x float64) float64 {
	digits, exponent, _ := strings.Cut(strconv.FormatFloat(x, 'e', -1, 64), "e")
	v, err := strconv.ParseFloat(digits[:min(len(digits), len("1.23456"))]+"e"+exponent, 64)
	if err != nil {
		return x // NaN
	}
	return v
}
