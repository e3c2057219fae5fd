//go:build foreign

package lightly_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	fashionmnist "nextbatch/examples/fashion-mnist"
)

// releases are those that the Makefile installs.
var releases = []string{"1.1.5", "1.1.23", "1.2.37"}

const (
	nImages = 240 // of the dataset
	nMore   = 12  // that are added to it
)

// python is a release of the lightly package, the server that it talks to, and
// what a user has on disk.
type python struct {
	t       *testing.T
	release string
	server  string // URL
	dir     string
}

// newPython lays out images and embeddings for scripts that run with a release.
func newPython(t *testing.T, release, server string) *python {
	t.Helper()
	p := &python{t: t, release: release, server: server, dir: t.TempDir()}
	writeImages(t, p.path("images"), nImages)
	writeImages(t, p.path("more"), nImages+nMore)
	writeEmbeddings(t, p.path("embeddings.csv"), nImages)
	writeEmbeddings(t, p.path("more.csv"), nImages+nMore)
	if err := os.Mkdir(p.path("out"), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *python) path(name string) string { return filepath.Join(p.dir, name) }

// run runs a script of testdata/python in a process of its own and decodes the
// JSON that it prints last.
func (p *python) run(answer any, script string, args ...string) {
	p.t.Helper()
	out := p.execute(filepath.Join(scripts(p.t), script), args...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), answer); err != nil {
		p.t.Fatalf("lightly %s, %s prints no JSON: %v\n%s", p.release, script, err, out)
	}
}

// command runs one of the command lines that the package installs.
func (p *python) command(name string, args ...string) {
	p.t.Helper()
	p.execute(filepath.Join(os.Getenv("NEXTBATCH_LIGHTLY"), p.release, "bin", name), args...)
}

func scripts(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("testdata/python")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// execute runs a program in the release's environment and returns what it
// prints.
func (p *python) execute(program string, args ...string) string {
	p.t.Helper()
	venv := os.Getenv("NEXTBATCH_LIGHTLY")
	if venv == "" {
		p.t.Fatal("NEXTBATCH_LIGHTLY is not set. It names the directory that `make deps` makes:\n" +
			"  make deps && NEXTBATCH_LIGHTLY=$PWD/.venv-lightly go test -tags foreign ./internal/lightly/")
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), 3*time.Minute)
	defer cancel()
	var out, fault bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(venv, "bin", "python"), append([]string{program}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, &out, &fault
	path := []string{filepath.Join(venv, p.release), filepath.Join(scripts(p.t), "torchless")}
	cmd.Env = append(os.Environ(), "LIGHTLY_SERVER_LOCATION="+p.server, "PYTHONPATH="+strings.Join(path, string(os.PathListSeparator)),
		"PYTHONDONTWRITEBYTECODE=1", "TQDM_MININTERVAL=60")
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("lightly %s, %s: %v\n%s\n%s", p.release, filepath.Base(program), err, out.Bytes(), fault.Bytes())
	}
	return out.String()
}

// pixels are the images of Fashion-MNIST, 28 x 28 each.
func pixels(t *testing.T, n int) [][]byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(fashionmnist.Images))
	if err != nil {
		t.Fatal(err)
	}
	header := make([]byte, 16)
	if _, err := io.ReadFull(z, header); err != nil || binary.BigEndian.Uint32(header[8:]) != 28 {
		t.Fatal("not the images of Fashion-MNIST", err)
	}
	all := make([][]byte, n)
	for i := range all {
		all[i] = make([]byte, 28*28)
		if _, err := io.ReadFull(z, all[i]); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func imageName(i int) string { return fmt.Sprintf("product %04d.png", i) }

func writeImages(t *testing.T, dir string, n int) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, p := range pixels(t, n) {
		f, err := os.Create(filepath.Join(dir, imageName(i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := png.Encode(f, &image.Gray{Pix: p, Stride: 28, Rect: image.Rect(0, 0, 28, 28)}); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// writeEmbeddings writes Lightly's CSV: the mean brightness of 4 x 4 blocks.
// The rows are not in the order of the names.
func writeEmbeddings(t *testing.T, file string, n int) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("filenames")
	for k := range 16 {
		fmt.Fprintf(&b, ",embedding_%d", k)
	}
	b.WriteString(",labels\r\n")
	for i, p := range slices.Backward(pixels(t, n)) {
		b.WriteString(imageName(i))
		for k := range 16 {
			sum := 0
			for y := range 7 {
				for x := range 7 {
					sum += int(p[(k/4*7+y)*28+k%4*7+x])
				}
			}
			fmt.Fprintf(&b, ",%.4f", float64(sum)/49/64)
		}
		b.WriteString(",0\r\n")
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
