package state

import (
	"context"
	"fmt"
	"hash/maphash"
	"strings"
)

// Names is the ordered list of a dataset's filenames: row → name and back. It
// is immutable. A million names of 30 bytes take about 42 MB.
type Names struct {
	text  string   // every name followed by a newline
	start []uint32 // start of each name in text, and len(text) at the end
	table []uint32 // open addressing: row + 1, 0 = free; a power of two long
	seed  maphash.Seed
}

// newNames indexes text, which holds whole lines.
func newNames(text string) (*Names, error) {
	n := &Names{text: text, seed: maphash.MakeSeed()}
	rows := strings.Count(text, "\n")
	n.start = make([]uint32, 0, rows+1)
	size := 16
	for size < 2*rows {
		size *= 2
	}
	n.table = make([]uint32, size)
	n.start = append(n.start, 0)
	for at := 0; at < len(text); {
		end := at + strings.IndexByte(text[at:], '\n')
		row := len(n.start) - 1
		n.start = append(n.start, uint32(end+1))
		slot, known := n.slot(text[at:end])
		if known {
			return nil, fmt.Errorf("filename %q twice, in rows %d and %d", text[at:end], n.table[slot]-1, row)
		}
		n.table[slot] = uint32(row + 1)
		at = end + 1
	}
	return n, nil
}

// slot finds the place of a name in the table.
func (n *Names) slot(name string) (slot int, known bool) {
	mask := len(n.table) - 1
	for slot = int(maphash.String(n.seed, name)) & mask; n.table[slot] != 0; slot = (slot + 1) & mask {
		if n.At(int(n.table[slot]-1)) == name {
			return slot, true
		}
	}
	return slot, false
}

// Len is the number of rows.
func (n *Names) Len() int { return len(n.start) - 1 }

// At returns the filename of a row.
func (n *Names) At(row int) string { return n.text[n.start[row] : n.start[row+1]-1] }

// Row returns the row of a filename.
func (n *Names) Row(name string) (row int, ok bool) {
	slot, ok := n.slot(name)
	return int(n.table[slot]) - 1, ok
}

// Names loads the filenames of a dataset.
func (s *Store) Names(ctx context.Context, d Dataset) (*Names, error) {
	var key strings.Builder
	for _, c := range d.Filenames {
		key.WriteString(c.SHA256)
	}
	if n, ok := s.names.get(key.String()); ok {
		return n, nil
	}
	var text strings.Builder
	for _, c := range d.Filenames {
		b, err := s.blobs.Get(ctx, c.SHA256)
		if err != nil {
			return nil, fmt.Errorf("filenames of %s: %w", d.Name, err)
		}
		text.Write(b)
	}
	n, err := newNames(text.String())
	if err != nil {
		return nil, fmt.Errorf("filenames of %s: %w", d.Name, err)
	}
	if n.Len() != d.Rows {
		return nil, fmt.Errorf("filenames of %s: %d, but the dataset has %d rows", d.Name, n.Len(), d.Rows)
	}
	s.names.put(key.String(), n.Len(), n)
	return n, nil
}

// AppendNames writes the blobs for a dataset with more rows and returns it
// changed, not yet committed. Chunks are merged so that each is more than
// twice as long as the one after it: a row is rewritten O(log n) times however
// the rows arrive. The new names must be new and without newlines.
func (s *Store) AppendNames(ctx context.Context, d Dataset, more []string) (Dataset, error) {
	if len(more) == 0 {
		return d, nil
	}
	old, err := s.Names(ctx, d)
	if err != nil {
		return d, err
	}
	keep, from := tail(d.Filenames, len(more))
	text := old.text[old.start[from]:] + strings.Join(more, "\n") + "\n"
	sha, err := s.blobs.Put(ctx, []byte(text))
	if err != nil {
		return d, err
	}
	d.Filenames = append(keep, Chunk{SHA256: sha, Rows: old.Len() - from + len(more)})
	d.Rows += len(more)
	return d, nil
}

// tail decides which chunks stay when more rows are appended, and from which
// row on the rest is rewritten with them. The result may be appended to.
func tail(chunks []Chunk, more int) (keep []Chunk, from int) {
	for _, c := range chunks {
		from += c.Rows
	}
	n := len(chunks)
	for n > 0 && chunks[n-1].Rows <= 2*more {
		n--
		from -= chunks[n].Rows
		more += chunks[n].Rows
	}
	return append([]Chunk(nil), chunks[:n]...), from
}
