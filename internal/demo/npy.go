package demo

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"nextbatch/internal/events"
)

// npyHeader is the start of a NumPy array file, format 1.0: magic, version, and
// a header padded so that the data begins at a multiple of 64 bytes.
func npyHeader(dtype, shape string) []byte {
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }", dtype, shape)
	const before = 6 + 2 + 2 // magic, version, length
	text += strings.Repeat(" ", 63-(before+len(text))%64) + "\n"
	b := append([]byte("\x93NUMPY"), 1, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

// npyFloats is a matrix as a NumPy file of float32.
func npyFloats(rows [][]float64) []byte {
	columns := 0
	if len(rows) > 0 {
		columns = len(rows[0])
	}
	b := npyHeader("<f4", fmt.Sprintf("(%d, %d)", len(rows), columns))
	for _, row := range rows {
		for _, x := range row {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(x)))
		}
	}
	return b
}

// npyStrings is a list as a NumPy file of fixed-width UTF-32 strings, what
// np.array(names) is.
func npyStrings(list []string) []byte {
	width := 1
	for _, s := range list {
		width = max(width, utf8.RuneCountInString(s))
	}
	b := npyHeader(fmt.Sprintf("<U%d", width), fmt.Sprintf("(%d,)", len(list)))
	for _, s := range list {
		for _, r := range s {
			b = binary.LittleEndian.AppendUint32(b, uint32(r))
		}
		b = append(b, make([]byte, 4*(width-utf8.RuneCountInString(s)))...)
	}
	return b
}

// npz is what np.savez(filenames=..., probs=...) writes.
func npz(filenames []string, probabilities [][]float64) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, member := range []struct {
		name string
		data []byte
	}{{"filenames.npy", npyStrings(filenames)}, {"probs.npy", npyFloats(probabilities)}} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: member.name, Method: zip.Store})
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(member.data); err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return b.Bytes(), err
}

// writeFile writes a new file and returns the reference by which an event
// speaks of it. The format of the reference follows from the file's name.
func writeFile(dir, name string, data []byte) (events.Reference, error) {
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return events.Reference{}, err
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return events.Reference{}, err
	}
	sum := sha256.Sum256(data)
	return events.Reference{
		URI:    (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String(),
		Format: strings.TrimPrefix(filepath.Ext(name), "."),
		SHA256: hex.EncodeToString(sum[:]),
		Size:   int64(len(data)),
	}, nil
}
