package lightly_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestConversations says to a real worker what the Python clients have said,
// in the same order, and compares what it answers with what they have heard:
// every field, every mask, every filename.
func TestConversations(t *testing.T) {
	files, err := filepath.Glob(conversationFile("*"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d conversations are on file, want one per release at least, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl.gz")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &replay{t: t, site: newSite(t, "AL_TOKENS=ada:"+token), names: bindings{}, sent: map[[32]byte]bool{}}
			for i, x := range readConversation(t, name) {
				if fault := r.say(i, x); fault != "" {
					t.Fatalf("exchange %d, %s %s: %s", i, x.Method, x.URL, fault)
				}
			}
		})
	}
}

type replay struct {
	t     *testing.T
	site  *site
	names bindings
	sent  map[[32]byte]bool // digests of the images
}

// say makes one request, until its end where a client would ask again, and
// returns how the answer differs from what is wanted.
func (r *replay) say(i int, x exchange) string {
	address, err := r.names.fill(x.URL)
	if err != nil {
		return err.Error()
	}
	if strings.HasPrefix(x.URL, "/") {
		address = r.site.url + address
		if !strings.HasPrefix(x.URL, "/v1/versions/") {
			address += map[bool]string{true: "&", false: "?"}[strings.Contains(address, "?")] + "token=" + token
		}
	}
	body, err := r.body(i, x)
	if err != nil {
		return err.Error()
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		status, answer, err := r.send(x.Method, address, body)
		if err != nil {
			return err.Error()
		}
		if again, _ := polled(x); again {
			_, end := polled(exchange{Method: x.Method, URL: x.URL, Answer: answer})
			if !end && time.Since(began) < 2*time.Minute {
				continue
			}
		}
		if status != x.Status {
			return fmt.Sprintf("status %d, want %d\n%s", status, x.Status, answer)
		}
		return r.compare(x, answer)
	}
}

func (r *replay) send(method, address string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(r.t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}

// body is that of a request; an image is as many bytes as the real one had.
func (r *replay) body(i int, x exchange) ([]byte, error) {
	var p plain
	if json.Unmarshal(x.Body, &p); p.Bytes > 0 {
		b := bytes.Repeat(fmt.Appendf(nil, "\xff image %d ", i), p.Bytes)[:p.Bytes]
		r.sent[sha256.Sum256(b)] = true
		return b, nil
	}
	if p.Text != "" {
		return []byte(p.Text), nil
	}
	text, err := r.names.fill(string(x.Body))
	return []byte(text), err
}

func (r *replay) compare(x exchange, answer []byte) string {
	if len(x.Answer) == 0 {
		if len(answer) > 0 {
			return fmt.Sprintf("it answers %.100q, want nothing", answer)
		}
		return ""
	}
	var p plain
	json.Unmarshal(x.Answer, &p)
	switch {
	case p.Bytes > 0:
		if utf8.Valid(answer) || !r.sent[sha256.Sum256(answer)] {
			return fmt.Sprintf("%d bytes come back that were never sent", len(answer))
		}
		return ""
	case p.Text != "":
		return r.names.match(p.Text, string(answer), "the text")
	}
	want, err := decode(x.Answer)
	if err != nil {
		return err.Error()
	}
	got, err := decode(answer)
	if err != nil {
		return fmt.Sprintf("%v in %.100q", err, answer)
	}
	return r.names.match(want, got, "the answer")
}
