// Command worker is nextbatch: the service that decides which images to label
// next, and the tools around it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/term"
)

// command is one verb of the command line.
type command struct {
	name, about string
	run         func(context.Context, *app, []string) error
}

// app is what commands need from the process.
type app struct {
	in     io.Reader
	out    io.Writer
	errOut io.Writer
	log    zerolog.Logger
}

func commands() []command {
	return []command{
		{"demo", "the whole loop on real images; draws the learning curve", runDemo},
		{"upload", "a folder of images, as lightly-magic did", runUpload},
		{"publish", "check a CloudEvent and publish it", runPublish},
		{"score", "acquisition scores, without a server", runScore},
		{"select", "a selection, without a server", runSelect},
		{"datasets", "datasets, their embeddings, scores, label counts and policies", runDatasets},
		{"tags", "selections that were made", runTags},
		{"explain", "why each sample of a batch was picked; with --html, a page with pictures", runExplain},
		{"jobs", "what became of each event", runJobs},
		{"dlq", "dead letters: look at them, send them again", runDLQ},
		{"check", "configuration and stream drift, without starting", runCheck},
	}
}

func usage(w io.Writer) {
	fmt.Fprint(w, `nextbatch decides which images to label next, and tells the annotation tool.

  worker                     run the service; embedded NATS unless AL_NATS_URL is set
`)
	for _, c := range commands() {
		fmt.Fprintf(w, "  worker %-19s %s\n", c.name, c.about)
	}
	fmt.Fprint(w, `
worker COMMAND --help tells more. Try: worker demo

`)
	usageConfig(w)
}

// usageError is a mistake on the command line: exit code 2.
type usageError struct{ error }

func wrongUsage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Main runs a command line and returns the exit code: 0 done, 1 failed, 2
// wrong usage.
func Main(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{in: in, out: out, errOut: errOut, log: newLog(errOut)}
	err := a.dispatch(ctx, args)
	var wrong usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(errOut, "worker: %v\n", err)
		return 2
	}
	fmt.Fprintf(errOut, "worker: %v\n", err)
	return 1
}

func (a *app) dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return runService(ctx, a)
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		usage(a.out)
		return nil
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, a, args[1:])
		}
	}
	return wrongUsage("no command %q; worker --help lists them", args[0])
}

// flags are those of a command, with help that teaches.
type flags struct {
	*flag.FlagSet
	out         io.Writer
	args, about string
}

func (a *app) flags(name, args, about string) *flags {
	fs := &flags{flag.NewFlagSet(name, flag.ContinueOnError), a.out, args, about}
	fs.SetOutput(io.Discard) // parse says what is wrong
	return fs
}

// hideDefaults leaves the default values of some flags out of the help.
func (fs *flags) hideDefaults(names ...string) {
	for _, name := range names {
		fs.Lookup(name).DefValue = "0" // which is not printed
	}
}

// given reports whether a flag was set.
func (fs *flags) given(name string) (found bool) {
	fs.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// value returns what a flag is.
func (fs *flags) value(name string) any { return fs.Lookup(name).Value.(flag.Getter).Get() }

// parse reads flags. Help that was asked for goes to standard output.
func (fs *flags) parse(args []string) error {
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(fs.out, "worker %s\n\n%s\n\n", strings.TrimSpace(fs.Name()+" "+fs.args), fs.about)
		fs.SetOutput(fs.out)
		fs.PrintDefaults()
	case err != nil:
		return wrongUsage("%w; worker %s --help", err, fs.Name())
	}
	return err
}

// parseAround reads flags that stand before, between and behind words, and
// returns the words.
func (fs *flags) parseAround(args []string) (words []string, err error) {
	for {
		if err := fs.parse(args); err != nil {
			return nil, err
		}
		if fs.NArg() == 0 {
			return words, nil
		}
		words = append(words, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

// newLog writes JSON, or something to read on a terminal.
func newLog(w io.Writer) zerolog.Logger {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05"}
	}
	return zerolog.New(w).With().Timestamp().Logger()
}
