package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

// Compressions.
const (
	pqNone   = 0
	pqSnappy = 1
	pqGzip   = 2
	pqBrotli = 4
	pqZstd   = 6
	pqLZ4    = 7 // a block, without the frame of number 5, of which there are several kinds
)

// codecs are the compressions, and how far each can pack a byte.
var codecs = map[int]struct {
	name string
	most int64
}{pqNone: {"none", 1}, pqSnappy: {"snappy", 32}, pqGzip: {"gzip", maxDeflate}, pqBrotli: {"brotli", 1 << 23}, pqZstd: {"zstd", 1 << 16}, pqLZ4: {"lz4", 255}}

// unpacker decompresses pages.
type unpacker struct {
	f      *File
	src    bytes.Reader
	gzip   *gzip.Reader
	brotli *brotli.Reader
}

// unpack decompresses src into dst, which becomes size bytes.
func (u *unpacker) unpack(dst *[]byte, src []byte, size int64, codec int) error {
	if err := u.f.room(dst, size); err != nil {
		return err
	}
	n, err := 0, error(nil)
	switch codec {
	case pqNone:
		if n = len(src); n == len(*dst) {
			copy(*dst, src)
		}
	case pqSnappy:
		if n, err = snappy.DecodedLen(src); err == nil && n == len(*dst) {
			_, err = snappy.Decode(*dst, src)
		}
	case pqZstd:
		var got []byte
		got, err = unzstd.DecodeAll(src, (*dst)[:0:size])
		n = len(got)
	case pqLZ4:
		n, err = unlz4(*dst, src)
	default:
		if n, err = u.stream(*dst, src, codec); final(err) {
			return err
		}
	}
	if err != nil || int64(n) != size {
		return fmt.Errorf("has a page that does not unpack to %d bytes", size)
	}
	return nil
}

// stream decompresses what is read bit by bit, and must end with dst.
func (u *unpacker) stream(dst, src []byte, codec int) (n int, err error) {
	const window = 1 << 24 // the largest of brotli
	u.src.Reset(src)
	var r io.Reader
	switch {
	case codec == pqGzip && u.gzip == nil:
		u.gzip, err = gzip.NewReader(&u.src)
		r = u.gzip
	case codec == pqGzip:
		err = u.gzip.Reset(&u.src)
		r = u.gzip
	case u.brotli == nil:
		if err := u.f.take(window); err != nil {
			return 0, err
		}
		u.brotli = brotli.NewReader(&u.src)
		r = u.brotli
	default:
		err = u.brotli.Reset(&u.src)
		r = u.brotli
	}
	if err != nil {
		return 0, err
	}
	if n, err = io.ReadFull(r, dst); err != nil {
		return n, err
	}
	if _, err := io.ReadFull(r, make([]byte, 1)); err != io.EOF {
		return n, errors.New("goes on")
	}
	return n, nil
}

// unzstd decodes no more than there is room for.
var unzstd = func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic("blob: " + err.Error())
	}
	return d
}()
