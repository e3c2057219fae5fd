package blob

import (
	"fmt"
	"io"
	"strings"
	"unsafe"
)

// WriteNPY writes a matrix as an npy, rows × cols of data, row-major. The
// machine must be little-endian.
func WriteNPY(w io.Writer, rows, cols int, data []float32) error {
	if rows < 0 || cols < 0 || len(data) != rows*cols {
		panic(fmt.Sprintf("blob: %d values are no %d × %d matrix", len(data), rows, cols))
	}
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", rows, cols)
	const intro = len(npyMagic) + 4
	header += strings.Repeat(" ", 63-(intro+len(header))%64) + "\n"
	front := append([]byte(npyMagic), 1, 0, byte(len(header)), byte(len(header)>>8))
	if _, err := w.Write(append(front, header...)); err != nil {
		return err
	}
	_, err := w.Write(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), 4*len(data)))
	return err
}
