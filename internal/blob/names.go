package blob

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// maxName is how many bytes a filename may have.
const maxName = 1024

// ReadNames reads a list of filenames in order: a JSON array, JSON lines of
// strings or of {"filename": …}, a text file with one per line, the column
// filename of a CSV or Parquet file, an npy of strings, or the filenames of an npz. Where
// nothing tells the format it is text. The list passes CheckNames.
func ReadNames(f *File) (names []string, err error) {
	if f.several != nil {
		return f.each(func(part *File) ([]string, int, error) {
			names, err := ReadNames(part)
			return names, len(names), err
		})
	}
	defer f.finish(&err)
	n := nameList{f: f}
	switch f.format {
	case "json", "jsonl":
		err = n.fromJSON()
	case "txt", "":
		err = f.lines("bad_txt", func(_ int, line []byte, _ int64) error {
			if len(line) == 0 {
				return nil
			}
			return n.add(line, true)
		})
	case "csv":
		err = n.fromCSV()
	case "npy":
		err = f.npy(n.fromArray)
	case "npz":
		var z archive
		if z, err = f.npz(); err == nil {
			if err = z.names(&n); err == nil && n.rows == 0 {
				err = fault("bad_npz", "np.savez(out, filenames=np.array(names))", "has no array filenames")
			}
		}
	case "parquet":
		var p *parquet
		if p, err = f.parquet(); err == nil {
			if err = coded("bad_parquet", "", p.names(&n)); err == nil && n.rows == 0 {
				err = fault("bad_parquet", "", "has no column filename")
			}
		}
	case "safetensors":
		var z safetensors
		if z, err = f.safetensors(); err == nil {
			if n = z.names; n.rows == 0 {
				err = fault("bad_safetensors", `metadata={"filenames": json.dumps(names)}`, "has no filenames in its metadata")
			}
		}
	default:
		err = f.wrongFormat("filenames", "json, jsonl, txt, csv, parquet, safetensors, npy or npz")
	}
	if err != nil {
		return nil, err
	}
	return n.done()
}

func (n *nameList) fromJSON() error {
	return n.f.rows(func(s *scanner, _ int64) error {
		if s.peek() != '{' {
			name, err := s.text()
			if err != nil {
				return err
			}
			return n.add(name, true)
		}
		var name []byte
		err := s.object([]string{"filename"}, func(int) (err error) {
			name, err = s.text()
			return err
		})
		if err != nil {
			return err
		}
		return n.add(name, true) // an object without one has the empty name
	})
}

// CheckNames checks a list of filenames that came from outside. A filename is
// a relative path: 1 to 1024 bytes of UTF-8 without control characters and
// backslashes, that neither begins with a slash nor has a segment "..". The
// error counts the ones that are not, or those that are there more than once,
// and names the first few.
func CheckNames(names []string) error {
	var bad offenders
	for _, name := range names {
		if what := nameFault(name); what != "" {
			bad.add("%s %s", quote(name), what)
		}
	}
	if bad.count > 0 {
		return fault("bad_filename", "a filename is a relative path with forward slashes", "%d of %d filenames are not allowed (%s)", bad.count, len(names), &bad)
	}
	if strictlySorted(names) { // none is there twice
		return nil
	}
	seen := make(map[string]struct{}, len(names))
	for _, name := range names {
		if _, twice := seen[name]; twice {
			bad.add("%s", quote(name))
		}
		seen[name] = struct{}{}
	}
	if bad.count > 0 {
		return fault("duplicate_filenames", "give each filename once", "%d of %d filenames are there before (%s)", bad.count, len(names), &bad)
	}
	return nil
}

func strictlySorted(names []string) bool {
	for i := 1; i < len(names); i++ {
		if names[i-1] >= names[i] {
			return false
		}
	}
	return true
}

func nameFault(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxName:
		return fmt.Sprintf("has %d bytes, at most %d are allowed", len(name), maxName)
	}
	fault := ""
	var last, high byte
	dots := false
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '\\':
			fault = "has a backslash"
		case c < ' ' || c == 0x7f:
			fault = "has a control character"
		case c == '.' && last == '.':
			dots = true
		}
		high |= c
		last = c
	}
	switch {
	case high >= utf8.RuneSelf && !utf8.ValidString(name):
		return "is not valid UTF-8"
	case name[0] == '/':
		return "is an absolute path"
	case dots && slices.Contains(strings.Split(name, "/"), ".."):
		return `has a segment ".."`
	}
	return fault
}

// nameList collects the filenames of rows. The zero value with a file is an
// empty list.
type nameList struct {
	f    *File
	text []byte
	ends []int // in text, one for each row with a name
	rows int
}

var errSomeNames = errors.New("some rows have a filename and some do not: give all or none")

// perName is what a name takes beside its bytes: end, string, set of all names.
const perName = 8 + 16 + 40

// add adds a row, which has a name or not.
func (n *nameList) add(name []byte, has bool) error {
	if n.rows > 0 && has != (len(n.ends) > 0) {
		return errSomeNames
	}
	if n.rows++; n.rows > maxRows {
		return fault("reference_too_large", "split the data into several events", "has more than %d rows", maxRows)
	}
	if !has {
		return nil
	}
	if err := n.f.take(int64(len(name) + perName)); err != nil {
		return err
	}
	n.text = append(n.text, name...)
	n.ends = append(n.ends, len(n.text))
	return nil
}

// last returns the name of the row that was added last, for errors.
func (n *nameList) last() string {
	if len(n.ends) == 0 {
		return fmt.Sprintf("row %d", n.rows)
	}
	start := 0
	if len(n.ends) > 1 {
		start = n.ends[len(n.ends)-2]
	}
	return quote(n.text[start:])
}

// done returns the names, nil if the rows have none. The list must not be used
// afterwards.
func (n *nameList) done() ([]string, error) {
	if len(n.ends) == 0 {
		return nil, nil
	}
	text := unsafe.String(unsafe.SliceData(n.text), len(n.text))
	names := make([]string, len(n.ends))
	start := 0
	for i, end := range n.ends {
		names[i] = text[start:end]
		start = end
	}
	if err := CheckNames(names); err != nil {
		return nil, err
	}
	return names, nil
}

// fromArray reads an array of strings: <U# or |S#, padded with NUL.
func (n *nameList) fromArray(a array) error {
	switch {
	case a.kind != 'U' && a.kind != 'S':
		return fault("bad_npy", "np.array(names)", "filenames are of type %s, not strings", a.descr)
	case len(a.shape) != 1:
		return fault("bad_shape", "np.array(names)", "filenames have shape %v, want one axis", a.shape)
	}
	block := make([]byte, max(chunkBytes/16/a.size, 1)*a.size) // small reads are slow
	var utf []byte
	for left := a.shape[0] * a.size; left > 0; left -= len(block) {
		block = block[:min(len(block), left)]
		if err := a.readFull(block); err != nil {
			return err
		}
		for item := range slices.Chunk(block, a.size) {
			if a.kind == 'U' {
				utf = appendUTF(utf[:0], item, a.order())
				item = utf
			}
			if err := n.add(bytes.TrimRight(item, "\x00"), true); err != nil {
				return err
			}
		}
	}
	return nil
}

// appendUTF appends code points of four bytes each to dst, up to a NUL.
func appendUTF(dst, item []byte, order binary.ByteOrder) []byte {
	for i := 0; i < len(item); i += 4 {
		r := rune(order.Uint32(item[i:]))
		switch {
		case r == 0 && bytes.Count(item[i:], []byte{0}) == len(item)-i: // padding
			return dst
		case !utf8.ValidRune(r):
			r = utf8.RuneError
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}
