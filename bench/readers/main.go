// Readers compares our readers with those of the libraries that write the
// formats: rows per second, and whether the numbers are the same.
//
//	python3 -m venv .venv-readers && .venv-readers/bin/pip install -r bench/readers/requirements.txt
//	go run ./bench/readers
package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nextbatch/internal/blob"
)

//go:embed theirs.py
var theirs string

// theirRow is what theirs.py prints of a file.
type theirRow struct {
	File, Library string
	Rows          int
	Seconds, CPU  float64 // the least of some runs
}

func main() {
	python := flag.String("python", ".venv-readers/bin/python", "interpreter that has the libraries")
	rows := flag.Int("rows", 100_000, "samples of each file; a multiple of 10")
	flag.Parse()
	if err := run(*python, *rows); err != nil {
		fmt.Fprintln(os.Stderr, "readers:", err)
		os.Exit(1)
	}
}

func run(python string, rows int) error {
	dir, err := os.MkdirTemp("", "readers")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command(python, "-c", theirs, dir, strconv.Itoa(rows))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", python, err)
	}
	fmt.Println("| file | library | theirs, rows/s | ours, rows/s | theirs, rows/s of CPU | ours, rows/s of CPU | largest difference |")
	fmt.Println("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		var t theirRow
		if err := json.Unmarshal(sc.Bytes(), &t); err != nil {
			return err
		}
		want, err := os.ReadFile(filepath.Join(dir, t.File+".f8"))
		if err != nil {
			return err
		}
		var values []float64
		fastest, least := math.Inf(1), math.Inf(1) // what else runs only makes it slower
		for range 7 {
			begin, beginCPU := time.Now(), cpu()
			read, count, err := ours(filepath.Join(dir, t.File))
			if err != nil {
				return err
			}
			if count != t.Rows {
				return fmt.Errorf("%s: %d rows, want %d", t.File, count, t.Rows)
			}
			fastest, least = min(fastest, time.Since(begin).Seconds()), min(least, cpu()-beginCPU)
			values = read()
		}
		diff, err := difference(values, want)
		if err != nil {
			return fmt.Errorf("%s: %w", t.File, err)
		}
		rows := float64(t.Rows)
		fmt.Printf("| %s | %s | %.0f | %.0f | %.0f | %.0f | %g |\n", t.File, t.Library, rows/t.Seconds, rows/fastest, rows/t.CPU, rows/least, diff)
	}
	return nil
}

// cpu returns the seconds of processor time that this process has taken.
func cpu() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return math.NaN()
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// ours reads a file as the worker does, up to the rows in memory, and returns a
// function that gives the numbers in it, and the number of filenames.
func ours(path string) (values func() []float64, rows int, err error) {
	base := filepath.Base(path)
	format := base
	if filepath.Ext(base) != "" || base == "tree" {
		format = "" // the name tells
	}
	f, err := blob.OpenPath(context.Background(), path, format)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	switch {
	case format != "":
		var scores []float64
		names, err := blob.EachDetections(f, func(d blob.Detections) error {
			scores = append(scores, d.Boxes.Scores...)
			return nil
		})
		return func() []float64 { return scores }, len(names), err
	case strings.HasPrefix(base, "emb") || strings.HasPrefix(base, "half"):
		e, err := blob.ReadEmbeddings(f)
		return func() []float64 { return widen(e.Data) }, e.Rows, err
	}
	var all []float64
	var all32 []float32
	names, err := blob.ReadClassification(f, func(c *blob.Classification) (err error) {
		if c.Float32 {
			all32, err = gather[float32](c)
		} else {
			all, err = gather[float64](c)
		}
		return err
	})
	return func() []float64 {
		if all32 != nil {
			return widen(all32)
		}
		return all
	}, len(names), err
}

func gather[F float32 | float64](c *blob.Classification) ([]F, error) {
	all := make([]F, c.Rows*c.Cols)
	for at := 0; at < len(all); {
		m, _, err := blob.NextRows(c, all[at:])
		if err != nil {
			return nil, err
		}
		if m.Rows == 0 {
			break
		}
		at += copy(all[at:], m.Data)
	}
	return all, nil
}

func widen(v []float32) []float64 {
	w := make([]float64, len(v))
	for i, x := range v {
		w[i] = float64(x)
	}
	return w
}

// difference returns the largest difference from numbers in a file.
func difference(got []float64, want []byte) (most float64, err error) {
	if len(want) != 8*len(got) {
		return 0, fmt.Errorf("%d values, want %d", len(got), len(want)/8)
	}
	for i, v := range got {
		d := math.Abs(v - math.Float64frombits(binary.LittleEndian.Uint64(want[8*i:])))
		if !(d <= most) {
			most = d
		}
	}
	return most, nil
}
