package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

func runTags(ctx context.Context, a *app, args []string) error {
	return a.look(ctx, "tags", "[list DATASET | show DATASET TAG | export DATASET TAG] [--json] [--format F] [--out FILE]",
		`Selections that were made, and tags of Lightly clients.

export writes the batch of a selection, in selection order: its filenames, one
per line, or with csv and jsonl also rank, score and gain. Of a tag that no
selection made it writes all filenames.`, args,
		map[string]verb{"list": {run: listTags, args: []string{"DATASET"}}, "show": {run: showTag, args: []string{"DATASET", "TAG"}},
			"export": {run: exportTag, args: []string{"DATASET", "TAG"}}})
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

// export finds a tag, to be written out.
func (l *looker) export(ctx context.Context, dataset, tag string) (x events.Export, err error) {
	d, _, err := l.store.Dataset(ctx, dataset)
	if err != nil {
		return x, missing(err, "dataset", dataset)
	}
	t := state.Tag{ID: state.InitialTagID(d), Dataset: d.Name, Name: state.InitialTag}
	if tag != state.InitialTag {
		if t, _, err = l.store.Tag(ctx, dataset, tag); err != nil {
			return x, missing(err, "tag", tag)
		}
	}
	return l.store.Export(ctx, d, t)
}

// selection is what is known of a tag; of one that no selection made, its
// filenames.
func (l *looker) selection(ctx context.Context, dataset, tag string) (c events.Created, err error) {
	x, err := l.export(ctx, dataset, tag)
	if err != nil {
		return c, err
	}
	if x.Result != nil {
		return c, json.Unmarshal(x.Result, &c)
	}
	d, _, err := l.store.Dataset(ctx, dataset)
	if err != nil {
		return c, missing(err, "dataset", dataset)
	}
	c = events.Created{Dataset: x.Dataset, Tag: x.Tag, Method: "by hand", Filenames: slices.Collect(x.Filenames)}
	c.Counts = events.Counts{Dataset: d.Rows, Selected: len(c.Filenames)}
	return c, nil
}

func showTag(ctx context.Context, l *looker, args []string) error {
	c, err := l.selection(ctx, args[0], args[1])
	if err != nil {
		return err
	}
	return printSelection(l, c)
}

func exportTag(ctx context.Context, l *looker, args []string) error {
	format := l.as
	switch {
	case format == "":
		var err error
		if format, err = outputKind(l.file, l.json, events.ExportFormats...); err != nil {
			return err
		}
	case l.json && format != "json", !slices.Contains(events.ExportFormats, format):
		return wrongUsage("--format %s: want one of %s, and --json for json only", format, strings.Join(events.ExportFormats, ", "))
	}
	x, err := l.export(ctx, args[0], args[1])
	if err != nil {
		return err
	}
	return l.output(l.file, func(w io.Writer) error { return x.Write(w, format) })
}

func printSelection(l *looker, c events.Created) error {
	var rows [][]any
	num := func(v *float64) string {
		if v == nil {
			return "-"
		}
		return strconv.FormatFloat(*v, 'g', 5, 64)
	}
	head := "RANK\tFILENAME\tSCORE\tGAIN\tNEAREST SELECTED"
	if c.Herding != nil {
		head = "RANK\tFILENAME\tSCORE\tGAIN\tCOVERS\tNEAREST SELECTED"
	}
	for _, s := range c.Added {
		near := s.Nearest
		if s.Random {
			near = "(at random)"
		}
		row := []any{s.Rank, s.Filename, num(s.Score), num(s.Gain), near}
		if c.Herding != nil {
			covers := "-"
			if s.Covers != nil {
				covers = strconv.Itoa(*s.Covers)
			}
			row = slices.Insert(row, 4, any(covers))
		}
		rows = append(rows, row)
	}
	if err := l.print(c, head, rows); err != nil || l.json {
		return err
	}
	if c.Counts.Random > 0 {
		fmt.Fprintf(l.out, "\n%d of them at random", c.Counts.Random)
	}
	fmt.Fprintf(l.out, "\n%s: %d added to %d, %d in all of %d\n", c.Method, c.Counts.Added, c.Counts.Preselected, c.Counts.Selected, c.Counts.Dataset)
	if c.Coverage != nil {
		fmt.Fprintf(l.out, "radius %.5g; no selection of this size has one below %.5g\n", c.Coverage.Radius, c.Coverage.LowerBound)
	}
	for _, line := range herdingText(c.Herding, c.Parameters) {
		fmt.Fprintln(l.out, line)
	}
	for _, w := range c.Warnings {
		fmt.Fprintln(l.out, "warning:", w)
	}
	return nil
}

// herdingText says what a UHERDING or HERDING batch covers.
func herdingText(h *events.Herding, p events.Parameters) (lines []string) {
	if h == nil {
		return nil
	}
	by := ""
	if p.Metric == events.Cosine {
		by = " by direction"
	}
	lines = append(lines, fmt.Sprintf("radius %.5g%s; %.1f %% of the uncertainty was covered before, %.1f %% is now", h.Radius, by, 100*h.CoveredBefore, 100*h.CoveredAfter))
	if h.Loss > 0 {
		lines = append(lines, fmt.Sprintf("%d landmarks stood for the pool: at most about %.1f %% of the gain is lost", h.Landmarks, 100*h.Loss))
	}
	return lines
}
