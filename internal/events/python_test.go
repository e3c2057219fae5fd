package events

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

// pythonEvent is what testdata/python/make.py says about an event it made.
type pythonEvent struct {
	Name       string            `json:"name"`
	Mode       string            `json:"mode,omitempty"` // for read.py
	Attributes map[string]string `json:"attributes"`
	Data       any               `json:"data,omitempty"`  // of JSON data
	Bytes      []byte            `json:"bytes,omitempty"` // of other data
}

const pythonDir = "testdata/python"

func readPythonEvents(t *testing.T, lines []byte) (list []pythonEvent) {
	t.Helper()
	for s := bufio.NewScanner(bytes.NewReader(lines)); s.Scan(); {
		var e pythonEvent
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatalf("%v in %s", err, s.Bytes())
		}
		list = append(list, e)
	}
	return list
}

// TestPythonGolden decodes messages that real Python packages published:
// testdata/python/golden has the bytes that came over the wire, header block
// and body. The test with build tag foreign makes them anew.
func TestPythonGolden(t *testing.T) {
	lines, err := os.ReadFile(filepath.Join(pythonDir, "golden", "expected.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	list := readPythonEvents(t, lines)
	files, err := filepath.Glob(filepath.Join(pythonDir, "golden", "*.msg"))
	if err != nil || len(files) != len(list) || len(list) < 20 {
		t.Fatalf("%d messages for %d expectations, %v", len(files), len(list), err)
	}
	for _, want := range list {
		t.Run(want.Name, func(t *testing.T) {
			message, err := os.ReadFile(filepath.Join(pythonDir, "golden", want.Name+".msg"))
			if err != nil {
				t.Fatal(err)
			}
			checkPythonEvent(t, message, want)
		})
	}
}

// checkPythonEvent decodes a message as it came over the wire: a header block,
// if it has headers, and the body.
func checkPythonEvent(t *testing.T, message []byte, want pythonEvent) {
	t.Helper()
	var header nats.Header
	body := message
	if bytes.HasPrefix(message, []byte("NATS/1.0\r\n")) {
		end := bytes.Index(message, []byte("\r\n\r\n")) + 4
		var err error
		if header, err = nats.DecodeHeadersMsg(message[:end]); err != nil {
			t.Fatal(err)
		}
		body = message[end:]
	}
	e, err := Decode(header, body)
	if err != nil {
		t.Fatal(err)
	}
	got := flat(t, e)
	data := got["data"]
	delete(got, "data")
	delete(got, "base64")
	attributes := made(nil)
	for name, value := range want.Attributes {
		if name != "specversion" {
			if fault := setAttribute(attributes.Context.(*event.EventContextV1), name, value); fault != nil {
				t.Fatal(fault)
			}
		}
	}
	if diff := cmp.Diff(flat(t, attributes), got); diff != "" {
		t.Errorf("attributes -want +got:\n%s", diff)
	}
	if want.Data == nil {
		if data != string(want.Bytes) {
			t.Errorf("data %q, want %q", data, want.Bytes)
		}
		_, err := Parse(e)
		checkRefusal(t, err, "bad_event", "data")
		return
	}
	var found any
	if err := json.Unmarshal([]byte(data), &found); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Data, found); diff != "" {
		t.Errorf("data -want +got:\n%s", diff)
	}
	payload, err := Parse(e)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(e.Type(), "labels") && len(payload.(*Predictions).Predictions.Data) == 0 {
		t.Error("inline predictions are lost")
	}
}
