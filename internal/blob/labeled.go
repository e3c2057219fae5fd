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

var labeledFields = []string{"label", "score"}

// add reads {"label": …, "score": …} in a row, counted from 1.
func (l *labeled) add(f *File, s *scanner, row, bits int) error {
	column, score, given := -1, 0.0, false
	err := s.object(labeledFields, func(field int) (err error) {
		if field == 1 {
			given = true
			score, err = s.number(bits)
			return err
		}
		name, err := s.text()
		if err != nil {
			return err
		}
		known := false
		if column, known = l.columns[string(name)]; known {
			return nil
		}
		if row > 1 {
			return fmt.Errorf("%s is no class of the first row", quote(name))
		}
		if column = len(l.row); column == maxCols {
			return fault("reference_too_large", "", "has more than %d classes", maxCols)
		}
		if l.columns == nil {
			l.columns = map[string]int{}
		}
		l.columns[string(name)] = column
		l.scores, l.row = append(l.scores, 0), append(l.row, 0)
		return f.take(int64(len(name)) + 96)
	})
	switch {
	case err != nil:
		return err
	case column < 0 || !given:
		return errors.New("label or score is missing")
	case l.row[column] == row:
		return errors.New("a class is there twice")
	}
	l.scores[column], l.row[column] = score, row
	l.have++
	return nil
}

// end ends a row, which has every class, and numbers beside them if it is bad.
func (l *labeled) end(numbers int) error {
	have := l.have
	l.have = 0
	switch {
	case numbers > 0:
		return errors.New("a row of numbers and classes")
	case have < len(l.row):
		return fmt.Errorf("%d of %d classes: have the pipeline return all, with top_k=None", have, len(l.row))
	}
	return nil
}
