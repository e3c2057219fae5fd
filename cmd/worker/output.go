package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"nextbatch/internal/blob"
	"nextbatch/internal/events"
	"nextbatch/internal/score"
)

// outputKind is what to write into a file, by its extension, one of kinds; the
// first where there is no file.
func outputKind(path string, asJSON bool, kinds ...string) (string, error) {
	ext := strings.TrimPrefix(strings.ToLower(filepath.Ext(path)), ".")
	switch {
	case asJSON && (path == "" || ext == "json" || !slices.Contains(kinds, ext)):
		return "json", nil
	case asJSON:
		return "", wrongUsage("--json does not go with --out %s", path)
	case path == "":
		return kinds[0], nil
	case slices.Contains(kinds, ext):
		return ext, nil
	}
	return "", wrongUsage("--out needs a name that ends with .%s", strings.Join(kinds, ", ."))
}

// output writes to a file, or to standard output where there is none. The file
// is there when it is complete.
func (a *app) output(path string, write func(w io.Writer) error) (err error) {
	if path == "" {
		buf := bufio.NewWriter(a.out)
		return errors.Join(write(buf), buf.Flush())
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // a pipe, /dev/stdout
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	part := path + ".part"
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	buf := bufio.NewWriter(f)
	err = write(buf)
	if err == nil {
		err = buf.Flush()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		os.Remove(part)
	}
	return err
}

// writeScores writes one row per sample.
func writeScores(w io.Writer, kind string, names []string, vectors []score.Vector) error {
	switch kind {
	case "json":
		s := scoreFile{names, map[string][]float64{}}
		for _, v := range vectors {
			s.Scores[v.Name] = v.Values
		}
		if err := json.NewEncoder(w).Encode(s); err != nil {
			return fmt.Errorf("%w: an image without pixels has no score", err)
		}
		return nil
	case "parquet":
		columns := make([]blob.Column, len(vectors))
		for i, v := range vectors {
			columns[i] = blob.Column{Name: v.Name, Values: v.Values}
		}
		return blob.WriteParquet(w, names, columns)
	case "csv":
		out := csv.NewWriter(w)
		record := []string{"filename"}
		for _, v := range vectors {
			record = append(record, v.Name)
		}
		out.Write(record)
		for i, name := range names {
			record = append(record[:0], name)
			for _, v := range vectors {
				record = append(record, strconv.FormatFloat(v.Values[i], 'g', -1, 64))
			}
			out.Write(record)
		}
		out.Flush()
		return out.Error()
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprint(t, "FILENAME")
	for _, v := range vectors {
		fmt.Fprint(t, "\t", strings.ToUpper(v.Name))
	}
	fmt.Fprintln(t)
	for i, name := range names {
		fmt.Fprint(t, name)
		for _, v := range vectors {
			fmt.Fprintf(t, "\t%.6f", v.Values[i])
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// writeSelection writes the batch, in order, in one of events.ExportFormats;
// json is indented, for people.
func writeSelection(w io.Writer, kind string, created events.Created) error {
	if kind == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(created)
	}
	return events.WriteBatch(w, kind, func(yield func(events.Added, error) bool) {
		for _, pick := range created.Added {
			if !yield(pick, nil) {
				return
			}
		}
	})
}
