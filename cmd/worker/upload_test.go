package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	fashionmnist "nextbatch/examples/fashion-mnist"
)

var products = sync.OnceValue(func() []byte {
	r, err := gzip.NewReader(bytes.NewReader(fashionmnist.Images))
	if err != nil {
		panic(err)
	}
	pixels, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}
	return pixels[16:]
})

// product is a photo of Fashion-MNIST as a PNG.
func product(i int) []byte {
	const side = 28
	gray := &image.Gray{Pix: products()[i*side*side : (i+1)*side*side], Stride: side, Rect: image.Rect(0, 0, side, side)}
	var b bytes.Buffer
	if err := png.Encode(&b, gray); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// gallery is a folder of n photos.
func gallery(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		path := filepath.Join(dir, fmt.Sprint(i%10), fmt.Sprintf("%05d.png", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, product(i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// uploadCommand is worker upload in a process of its own.
func (l *lone) uploadCommand(server, dir string, more ...string) (cmd *exec.Cmd, out, errOut *bytes.Buffer) {
	cmd = exec.Command(l.bin, append([]string{"upload", "input_dir=" + dir, "dataset=photos", "server=" + server, "--json"}, more...)...)
	out, errOut = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, errOut
	return cmd, out, errOut
}

// uploads runs it to its end, which is a good one.
func (l *lone) uploads(server, dir string, more ...string) (s uploadSummary) {
	l.Helper()
	cmd, out, errOut := l.uploadCommand(server, dir, more...)
	if err := cmd.Run(); err != nil {
		l.Fatalf("upload: %v: %s %s", err, errOut, out)
	}
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		l.Fatalf("%v in %s", err, out)
	}
	return s
}

// registered waits until a dataset has some samples, and returns its id.
func (l *lone) registered(n int64) string {
	l.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var sets []struct {
			ID       string
			NSamples int64
		}
		l.must("GET", "/v1/datasets", nil, &sets)
		if len(sets) == 1 && sets[0].NSamples >= n {
			return sets[0].ID
		}
	}
	l.Fatal("the upload does not begin")
	return ""
}

// complete checks that a dataset is the folder, each image once.
func (l *lone) complete(id, dir string, n int) {
	l.Helper()
	var samples []struct{ ID, FileName string }
	l.must("GET", "/v1/datasets/"+id+"/samples", nil, &samples)
	var names []string
	for i, s := range samples {
		names = append(names, s.FileName)
		var thumb, full string
		l.must("GET", "/v1/datasets/"+id+"/samples/"+s.ID+"/readurl?type=full", nil, &full)
		l.must("GET", "/v1/datasets/"+id+"/samples/"+s.ID+"/readurl?type=thumbnail", nil, &thumb)
		want, err := os.ReadFile(filepath.Join(dir, s.FileName))
		if err != nil {
			l.Fatal(err)
		}
		if got := l.fetch(full); !bytes.Equal(got, want) {
			l.Errorf("%s: %d bytes, want %d", s.FileName, len(got), len(want))
		}
		if i%50 == 0 && len(l.fetch(thumb)) == 0 {
			l.Errorf("%s has no thumbnail", s.FileName)
		}
	}
	slices.Sort(names)
	if len(names) != n || len(slices.Compact(names)) != n {
		l.Errorf("%d samples, want %d", len(names), n)
	}
}

func (l *lone) fetch(url string) []byte {
	l.Helper()
	resp, err := http.Get(url)
	if err != nil {
		l.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		l.Fatalf("%s, %v: %s", resp.Status, err, data)
	}
	return data
}

func (l *lone) tagNames(id string) (names []string) {
	var tags []struct{ Name string }
	l.must("GET", "/v1/datasets/"+id+"/tags", nil, &tags)
	for _, t := range tags {
		names = append(names, t.Name)
	}
	return names
}

// TestUploadKilled: an upload that is killed, again and again, and stopped by
// the user, ends with every image once.
func TestUploadKilled(t *testing.T) {
	t.Parallel()
	l := newLone(t)
	l.start()
	const n = 600
	dir := gallery(t, n)
	server := "http://" + l.http
	id := ""
	for round := range int64(3) {
		cmd, _, _ := l.uploadCommand(server, dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		id = l.registered(100 + 120*round)
		cmd.Process.Kill()
		cmd.Wait()
	}
	if tags := l.tagNames(id); tags != nil {
		t.Errorf("tags before the end: %v", tags)
	}
	cmd, out, errOut := l.uploadCommand(server, dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.registered(450)
	cmd.Process.Signal(syscall.SIGINT)
	err := cmd.Wait()
	var stopped uploadSummary
	if json.Unmarshal(out.Bytes(), &stopped) != nil || err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stopped.Error, "stopped after ") {
		t.Errorf("after Ctrl-C: %v, %+v, %s", err, stopped, errOut)
	}
	if text := errOut.String(); !strings.Contains(text, "hint: the same command goes on from there") || strings.Contains(text, "panic") {
		t.Errorf("after Ctrl-C: %s", text)
	}
	s := l.uploads(server, dir)
	if s.Uploaded+s.There != n || s.There < 400 || s.Tag != "initial-tag" || s.Images != n {
		t.Errorf("the rest: %+v", s)
	}
	l.complete(id, dir, n)
	// Killed after its last sample, before its tag: the next one makes it.
	for i := range 20 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("new%02d.png", i)), product(5000+i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := newProxy(t, l.http)
	cmd, _, _ = l.uploadCommand(p.URL, dir)
	p.put(map[string][]mishap{"GET /v1/datasets/*/tags": {after(func() { cmd.Process.Kill() })}})
	if err := cmd.Run(); err == nil {
		t.Error("the upload was not killed")
	}
	if s = l.uploads(server, dir); s.Uploaded != 0 || s.There != n+20 || !strings.HasPrefix(s.Tag, "upload_") {
		t.Errorf("after the kill before the tag: %+v", s)
	}
	if s = l.uploads(server, dir); s.Tag != "" || len(l.tagNames(id)) != 2 {
		t.Errorf("nothing to do: %+v, tags %v", s, l.tagNames(id))
	}
	l.complete(id, dir, n+20)
}

// TestUploadFaults: what the network and the server do in the meantime is
// waited for, and nothing is doubled.
func TestUploadFaults(t *testing.T) {
	t.Parallel()
	l := newLone(t)
	l.start()
	const n = 120
	dir := gallery(t, n)
	vectors := []byte("filenames,embedding_0,labels\n")
	for i := range n {
		vectors = fmt.Appendf(vectors, "%d/%05d.png,%d,0\n", i%10, i, i)
	}
	csv := filepath.Join(t.TempDir(), "vectors.csv")
	if err := os.WriteFile(csv, vectors, 0o644); err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, l.http)
	mixed := []mishap{lost, cut, refuses(503, ""), halved, pass, refuses(429, "1"), pass, lost, refuses(500, "")}
	restart := func() { l.kill(); l.start() }
	p.put(map[string][]mishap{
		"GET /v1/datasets/query/name/photos":               {refuses(503, ""), halved},
		"POST /v1/datasets":                                {lost},
		"POST /v1/datasets/*/samples":                      append(slices.Clone(mixed), append(slices.Repeat([]mishap{pass}, 40), after(restart))...),
		"GET /v1/datasets/*/samples/*/writeurls":           slices.Clone(mixed),
		"GET /v1/datasets/*/samples/partial":               {halved},
		"POST /v1/datasets/*/tags/initial":                 {lost},
		"GET /v1/datasets/*/mappings":                      {halved},
		"PUT /v1/signed/datasets/*/samples/*/full":         append(slices.Clone(mixed), refuses(409, ""), refuses(408, "")),
		"PUT /v1/signed/datasets/*/samples/*/thumbnail":    slices.Clone(mixed),
		"PUT /v1/signed/datasets/*/embeddings/default/csv": {lost, cut, refuses(409, "")},
	})
	s := l.uploads(p.URL, dir, "embeddings="+csv, "connections=4")
	if s.Uploaded != n || len(s.Broken) > 0 || s.Embedding != "default" {
		t.Errorf("%+v", s)
	}
	p.mu.Lock()
	for k, left := range p.faults {
		if len(left) > 0 {
			t.Errorf("%d faults of %s were not needed", len(left), k)
		}
	}
	p.mu.Unlock()
	l.complete(s.DatasetID, dir, n)
	var sets []struct{ Name string }
	l.must("GET", "/v1/datasets/"+s.DatasetID+"/embeddings", nil, &sets)
	if tags := l.tagNames(s.DatasetID); len(tags) != 1 || len(sets) != 1 {
		t.Errorf("tags %v, embeddings %v", tags, sets)
	}
	if s = l.uploads("http://"+l.http, dir, "embeddings="+csv); s.Uploaded != 0 || s.Embedding != "default" || s.Tag != "" {
		t.Errorf("again: %+v", s)
	}
}
