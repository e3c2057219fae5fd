package lightly

import (
	"iter"

	"nextbatch/internal/state"
)

// rows reads the rows that a list of samples is about: those of the page, or
// the one with the filename of the query.
func (c *call) rows() (d state.Dataset, names *state.Names, from, to int, err error) {
	if c.args.Has("fileName") && c.args.Get("fileName") == "" {
		err = bad("query parameter fileName is empty")
		return
	}
	p, err := c.page()
	if err != nil {
		return
	}
	if d, _, err = c.dataset(); err != nil {
		return
	}
	if names, err = c.store.Names(c.r.Context(), d); err != nil {
		return
	}
	from, to = p.of(d.Rows)
	if c.args.Has("fileName") {
		row, ok := names.Row(c.args.Get("fileName"))
		if !ok || p.from > 0 {
			return d, names, 0, 0, nil
		}
		from, to = row, row+1
	}
	return
}

func (c *call) listSamples() error {
	if _, err := c.oneOf("sortBy", "_id", "index"); err != nil {
		return err
	}
	mode, err := c.oneOf("mode", "ids", "fileNames", "full")
	if err != nil {
		return err
	}
	d, names, from, to, err := c.rows()
	if err != nil {
		return err
	}
	return c.answerSamples(d, names, from, to, mode)
}

func (c *call) listPartialSamples() error {
	mode, err := c.oneOf("mode", "ids", "fileNames", "full")
	if err != nil {
		return err
	}
	d, names, from, to, err := c.rows()
	if err != nil {
		return err
	}
	return c.answerSamples(d, names, from, to, mode)
}

// answerSamples lists rows from … to-1; mode "" is full.
func (c *call) answerSamples(d state.Dataset, names *state.Names, from, to int, mode string) error {
	if mode == "ids" || mode == "fileNames" {
		return c.list(func(item func(any) error) error {
			var line []byte
			for row := from; row < to; row++ {
				line = append(appendSampleID(append(line[:0], `{"id":"`...), d, row), '"')
				if mode == "fileNames" {
					line = appendText(append(line, `,"fileName":`...), names.At(row))
				}
				if err := item(rawJSON(append(line, '}'))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return c.list(func(item func(any) error) error {
		if to-from == 1 { // without the records of its block
			s, _, err := c.store.Sample(c.r.Context(), d, from)
			if err != nil {
				return err
			}
			return item(wireSample(d, names, s))
		}
		for s, err := range c.samplesOf(d, between(from, to)) {
			if err == nil {
				err = item(wireSample(d, names, s))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// between yields from … to-1.
func between(from, to int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for row := from; row < to && yield(row); row++ {
		}
	}
}

// samplesOf yields what is known of rows, ascending, reading the records of a
// block at a time. After an error it ends.
func (c *call) samplesOf(d state.Dataset, rows iter.Seq[int]) iter.Seq2[state.Sample, error] {
	return func(yield func(state.Sample, error) bool) {
		var records map[int]state.Sample
		var more bool // than these
		var err error
		block := -1
		for row := range rows {
			if row/state.SampleBlock != block {
				block = row / state.SampleBlock
				records, more, err = c.store.Samples(c.r.Context(), d, block)
			}
			s, ok := records[row]
			switch {
			case ok || err != nil:
			case more:
				s, _, err = c.store.Sample(c.r.Context(), d, row)
			default:
				s = state.Sample{Dataset: d.ID, Row: row, Created: d.Created, Modified: d.Created}
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}
