package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/events"
	"nextbatch/internal/selection"
	"nextbatch/internal/worker"
)

func runSelect(ctx context.Context, a *app, args []string) error {
	fs := a.flags("select", "(-n TOTAL | --batch NEW) [--embeddings FILE] [--scores FILE] [--method M | --strategies FILE] [--preselected FILE] [--out FILE] [--json]",
		`Chooses the next batch, without a server. Prints one filename per line, in the
order of the selection; with --json the data of a selection.created event. With
--out the name of the file says which: .txt, .csv, .jsonl (a row per pick) or .json.

  worker select --embeddings embeddings.npz --scores scores.json --batch 100
  worker select --embeddings embeddings.npy --method CORESET --batch 100
  worker select --embeddings embeddings.npz --scores scores.json --method CORAL -n 200 --preselected labeled.txt`)
	embeddings := fs.String("embeddings", "", "vectors: npy, npz, parquet, safetensors, csv or jsonl")
	filenames := fs.String("filenames", "", "names of the rows, where the embeddings have none: one per line, or csv, json, npy")
	scores := fs.String("scores", "", "what worker score writes as .json, .csv or .parquet, or an npy vector in the order of the rows")
	fs.String("score", "", "which of the scores; default uncertainty_margin, else the first by name")
	preselected := fs.String("preselected", "", "filenames that are selected or labeled already: centers, not picked again")
	method := fs.String("method", "UHERDING", "how to choose: UHERDING, HERDING, RANDOM, CORESET, CORAL, ACTIVE_LEARNING, TYPICLUST, BADGE, POWER, FILTER_CLUSTER or TYPICALITY; see docs/methods.md")
	fs.Int("n", -1, "how many samples are selected afterwards, the preselected ones included; or give --batch")
	fs.Int("batch", -1, "how many new samples; or give -n")
	fs.hideDefaults("n", "batch") // -1: not given
	fs.Float64("min-distance", 0, "stop before a sample would be nearer than this to a selected one")
	strategies := fs.String("strategies", "", "instead of a method: a JSON file with a list of strategies, a selection block of an event or a selection_config; see docs/strategies.md. Flags count more than what the block says")
	metadata := fs.String("metadata", "", "for strategies on METADATA: csv or jsonl with a filename and any values")
	classes := fs.String("classes", "", "for strategies on PREDICTIONS: csv or jsonl with a filename and how much of each class")
	tags := tagFiles{}
	fs.Func("tag", "for SIMILARITY: `NAME=FILE`, the filenames that have a tag; may be given several times", tags.add)
	preview := fs.Bool("preview", false, "print how many samples CORESET leaves at each --min-distance, instead of the batch")
	probs := fs.String("probs", "", "for BADGE: class probabilities, a file as worker score --in takes it")
	fs.Float64("random-share", 0, "share of the batch that is picked at random, 0 to 1, whatever the method")
	var distanceCap events.DistanceCap
	fs.TextVar(&distanceCap, "distance-cap", distanceCap, "for CORAL: a distance above which only the score counts, or auto; 0 for none")
	fs.Float64("radius", 0, "for UHERDING and HERDING: a fixed radius instead of one from the data")
	fs.String("metric", events.Euclidean, "for UHERDING and HERDING: cosine compares the directions of vectors alone")
	fs.Uint64("seed", 0, "seed of ties, first and random picks")
	out := fs.String("out", "", "write to a file instead of standard output: .txt, .csv, .json or .jsonl")
	asJSON := fs.Bool("json", false, "print the data of a selection.created event")
	if err := fs.parse(args); err != nil {
		return err
	}
	if strings.EqualFold(*method, events.Combined) && *strategies == "" {
		return wrongUsage("--method: %w, with --strategies FILE", events.ErrCombined)
	}
	if *strategies != "" && fs.given("method") && !strings.EqualFold(*method, events.Combined) {
		return wrongUsage("--method %s and --strategies: give one of them", *method)
	}
	block := wishes{Spec: events.Spec{Method: strings.ToUpper(*method)}}
	if *preview && !fs.given("method") && *strategies == "" {
		block.Method = string(selection.Coreset)
	}
	if *strategies != "" {
		var err error
		if block, err = readStrategies(*strategies); err != nil {
			return err
		}
	}
	if err := fs.over(&block); err != nil {
		return err
	}
	if block.NSamples == nil && block.BatchSize == nil && block.share == nil || fs.NArg() > 0 {
		return wrongUsage("select needs -n TOTAL or --batch NEW, one of them; worker select --help")
	}
	kind, err := outputKind(*out, *asJSON, events.ExportFormats...)
	if err != nil {
		return err
	}
	s, err := loadSamples(ctx, *embeddings, *filenames, *scores, block.Score)
	if err != nil {
		return tell(err)
	}
	q := block.query(s)
	if err := s.preselect(ctx, &q, *preselected); err != nil {
		return tell(err)
	}
	if block.NSamples != nil {
		q.BatchSize = max(0, *block.NSamples-q.Preselected.Count())
	}
	if *preview && (q.Method != selection.Coreset || block.RandomShare != nil) {
		return wrongUsage("--preview is of CORESET alone: leave out --method, --strategies and --random-share")
	}
	share := 0.0
	if block.RandomShare != nil {
		share = *block.RandomShare
	}
	random, err := worker.DrawRandom(&q, share)
	if err != nil {
		return err
	}
	var warnings []string
	if block.Strategies != nil {
		warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
		src := fileSources{samples: s, metadata: *metadata, classes: *classes, tags: tags, seed: q.Seed}
		if err := worker.Combine(ctx, &q, block.Strategies, src, warn); err != nil {
			return explain(err)
		}
	}
	warnings = append(warnings, worker.Ignored(block.Spec, q.Method)...)
	if *probs != "" {
		if q.Probabilities, err = s.probabilities(ctx, *probs); err != nil {
			return tell(err)
		}
		if q.Method != selection.Badge {
			warnings = append(warnings, fmt.Sprintf("--probs has no effect on %s", q.Method))
		}
	}
	if other := q.Method.Unscored(); q.Scores == nil && other != "" && other != q.Method {
		warnings = append(warnings, fmt.Sprintf("no scores: %s acts as %s", q.Method, other))
		q.Method = other
	}
	if free := q.Pool.Count(); q.BatchSize > free {
		warnings = append(warnings, fmt.Sprintf("%d samples were asked for, but only %d can be offered", q.BatchSize+len(random), free+len(random)))
	}
	bar := newProgress(a.errOut, "selecting")
	q.Progress = func(done, total int) bool { bar.show(done, total); return ctx.Err() == nil }
	sel, err := selection.Select(q)
	bar.end()
	if rows := worker.RowsError(err, q.Filenames); rows != nil {
		return explain(rows)
	}
	if err != nil {
		return err
	}
	worker.JoinRandom(&q, &sel, random)
	created := worker.Describe(q, sel)
	created.Dataset, created.Warnings = "local", append(warnings, created.Warnings...)
	for _, w := range created.Warnings {
		fmt.Fprintln(a.errOut, "warning:", w)
	}
	if *preview {
		return a.output(*out, func(w io.Writer) error { return writePreview(w, sel, q.Preselected.Count()) })
	}
	for i := range random {
		created.Added[i].Random = true
	}
	created.Counts.Random, created.Parameters.RandomShare, created.Parameters.Strategies = len(random), share, block.Strategies
	if q.Method.NeedsScores() && block.Strategies == nil {
		created.Parameters.Score = s.scoreName
	}
	created.Cause = events.Cause{ID: "command line", Source: "/worker/select", Type: events.SelectionRequested}
	created.Tag = events.TagRef{ID: strings.Repeat("0", 24), Name: block.Name}
	if block.Name == "" {
		created.Tag.Name = strings.ToLower(string(q.Method)) + "-local"
	}
	return a.output(*out, func(w io.Writer) error { return writeSelection(w, kind, created) })
}

// wishes are a sampling query whose size may be a share of the samples.
type wishes struct {
	events.Spec
	share *float64
}

// over puts the flags of worker select that were given into a block, and checks all
// by the rules of an event.
func (fs *flags) over(w *wishes) error {
	if fs.given("n") && fs.given("batch") {
		return wrongUsage("select needs -n TOTAL or --batch NEW, one of them; worker select --help")
	}
	if fs.given("n") || fs.given("batch") {
		w.NSamples, w.BatchSize, w.share = nil, nil, nil
	}
	block := map[string]any{}
	text, err := json.Marshal(w.Spec)
	if err == nil {
		err = json.Unmarshal(text, &block)
	}
	for flag, field := range map[string]string{"n": "n_samples", "batch": "batch_size", "score": "score", "min-distance": "min_distance",
		"random-share": "random_share", "distance-cap": "distance_cap", "radius": "radius", "metric": "metric", "seed": "seed"} {
		if fs.given(flag) {
			block[field] = fs.value(flag)
		}
	}
	if err == nil {
		text, err = json.Marshal(block)
	}
	if err == nil {
		w.Spec, err = events.ParseSpec(text)
	}
	if err != nil {
		return wrongUsage("%w", err)
	}
	return nil
}

// query is the sampling query of a block on samples that are all in the pool.
func (w wishes) query(s samples) selection.Query {
	or := func(v *float64, other float64) float64 {
		if v == nil {
			return other
		}
		return *v
	}
	q := selection.Query{Method: selection.Method(w.Method), Rows: len(s.names), Filenames: func(row int) string { return s.names[row] },
		Embeddings: s.matrix, Scores: s.scores, MinDistance: or(w.MinDistance, 0),
		ScoreExponent: or(w.ScoreExponent, 1), DistanceExponent: or(w.DistanceExponent, 1), ScoreFloor: or(w.ScoreFloor, 0.05),
		HerdingRadius: or(w.Radius, 0), Cosine: w.Metric == events.Cosine,
		Pool: bitmask.New(len(s.names)), Preselected: bitmask.New(len(s.names))}
	q.Pool.Invert(len(s.names))
	if w.Seed != nil {
		q.Seed = *w.Seed
	}
	if w.DistanceCap != nil {
		q.DistanceCap = float64(*w.DistanceCap)
	}
	switch {
	case w.share != nil:
		q.BatchSize = int(math.Round(*w.share * float64(q.Rows)))
	case w.BatchSize != nil:
		q.BatchSize = *w.BatchSize
	}
	return q
}
