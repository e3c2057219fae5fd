package blob

import (
	"errors"
	"fmt"
)

// labeled puts rows of classes with scores, best first as Hugging Face's
// pipelines give them, into one order: that of the first row.
type labeled struct {
	columns map[string]int
	scores  []float64 // of the row being read
	row     []int     // in which each class was last, counted from 1
	have    int
}

// add reads {"label": …, "score": …} in a row, counted from 1.
func (l *labeled) add(f *File, s *scanner, row, bits int) error {
	var class []byte
	score, given := 0.0, false
	err := s.object([]string{"label", "score"}, func(field int) (err error) {
		if field == 0 {
			class, err = s.text()
			return err
		}
		given = true
		score, err = s.number(bits)
		return err
	})
	if err == nil && (class == nil || !given) {
		err = errors.New("label or score is missing")
	}
	if err != nil {
		return err
	}
	return l.put(f, class, score, row)
}

// put sets the score of a class in a row.
func (l *labeled) put(f *File, class []byte, score float64, row int) error {
	column, err := l.column(f, class, row)
	if err != nil {
		return err
	}
	if l.row[column] == row {
		return errors.New("a class is there twice")
	}
	l.scores[column], l.row[column] = score, row
	l.have++
	return nil
}

// column returns that of a class, which a row after the first cannot bring.
func (l *labeled) column(f *File, class []byte, row int) (int, error) {
	column, known := l.columns[string(class)]
	switch {
	case known:
		return column, nil
	case row > 1:
		return -1, fmt.Errorf("%s is no class of the first row", quote(class))
	case len(l.row) == maxCols:
		return -1, fault("reference_too_large", "", "has more than %d classes", maxCols)
	case l.columns == nil:
		l.columns = map[string]int{}
	}
	l.columns[string(class)] = len(l.row)
	l.scores, l.row = append(l.scores, 0), append(l.row, 0)
	return len(l.row) - 1, f.take(int64(len(class)) + 96)
}

// end ends a row, which has every class, and numbers beside them if it is bad.
func (l *labeled) end(numbers int) error {
	have := l.have
	l.have = 0
	switch {
	case numbers > 0:
		return errors.New("a row of numbers and classes")
	case have < len(l.row):
		return fmt.Errorf("%d of %d classes: keep all of them, with top_k=None in a pipeline", have, len(l.row))
	}
	return nil
}
