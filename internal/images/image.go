package images

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // decoders of the formats that extensions has
	"image/jpeg"
	_ "image/png"
	"io"
	"os"
	"syscall"

	_ "golang.org/x/image/bmp"
	"golang.org/x/image/draw"
	_ "golang.org/x/image/tiff"
	_ "golang.org/x/image/webp"
	"golang.org/x/sync/semaphore"
)

// Bounds of what is decoded. Of a GIF it is the first picture.
const (
	MaxBytes  = 512 << 20
	maxPixels = 1 << 27 // of all images that are being decoded at a time; 8 bytes each at most
	maxSide   = 1 << 16 // pixels
	thumbSide = 256     // pixels, of the longer side
)

// decoding holds the pixels that may be in memory at a time.
var decoding = semaphore.NewWeighted(maxPixels)

// Image is an open file whose picture is whole.
type Image struct {
	Width, Height, Channels int   // 1 is gray, 4 has transparency
	Size                    int64 // of the file, in bytes
	// Thumbnail is a JPEG of at most 256 pixels on the longer side, what is
	// transparent in white.
	Thumbnail []byte
	file      *os.File
}

// ErrBroken is the base of the errors for files that are no whole image; any
// other error of Image is that of the context.
var ErrBroken = errors.New("no image to use")

// broken is such an error. Its text is the reason only.
type broken struct{ text string }

func (b broken) Error() string        { return b.text }
func (b broken) Is(target error) bool { return target == ErrBroken }

func brokenf(format string, args ...any) error { return broken{fmt.Sprintf(format, args...)} }

// Image opens a file of the folder and decodes all of it, whatever its
// extension says. The caller closes the image.
func (f *Folder) Image(ctx context.Context, name string) (_ *Image, err error) {
	// A pipe that has taken the place of the file must not hold us up.
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, brokenf("%s", reason(err))
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, brokenf("%s", reason(err))
	case !info.Mode().IsRegular():
		return nil, brokenf("not a regular file")
	case info.Size() == 0:
		return nil, brokenf("the file is empty")
	case info.Size() > MaxBytes:
		return nil, brokenf("the file has %d bytes, at most %d are allowed", info.Size(), MaxBytes)
	}
	i := &Image{Size: info.Size(), file: file}
	if err := i.decode(ctx); err != nil {
		return nil, err
	}
	return i, nil
}

// Close releases the file.
func (i *Image) Close() error { return i.file.Close() }

// Bytes reads the file from its beginning, as long as it was when opened. Any
// number of readers may be in use.
func (i *Image) Bytes() io.Reader { return io.NewSectionReader(i.file, 0, i.Size) }

// Whole reports whether the file is still as long as when it was opened.
func (i *Image) Whole() bool {
	info, err := i.file.Stat()
	return err == nil && info.Size() >= i.Size
}

func (i *Image) decode(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil { // decoders are given what strangers wrote
			err = brokenf("the decoder fails: %v", p)
		}
	}()
	config, format, err := image.DecodeConfig(bufio.NewReader(i.Bytes()))
	if err != nil {
		return brokenf("%v", err)
	}
	pixels := int64(config.Width) * int64(config.Height)
	if config.Width < 1 || config.Height < 1 || config.Width > maxSide || config.Height > maxSide || pixels > maxPixels {
		return brokenf("%s of %d x %d pixels: sides of 1 to %d and %d pixels in all are allowed", format, config.Width, config.Height, maxSide, maxPixels)
	}
	if err := decoding.Acquire(ctx, pixels); err != nil {
		return err
	}
	defer decoding.Release(pixels)
	picture, format, err := image.Decode(bufio.NewReaderSize(i.Bytes(), 64<<10))
	if err != nil {
		return brokenf("%s: %v", format, err)
	}
	i.Width, i.Height, i.Channels = config.Width, config.Height, channels(picture)
	i.Thumbnail, err = thumbnail(picture)
	return err
}

func channels(picture image.Image) int {
	switch picture.ColorModel() {
	case color.GrayModel, color.Gray16Model:
		return 1
	}
	if o, ok := picture.(interface{ Opaque() bool }); ok && !o.Opaque() {
		return 4
	}
	return 3
}

// thumbnail makes the small copy.
func thumbnail(picture image.Image) ([]byte, error) {
	from := picture.Bounds()
	w, h := from.Dx(), from.Dy()
	if long := max(w, h); long > thumbSide {
		w, h = max(1, w*thumbSide/long), max(1, h*thumbSide/long)
	}
	size := image.Rect(0, 0, w, h)
	small := image.NewRGBA(size) // the fast path of the scaler
	draw.Draw(small, size, image.White, image.Point{}, draw.Src)
	draw.BiLinear.Scale(small, size, picture, from, draw.Over, nil)
	var last image.Image = small
	if channels(picture) == 1 {
		gray := image.NewGray(size)
		draw.Draw(gray, size, small, image.Point{}, draw.Src)
		last = gray
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, last, &jpeg.Options{Quality: 85}); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
