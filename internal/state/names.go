package state

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Names is the ordered list of a dataset's filenames: row → name and back. It
// is immutable, but shares memory with the lists that it was grown from and
// into: a longer one costs only what it has more. A million names of 30 bytes
// take about 42 MB.
type Names struct {
	text  []byte   // every name followed by a newline
	start []uint32 // start of each name in text, and len(text) at the end
	table []uint32 // open addressing: row + 1, 0 = free; a power of two long
	tip   *tip
}

// tip is what the lists that share memory have in common: how far it is used,
// and so which of them may grow in place. Longer lists put their rows into the
// table that shorter ones read, who pass over rows beyond their own.
type tip struct {
	mu   sync.Mutex // guards rows, and writes behind them
	rows int
	seed maphash.Seed
}

// newNames indexes text, which holds whole lines.
func newNames(text []byte) (*Names, error) {
	none := &Names{start: []uint32{0}, table: make([]uint32, 16), tip: &tip{seed: maphash.MakeSeed()}}
	return none.grow(0, text)
}

// grow returns the first rows of n, followed by the lines of text.
func (n *Names) grow(rows int, text []byte) (*Names, error) {
	n.tip.mu.Lock()
	defer n.tip.mu.Unlock()
	g := &Names{text: n.text[:n.start[rows]], start: n.start[:rows+1], table: n.table, tip: n.tip}
	if len(text) == 0 {
		return g, nil
	}
	if rows < n.tip.rows { // another list goes on here
		g.fork()
	}
	g.reserve(bytes.Count(text, []byte{'\n'}))
	g.text = append(g.text, text...)
	for at := int(g.start[rows]); at < len(g.text); {
		end := at + bytes.IndexByte(g.text[at:], '\n')
		row := g.Len()
		g.start = append(g.start, uint32(end+1))
		slot, other := g.slot(g.At(row))
		if other >= 0 {
			return nil, fmt.Errorf("filename %q twice, in rows %d and %d", g.At(row), other, row)
		}
		atomic.StoreUint32(&g.table[slot], uint32(row+1))
		at = end + 1
	}
	g.tip.rows = g.Len()
	return g, nil
}

// fork gives a list its own memory.
func (n *Names) fork() {
	n.text, n.start, n.table = slices.Clone(n.text), slices.Clone(n.start), slices.Clone(n.table)
	for i, row := range n.table {
		if int(row) > n.Len() { // put in after all of ours, so none of them lies behind it
			n.table[i] = 0
		}
	}
	n.tip = &tip{rows: n.Len(), seed: n.tip.seed}
}

// reserve makes the table large enough for more rows.
func (n *Names) reserve(more int) {
	size := len(n.table)
	for size < 2*(n.Len()+more) {
		size *= 2
	}
	if size == len(n.table) {
		return
	}
	n.table = make([]uint32, size)
	for row := range n.Len() {
		slot, _ := n.slot(n.At(row))
		n.table[slot] = uint32(row + 1)
	}
}

// slot finds the place of a name in the table and its row; or a free place
// and row -1.
func (n *Names) slot(name string) (slot, row int) {
	mask := len(n.table) - 1
	for slot = int(maphash.String(n.tip.seed, name)) & mask; ; slot = (slot + 1) & mask {
		row = int(atomic.LoadUint32(&n.table[slot])) - 1
		if row < 0 || row < n.Len() && n.At(row) == name {
			return slot, row
		}
	}
}

// Len is the number of rows.
func (n *Names) Len() int { return len(n.start) - 1 }

// At returns the filename of a row.
func (n *Names) At(row int) string {
	name := n.text[n.start[row] : n.start[row+1]-1]
	return unsafe.String(unsafe.SliceData(name), len(name)) // what is in the list never changes
}

// Row returns the row of a filename.
func (n *Names) Row(name string) (row int, ok bool) {
	_, row = n.slot(name)
	return row, row >= 0
}

// known are the names of a dataset as they were loaded last.
type known struct {
	chunks []Chunk
	names  *Names
}

// Names loads the filenames of a dataset. What is in memory of an earlier or
// later state of it is not read again.
func (s *Store) Names(ctx context.Context, d Dataset) (*Names, error) {
	k, ok := s.names.get(d.ID)
	if ok && slices.Equal(k.chunks, d.Filenames) {
		return k.names, nil
	}
	same, from := 0, 0
	for ok && same < min(len(k.chunks), len(d.Filenames)) && k.chunks[same] == d.Filenames[same] {
		from += k.chunks[same].Rows
		same++
	}
	var text []byte
	for _, c := range d.Filenames[same:] {
		b, err := s.blobs.Get(ctx, c.SHA256)
		if err != nil {
			return nil, fmt.Errorf("filenames of %s: %w", d.Name, err)
		}
		text = append(text, b...)
	}
	n, err := (*Names)(nil), error(nil)
	if ok {
		rows := from
		for at := 0; rows < k.names.Len(); rows++ { // lines that are there already
			line := k.names.text[k.names.start[rows]:k.names.start[rows+1]]
			if at+len(line) > len(text) || string(text[at:at+len(line)]) != string(line) {
				break
			}
			at += len(line)
		}
		text = text[k.names.start[rows]-k.names.start[from]:]
		n, err = k.names.grow(rows, text)
	} else {
		n, err = newNames(text)
	}
	if err != nil {
		return nil, fmt.Errorf("filenames of %s: %w", d.Name, err)
	}
	if n.Len() != d.Rows {
		return nil, fmt.Errorf("filenames of %s: %d, but the dataset has %d rows", d.Name, n.Len(), d.Rows)
	}
	if len(text) > 0 || !ok { // of an earlier state the later one stays
		s.names.put(d.ID, n.Len(), known{slices.Clone(d.Filenames), n})
	}
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
	text := string(old.text[old.start[from]:]) + strings.Join(more, "\n") + "\n"
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
