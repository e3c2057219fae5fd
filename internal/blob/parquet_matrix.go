package blob

import (
	"cmp"
	"encoding/binary"
	"io"
)

// matrixReader gives the bytes of a matrix, row by row: those of a column of
// lists as they are, or of each column in turn.
type matrixReader struct {
	size    int // of an element
	rows    int // left to read
	values  int // left to give out, of lists
	columns []*column
	one     []byte // values of one column
	block   []byte // rows
	rest    []byte // of block, not yet given out
}

// Read implements io.Reader. It gives whole elements only.
func (m *matrixReader) Read(p []byte) (int, error) {
	if len(m.columns) == 1 {
		n := min(len(p)/m.size, m.values)
		if m.values == 0 {
			return 0, cmp.Or(m.columns[0].ends(), io.EOF)
		}
		m.values -= n
		if err := m.columns[0].fill(p[:n*m.size]); err != nil {
			return 0, err
		}
		return n * m.size, nil
	}
	if len(m.rest) == 0 {
		if m.rows == 0 {
			for _, c := range m.columns {
				if err := c.ends(); err != nil {
					return 0, err
				}
			}
			return 0, io.EOF
		}
		if err := m.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// next reads the next block of rows.
func (m *matrixReader) next() error {
	const bytes = 256 << 10
	stride := len(m.columns) * m.size
	rows := min(max(bytes/stride, 16), m.rows)
	if m.block == nil {
		if err := m.columns[0].f.take(int64(rows * (stride + m.size))); err != nil {
			return err
		}
		m.block, m.one = make([]byte, rows*stride), make([]byte, rows*m.size)
	}
	for k, c := range m.columns {
		one := m.one[:rows*m.size]
		if err := c.fill(one); err != nil {
			return err
		}
		to := m.block[k*m.size:]
		switch m.size { // copy is slow on so few bytes
		case 4:
			for i := range rows {
				binary.NativeEndian.PutUint32(to[i*stride:], binary.NativeEndian.Uint32(one[4*i:]))
			}
		case 8:
			for i := range rows {
				binary.NativeEndian.PutUint64(to[i*stride:], binary.NativeEndian.Uint64(one[8*i:]))
			}
		default:
			for i := range rows {
				copy(to[i*stride:][:m.size], one[i*m.size:])
			}
		}
	}
	m.rows -= rows
	m.rest = m.block[:rows*stride]
	return nil
}
