package main

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"

	"nextbatch/internal/annotation"
	"nextbatch/internal/events"
	"nextbatch/internal/images"
	"nextbatch/internal/selection"
	"nextbatch/internal/state"
)

// What is compared is bounded: an answer in seconds, of any dataset.
const (
	explainRows    = 4000  // samples whose nearest selected sample is sought
	explainCenters = 10000 // selected samples that are compared with
	explainLike    = 4     // samples shown beside a pick
)

// explanation is why a tag was chosen.
type explanation struct {
	Dataset  string            `json:"dataset"`
	Tag      string            `json:"tag"`
	Method   string            `json:"method"`
	Params   events.Parameters `json:"parameters"`
	Counts   events.Counts     `json:"counts"`
	Coverage *events.Coverage  `json:"coverage,omitempty"`
	Herding  *events.Herding   `json:"herding,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`
	Sample   int               `json:"sample"` // samples that are not selected, of which the shares are
	Picks    []explained       `json:"picks"`
}

// explained is why one sample was picked.
type explained struct {
	events.Added
	Why      string   `json:"why"`
	Share    *float64 `json:"share,omitempty"`    // of the samples that are not selected: those it is the nearest selected one of
	Distance *float64 `json:"distance,omitempty"` // their median distance to it
	Like     []string `json:"like,omitempty"`     // the nearest of them
}

func runExplain(ctx context.Context, a *app, args []string) error {
	fs := a.flags("explain", "DATASET TAG [--html FILE] [--images DIR] [--most N] [--json]", `Why each sample of a batch was picked, and what it stands for: the share of all
samples that are not selected for which it is the nearest selected one.

  worker explain clothing batch-1
  worker explain clothing batch-1 --html batch-1.html --images photos

The page needs nothing but the file: images that were uploaded (worker upload, or the
Lightly API) or that lie in --images are put into it as thumbnails.`)
	page := fs.String("html", "", "write a page with pictures to this file")
	dir := fs.String("images", "", "folder of the images, by filename")
	most := fs.Int("most", 100, "picks to explain, the first by rank; 0 means all")
	asJSON := fs.Bool("json", false, "print JSON")
	words, err := fs.parseAround(args)
	if err != nil {
		return err
	}
	if *most < 0 {
		return wrongUsage("--most %d: want how many picks to explain, 0 for all", *most)
	}
	if len(words) != 2 {
		return wrongUsage("explain needs DATASET and TAG, got %d words; worker explain --help", len(words))
	}
	l, err := a.looker(ctx)
	if err != nil {
		return err
	}
	defer l.nc.Close()
	l.json = *asJSON
	e, err := l.explain(ctx, words[0], words[1], *most)
	if err != nil {
		return err
	}
	if *page != "" {
		pictures, err := l.pictures(ctx, e, *dir)
		if err != nil {
			return err
		}
		if err := a.output(*page, func(w io.Writer) error { return writePage(w, e, pictures) }); err != nil {
			return err
		}
	}
	if *asJSON {
		return l.print(e, "", nil)
	}
	return l.printExplanation(e)
}

// explain gathers what is known of a batch.
func (l *looker) explain(ctx context.Context, dataset, tag string, most int) (e explanation, err error) {
	c, err := l.selection(ctx, dataset, tag)
	if err != nil {
		return e, err
	}
	if c.Digests.Configuration == "" {
		return e, fmt.Errorf("tag %q was made by hand: there is nothing to explain; worker tags show lists it", tag)
	}
	e = explanation{Dataset: dataset, Tag: tag, Method: c.Method, Params: c.Parameters, Counts: c.Counts, Coverage: c.Coverage, Herding: c.Herding, Warnings: c.Warnings}
	if most > 0 && most < len(c.Added) {
		c.Added = c.Added[:most]
	}
	for _, added := range c.Added {
		e.Picks = append(e.Picks, explained{Added: added, Why: annotation.Reason(&c, added)})
	}
	return e, l.standFor(ctx, &e, c)
}

// standFor works out what the picks stand for, where there are embeddings.
func (l *looker) standFor(ctx context.Context, e *explanation, c events.Created) error {
	d, _, err := l.store.Dataset(ctx, e.Dataset)
	if err != nil {
		return missing(err, "dataset", e.Dataset)
	}
	set, ok := d.Embeddings[e.Params.Embedding]
	if e.Params.Embedding == "" {
		set, ok = d.Embeddings["default"]
	}
	if !ok || len(set.Chunks) == 0 {
		return nil
	}
	names, err := l.store.Names(ctx, d)
	if err != nil {
		return err
	}
	vectors, release, err := l.store.Vectors(ctx, set, d.Rows)
	if err != nil {
		return err
	}
	defer release()
	has := func(row int) bool { x := vectors[row*set.Dim]; return x == x }
	byKey := func(a, b int) int { return selection.CompareKeys(e.Params.Seed, names.At(a), names.At(b)) }

	picks, selected := map[int]int{}, make([]bool, d.Rows)
	var centers, before []int
	for i, p := range e.Picks {
		if row, ok := names.Row(p.Filename); ok && has(row) {
			picks[row] = i
			centers = append(centers, row)
			selected[row] = true
		}
	}
	for _, name := range c.Filenames {
		if row, ok := names.Row(name); ok && has(row) && !selected[row] {
			selected[row] = true
			before = append(before, row)
		}
	}
	var rest []int
	for row := range d.Rows {
		if !selected[row] && has(row) {
			rest = append(rest, row)
		}
	}
	slices.SortFunc(before, byKey)
	slices.SortFunc(rest, byKey)
	centers = append(centers, before[:min(len(before), max(0, explainCenters-len(centers)))]...)
	rest = rest[:min(len(rest), explainRows)]
	matrix := selection.Matrix{Rows: d.Rows, Dim: set.Dim, Data: vectors}
	if c.Parameters.Metric == events.Cosine {
		matrix = selection.Directions(matrix, slices.Concat(centers, rest)...)
	}
	cells, err := selection.Cells(matrix, centers, rest, explainLike, func() bool { return ctx.Err() == nil })
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	e.Sample = len(rest)
	for i, row := range centers {
		at, ok := picks[row]
		if !ok || len(rest) == 0 {
			continue
		}
		share := float64(cells[i].Size) / float64(len(rest))
		e.Picks[at].Share = &share
		if !math.IsNaN(cells[i].Median) {
			e.Picks[at].Distance = &cells[i].Median
		}
		for _, like := range cells[i].Nearest {
			e.Picks[at].Like = append(e.Picks[at].Like, names.At(like))
		}
	}
	return nil
}

// covered is the share of the samples that are not selected whose nearest
// selected one is among the picks.
func (e explanation) covered() (share float64) {
	for _, p := range e.Picks {
		if p.Share != nil {
			share += *p.Share
		}
	}
	return share
}

func (l *looker) printExplanation(e explanation) error {
	var rows [][]any
	for _, p := range e.Picks {
		rows = append(rows, []any{p.Rank, p.Filename, numberText(p.Score), percent(p.Share), p.Why})
	}
	if err := l.print(e, "RANK\tFILENAME\tSCORE\tSTANDS FOR\tWHY", rows); err != nil {
		return err
	}
	fmt.Fprintf(l.out, "\n%s: %d added to %d, %d in all of %d\n", e.Method, e.Counts.Added, e.Counts.Preselected, e.Counts.Selected, e.Counts.Dataset)
	for _, line := range herdingText(e.Herding, e.Params) {
		fmt.Fprintln(l.out, line)
	}
	if e.Sample > 0 {
		fmt.Fprintf(l.out, "these %d stand for %.1f %% of what is not selected (%d samples were looked at)\n", len(e.Picks), 100*e.covered(), e.Sample)
	}
	for _, w := range e.Warnings {
		fmt.Fprintln(l.out, "warning:", w)
	}
	return nil
}

func numberText(v *float64) string {
	if v == nil {
		return "-"
	}
	return strconv.FormatFloat(*v, 'g', 4, 64)
}

func percent(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f %%", 100**v)
}

// pictures are the thumbnails of what an explanation names, as far as they are
// at hand.
func (l *looker) pictures(ctx context.Context, e explanation, dir string) (map[string]template.URL, error) {
	d, _, err := l.store.Dataset(ctx, e.Dataset)
	if err != nil {
		return nil, err
	}
	names, err := l.store.Names(ctx, d)
	if err != nil {
		return nil, err
	}
	var folder *images.Folder
	if dir != "" {
		if folder, err = images.Open(dir); err != nil {
			return nil, err
		}
		defer folder.Close()
	}
	found, missing := map[string]template.URL{}, map[string]bool{}
	bar := newProgress(l.errOut, "pictures")
	defer bar.end()
	for i, p := range e.Picks {
		bar.show(i, len(e.Picks))
		for _, name := range append([]string{p.Filename, p.Nearest}, p.Like...) {
			if found[name] != "" || missing[name] || name == "" {
				continue
			}
			picture, err := l.picture(ctx, d, names, folder, name)
			if err != nil {
				return nil, err
			}
			if picture == nil {
				missing[name] = true
			} else {
				found[name] = template.URL("data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(picture))
			}
		}
	}
	if len(missing) > 0 {
		fmt.Fprintf(l.errOut, "no picture of %d samples is at hand; --images DIR names a folder that has them\n", len(missing))
	}
	return found, nil
}

// picture is the thumbnail of one sample, nil if there is none.
func (l *looker) picture(ctx context.Context, d state.Dataset, names *state.Names, folder *images.Folder, name string) ([]byte, error) {
	if folder != nil {
		i, err := folder.Image(ctx, name)
		if err == nil {
			return i.Thumbnail, i.Close()
		}
		if !errors.Is(err, images.ErrBroken) {
			return nil, err
		}
	}
	row, ok := names.Row(name)
	if !ok {
		return nil, nil
	}
	s, _, err := l.store.Sample(ctx, d, row)
	if err != nil || s.Thumb == "" {
		return nil, err
	}
	return l.blobs.Get(ctx, s.Thumb)
}

//go:embed explain.html
var explainHTML string

// writePage writes an explanation as one HTML file.
func writePage(w io.Writer, e explanation, pictures map[string]template.URL) error {
	t, err := template.New("explain").Funcs(template.FuncMap{
		"picture": func(name string) template.URL { return pictures[name] },
		"percent": percent, "number": numberText,
		"width":   func(share *float64) template.CSS { return template.CSS(fmt.Sprintf("width: %.2f%%", 100**share)) },
		"covered": func() string { return fmt.Sprintf("%.1f %%", 100*e.covered()) },
		"herding": func() []string { return herdingText(e.Herding, e.Params) },
		"json": func(v any) string {
			b, err := json.Marshal(v)
			if err != nil {
				return err.Error()
			}
			return string(b)
		},
	}).Parse(explainHTML)
	if err != nil {
		return err
	}
	return t.Execute(w, e)
}
