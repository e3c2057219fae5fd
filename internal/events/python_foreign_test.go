//go:build foreign

package events

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var update = flag.Bool("update", false, "write testdata/python/golden anew")

// serve starts a NATS server with JetStream on a random port of the loopback
// interface and makes the stream S.
func serve(t *testing.T, subjects string) (url string, js jetstream.JetStream) {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{subjects}}); err != nil {
		t.Fatal(err)
	}
	return s.ClientURL(), js
}

// python runs a script of testdata/python and returns what it printed.
func python(t *testing.T, stdin []byte, script string, args ...string) []byte {
	t.Helper()
	interpreter := os.Getenv("NEXTBATCH_PYTHON")
	if interpreter == "" {
		t.Fatal("NEXTBATCH_PYTHON is not set. It names the python of a virtual environment:\n" +
			"  python3 -m venv .venv && .venv/bin/pip install -r requirements-test.txt\n" +
			"  NEXTBATCH_PYTHON=$PWD/.venv/bin/python go test -tags foreign ./...")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var out, fault bytes.Buffer
	cmd := exec.CommandContext(ctx, interpreter, append([]string{filepath.Join(pythonDir, script)}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &fault
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, fault.Bytes())
	}
	return out.Bytes()
}

// TestPythonWrites has real Python packages publish events, reads the stored
// bytes, decodes them, and compares them with the golden files.
func TestPythonWrites(t *testing.T) {
	url, js := serve(t, "al.v1.in.>")
	lines := python(t, nil, "make.py", url)
	golden := filepath.Join(pythonDir, "golden")
	checkGolden(t, filepath.Join(golden, "expected.jsonl"), lines)
	for i, want := range readPythonEvents(t, lines) {
		t.Run(want.Name, func(t *testing.T) {
			message := stored(t, js, i+1)
			checkGolden(t, filepath.Join(golden, want.Name+".msg"), message)
			checkPythonEvent(t, message, want)
		})
	}
}

// stored returns a message of the stream with the header block as its
// publisher wrote it, which the client library does not keep.
func stored(t *testing.T, js jetstream.JetStream, seq int) []byte {
	t.Helper()
	reply, err := js.Conn().Request("$JS.API.STREAM.MSG.GET.S", fmt.Appendf(nil, `{"seq":%d}`, seq), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Message struct{ Hdrs, Data []byte }
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		t.Fatal(err)
	}
	return append(answer.Message.Hdrs, answer.Message.Data...)
}

func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: Python has written\n%q\ngolden is\n%q", name, got, want)
	}
}

// TestPythonReads publishes what Encode makes, in both modes, and has real
// Python packages read it.
func TestPythonReads(t *testing.T) {
	url, js := serve(t, "al.v1.out.>")
	var expected bytes.Buffer
	n := 0
	publish := func(e event.Event, want pythonEvent) {
		for mode, name := range []string{Binary: "binary", Structured: "structured"} {
			header, data, err := Encode(e, Mode(mode))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "al.v1.out.x", Header: header, Data: data}); err != nil {
				t.Fatal(err)
			}
			want.Mode = name
			line, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			expected.Write(append(line, '\n'))
			n++
		}
	}
	for _, example := range exampleEvents(t) {
		e, err := Decode(nil, example)
		if err != nil {
			t.Fatal(err)
		}
		want := pythonEvent{Attributes: attributesForPython(t, e)}
		if err := json.Unmarshal(e.Data(), &want.Data); err != nil {
			t.Fatal(err)
		}
		publish(e, want)
	}
	for _, data := range []string{"a,b\né,2\n", "\x89PNG\x00"} {
		e := made(func(e *event.Event) {
			e.SetID("Euro € 😀 100%25 \"x\"")
			e.SetSubject("product photos")
			e.SetTime(time.Date(2026, 1, 31, 15, 0, 0, 5e8, time.FixedZone("", 3600)))
			e.SetExtension("note", `back\slash, ~tilde, 50% "off", ünïcode`)
			e.SetDataContentType(map[bool]string{true: "text/csv", false: "image/png"}[data[0] == 'a'])
			e.DataEncoded = []byte(data)
		})
		publish(e, pythonEvent{Attributes: attributesForPython(t, e), Bytes: []byte(data)})
	}
	out := python(t, expected.Bytes(), "read.py", url, "S")
	if want := fmt.Sprint(n, " messages read"); n < 30 || !strings.Contains(string(out), want) {
		t.Errorf("read.py says %q, want %q", out, want)
	}
}

// attributesForPython lists the attributes that Python must find; all of them
// are strings.
func attributesForPython(t *testing.T, e event.Event) map[string]string {
	t.Helper()
	m := flat(t, e)
	delete(m, "data")
	m["specversion"] = "1.0"
	return m
}
