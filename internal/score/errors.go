package score

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

var (
	errRaw      = errors.New("raw scores are for classification only")
	errNoImages = errors.New("object_frequency compares images: there are none")
)

// BadRow is an image whose predictions are bad, and why.
type BadRow struct {
	Row    int    // index of the image in input order
	Reason string // the first fault, such as "entry 2 is NaN"
}

// RowsError says that some images have predictions that cannot be scored, or
// that Strict does not allow. Nothing is scored then.
type RowsError struct {
	Total, Bad int      // images
	First      []BadRow // the first few bad ones, in ascending order
}

// maxFirst is how many bad rows an error names.
const maxFirst = 5

// Error names the first few bad rows by index.
func (e *RowsError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d predictions are bad (", e.Bad, e.Total)
	for i, row := range e.First {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "row %d: %s", row.Row, row.Reason)
	}
	if e.Bad > len(e.First) {
		b.WriteString("; …")
	}
	b.WriteByte(')')
	return b.String()
}

// add counts one more bad row and names it where there is room.
func (e *RowsError) add(row int, reason string) {
	e.Bad++
	if len(e.First) < maxFirst {
		e.First = append(e.First, BadRow{row, reason})
	}
}

// err returns the error for this many images, nil if none is bad.
func (e *RowsError) err(total int) error {
	if e.Bad == 0 {
		return nil
	}
	e.Total = total
	return e
}

// JoinRows makes one error of those of several ranges of a matrix: nil if all
// are nil, the first that is no *RowsError if there is one, else a *RowsError
// that counts the bad rows of all.
func JoinRows(errs ...error) error {
	var all RowsError
	for _, err := range errs {
		if err == nil {
			continue
		}
		rows, ok := errors.AsType[*RowsError](err)
		if !ok {
			return err
		}
		all.Total = rows.Total
		all.Bad += rows.Bad
		all.First = append(all.First, rows.First...)
	}
	slices.SortFunc(all.First, func(a, b BadRow) int { return cmp.Compare(a.Row, b.Row) })
	all.First = all.First[:min(len(all.First), maxFirst)]
	return all.err(all.Total)
}
