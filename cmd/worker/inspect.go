package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// looker reads what a worker has written.
type looker struct {
	*app
	json  bool
	nc    *nats.Conn
	js    jetstream.JetStream
	blobs *blob.Store
	store *state.Store
}

// verb is a word behind a command, with the arguments it wants.
type verb struct {
	run  func(context.Context, *looker, []string) error
	args []string
}

// look connects and hands the arguments behind the verb to the right function.
func (a *app) look(ctx context.Context, name, args, about string, argv []string, verbs map[string]verb) error {
	fs := a.flags(name, args, about)
	asJSON := fs.Bool("json", false, "print JSON")
	words, err := fs.parseAround(argv)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		words = []string{"list"}
	}
	v, ok := verbs[words[0]]
	if !ok {
		return wrongUsage("no %q under %s; worker %s --help", words[0], name, name)
	}
	if words = words[1:]; len(words) != len(v.args) {
		return wrongUsage("want %d arguments (%s), got %d; worker %s --help", len(v.args), strings.Join(v.args, " "), len(words), name)
	}
	l, err := a.looker(ctx)
	if err != nil {
		return err
	}
	defer l.nc.Close()
	l.json = *asJSON
	return v.run(ctx, l, words)
}

// looker connects; the caller closes the connection.
func (a *app) looker(ctx context.Context) (*looker, error) {
	cfg, err := loadConfig()
	if err != nil {
		return nil, usageError{err}
	}
	l := &looker{app: a}
	if l.nc, l.js, err = dial(a); err != nil {
		return nil, err
	}
	if l.blobs, err = openBlobs(cfg.BlobURL); err == nil {
		l.store, err = state.Open(ctx, l.nc, l.blobs)
	}
	if err != nil {
		l.nc.Close()
		return nil, err
	}
	return l, nil
}

// print writes JSON, or a table with a heading.
func (l *looker) print(v any, heading string, rows [][]any) error {
	if l.json {
		enc := json.NewEncoder(l.out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(l.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, heading)
	for _, r := range rows {
		for i, cell := range r {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func runDatasets(ctx context.Context, a *app, args []string) error {
	return a.look(ctx, "datasets", "[list | show NAME | export NAME EMBEDDING] [--json]", `Datasets with their embeddings, scores and label counts; export prints an embedding
as Lightly's CSV, filenames,embedding_0,…,labels, which select --embeddings reads.

  worker datasets export clothing default > embeddings.csv`, args,
		map[string]verb{"list": {listDatasets, nil}, "show": {showDataset, []string{"NAME"}}, "export": {exportEmbedding, []string{"NAME", "EMBEDDING"}}})
}

// exportEmbedding writes Lightly's embeddings file.
func exportEmbedding(ctx context.Context, l *looker, args []string) error {
	d, _, err := l.store.Dataset(ctx, args[0])
	if err != nil {
		return missing(err, "dataset", args[0])
	}
	e, ok := d.Embeddings[args[1]]
	if !ok || e.Dim == 0 {
		return fmt.Errorf("dataset %q has no embedding %q", args[0], args[1])
	}
	names, err := l.store.Names(ctx, d)
	if err != nil {
		return err
	}
	return l.output("", func(w io.Writer) error {
		line := blob.AppendCSVHeader(nil, e.Dim)
		if _, err := w.Write(line); err != nil {
			return err
		}
		return l.store.EachVector(ctx, e, names, func(name string, v []float32) error {
			line = blob.AppendCSVRow(line[:0], name, v)
			_, err := w.Write(line)
			return err
		})
	})
}

type datasetView struct {
	state.Dataset
	Labels events.Labelset `json:"labels"`
}

func (l *looker) dataset(ctx context.Context, d state.Dataset) (datasetView, error) {
	labels, _, err := l.store.Labels(ctx, d.Name)
	if err != nil {
		return datasetView{}, err
	}
	return datasetView{d, labels.Count(nil)}, nil
}

func listDatasets(ctx context.Context, l *looker, _ []string) error {
	all := []datasetView{}
	if err := l.store.Datasets(ctx, func(d state.Dataset) error {
		v, err := l.dataset(ctx, d)
		all = append(all, v)
		return err
	}); err != nil {
		return err
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	var rows [][]any
	for _, d := range all {
		rows = append(rows, []any{d.Name, d.Rows, len(d.Embeddings), d.Labels.Labeled, d.Labels.Pending, d.Labels.Skipped})
	}
	return l.print(all, "DATASET\tSAMPLES\tEMBEDDINGS\tLABELED\tPENDING\tSKIPPED", rows)
}

func showDataset(ctx context.Context, l *looker, args []string) error {
	d, _, err := l.store.Dataset(ctx, args[0])
	if err != nil {
		return missing(err, "dataset", args[0])
	}
	v, err := l.dataset(ctx, d)
	if err != nil {
		return err
	}
	rows := [][]any{{"id", d.ID}, {"samples", d.Rows}, {"labeled", v.Labels.Labeled}, {"pending", v.Labels.Pending}, {"skipped", v.Labels.Skipped},
		{"created", d.Created.Format(time.RFC3339)}, {"modified", d.Modified.Format(time.RFC3339)}}
	for name, e := range d.Embeddings {
		rows = append(rows, []any{"embedding " + name, fmt.Sprintf("%d × %d, version %d", e.Rows(), e.Dim, e.Version)})
	}
	for tag, s := range d.Scores {
		for _, v := range s.Scores {
			rows = append(rows, []any{"score " + v.Name, "over " + tag})
		}
	}
	return l.print(v, "DATASET\t"+d.Name, rows)
}

func runTags(ctx context.Context, a *app, args []string) error {
	return a.look(ctx, "tags", "[list DATASET | show DATASET TAG | export DATASET TAG] [--json]",
		"Selections that were made, and tags of Lightly clients. export prints the filenames of a tag's batch, one per line, in selection order.", args,
		map[string]verb{"list": {listTags, []string{"DATASET"}}, "show": {showTag, []string{"DATASET", "TAG"}}, "export": {exportTag, []string{"DATASET", "TAG"}}})
}

func listTags(ctx context.Context, l *looker, args []string) error {
	if _, _, err := l.store.Dataset(ctx, args[0]); err != nil {
		return missing(err, "dataset", args[0])
	}
	all := []state.Tag{}
	if err := l.store.Tags(ctx, args[0], func(t state.Tag) error { all = append(all, t); return nil }); err != nil {
		return err
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Created.Before(all[j].Created) })
	var rows [][]any
	for _, t := range all {
		rows = append(rows, []any{t.Name, t.Method, t.Added, t.Count, t.Created.Format(time.RFC3339)})
	}
	return l.print(all, "TAG\tMETHOD\tADDED\tSELECTED\tCREATED", rows)
}

// selection loads the result that a tag names. A tag that no selection made,
// but a client of the Lightly API, has filenames only.
func (l *looker) selection(ctx context.Context, args []string) (c events.Created, err error) {
	t, _, err := l.store.Tag(ctx, args[0], args[1])
	if err != nil {
		return c, missing(err, "tag", args[1])
	}
	if t.Result == "" {
		return l.set(ctx, t)
	}
	b, err := l.blobs.Get(ctx, t.Result)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(b, &c)
}

// set describes a tag by its rows.
func (l *looker) set(ctx context.Context, t state.Tag) (c events.Created, err error) {
	d, _, err := l.store.Dataset(ctx, t.Dataset)
	if err != nil {
		return c, missing(err, "dataset", t.Dataset)
	}
	names, err := l.store.Names(ctx, d)
	if err != nil {
		return c, err
	}
	hex, err := l.store.MaskHex(ctx, t)
	if err != nil {
		return c, err
	}
	rows, err := bitmask.FromHex(hex)
	if err != nil {
		return c, err
	}
	c = events.Created{Dataset: t.Dataset, Tag: events.TagRef{ID: t.ID, Name: t.Name}, Method: "by hand", Counts: events.Counts{Dataset: d.Rows, Selected: t.Count}}
	for row := range rows.All() {
		c.Filenames = append(c.Filenames, names.At(row))
	}
	return c, nil
}

func showTag(ctx context.Context, l *looker, args []string) error {
	c, err := l.selection(ctx, args)
	if err != nil {
		return err
	}
	return printSelection(l, c)
}

func exportTag(ctx context.Context, l *looker, args []string) error {
	c, err := l.selection(ctx, args)
	if err != nil {
		return err
	}
	if c.Digests.Configuration == "" { // no selection
		for _, name := range c.Filenames {
			fmt.Fprintln(l.out, name)
		}
	}
	for _, s := range c.Added {
		fmt.Fprintln(l.out, s.Filename)
	}
	return nil
}

func printSelection(l *looker, c events.Created) error {
	var rows [][]any
	num := func(v *float64) string {
		if v == nil {
			return "-"
		}
		return strconv.FormatFloat(*v, 'g', 5, 64)
	}
	for _, s := range c.Added {
		rows = append(rows, []any{s.Rank, s.Filename, num(s.Score), num(s.Gain), s.Nearest})
	}
	if err := l.print(c, "RANK\tFILENAME\tSCORE\tGAIN\tNEAREST SELECTED", rows); err != nil || l.json {
		return err
	}
	fmt.Fprintf(l.out, "\n%s: %d added to %d, %d in all of %d\n", c.Method, c.Counts.Added, c.Counts.Preselected, c.Counts.Selected, c.Counts.Dataset)
	if c.Coverage != nil {
		fmt.Fprintf(l.out, "radius %.5g; no selection of this size has one below %.5g\n", c.Coverage.Radius, c.Coverage.LowerBound)
	}
	for _, w := range c.Warnings {
		fmt.Fprintln(l.out, "warning:", w)
	}
	return nil
}

func runJobs(ctx context.Context, a *app, args []string) error {
	return a.look(ctx, "jobs", "[list | show ID] [--json]", "What became of each event: running with its progress, waiting, done, or dead.", args,
		map[string]verb{"list": {listJobs, nil}, "show": {showJob, []string{"ID"}}})
}

func listJobs(ctx context.Context, l *looker, _ []string) error {
	all := []state.Job{}
	if err := l.store.Jobs(ctx, func(j state.Job) error { all = append(all, j); return nil }); err != nil {
		return err
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Seq < all[j].Seq })
	var rows [][]any
	for _, j := range all {
		rows = append(rows, jobRow(j))
	}
	return l.print(all, "JOB\tEVENT\tTYPE\tDATASET\tSTATE\tATTEMPTS\tRESULT", rows)
}

func jobRow(j state.Job) []any {
	result := j.Tag
	switch {
	case j.Error != nil:
		result = j.Error.Code + ": " + j.Error.Message
	case j.State == state.JobRunning && j.Total > 0:
		result = fmt.Sprintf("%s %d of %d", j.Stage, j.Done, j.Total)
	case result == "":
		result = j.Stage
	}
	return []any{j.ID[:12], j.Event.ID, j.Event.Type, j.Dataset, j.State, j.Attempt, result}
}

func showJob(ctx context.Context, l *looker, args []string) error {
	var found []state.Job
	if err := l.store.Jobs(ctx, func(j state.Job) error {
		if len(args[0]) <= len(j.ID) && j.ID[:len(args[0])] == args[0] {
			found = append(found, j)
		}
		return nil
	}); err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("%d jobs begin with %q", len(found), args[0])
	}
	l.json = true
	return l.print(found[0], "", nil)
}

func missing(err error, what, name string) error {
	if errors.Is(err, state.ErrNotFound) {
		return fmt.Errorf("no %s %q", what, name)
	}
	return err
}

func runCheck(ctx context.Context, a *app, args []string) error {
	fs := a.flags("check", "", "Checks the configuration, and the streams and consumers against what the protocol needs, without starting or changing anything.")
	if err := fs.parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return wrongUsage("check takes no arguments")
	}
	cfg, err := loadConfig()
	if err != nil {
		return usageError{err}
	}
	fmt.Fprintln(a.out, "configuration: ok")
	_, memory := cfg.budget("/")
	fmt.Fprintf(a.out, "memory for jobs: %s\n", memory)
	if err := checkClouds(ctx, cfg.CloudBuckets, func(bucket string) { fmt.Fprintf(a.out, "bucket %s: ok\n", bucket) }); err != nil {
		return err
	}
	nc, js, err := dial(a)
	if err != nil {
		return err
	}
	defer nc.Close()
	fmt.Fprintf(a.out, "server %s, version %s: ok\n", nc.ConnectedAddr(), nc.ConnectedServerVersion())
	if err := bus.Provision(ctx, js, cfg.layout(), false); err != nil {
		return fmt.Errorf("streams: %w", err)
	}
	fmt.Fprintln(a.out, "streams and consumers: ok")
	if err := checkLabelStudio(ctx, a, cfg); err != nil {
		return err
	}
	return checkCvat(ctx, a, cfg)
}
