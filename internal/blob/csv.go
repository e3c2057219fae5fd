package blob

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

// csvColumns says what the columns of a CSV are.
type csvColumns struct {
	count  int
	name   int    // column of the filename, -1 if there is none
	values []bool // columns that are values
	header bool   // the first line says so; else it is a row
}

var errHeader = errors.New("is neither a header nor a row of numbers: begin with the line filename,… that names the columns")

// columns takes the first line of a CSV for a header, or for a row of numbers
// in a file without one.
func columns(fields []string, kind kind) (csvColumns, error) {
	c := csvColumns{count: len(fields), values: make([]bool, len(fields)), header: true}
	numbers := 0
	for _, f := range fields {
		if _, err := csvNumber([]byte(f), 64); err == nil {
			numbers++
		}
	}
	c.name = slices.IndexFunc(fields, func(f string) bool { return f == "filename" || f == "filenames" })
	switch {
	case len(fields) == 1 && strings.ContainsAny(fields[0], ";\t"):
		return c, errors.New("has one column only: separate the columns by commas")
	case numbers == len(fields):
		c.header = false
	case c.name < 0 && numbers > 0:
		return c, errHeader
	case kind.field == embeddingKind.field && (slices.Contains(fields, "embedding_0") || slices.Contains(fields, "embeddings_0")):
		return c, c.lightly(fields)
	}
	for i, f := range fields {
		switch strings.ToLower(f) {
		case "":
			return c, fmt.Errorf("column %d has no name: leave the index out, in pandas to_csv(…, index=False)", i+1)
		case "label", "labels", "masked", "selected":
			return c, fmt.Errorf("column %s is not one of the %s: leave it out", quote(f), kind.columns)
		}
		c.values[i] = i != c.name
	}
	return c, nil
}

// lightly finds the columns of Lightly's embeddings file:
// filenames,embedding_0,…,labels (embeddings_0 in some), and maybe masked,
// selected, and others after the labels.
func (c *csvColumns) lightly(fields []string) error {
	next, labels := 0, false
	for i, f := range fields {
		if n, plural := strings.CutPrefix(f, "embeddings_"); plural {
			f = "embedding_" + n
		}
		switch {
		case f == "embedding_"+strconv.Itoa(next):
			c.values[i] = true
			next++
		case f == "labels":
			labels = true
		case strings.HasPrefix(f, "embedding_"):
			return fmt.Errorf("column %s follows embedding_%d", quote(f), next-1)
		case i != c.name && f != "masked" && f != "selected" && !labels:
			return fmt.Errorf("unknown column %s among the embeddings", quote(f))
		}
	}
	return nil
}

func (t *table[F]) fromCSV() error {
	bits := 8 * int(unsafe.Sizeof(F(0)))
	var cols csvColumns
	var name []byte
	value := func(i int, field []byte) error {
		switch {
		case i >= cols.count:
		case i == cols.name:
			name = append(name, field...)
		case cols.values[i]:
			v, err := csvNumber(field, bits)
			if err != nil {
				return fmt.Errorf("column %d: %w", i+1, err)
			}
			t.value(F(v))
		}
		return nil
	}
	read := func(line []byte, end int64) error {
		name = name[:0]
		n, err := csvFields(line, value)
		if err != nil {
			return err
		}
		if n != cols.count {
			return fmt.Errorf("has %d columns, the first line has %d", n, cols.count)
		}
		return t.endRow(name, cols.name >= 0, end)
	}
	return t.f.csv(func(first []string) (err error) {
		cols, err = columns(first, t.kind)
		return err
	}, func() bool { return cols.header }, read)
}

// fromCSV reads the column filename.
func (n *nameList) fromCSV() error {
	var cols csvColumns
	return n.f.csv(func(first []string) error {
		cols.count = len(first)
		if cols.name = slices.IndexFunc(first, func(f string) bool { return f == "filename" || f == "filenames" }); cols.name < 0 {
			return errors.New("has no column filename: begin with a line that names the columns, or set format to txt")
		}
		return nil
	}, func() bool { return true }, func(line []byte, _ int64) error {
		var name []byte
		count, err := csvFields(line, func(i int, field []byte) error {
			if i == cols.name {
				name = append(name, field...)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if count != cols.count {
			return fmt.Errorf("has %d columns, the first line has %d", count, cols.count)
		}
		return n.add(name, true)
	})
}

// csv calls begin with the fields of the first line that is not blank, and row
// with the others; with the first one too if begin found it to be no header.
func (f *File) csv(begin func(fields []string) error, header func() bool, row func(line []byte, end int64) error) error {
	begun := false
	return f.lines("bad_csv", func(_ int, line []byte, end int64) error {
		if len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
		if !begun {
			begun = true
			var fields []string
			if _, err := csvFields(line, func(i int, field []byte) error {
				if i > maxCols {
					return fault("reference_too_large", "", "has more than %d columns", maxCols)
				}
				fields = append(fields, strings.TrimSpace(string(field)))
				return nil
			}); err != nil {
				return err
			}
			if err := begin(fields); err != nil || header() {
				return err
			}
		}
		return row(line, end)
	})
}

// csvFields splits a line at commas and calls read with each field, unquoted.
// It returns how many there are.
func csvFields(line []byte, read func(i int, field []byte) error) (int, error) {
	for i := 0; ; i++ {
		var field []byte
		end := 0
		if len(line) > 0 && line[0] == '"' {
			for {
				quote := bytes.IndexByte(line[end+1:], '"')
				if quote < 0 {
					return i, errors.New("a quoted field does not end in its line")
				}
				part := line[end+1 : end+1+quote]
				end += quote + 2
				if end >= len(line) || line[end] != '"' {
					if field == nil { // as most are: without a quote in it
						field = part
					} else {
						field = append(field, part...)
					}
					break
				}
				field = append(append(field, part...), '"') // "" within quotes
			}
			if end < len(line) && line[end] != ',' {
				return i, errors.New("a quoted field goes on after its quotes")
			}
		} else {
			if end = bytes.IndexByte(line, ','); end < 0 {
				end = len(line)
			}
			field = line[:end]
		}
		if err := read(i, field); err != nil {
			return i, err
		}
		if end == len(line) {
			return i + 1, nil
		}
		line = line[end+1:]
	}
}

// csvNumber reads a decimal number, also NaN and infinities as numpy and
// pandas write them. One beyond the range is an infinity.
func csvNumber(field []byte, bits int) (float64, error) {
	if v, ok := shortFloat(field, bits); ok {
		return v, nil
	}
	if len(field) == 0 || numberLen(field) < len(field) {
		field = bytes.TrimSpace(field)
		if bytes.ContainsFunc(field, func(r rune) bool { return !strings.ContainsRune("0123456789.-+eE", r) }) {
			switch strings.ToLower(string(field[:min(len(field), 10)])) {
			case "nan", "inf", "-inf", "+inf", "infinity", "-infinity":
			default:
				return 0, fmt.Errorf("want a number, found %s", quote(field))
			}
		}
	}
	v, err := parseFloat(field, bits)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("want a number, found %s", quote(field))
	}
	return v, nil
}
