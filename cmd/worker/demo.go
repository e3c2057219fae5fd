package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/term"

	"nextbatch/internal/bus"
	"nextbatch/internal/demo"
)

func runDemo(ctx context.Context, a *app, args []string) error {
	fs := a.flags("demo", "[--seeds N] [--rounds N] [--out DIR] [--json]", `Runs the whole active-learning loop on 10,000 photos of clothes: a training job
and annotators that speak only events, over a NATS server of their own, with a
worker in between. Compares selection methods, and draws learning-curve.svg and
first-picks.svg. Everything else it writes is in a temporary directory.`)
	seeds := fs.Int("seeds", 0, "repetitions of each method; default 10")
	rounds := fs.Int("rounds", 0, "rounds of each repetition; default 9")
	out := fs.String("out", ".", "directory for the pictures")
	asJSON := fs.Bool("json", false, "print the report as JSON")
	if err := fs.parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 || *seeds < 0 || *rounds < 0 {
		return wrongUsage("worker demo --help")
	}
	if err := os.MkdirAll(*out, 0o755); err != nil { // now, not after the work
		return err
	}
	dir, err := os.MkdirTemp("", "nextbatch-demo-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg, err := loadConfig()
	if err != nil {
		return usageError{err}
	}
	cfg.DataDir, cfg.NatsURL, cfg.NatsAddr = dir, "", "127.0.0.1:0"
	cfg.BlobURL, cfg.Roots = fileURL(filepath.Join(dir, "blobs")), []string{filepath.Join(dir, "files")}
	cfg.CacheDir, cfg.LightlyURL, cfg.Provision = filepath.Join(dir, "cache"), "", "auto"
	s := &service{cfg: cfg, log: a.log.Level(zerolog.WarnLevel), health: &health{}, registry: prometheus.NewRegistry()}
	if err := s.start(ctx); err != nil {
		return err
	}
	defer s.stop()
	work, stop := context.WithCancel(ctx)
	drained := make(chan struct{})
	go func() { s.worker.Run(work); close(drained) }()
	defer func() { stop(); <-drained }()

	// The training job and the annotators: a client like any other.
	nc, err := bus.Connect(bus.Auth{URL: s.embedded.URL, Name: "demo"}, s.log)
	if err != nil {
		return err
	}
	defer nc.Close()
	fmt.Fprintf(a.errOut, "a worker, a training job and annotators talk over nats://%s\n", nc.ConnectedAddr())
	report, err := demo.Run(ctx, demo.Config{NATS: nc, Dir: cfg.Roots[0], Seeds: *seeds, Rounds: *rounds, Progress: a.demoProgress()})
	if err != nil {
		return fmt.Errorf("\n%w", err)
	}
	fmt.Fprintln(a.errOut)
	if err := a.demoPictures(report, *out); err != nil {
		return err
	}
	if *asJSON {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return enc.Encode(report)
	}
	return report.WriteTable(a.out)
}

// demoProgress shows each round: rewriting a line on a terminal, else now and
// then a line.
func (a *app) demoProgress() func(demo.Status) {
	f, ok := a.errOut.(*os.File)
	live := ok && term.IsTerminal(int(f.Fd()))
	return func(s demo.Status) {
		switch {
		case live:
			fmt.Fprintf(a.errOut, "\r%s\x1b[K", s)
		case s.Done%20 == 0 || s.Done == s.Total:
			fmt.Fprintln(a.errOut, s)
		}
	}
}

// demoPictures writes the two SVG files.
func (a *app) demoPictures(r demo.Report, dir string) error {
	picks, err := r.FirstPicks()
	if err != nil {
		return err
	}
	for _, p := range []struct {
		name string
		data []byte
	}{{"learning-curve.svg", r.LearningCurve()}, {"first-picks.svg", picks}} {
		path := filepath.Join(dir, p.name)
		if err := os.WriteFile(path, p.data, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(a.errOut, "wrote", path)
	}
	return nil
}
