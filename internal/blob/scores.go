package blob

import (
	"errors"
	"fmt"
	"slices"
)

// ReadScores reads a table of numbers with a filename in each row: CSV, whose
// first line names the columns, or the columns of float64 of a Parquet file, as
// WriteParquet writes it. Numbers may be NaN.
func ReadScores(f *File) (names []string, columns []Column, err error) {
	defer f.finish(&err)
	n := nameList{f: f}
	switch f.format {
	case "csv":
		if columns, err = n.scoresOfCSV(); err == nil && columns == nil {
			err = fault("bad_csv", "", "has no column filename: it is empty")
		}
	case "parquet":
		var p *parquet
		if p, err = f.parquet(); err == nil {
			columns, err = p.scores(&n)
			err = coded("bad_parquet", "", err)
		}
	default:
		err = f.wrongFormat("scores", "csv or parquet")
	}
	if err != nil {
		return nil, nil, err
	}
	names, err = n.done()
	return names, columns, err
}

func (n *nameList) scoresOfCSV() (columns []Column, err error) {
	at := -1 // of the filename
	var fields int
	var name []byte
	value := func(i int, field []byte) error {
		if i == at {
			name = append(name[:0], field...)
		} else if i < fields {
			v, err := csvNumber(field, 64)
			if err != nil {
				return fmt.Errorf("column %d: %w", i+1, err)
			}
			c := &columns[i]
			c.Values = append(c.Values, v)
		}
		return nil
	}
	err = n.f.csv(func(first []string) error {
		fields = len(first)
		if at = slices.Index(first, "filename"); at < 0 || fields < 2 {
			return errors.New("has no column filename beside columns of scores: begin with a line that names the columns")
		}
		for _, name := range first {
			columns = append(columns, Column{Name: name})
		}
		return nil
	}, func() bool { return true }, func(line []byte, _ int64) error {
		got, err := csvFields(line, value)
		if err == nil && got != fields {
			err = fmt.Errorf("has %d columns, the first line has %d", got, fields)
		}
		if err == nil {
			err = n.f.take(8 * int64(fields))
		}
		if err != nil {
			return err
		}
		return n.add(name, true)
	})
	if err != nil || columns == nil {
		return nil, err
	}
	return slices.Delete(columns, at, at+1), nil
}

func (p *parquet) scores(n *nameList) (columns []Column, err error) {
	if err := p.names(n); err != nil {
		return nil, err
	}
	for i, l := range p.leaves {
		if l.kind != pqDouble || l.rep > 0 || len(l.path) != 1 {
			continue
		}
		if err := n.f.take(8 * int64(p.rows)); err != nil {
			return nil, err
		}
		c := Column{Name: l.path[0], Values: make([]float64, p.rows)}
		if err := p.matrix([]int{i}, func(a array) error { return readFloats(c.Values, a) }); err != nil {
			return nil, err
		}
		columns = append(columns, c)
	}
	if n.rows == 0 || len(columns) == 0 {
		return nil, errors.New("has no column filename beside columns of float64")
	}
	return columns, nil
}
