package main

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

//go:embed rival.py
var rivalProgram string

// python is a running rival.py that has loaded the data of a scenario.
type python struct {
	cmd   *exec.Cmd
	ask   *json.Encoder
	heard *bufio.Scanner
	limit time.Duration // for one answer
}

// answer is what rival.py says.
type answer struct {
	Seconds float64
	Done    int
	Error   string
}

// startPython runs the interpreter of a virtual environment that has the rivals.
func startPython(interpreter, data string, limit time.Duration) (*python, error) {
	if _, err := os.Stat(interpreter); err != nil {
		return nil, fmt.Errorf("no rivals at %q: make bench installs them", interpreter)
	}
	p := &python{cmd: exec.Command(interpreter, "-c", rivalProgram), limit: limit}
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.ask, p.heard = json.NewEncoder(in), bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := p.call(map[string]any{"op": "load", "path": data}); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *python) stop() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

func (p *python) call(request map[string]any) (a answer, err error) {
	if err = p.ask.Encode(request); err != nil {
		return a, fmt.Errorf("ask rival: %w", err)
	}
	timer := time.AfterFunc(p.limit, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	if !p.heard.Scan() {
		return a, errors.Join(fmt.Errorf("%v: no answer from the rival within %s, or it died", request["op"], p.limit), p.heard.Err())
	}
	if err = json.Unmarshal(p.heard.Bytes(), &a); err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err == nil && a.Done == 0 {
		err = fmt.Errorf("%v: nothing done", request["op"])
	}
	return a, err
}

// whole times an operation that runs to its end.
func (p *python) whole(op string, units int) contestant {
	return func() (timing, error) {
		a, err := p.call(map[string]any{"op": op, "seconds": 0, "units": units})
		return timing{seconds: a.Seconds}, err
	}
}

// stretch times an operation for about so many seconds and multiplies.
func (p *python) stretch(op string, units int, seconds float64) contestant {
	return func() (timing, error) {
		a, err := p.call(map[string]any{"op": op, "seconds": seconds, "units": units})
		if err != nil {
			return timing{}, err
		}
		t := timing{seconds: a.Seconds / float64(a.Done) * float64(units)}
		if a.Done < units {
			t.note = fmt.Sprintf("%d of %d centers timed", a.Done, units)
		}
		return t, nil
	}
}

// inTurn is the sum of contestants that each do a part of a job.
func inTurn(parts ...contestant) contestant {
	return func() (sum timing, err error) {
		for _, part := range parts {
			t, err := part()
			if err != nil {
				return timing{}, err
			}
			sum.seconds += t.seconds
			if sum.note != "" && t.note != "" {
				sum.note += ", "
			}
			sum.note += t.note
		}
		return sum, nil
	}
}

// brutePicks is what one round of BenchmarkBruteForce picks.
const brutePicks = 50

// buildBrute builds the benchmarks of package selection, which hold the brute
// force: vectorized float64 sums, one center a pass, without the lazy engine.
func buildBrute(dir string) (binary string, err error) {
	binary = filepath.Join(dir, "selection.test")
	out, err := exec.Command("go", "test", "-c", "-o", binary, "nextbatch/internal/selection").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the brute force: %w: %s", err, out)
	}
	return binary, nil
}

var perPick = regexp.MustCompile(`([0-9.e+]+) µs/pick`)

// brute times our brute force. Its benchmark runs on one thread, so one
// process for each core gets an equal part of the rows, all at the same time,
// and the slowest counts. Their time does not depend on the data.
func brute(binary string, n, dim, k, rounds int) contestant {
	return func() (timing, error) {
		cores := runtime.GOMAXPROCS(0)
		micros := make([]float64, cores)
		var g errgroup.Group
		for core := range cores {
			g.Go(func() error {
				cmd := exec.Command(binary, "-test.run", "^$", "-test.bench", "^BenchmarkBruteForce$",
					"-test.benchtime", fmt.Sprintf("%dx", rounds),
					"-n", strconv.Itoa((n+cores-1)/cores), "-dim", strconv.Itoa(dim))
				cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
				out, err := cmd.CombinedOutput()
				if err != nil {
					return fmt.Errorf("brute force: %w: %s", err, out)
				}
				found := perPick.FindSubmatch(out)
				if found == nil {
					return fmt.Errorf("brute force: no µs/pick in %q", out)
				}
				micros[core], err = strconv.ParseFloat(string(found[1]), 64)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return timing{}, err
		}
		slowest := 0.0
		for _, m := range micros {
			slowest = max(slowest, m)
		}
		return timing{slowest * 1e-6 * float64(k), fmt.Sprintf("%d centers timed", rounds*brutePicks)}, nil
	}
}
