package events

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strconv"
)

// ExportFormats are those of Export.Write: a filename per line; a row per
// sample, with what is known of it, as CSV or as JSON lines; all that a
// selection.created says as one JSON object.
var ExportFormats = []string{"txt", "csv", "json", "jsonl"}

// Export is a tag on its way into a file. Of a selection it writes the batch,
// in selection order; of another tag its filenames.
type Export struct {
	Result    []byte           // the data of the selection.created; nil where no selection made the tag
	Dataset   string           // the fields below are of such a tag
	Tag       TagRef           //
	Filenames iter.Seq[string] //
}

// Write writes the tag in one of ExportFormats, one sample after another.
func (x Export) Write(w io.Writer, format string) error {
	buf := bufio.NewWriterSize(w, 64<<10)
	var err error
	switch {
	case !slices.Contains(ExportFormats, format):
		return fmt.Errorf("no format %q", format)
	case format == "json" && x.Result != nil:
		buf.Write(bytes.TrimSpace(x.Result))
		buf.WriteByte('\n')
	case format == "json":
		err = x.writeObject(buf)
	case x.Result != nil:
		err = WriteBatch(buf, format, addedOf(x.Result))
	default:
		err = writeNames(buf, format, x.Filenames)
	}
	return errors.Join(err, buf.Flush())
}

// WriteBatch writes picks in one of ExportFormats other than json.
func WriteBatch(w io.Writer, format string, picks iter.Seq2[Added, error]) error {
	table, lines := csv.NewWriter(w), json.NewEncoder(w)
	if format == "csv" {
		table.Write([]string{"rank", "filename", "score", "gain", "covers", "nearest", "random"})
	}
	for pick, err := range picks {
		random, covers := "", ""
		if pick.Random {
			random = "true"
		}
		if pick.Covers != nil {
			covers = strconv.Itoa(*pick.Covers)
		}
		switch {
		case err != nil:
		case format == "csv":
			err = table.Write([]string{strconv.Itoa(pick.Rank), pick.Filename, optional(pick.Score), optional(pick.Gain), covers, pick.Nearest, random})
		case format == "jsonl":
			err = lines.Encode(pick)
		default:
			_, err = io.WriteString(w, pick.Filename+"\n")
		}
		if err != nil {
			return err
		}
	}
	table.Flush()
	return table.Error()
}

func optional(v *float64) string {
	if v == nil || math.IsNaN(*v) {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}

// writeNames writes the samples of a tag that no selection made.
func writeNames(w io.Writer, format string, names iter.Seq[string]) error {
	table, lines := csv.NewWriter(w), json.NewEncoder(w)
	if format == "csv" {
		table.Write([]string{"filename"})
	}
	for name := range names {
		var err error
		switch format {
		case "csv":
			err = table.Write([]string{name})
		case "jsonl":
			err = lines.Encode(map[string]string{"filename": name})
		default:
			_, err = io.WriteString(w, name+"\n")
		}
		if err != nil {
			return err
		}
	}
	table.Flush()
	return table.Error()
}

// writeObject writes dataset, tag and filenames as JSON.
func (x Export) writeObject(w *bufio.Writer) error {
	head, err := json.Marshal(struct {
		Dataset string `json:"dataset"`
		Tag     TagRef `json:"tag"`
	}{x.Dataset, x.Tag})
	if err != nil {
		return err
	}
	w.Write(head[:len(head)-1])
	w.WriteString(`,"filenames":[`)
	sep := ""
	for name := range x.Filenames {
		text, err := json.Marshal(name)
		if err != nil {
			return err
		}
		w.WriteString(sep)
		if _, err := w.Write(text); err != nil {
			return err
		}
		sep = ","
	}
	_, err = w.WriteString("]}\n")
	return err
}

// addedOf yields the picks in the data of a selection.created, one at a time:
// there may be a million.
func addedOf(data []byte) iter.Seq2[Added, error] {
	return func(yield func(Added, error) bool) {
		dec := json.NewDecoder(bytes.NewReader(data))
		more := true
		err := walkAdded(dec, func(pick Added) bool { more = yield(pick, nil); return more })
		if err != nil && more {
			yield(Added{}, fmt.Errorf("the stored selection: %w", err))
		}
	}
}

func walkAdded(dec *json.Decoder, yield func(Added) bool) error {
	if _, err := dec.Token(); err != nil { // {
		return err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		if key != "added" {
			if err := skip(dec); err != nil {
				return err
			}
			continue
		}
		if _, err := dec.Token(); err != nil { // [
			return err
		}
		for dec.More() {
			var pick Added
			if err := dec.Decode(&pick); err != nil || !yield(pick) {
				return err
			}
		}
		return nil
	}
	return nil
}

// skip passes over one value without keeping it.
func skip(dec *json.Decoder) error {
	for depth := 0; ; {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
