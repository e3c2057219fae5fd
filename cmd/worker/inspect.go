package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/blob"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// looker reads what a worker has written.
type looker struct {
	*app
	lookOptions
	nc    *nats.Conn
	js    jetstream.JetStream
	blobs *blob.Store
	store *state.Store
}

// lookOptions are the flags of the commands that look.
type lookOptions struct {
	json  bool
	unset bool   // of datasets policy
	as    string // of tags export: format
	file  string // of tags export: where to
}

// verb is a word behind a command, with the arguments it wants.
type verb struct {
	run  func(context.Context, *looker, []string) error
	args []string
	more bool // than these
}

// look connects and hands the arguments behind the verb to the right function.
func (a *app) look(ctx context.Context, name, args, about string, argv []string, verbs map[string]verb) error {
	fs := a.flags(name, args, about)
	var o lookOptions
	fs.BoolVar(&o.json, "json", false, "print JSON")
	switch name {
	case "datasets":
		fs.BoolVar(&o.unset, "unset", false, "policy: take it away")
	case "tags":
		fs.StringVar(&o.as, "format", "", "export: "+strings.Join(events.ExportFormats, ", ")+"; default by the name of --out, else txt")
		fs.StringVar(&o.file, "out", "", "export: write to this file; default standard output")
	}
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
	if words = words[1:]; len(words) != len(v.args) && !(v.more && len(words) > len(v.args)) {
		return wrongUsage("want %d arguments (%s), got %d; worker %s --help", len(v.args), strings.Join(v.args, " "), len(words), name)
	}
	l, err := a.looker(ctx)
	if err != nil {
		return err
	}
	defer l.nc.Close()
	l.lookOptions = o
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
	if l.blobs, err = cfg.openBlobs(ctx); err == nil {
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
	return a.look(ctx, "datasets", "[list | show NAME | export NAME EMBEDDING | policy NAME [KEY=VALUE …] [--unset]] [--json]", `Datasets with their embeddings, scores and label counts; export prints an embedding
as Lightly's CSV, filenames,embedding_0,…,labels, which select --embeddings reads.

  worker datasets export clothing default > embeddings.csv`+aboutPolicy, args,
		map[string]verb{"list": {run: listDatasets}, "show": {run: showDataset, args: []string{"NAME"}}, "export": {run: exportEmbedding, args: []string{"NAME", "EMBEDDING"}},
			"policy": {run: datasetPolicy, args: []string{"NAME"}, more: true}})
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
	if d.Policy != nil {
		rows = append(rows, []any{"policy", policyLine(d.Policy)})
	}
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

func runJobs(ctx context.Context, a *app, args []string) error {
	return a.look(ctx, "jobs", "[list | show ID] [--json]", "What became of each event: running with its progress, waiting, done, or dead.", args,
		map[string]verb{"list": {run: listJobs}, "show": {run: showJob, args: []string{"ID"}}})
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
