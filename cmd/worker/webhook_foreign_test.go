//go:build foreign

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"nextbatch/internal/events"
)

// lines runs a program in the directory until the test ends, and returns what
// it prints.
func (s *site) lines(env []string, name string, args ...string) <-chan string {
	s.t.Helper()
	cmd := s.command(s.t.Context(), name, args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	printed := make(chan string, 1000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			printed <- scan.Text()
		}
	}()
	s.t.Cleanup(func() { // the context of the test has ended, and the program with it
		<-ended
		cmd.Wait()
	})
	return printed
}

func (s *site) next(printed <-chan string) string {
	s.t.Helper()
	select {
	case line := <-printed:
		return line
	case <-time.After(2 * time.Minute):
		s.t.Fatal("nothing more is printed")
		return ""
	}
}

// TestHTTPWithTheSDK: the cloudevents package posts in both modes and reads what
// is delivered; standardwebhooks finds the signatures right.
func TestHTTPWithTheSDK(t *testing.T) {
	port := freePort(t)
	s := newSite(t, foreignPython(t), plainWorker(t), func(string) []string {
		return []string{"AL_TOKENS=tool:secret", "AL_WEBHOOKS=http://127.0.0.1:" + port + "/hook", "AL_WEBHOOK_SECRETS=whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xk," + hookSecret}
	})
	script, err := filepath.Abs("testdata/http/tool.py")
	if err != nil {
		t.Fatal(err)
	}
	printed := s.lines(nil, s.python, script, s.http(), "secret", hookSecret, port)
	type line struct {
		Posted, Delivered, Type, Cause string
		Forged, Tampered               *string
		Status                         int
		Answer                         struct {
			Code, Stream, Dataset, ID string
			Duplicate                 bool
		}
		Data events.Created
		Same bool
	}
	var answers []line
	delivered := map[string]line{} // by cause
	var posts []string
	for len(answers) < 6 || len(delivered) < 4 {
		var l line
		if text := s.next(printed); json.Unmarshal([]byte(text), &l) != nil || l.Forged != nil || l.Tampered != nil {
			t.Fatalf("the tool prints %s", text)
		}
		if l.Posted != "" {
			answers = append(answers, l)
			continue
		}
		posts = append(posts, l.Delivered)
		if l.Status == 204 {
			delivered[l.Cause] = l
		}
		if !l.Same || l.Type != events.SelectionCreated {
			t.Errorf("delivered: %+v", l)
		}
	}
	for i, want := range []int{202, 202, 200, 202, 202, 400} {
		if a := answers[i]; a.Status != want || want < 400 && (a.Answer.Stream != "AL_IN" || a.Answer.ID != a.Posted || a.Answer.Duplicate != (want == 200)) || want == 400 && a.Answer.Code != "unknown_type" {
			t.Errorf("%+v, want %d", a, want)
		}
	}
	for cause, added := range map[string]int{"structured": 3, "binary": 2, "old structured": 2, "old binary": 2} {
		if l := delivered[cause]; len(l.Data.Added) != added || l.Data.Dataset != "from python" || !strings.HasSuffix(l.Data.Added[0].Filename, "/é.jpg") {
			t.Errorf("%s leads to %+v", cause, l)
		}
	}
	if posts[0] != posts[1] || len(slices.Compact(posts)) != 4 {
		t.Errorf("posts %v, want the first one twice", posts)
	}
}

// http is the address of the service.
func (s *site) http() string {
	for _, setting := range s.env {
		if addr, ok := strings.CutPrefix(setting, "AL_HTTP_ADDR="); ok {
			return "http://" + addr
		}
	}
	s.t.Fatal("no AL_HTTP_ADDR")
	return ""
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestHTTPDocument runs the programs of docs/http.md as they stand there.
func TestHTTPDocument(t *testing.T) {
	port := freePort(t)
	s := newSite(t, foreignPython(t), plainWorker(t), func(string) []string {
		return []string{"AL_WEBHOOKS=http://127.0.0.1:" + port + "/;types=selection.created", "AL_WEBHOOK_SECRETS=" + hookSecret}
	})
	scripts := map[string]string{}
	for _, f := range regexp.MustCompile("(?s)```sh\n(# (\\S+\\.sh)\n.*?)```").FindAllStringSubmatch(documents(t)["http.md"], -1) {
		scripts[f[2]] = f[1]
	}
	if len(scripts) != 2 {
		t.Fatalf("docs/http.md has %d scripts", len(scripts))
	}
	sh := func(name string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-ec", scripts[name])
		cmd.Env = append(s.env, "NEXTBATCH="+s.http(), "TOKEN=any")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	printed := s.lines([]string{"PORT=" + port, "WEBHOOK_SECRET=" + hookSecret}, s.python, "receive.py")
	if out := sh("publish.sh"); !strings.Contains(out, `"stream":"AL_IN","sequence":1,"duplicate":false`) {
		t.Errorf("publish.sh prints %s", out)
	}
	if out := sh("publish.sh"); !strings.Contains(out, `"duplicate":true`) {
		t.Errorf("publish.sh prints the second time %s", out)
	}
	got := s.next(printed) + "\n" + s.next(printed) + "\n"
	rows := strings.Split(strings.TrimSpace(sh("fetch.sh")), "\n")
	if len(rows) != 3 || rows[0] != "rank,filename,score,gain,covers,nearest,random" {
		t.Fatalf("fetch.sh prints %q", rows)
	}
	want := ""
	for _, row := range rows[1:] {
		want += strings.Join(strings.Split(row, ",")[:2], " ") + "\n"
	}
	if got != want {
		t.Errorf("receive.py prints\n%swant\n%s", got, want)
	}
	if out := s.run(s.bin, "tags", "export", "clothing", "batch-1", "--format", "csv"); strings.TrimSpace(out) != strings.Join(rows, "\n") {
		t.Errorf("worker tags export prints\n%s", out)
	}
}
