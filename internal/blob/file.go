package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Limits that hold whatever the configuration says.
const (
	maxRows  = 1 << 26
	maxCols  = 1 << 16
	maxValue = 64 << 20 // bytes of one line, one element of an array, or one file of a prediction tree
)

// File is the opened target of a reference, or the folder of a prediction
// tree. It belongs to one goroutine, and one Read function is called on it.
type File struct {
	// ctx is that of Open: with it reading ends, however deep in a decoder.
	ctx      context.Context
	name     string // for messages: quoted, without secrets
	format   string // "" where nothing tells
	size     int64
	sha      string // SHA-256 of the bytes, where it is known already
	src      io.ReaderAt
	file     *os.File  // nil for inline data and trees
	modified time.Time // of file, when it was opened
	tree     *os.Root  // nil unless a folder
	copied   string    // folder of tree, to be removed; "" if it is the sender's
	several  *several  // nil unless it is several files
	parent   *File     // of which this is one of several, nil if of none
	maxBytes int64
	memory   int64 // bytes that decoding may still take
	beyond   int64 // and what may be added to them by more: see Limit
	more     func(short int64) int64
	taken    int64 // bytes that decoding has taken
	failed   error // first error of src
}

// ReadAt implements io.ReaderAt. It fails once the context of Open is done.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if f.tree != nil || f.several != nil {
		return 0, errors.New("a folder cannot be read")
	}
	if err := f.ctx.Err(); err != nil {
		f.failed = err
		return 0, err
	}
	if off < 0 || off > f.size { // decoders add up what hostile files say
		return 0, io.EOF
	}
	n, err := f.src.ReadAt(p, off)
	if err != nil && err != io.EOF && f.failed == nil {
		f.failed = err
	}
	return n, err
}

// Size returns the size in bytes, 0 for a folder; of several files, of those that
// were read.
func (f *File) Size() int64 { return f.size }

// Close releases the file. Decoded rows stay valid.
func (f *File) Close() error {
	var err error
	if f.file != nil {
		err = f.file.Close()
	}
	if f.tree != nil {
		err = errors.Join(err, f.tree.Close())
	}
	if f.copied != "" {
		err = errors.Join(err, os.RemoveAll(f.copied))
	}
	return err
}

// reader reads the file from its beginning.
func (f *File) reader() *io.SectionReader { return io.NewSectionReader(f, 0, f.size) }

// newFile wraps an open regular file.
func newFile(ctx context.Context, h *os.File) (*File, error) {
	info, err := h.Stat()
	if err != nil {
		return nil, err
	}
	return &File{ctx: ctx, size: info.Size(), src: h, file: h, modified: info.ModTime()}, nil
}

// newInline wraps data that came with the event.
func newInline(ctx context.Context, data []byte) *File {
	return &File{ctx: ctx, format: "json", size: int64(len(data)), src: bytes.NewReader(data)}
}

// check compares the file with what the reference declares. The digest costs
// one pass over the file.
func (f *File) check(ref Ref) error {
	switch {
	case f.size > f.maxBytes:
		return fault("reference_too_large", "split the data into several events, or have the operator raise the limit",
			"has %d bytes, at most %d are allowed", f.size, f.maxBytes)
	case ref.Size != 0 && ref.Size != f.size:
		return fault("size_mismatch", "write the file completely, close it, then send the event", "has %d bytes, the reference says %d", f.size, ref.Size)
	}
	if ref.SHA256 == "" {
		return nil
	}
	if f.sha != "" {
		return f.checkDigest(f.sha, ref)
	}
	h := sha256.New()
	n, err := io.CopyBuffer(h, struct{ io.Reader }{f.reader()}, make([]byte, 1<<20))
	if err != nil {
		return err
	}
	if n != f.size {
		return unreadable("ended after %d of %d bytes", n, f.size)
	}
	return f.checkDigest(hex.EncodeToString(h.Sum(nil)), ref)
}

func (f *File) checkDigest(got string, ref Ref) error {
	if got != ref.SHA256 {
		return fault("digest_mismatch", "write the file completely, close it, then compute its digest and send the event", "has SHA-256 %s, the reference says %s", got, ref.SHA256)
	}
	return nil
}

// finish makes *err the answer of a Read function: errors of the file itself
// go before what a decoder made of them, a file that was written to meanwhile
// goes before everything, and messages get the name of the reference.
func (f *File) finish(err *error) {
	if *err != nil && f.failed != nil {
		*err = f.failed
	}
	if f.file != nil && f.ctx.Err() == nil {
		if info, statErr := f.file.Stat(); statErr == nil && (info.Size() != f.size || !info.ModTime().Equal(f.modified)) {
			*err = &Error{Code: "reference_changed", Message: "was written to while it was read", Hint: "write a new file, close it, then send the event", Transient: true}
		}
	}
	*err = f.named(*err)
}

// named puts the name of the reference in front of an error.
func (f *File) named(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		named := *e
		named.Message = f.name + ": " + e.Message
		return &named
	}
	return fmt.Errorf("%s: %w", f.name, err)
}

// wrongFormat says which formats there are for a kind of data.
func (f *File) wrongFormat(kind, formats string) error {
	if f.format == "" {
		return fault("unsupported_format", "set format to one of "+formats, "neither its extension nor format tells what it is")
	}
	return fault("unsupported_format", kind+" come as "+formats, "%s do not come as %s", kind, f.format)
}
