package blob

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// nameLeaf returns the column of filenames, -1 if there is none: filename,
// filenames or file_name, or else the path of the one image.
func (p *parquet) nameLeaf() int {
	for _, name := range []string{"filename", "filenames", "file_name"} {
		if i := p.find(name); i >= 0 {
			return i
		}
	}
	if len(p.images) == 1 {
		return p.find(p.images[0], "path")
	}
	return -1
}

func (p *parquet) find(path ...string) int {
	return slices.IndexFunc(p.leaves, func(l leaf) bool { return slices.Equal(l.path, path) })
}

// valueLeaves returns the columns of a matrix: the one list of numbers that
// has a name of its kind, or else the only one; without any, every column of
// floats.
func (p *parquet) valueLeaves(kind kind) ([]int, error) {
	var named, lists, single []int
	for i, l := range p.leaves {
		_, numbers := l.elements()
		switch {
		case !numbers || slices.Contains(p.labels, l.path[0]):
		case l.rep == 1 && slices.Contains(kind.arrays, l.path[0]):
			named = append(named, i)
		case l.rep == 1:
			lists = append(lists, i)
		case l.rep == 0 && len(l.path) == 1 && (l.kind == pqFloat || l.kind == pqDouble || l.half):
			switch strings.ToLower(l.path[0]) {
			case "label", "labels", "score", "masked", "selected":
				if kind.field != classificationKind.field || !slices.Contains(kind.arrays, l.path[0]) {
					return nil, fault("bad_parquet", "", "column %s is not one of the %s: leave it out", quote(l.path[0]), kind.columns)
				}
			}
			single = append(single, i)
		}
	}
	found := named
	if len(found) == 0 {
		found = lists
	}
	want := strings.Join(kind.arrays, ", ")
	switch {
	case len(found) == 1:
		return found, nil
	case len(found) > 1:
		return nil, fault("bad_parquet", "leave exactly one of "+want, "holds several lists that may be the %s: %s and %s",
			kind.noun, quote(p.leaves[found[0]].path[0]), quote(p.leaves[found[1]].path[0]))
	case len(single) == 0:
		return nil, fault("bad_parquet", "name a column of lists one of "+want, "holds neither a list of numbers nor columns of floats for the %s", kind.noun)
	case len(single) > maxCols:
		return nil, fault("reference_too_large", "", "has %d columns, at most %d are allowed", len(single), maxCols)
	}
	return single, nil
}

// elements returns the leaf's values as elements of an array.
func (l leaf) elements() (a array, numbers bool) {
	switch {
	case l.kind == pqFloat:
		a = array{descr: "float32", kind: 'f', size: 4}
	case l.kind == pqDouble:
		a = array{descr: "float64", kind: 'f', size: 8}
	case l.kind == pqInt32:
		a = array{descr: "int32", kind: 'i', size: 4}
	case l.kind == pqInt64:
		a = array{descr: "int64", kind: 'i', size: 8}
	case l.kind == pqFixed && l.half && l.width == 2:
		a = array{descr: "float16", kind: 'f', size: 2}
	default:
		return a, false
	}
	return a, true
}

// parquetMatrix calls read with the filenames and the matrix, whose rows are
// read from the file as they are asked for.
func (f *File) parquetMatrix(kind kind, read func(*nameList, array) error) error {
	p, err := f.parquet()
	if err != nil {
		return err
	}
	names := &nameList{f: f}
	err = p.names(names)
	if err == nil {
		var leaves []int
		if leaves, err = p.valueLeaves(kind); err == nil {
			err = p.matrix(leaves, func(a array) error { return read(names, a) })
		}
	}
	return coded("bad_parquet", "", err)
}

func (p *parquet) matrix(leaves []int, read func(array) error) error {
	first := p.leaves[leaves[0]]
	a, _ := first.elements()
	m := &matrixReader{size: a.size, rows: p.rows}
	for _, i := range leaves {
		if b, _ := p.leaves[i].elements(); b.descr != a.descr {
			return fault("bad_parquet", `convert with df.astype("float32")`, "has columns of %s and of %s", a.descr, b.descr)
		}
		m.columns = append(m.columns, p.column(i))
	}
	a.shape = []int{p.rows, len(leaves)}
	if first.rep > 0 && p.rows > 0 {
		values := int64(0)
		for _, g := range p.groups {
			if values += g[leaves[0]].values; g[leaves[0]].values > 1<<40 || values > 1<<40 {
				return fault("reference_too_large", "split the data into several events", "has %d values", values)
			}
		}
		if values%int64(p.rows) != 0 || values == 0 {
			return fault("bad_shape", "give every row as many, and none that is null", "has %d values in %d rows", values, p.rows)
		}
		a.shape[1] = int(values / int64(p.rows))
		m.columns[0].perRow = a.shape[1]
	}
	m.values = p.rows * a.shape[1] // both are bounded
	if err := p.plausible(int64(m.values), maxDeflate); err != nil {
		return err
	}
	a.rest = m
	return read(a)
}

// names reads the filenames, if they are there.
func (p *parquet) names(n *nameList) error {
	i := p.nameLeaf()
	if i < 0 {
		return nil
	}
	l := p.leaves[i]
	if l.kind != pqBytes || l.rep > 0 {
		return fmt.Errorf("column %s holds no text", quote(strings.Join(l.path, ".")))
	}
	c := p.column(i)
	for range p.rows {
		name, err := c.text()
		if err != nil {
			return err
		}
		if err := n.add(bytes.TrimRight(name, "\x00"), true); err != nil {
			return err
		}
	}
	return c.ends()
}
