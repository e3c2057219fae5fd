package events

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"nextbatch/schemas"
)

// FuzzDecode feeds messages as they come off the wire: a header block and a
// body. What is accepted must be a valid event, survive both modes, and not
// upset Parse.
func FuzzDecode(f *testing.F) {
	for _, c := range slices.Concat(binaryCases, structuredCases) {
		var block strings.Builder
		for name, values := range c.header {
			for _, v := range values {
				block.WriteString(name + ": " + v + "\r\n")
			}
		}
		if len(c.body) < 4096 && block.Len() < 4096 {
			f.Add(block.String(), []byte(c.body))
		}
	}
	for _, example := range exampleEvents(f) {
		f.Add("", example)
	}
	f.Fuzz(func(t *testing.T, block string, body []byte) {
		header, err := nats.DecodeHeadersMsg([]byte("NATS/1.0\r\n" + block + "\r\n"))
		if err != nil {
			return
		}
		e, err := Decode(header, body)
		if err != nil {
			checkFuzzed(t, err)
			return
		}
		if err := e.Validate(); err != nil {
			t.Fatalf("the SDK finds the event invalid: %v", err)
		}
		checkAgain(t, e, Binary)
		if len(body) < maxBody/2 { // base64 is larger
			checkAgain(t, e, Structured)
		}
		_, err = Parse(e)
		checkFuzzed(t, err)
		_, err = ParseOutput(e)
		checkFuzzed(t, err)
	})
}

func checkFuzzed(t *testing.T, err error) {
	if err == nil {
		return
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		t.Fatalf("%T is no *Error", err)
	}
	if text := err.Error(); len(text) > 2000 || strings.ContainsAny(text, "\r\n") {
		t.Fatalf("message of %d bytes: %q", len(text), text)
	}
}

// FuzzParse feeds data. What is accepted must be accepted again after it was
// written by Go, with the same meaning.
func FuzzParse(f *testing.F) {
	types := slices.Concat(InputTypes, OutputTypes)
	for _, example := range exampleEvents(f) {
		e, err := Decode(nil, example)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(slices.Index(types, e.Type()), e.Data())
	}
	f.Fuzz(func(t *testing.T, n int, data []byte) {
		eventType := types[uint(n)%uint(len(types))]
		_, payload, fault := parseData(eventType, data)
		if fault != nil {
			checkFuzzed(t, fault)
			return
		}
		written, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		_, again, fault := parseData(eventType, written)
		if fault != nil {
			t.Fatalf("%v\nread    %s\nwritten %s", fault, data, written)
		}
		rewritten, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(written), string(rewritten)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func exampleEvents(t testing.TB) (events [][]byte) {
	files, err := fs.Glob(schemas.FS, "examples/*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, name := range files {
		data, err := fs.ReadFile(schemas.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, data)
	}
	return events
}
