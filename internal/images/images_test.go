package images

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// picture is half red, half blue, and not square.
func picture(w, h int) image.Image {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, color.RGBA{B: 255, A: 255})
			if x < w/2 {
				m.Set(x, y, color.RGBA{R: 255, A: 255})
			}
		}
	}
	return m
}

// folder writes files and opens the folder of them.
func folder(t *testing.T, files map[string][]byte) *Folder {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return open(t, dir)
}

func open(t *testing.T, dir string) *Folder {
	t.Helper()
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func encoded(t *testing.T, encode func(io.Writer, image.Image) error, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tinyWebP is an image of one pixel, since there is no encoder at hand: a VP8L
// stream with five trivial prefix codes.
var tinyWebP = []byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00")

func TestFormats(t *testing.T) {
	m := picture(600, 300)
	asJPEG := func(w io.Writer, m image.Image) error { return jpeg.Encode(w, m, nil) }
	asGIF := func(w io.Writer, m image.Image) error { return gif.Encode(w, m, nil) }
	asTIFF := func(w io.Writer, m image.Image) error { return tiff.Encode(w, m, nil) }
	gray := image.NewGray16(image.Rect(0, 0, 40, 20))
	clear := image.NewNRGBA(image.Rect(0, 0, 600, 1))
	f := folder(t, map[string][]byte{"a.jpg": encoded(t, asJPEG, m), "b.JPEG": encoded(t, asJPEG, m), "c.png": encoded(t, png.Encode, m), "d.gif": encoded(t, asGIF, m),
		"e.bmp": encoded(t, bmp.Encode, m), "f.tiff": encoded(t, asTIFF, m), "g.tif": encoded(t, asTIFF, m), "h.webp": tinyWebP,
		"i.jpg": encoded(t, png.Encode, m), // its content counts
		"j.png": encoded(t, png.Encode, gray), "k.png": encoded(t, png.Encode, clear)})
	if len(f.Names) != 11 {
		t.Fatalf("%v", f.Names)
	}
	for _, name := range f.Names {
		i, err := f.Image(t.Context(), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, thumb := [3]int{600, 300, 3}, image.Pt(256, 128)
		switch name {
		case "h.webp":
			want, thumb = [3]int{1, 1, i.Channels}, image.Pt(1, 1)
		case "j.png":
			want, thumb = [3]int{40, 20, 1}, image.Pt(40, 20)
		case "k.png":
			want, thumb = [3]int{600, 1, 4}, image.Pt(256, 1)
		}
		if got := [3]int{i.Width, i.Height, i.Channels}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		small, err := jpeg.Decode(bytes.NewReader(i.Thumbnail))
		if err != nil || small.Bounds().Size() != thumb {
			t.Errorf("%s: thumbnail %v, %v", name, small.Bounds(), err)
			continue
		}
		left, right := small.At(thumb.X/5, thumb.Y/2), small.At(thumb.X*4/5, thumb.Y/2)
		switch name {
		case "h.webp", "j.png":
		case "k.png":
			near(t, name, left, color.White)
		default:
			near(t, name, left, color.RGBA{R: 255, A: 255})
			near(t, name, right, color.RGBA{B: 255, A: 255})
		}
		whole, err := io.ReadAll(i.Bytes())
		if on, _ := os.ReadFile(filepath.Join(f.root.Name(), name)); err != nil || !bytes.Equal(whole, on) || int64(len(whole)) != i.Size {
			t.Errorf("%s: %d bytes of %d, %v", name, len(whole), i.Size, err)
		}
		i.Close()
	}
}

// near compares colors that went through a JPEG.
func near(t *testing.T, name string, got, want color.Color) {
	t.Helper()
	r, g, b, _ := got.RGBA()
	wr, wg, wb, _ := want.RGBA()
	for _, d := range []float64{float64(r) - float64(wr), float64(g) - float64(wg), float64(b) - float64(wb)} {
		if math.Abs(d) > 0x1000 {
			t.Errorf("%s: color %v, want %v", name, got, want)
			return
		}
	}
}

func TestFolder(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	good := encoded(t, png.Encode, picture(4, 4))
	for _, name := range []string{"b/2.png", "b/1.png", "b-1.png", "a.png", ".hidden.png", ".git/x.png", "b/.x", "notes.txt", "b/labels.csv", "ä b.png"} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		if err := os.WriteFile(filepath.Join(dir, name), good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(elsewhere, "secret.png")
	err := errors.Join(os.WriteFile(secret, good, 0o644),
		os.Symlink("a.png", filepath.Join(dir, "in.png")), os.Symlink("../a.png", filepath.Join(dir, "b/up.png")),
		os.Symlink(secret, filepath.Join(dir, "out.png")), os.Symlink("../"+filepath.Base(elsewhere)+"/secret.png", filepath.Join(dir, "out2.png")),
		os.Symlink("nowhere.png", filepath.Join(dir, "dangling.png")), os.Symlink("b", filepath.Join(dir, "folder.png")), os.Symlink(".", filepath.Join(dir, "b/loop.png")),
		syscall.Mkfifo(filepath.Join(dir, "pipe.png"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, dir)
	want := []string{"a.png", "b/1.png", "b/2.png", "b/up.png", "b-1.png", "in.png", "ä b.png"}
	if diff := cmp.Diff(want, f.Names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Skipped{Hidden: 3, Links: 5, Other: 3}, f.Skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	// A file that becomes a link or a pipe after the listing does not get us out, or stuck.
	for _, name := range []string{"a.png", "b/1.png"} {
		os.Remove(filepath.Join(dir, name))
	}
	if err := errors.Join(os.Symlink(secret, filepath.Join(dir, "a.png")), syscall.Mkfifo(filepath.Join(dir, "b/1.png"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a.png": "escapes", "b/1.png": "not a regular file", "gone.png": "no such file"} {
		if _, err := f.Image(t.Context(), name); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "notes.txt")); err == nil {
		t.Error("a file is no folder")
	}
	if _, err := Open(filepath.Join(dir, "nowhere")); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// bomb is a PNG whose header promises more than there is.
func bomb(w, h uint32) []byte {
	chunk := func(kind string, data []byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
		b = append(append(b, kind...), data...)
		return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
	}
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
	return append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(head, 8, 2, 0, 0, 0))...)
}

func TestBroken(t *testing.T) {
	good := encoded(t, png.Encode, picture(64, 64))
	files := map[string][]byte{
		"empty.png": {}, "text.jpg": []byte("not an image at all"), "half.png": good[:len(good)/2], "bomb.png": bomb(100_000, 1), "bomb2.png": bomb(60_000, 60_000),
		"negative.png": bomb(1<<31+1, 5), "html.webp": []byte("<html>"), "riff.webp": []byte("RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff"), "tiff.tif": []byte("II*\x00\xff\xff\xff\xff"),
		"bmp.bmp": []byte("BM\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"), "flipped.png": bytes.Replace(good, []byte("IDAT"), []byte("IDAX"), 1),
	}
	f := folder(t, files)
	sparse, err := os.Create(filepath.Join(f.root.Name(), "huge.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer sparse.Close()
	if err := sparse.Truncate(MaxBytes + 1); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"empty.png": "empty", "text.jpg": "unknown format", "half.png": "png", "bomb.png": "100000 x 1 pixels", "bomb2.png": "pixels in all",
		"negative.png": "", "html.webp": "", "riff.webp": "", "tiff.tif": "", "bmp.bmp": "", "flipped.png": "", "huge.png": "at most"} {
		i, err := f.Image(t.Context(), name)
		if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", name, err, text)
		}
		if err == nil {
			i.Close()
		}
	}
	if free := decoding.TryAcquire(maxPixels); !free {
		t.Error("pixels are still held")
	} else {
		decoding.Release(maxPixels)
	}
}

// TestWaitsForMemory: an image waits for room to be decoded, no longer than
// its context.
func TestWaitsForMemory(t *testing.T) {
	f := folder(t, map[string][]byte{"a.png": encoded(t, png.Encode, picture(8, 8))})
	if err := decoding.Acquire(t.Context(), maxPixels); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := f.Image(ctx, "a.png")
	decoding.Release(maxPixels)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	i, err := f.Image(t.Context(), "a.png")
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if !i.Whole() {
		t.Error("the file is whole")
	}
	if err := os.Truncate(filepath.Join(f.root.Name(), "a.png"), 10); err != nil || i.Whole() {
		t.Errorf("the file was cut, %v", err)
	}
}

func FuzzImage(f *testing.F) {
	for _, seed := range [][]byte{bomb(3, 3), tinyWebP, []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;"), []byte("II*\x00\x08\x00\x00\x00")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := folder(t, map[string][]byte{"x.png": data}).Image(t.Context(), "x.png")
		if err != nil {
			if !errors.Is(err, ErrBroken) {
				t.Errorf("%v is not ErrBroken", err)
			}
			return
		}
		defer i.Close()
		if _, err := jpeg.Decode(bytes.NewReader(i.Thumbnail)); err != nil {
			t.Errorf("thumbnail of %d x %d: %v", i.Width, i.Height, err)
		}
	})
}
