//go:build foreign

package labelstudio_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"image"
	"image/png"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	fashionmnist "nextbatch/examples/fashion-mnist"
)

// site is a directory in which a worker and a training job run, as the
// document tells people to run them.
type site struct {
	*testing.T
	dir string
	env []string
	web string
	job *output
}

// The whole loop: the worker as people start it, the real Label Studio, and
// the training job of docs/label-studio.md letter for letter. The first batch
// comes in spite of a worker that is killed between its import and its record,
// and its labels by webhook; while those of the second are made nobody
// listens, and who finds them is killed too.
func TestLoop(t *testing.T) {
	s := newStudio(t)
	python := os.Getenv("NEXTBATCH_PYTHON")
	if python == "" {
		t.Fatal("NEXTBATCH_PYTHON is not set: make deps, then NEXTBATCH_PYTHON=$PWD/.venv/bin/python")
	}
	document, err := os.ReadFile("../../docs/label-studio.md")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "worker")
	if out, err := exec.Command("go", "build", "-tags", "failpoint", "-o", bin, "nextbatch/cmd/worker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p := &site{T: t, dir: t.TempDir(), web: freeAddr(t)}
	classes := p.photos(filepath.Join(s.files, "photos"), 60)
	project := s.project(t, nil)
	// So that Label Studio may show the files: what the document asks for.
	s.must(t, http.MethodPost, "/api/storages/localfiles/", map[string]any{"project": project, "path": filepath.Join(s.files, "photos"), "use_blob_urls": true}, nil)
	p.write("labelstudio.token", s.pat+"\n")
	p.write("train.py", block(t, string(document), "python", "train.py"))
	if err := os.Symlink(filepath.Join(s.files, "photos"), filepath.Join(p.dir, "photos")); err != nil {
		t.Fatal(err)
	}
	p.settings(block(t, string(document), "sh", "connect.sh"), map[string]string{
		"AL_LABELSTUDIO_URL": s.url, "AL_LABELSTUDIO_PROJECTS": fmt.Sprintf("clothing:%d", project), "AL_LABELSTUDIO_HOOK_URL": "http://" + p.web,
		"AL_LABELSTUDIO_IMAGE_URL": "/data/local-files/?d=photos/{filename}"})
	p.env = append(p.env, "AL_NATS_ADDR="+freeAddr(t), "AL_HTTP_ADDR="+p.web, "AL_ACK_WAIT=3s", "LABEL_STUDIO="+s.url, fmt.Sprintf("LABEL_STUDIO_PROJECT=%d", project),
		"PYTHONPATH="+absolute(t, "../../clients/python/src"))

	killed := p.worker(bin, "AL_LABELSTUDIO_EVERY=1h", "NEXTBATCH_FAILPOINT=labelstudio-after-import=kill")
	p.ready()
	if out := p.check(bin); !strings.Contains(out, fmt.Sprintf("dataset clothing: project %d (a test), images in $picture", project)) || !strings.HasSuffix(out, "Label Studio: ok\n") {
		t.Errorf("worker check says\n%s", out)
	}
	stopJob := p.train(python)
	<-killed
	if n := len(s.rows(t, project, 0)); n != 10 {
		t.Fatalf("%d tasks when the worker is killed, want 10", n)
	}
	stop := p.serve(bin, "AL_LABELSTUDIO_EVERY=1h")
	p.says("round-1: 10 images wait in Label Studio")
	p.until("the first batch has its tab", func() bool { return len(s.views(t, project)) == 1 })
	rows := s.rows(t, project, s.views(t, project)[0].ID)
	if len(rows) != 10 {
		t.Fatalf("%d tasks after the restart, want 10", len(rows))
	}
	for i, r := range rows {
		if r.Data.Rank != i+1 || r.Data.Tag != "round-1" || classes[r.Data.Filename] == "" || r.Data.Reason == "" {
			t.Errorf("task %d: %+v", i, r.Data)
		}
	}
	p.shown(s, rows[0])
	p.until("Label Studio has a webhook", func() bool { h := s.webhooks(t, project); return len(h) == 1 && h[0].Active })
	for i, r := range rows {
		if class := classes[r.Data.Filename]; i == 9 {
			s.label(t, r.ID, "") // skipped
		} else {
			s.label(t, r.ID, class)
		}
	}
	p.says("round-1: 9 labeled, 1 skipped; training on 9")
	if hooks, compared := p.metric(`al_labelstudio_labels_total{status="labeled",via="webhook"}`), p.metric(`al_labelstudio_labels_total{status="labeled",via="comparison"}`); hooks != 9 || compared != 0 {
		t.Errorf("%v labels came by webhook and %v by comparison, want 9 and 0", hooks, compared)
	}

	// The second batch. Its labels are made while no worker runs, and Label
	// Studio has given the webhook up when one starts again.
	p.says("round-2: 10 images wait in Label Studio")
	p.until("the second batch is there", func() bool { return len(s.views(t, project)) == 2 })
	stop()
	rows = s.rows(t, project, s.views(t, project)[1].ID)
	if len(rows) != 10 {
		t.Fatalf("%d tasks in the second batch, want 10", len(rows))
	}
	for i, r := range rows {
		if r.Data.Rank != i+1 || r.Data.Tag != "round-2" || r.Data.Score == nil || !strings.HasPrefix(r.Data.Reason, "uncertainty_margin ") || r.Data.Model != "softmax" {
			t.Errorf("task %d: %+v", i, r.Data)
		}
		s.label(t, r.ID, classes[r.Data.Filename])
	}
	hook := s.webhooks(t, project)[0]
	hook.Active = false
	s.must(t, http.MethodPatch, fmt.Sprintf("/api/webhooks/%d/", hook.ID), hook, nil)
	<-p.worker(bin, "NEXTBATCH_FAILPOINT=labelstudio-told=kill") // between saying it and noting that it was said
	stop = p.serve(bin)
	p.says("round-2: 10 labeled, 0 skipped; training on 19")
	p.says("next is round-3")
	if hooks := s.webhooks(t, project); len(hooks) != 1 || !hooks[0].Active {
		t.Errorf("webhooks %+v, want the one, switched on", hooks)
	}
	p.until("the third batch is there", func() bool { return len(s.rows(t, project, 0)) == 30 })
	stopJob()
	stop()
}

// block is the code of a document that begins with its file name.
func block(t *testing.T, document, language, name string) string {
	t.Helper()
	m := regexp.MustCompile("(?s)```" + language + "\n(# " + regexp.QuoteMeta(name) + "\n.*?)```").FindStringSubmatch(document)
	if m == nil {
		t.Fatalf("the document has no %s", name)
	}
	return m[1]
}

// settings takes the variables of a block of exports, with other values where
// the test has its own.
func (p *site) settings(text string, own map[string]string) {
	p.Helper()
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "AL_") {
			p.env = append(p.env, setting)
		}
	}
	found := 0
	for _, m := range regexp.MustCompile(`(?m)^export (AL_[A-Z_]+)=('[^']*'|\S+)`).FindAllStringSubmatch(text, -1) {
		value, ours := own[m[1]]
		if ours {
			found++
		} else {
			value = strings.Trim(m[2], "'")
		}
		p.env = append(p.env, m[1]+"="+value)
	}
	if found != len(own) {
		p.Errorf("%d of %v are in the document", found, own)
	}
}

// photos writes the first images of Fashion-MNIST and returns their classes.
func (p *site) photos(dir string, n int) map[string]string {
	p.Helper()
	values := func(compressed []byte, header int) []byte {
		r, err := gzip.NewReader(bytes.NewReader(compressed))
		if err != nil {
			p.Fatal(err)
		}
		all, err := io.ReadAll(r)
		if err != nil {
			p.Fatal(err)
		}
		return all[header:]
	}
	pixels, labels := values(fashionmnist.Images, 16), values(fashionmnist.Labels, 8)
	classes := map[string]string{}
	for i := range n {
		name := fmt.Sprintf("shelf %d/%05d é.png", i%3, i)
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			p.Fatal(err)
		}
		var b bytes.Buffer
		if err := png.Encode(&b, &image.Gray{Pix: pixels[i*784 : (i+1)*784], Stride: 28, Rect: image.Rect(0, 0, 28, 28)}); err != nil {
			p.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			p.Fatal(err)
		}
		classes[name] = fmt.Sprintf("c%d", labels[i])
	}
	return classes
}

// shown fetches the image of a task as Label Studio's page does.
func (p *site) shown(s *studio, r row) {
	p.Helper()
	req, err := http.NewRequest(http.MethodGet, s.url+r.Data.Picture, nil)
	if err != nil {
		p.Fatal(err)
	}
	req.Header.Set("Authorization", "Token "+legacyToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	want, errFile := os.ReadFile(filepath.Join(p.dir, "photos", r.Data.Filename))
	if err != nil || errFile != nil || !bytes.Equal(got, want) {
		p.Errorf("%s: %s and %d bytes, want the %d of the file; %v %v", r.Data.Picture, resp.Status, len(got), len(want), err, errFile)
	}
}

func (p *site) write(name, text string) {
	p.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
}

func (p *site) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = p.dir, slices.Clone(p.env)
	return cmd
}

// worker starts a service that will not last; the channel is closed when it
// has ended.
func (p *site) worker(bin string, env ...string) <-chan struct{} {
	p.Helper()
	ended, _ := p.begin(bin, env)
	return ended
}

// serve starts a service and returns what stops it.
func (p *site) serve(bin string, env ...string) (stop func()) {
	p.Helper()
	ended, cmd := p.begin(bin, env)
	p.ready()
	return func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}
}

func (p *site) begin(bin string, env []string) (<-chan struct{}, *exec.Cmd) {
	p.Helper()
	log, err := os.OpenFile(filepath.Join(p.dir, "worker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.Fatal(err)
	}
	cmd := p.command(bin)
	cmd.Env, cmd.Stderr = append(cmd.Env, env...), log
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		log.Close()
		close(ended)
	}()
	p.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if p.Failed() {
			text, _ := os.ReadFile(log.Name())
			p.Logf("log of the worker:\n%s", text)
		}
	})
	return ended, cmd
}

func (p *site) ready() {
	p.Helper()
	p.until("the worker is ready", func() bool {
		resp, err := http.Get("http://" + p.web + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (p *site) check(bin string) string {
	p.Helper()
	out, err := p.command(bin, "check").CombinedOutput()
	if err != nil {
		p.Errorf("worker check: %v\n%s", err, out)
	}
	return string(out)
}

// output is what a program has printed so far.
type output struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// train starts the training job and returns what waits for its end.
func (p *site) train(python string) (wait func()) {
	p.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, python, "-B", "train.py")
	p.job = &output{}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, p.job, p.job
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p.Cleanup(func() {
		cancel()
		<-ended
		if p.Failed() {
			p.Logf("train.py prints:\n%s", p.job)
		}
	})
	return func() {
		p.Helper()
		err := <-ended
		ended <- nil
		if err != nil {
			p.Errorf("train.py: %v", err)
		}
	}
}

func (p *site) says(line string) {
	p.Helper()
	p.until("train.py says "+line, func() bool { return strings.Contains(p.job.String(), line+"\n") })
}

func (p *site) until(what string, holds func() bool) {
	p.Helper()
	for began := time.Now(); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			p.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// metric is a value of the worker's.
func (p *site) metric(name string) float64 {
	p.Helper()
	resp, err := http.Get("http://" + p.web + "/metrics")
	if err != nil {
		p.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(text)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		p.Fatal(err)
	}
	return v
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
