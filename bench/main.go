// Command bench times the project against what a user would pick instead, in
// one run and in turns, and keeps the figures in results.json and README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nextbatch/internal/selection"
)

// options are the command line.
type options struct {
	rows         *regexp.Regexp // of scenario names
	quick, huge  bool
	repeat       int
	limit        time.Duration // for one run of a rival that cannot be timed in part
	stretch      time.Duration // at least, where it can
	python, temp string
}

func main() {
	var o options
	rows := flag.String("rows", "", "run only the rows whose name matches this regular expression")
	flag.BoolVar(&o.quick, "quick", false, "tiny sizes: shows that everything runs, measures nothing")
	flag.BoolVar(&o.huge, "huge", false, "also 10M × 128, which needs 16 GiB")
	flag.IntVar(&o.repeat, "repeat", 3, "measurements of each contestant; medians are reported")
	flag.DurationVar(&o.limit, "limit", time.Minute, "skip rivals that are expected to take longer, where they cannot be timed in part")
	flag.DurationVar(&o.stretch, "stretch", 2*time.Second, "time numpy for so long and multiply")
	flag.StringVar(&o.python, "python", ".venv-bench/bin/python", "interpreter that has the rivals")
	flag.StringVar(&o.temp, "temp", os.TempDir(), "folder for the data; up to 2 GB, 5 GB with -huge")
	out := flag.String("out", "bench/results.json", "file of results; rows that are not run again stay")
	markdown := flag.String("markdown", "", "run nothing: put the results of this file into bench/README.md")
	flag.Parse()
	if err := do(o, *rows, *out, *markdown); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func do(o options, rows, out, markdown string) (err error) {
	if markdown != "" {
		return fillReadme("bench/README.md", markdown)
	}
	if o.rows, err = regexp.Compile(rows); err != nil {
		return err
	}
	if o.repeat < 1 {
		return fmt.Errorf("-repeat %d: at least 1", o.repeat)
	}
	keep := func(r Report) error { return r.save(out) }
	if o.quick {
		keep = func(Report) error { return nil }
	}
	_, err = run(o, os.Stdout, keep)
	return err
}

// run runs the scenarios that are asked for, prints rows as they come, and
// keeps what there is after each scenario.
func run(o options, w io.Writer, keep func(Report) error) (report Report, err error) {
	dir, err := os.MkdirTemp(o.temp, "bench-")
	if err != nil {
		return report, err
	}
	defer os.RemoveAll(dir)
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupted)
	go func() {
		<-interrupted
		os.RemoveAll(dir) // gigabytes
		os.Exit(130)
	}()
	debug.SetGCPercent(50) // as the worker does
	report.Machine = thisMachine(o.python)
	fmt.Fprintf(w, "%s\nload average %s\n\n%s", report.Machine, loadAverage(), tableHead)
	b := bench{options: o, dir: dir, rate: map[string]float64{}}
	if b.binary, err = buildBrute(dir); err != nil {
		return report, err
	}
	for _, s := range scenarios(o.huge) {
		if !o.rows.MatchString(s.name) {
			continue
		}
		if o.quick {
			s = s.quick()
		}
		for _, r := range b.scenario(s) {
			report.Results = append(report.Results, r)
			fmt.Fprint(w, r.row())
		}
		if err := keep(report); err != nil {
			return report, err
		}
	}
	fmt.Fprintf(w, "\nload average %s, most of it this run\n", loadAverage())
	return report, nil
}

// bench is what scenarios have in common.
type bench struct {
	options
	dir, binary string
	rate        map[string]float64 // seconds for a row and pick, of rivals that run to their end
}

// scenario returns one result for each rival. What cannot run says why.
func (b *bench) scenario(s scenario) []Result {
	results := make([]Result, len(s.rivals))
	for i, r := range s.rivals {
		results[i] = Result{Name: s.name, Rival: r.name, Goal: r.goal, Rows: s.n, Dim: s.dim, Preselected: s.pre, Picks: s.k,
			Load: loadAverage(), When: time.Now().UTC().Format(time.DateTime)}
	}
	if err := b.measure(s, results); err != nil {
		for i := range results {
			results[i].NotRun = err.Error()
		}
	}
	return results
}

func (b *bench) measure(s scenario, results []Result) error {
	path := filepath.Join(b.dir, "data.npy")
	defer os.Remove(path)
	x, unmap, err := createNPY(path, s.n, s.dim)
	if err != nil {
		return err
	}
	defer unmap()
	if err := fill(s.data, x); err != nil {
		return err
	}
	unix.Sync() // now, and not while we measure
	p, noPython := b.startPython(s, path)
	child := 0
	if noPython == nil {
		defer p.stop()
		child = p.cmd.Process.Pid
	}
	we := newOurs(s, x)
	against := make([]contestant, len(results))
	for i := range results {
		if against[i], err = b.rival(s, results[i].Rival, we, p); err == nil && against[i] == nil {
			err = noPython
		}
		if err != nil {
			results[i].NotRun = err.Error()
		}
	}
	debug.FreeOSMemory()
	before := resetPeak()
	busy := startForeign(child)
	for range b.repeat {
		for i := range results {
			if r := &results[i]; r.NotRun == "" {
				t, err := against[i].turn()
				if err != nil {
					r.NotRun = err.Error()
					continue
				}
				r.Theirs, r.Note = append(r.Theirs, t.seconds), t.note
				b.rate[r.Rival] = t.seconds / float64(s.n) / float64(max(1, s.k))
			}
		}
		resetPeak()
		t, err := contestant(we.run).turn()
		if err != nil {
			return err
		}
		for i := range results {
			r := &results[i]
			r.Ours, r.BeforeBytes = append(r.Ours, t.seconds), before
			r.PeakBytes, r.DataBytes = max(r.PeakBytes, peak()), int64(4*s.n*s.dim)
		}
	}
	for i := range results {
		results[i].Others = busy.cores(child)
	}
	return nil
}

// startPython starts the interpreter if one of the rivals lives there.
func (b *bench) startPython(s scenario, path string) (*python, error) {
	for _, r := range s.rivals {
		if r.inPython() {
			return startPython(b.python, path, 2*b.limit+time.Minute)
		}
	}
	return nil, errors.New("no rival in Python")
}

// rival returns the contestant of that name, nil if it needs the Python that
// is missing.
func (b *bench) rival(s scenario, name string, we *ours, p *python) (contestant, error) {
	switch name {
	case bruteForce:
		return brute(b.binary, s.n, s.dim, s.k, 2), nil
	case oneThread:
		return we.oneThread, nil
	case firstRound:
		return we.first, nil
	}
	if p == nil {
		return nil, nil
	}
	stretch := b.stretch.Seconds()
	switch {
	case name == mundig || name == skactiveml || name == maxHerding:
		if expected := b.rate[name] * float64(s.n) * float64(s.k); expected > b.limit.Seconds() {
			return nil, fmt.Errorf("about %.0f s to be expected from smaller sizes, the limit is %s", expected, b.limit)
		}
		return p.whole(map[string]string{mundig: "mundig", skactiveml: "skactiveml", maxHerding: "maxherding"}[name], s.k), nil
	case s.job == scores:
		return p.whole("scores", s.n), nil
	case s.job == string(selection.Coral):
		return p.stretch("coral", s.k, stretch), nil
	case s.job == string(selection.Coreset) && s.pre > 0:
		return inTurn(p.stretch("preselected", s.pre, stretch), p.stretch("kcenter", s.k, stretch)), nil
	}
	return p.stretch("kcenter", s.k, stretch), nil
}
