package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rs/zerolog"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
)

// TestScripts runs the command lines of testdata/script as a user would:
// worker is this binary, in processes of its own. Each script has a directory
// and two free ports to itself. Beside the commands of testscript there are
//
//	exits CODE PROGRAM ARG…        run and want this exit code
//	valid TYPE                     stdout is the data of such an event, by its schema
//	number PATTERN VALUE           what PATTERN catches in stdout is VALUE, to 1e-9
//	capture NAME PATTERN           set $NAME to what PATTERN catches in stdout
//	npy FILE SHAPE NUMBER…         write a float32 array; SHAPE as in 2x3
//	picture FILE…                  write an image in PNG, in a folder that may be new
//	http STATUS PATH               GET from the service, for up to 20 s until it has STATUS
//	eventually PATTERN PROGRAM …   run for up to 20 s until stdout matches
//	terminate                      send SIGTERM to what runs in the background
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("AL_NATS_ADDR", freeAddr(t))
			e.Setenv("AL_HTTP_ADDR", freeAddr(t))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "valid": scriptValid, "number": scriptNumber, "capture": scriptCapture,
			"npy": scriptNpy, "picture": scriptPicture, "http": scriptHTTP, "eventually": scriptEventually, "terminate": scriptTerminate,
		},
		Deadline:            time.Now().Add(4 * time.Minute), // what hangs is killed and shown
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// arguments checks what a command of a script was given.
func arguments(ts *testscript.TestScript, neg bool, args []string, least int, usage string) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", usage)
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "exits CODE PROGRAM ARG…")
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if args[0] != strconv.Itoa(code) {
		ts.Fatalf("exit code %d", code)
	}
	if code == 0 {
		return
	}
	// A failure says why on standard error, and does not crash.
	if text := ts.ReadFile("stderr"); !strings.Contains(text, "worker: ") || strings.Contains(text, "panic") {
		ts.Fatalf("exit code %d without an explanation", code)
	}
}

func scriptValid(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, "valid TYPE")
	e := newEvent(args[0], "id", json.RawMessage(ts.ReadFile("stdout")))
	parse := events.Parse
	if slices.Contains(events.OutputTypes, args[0]) {
		parse = events.ParseOutput
	}
	if _, err := parse(e); err != nil {
		ts.Fatalf("%v", explain(err))
	}
}

// caught is the one group of a pattern in stdout.
func caught(ts *testscript.TestScript, pattern string) string {
	m := regexp.MustCompile("(?m)" + pattern).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("%s is not in the output, or has not one group", pattern)
	}
	return m[1]
}

func scriptNumber(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "number PATTERN VALUE")
	got, err := strconv.ParseFloat(caught(ts, args[0]), 64)
	ts.Check(err)
	want, err := strconv.ParseFloat(args[1], 64)
	ts.Check(err)
	if math.Abs(got-want) > 1e-9 {
		ts.Fatalf("%s is %v, want %v", args[0], got, want)
	}
}

func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "capture NAME PATTERN")
	ts.Setenv(args[0], caught(ts, args[1]))
}

func scriptNpy(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 3, "npy FILE SHAPE NUMBER…")
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }", strings.ReplaceAll(args[1], "x", ", "))
	header += strings.Repeat(" ", 64-(10+len(header)+1)%64) + "\n"
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	b = append(b, header...)
	for _, arg := range args[2:] {
		x, err := strconv.ParseFloat(arg, 32)
		ts.Check(err)
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(x)))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
}

func scriptPicture(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, "picture FILE…")
	for i, name := range args {
		ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(name)), 0o755))
		ts.Check(os.WriteFile(ts.MkAbs(name), product(i), 0o644))
	}
}

func scriptHTTP(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "http STATUS PATH")
	var last string
	for began := time.Now(); time.Since(began) < 2*time.Minute; time.Sleep(20 * time.Millisecond) {
		r, err := http.Get("http://" + ts.Getenv("AL_HTTP_ADDR") + args[1])
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		ts.Check(err)
		if strconv.Itoa(r.StatusCode) == args[0] {
			ts.Stdout().Write(body)
			return
		}
		last = fmt.Sprintf("%s: %s", r.Status, body)
	}
	ts.Fatalf("%s: %s", args[1], last)
}

func scriptEventually(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "eventually PATTERN PROGRAM ARG…")
	pattern := regexp.MustCompile("(?m)" + args[0])
	for began := time.Now(); time.Since(began) < 2*time.Minute; time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("%s never came", args[0])
}

func scriptTerminate(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 0, "terminate")
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	}
}

// run is a command line within this process.
func run(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(t.Context(), args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// TestStopWhileStarting: to be told to stop is no failure. What the worker warns
// of it says once.
func TestStopWhileStarting(t *testing.T) {
	e, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{Dir: t.TempDir()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	environ(t, "AL_NATS_URL="+e.URL, "AL_DATA_DIR="+t.TempDir(), "AL_HTTP_ADDR=0.0.0.0:0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errOut bytes.Buffer
	if code := Main(ctx, nil, strings.NewReader(""), &out, &errOut); code != 0 || !strings.Contains(errOut.String(), "stopped before it was ready") {
		t.Errorf("exit code %d, %s", code, errOut.String())
	}
	if n := strings.Count(errOut.String(), "AL_TOKENS is not set"); n != 1 {
		t.Errorf("%d warnings that nobody may use the API:\n%s", n, errOut.String())
	}
}

// TestHelp: the help of every command has its name, what it is for, how it is
// called and a line for each flag, is on standard output, and is no failure.
func TestHelp(t *testing.T) {
	environ(t)
	_, all, _ := run(t, "--help")
	for _, c := range commands() {
		t.Run(c.name, func(t *testing.T) {
			if !regexp.MustCompile(`(?m)^  worker ` + c.name + ` +` + regexp.QuoteMeta(c.about) + `$`).MatchString(all) {
				t.Errorf("worker --help has no line for it")
			}
			for _, flag := range []string{"--help", "-h"} {
				code, out, errOut := run(t, c.name, flag)
				text := out + errOut
				if code != 0 || !regexp.MustCompile(`^worker `+c.name+`( .*\S)?\n`).MatchString(text) || len(text) < 80 {
					t.Errorf("%s: exit code %d, help\n%s", flag, code, text)
				}
				if strings.Contains(text, "\nworker: ") {
					t.Errorf("%s reports an error:\n%s", flag, text)
				}
				if out == "" {
					t.Errorf("%s prints help that was asked for on standard error, where a pager does not see it", flag)
				}
				for _, entry := range regexp.MustCompile(`(?m)^  -(\S+).*\n?(.*)$`).FindAllString(text, -1) {
					if len(strings.Fields(entry)) < 3 {
						t.Errorf("a flag is not explained: %q", entry)
					}
				}
			}
		})
	}
}

// TestWrongFlags: every command refuses a flag it does not have, and names it.
func TestWrongFlags(t *testing.T) {
	environ(t)
	for _, c := range commands() {
		code, out, errOut := run(t, c.name, "--sedes=3")
		if code != 2 || out != "" || !strings.Contains(errOut, "sedes") {
			t.Errorf("worker %s --sedes=3: exit code %d, %q, %q", c.name, code, out, errOut)
		}
	}
}

// TestTypoInEnvironment: no command that reads the configuration goes on with
// a variable that does not exist.
func TestTypoInEnvironment(t *testing.T) {
	environ(t, "AL_SLOT=3", "AL_DATA_DIR="+t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, line := range []string{"", "demo", "datasets", "tags list x", "jobs", "dlq list", "check", "publish -"} {
		var out, errOut bytes.Buffer
		in := strings.NewReader(`{"specversion":"1.0","id":"1","source":"/t","type":"selection.requested","data":{"dataset":"d","selection":{}}}`)
		code := Main(ctx, strings.Fields(line), in, &out, &errOut)
		if code != 2 || !strings.Contains(errOut.String(), "AL_SLOT") {
			t.Errorf("worker %s: exit code %d, %q", line, code, errOut.String())
		}
	}
}
