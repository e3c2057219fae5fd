package events

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"
)

// flat writes an event as attribute → canonical string, with "data" for its
// data and "base64" where the event is marked as bytes.
func flat(t rapid.TB, e event.Event) map[string]string {
	t.Helper()
	ctx, ok := e.Context.(*event.EventContextV1)
	if !ok {
		t.Fatalf("context is %T", e.Context)
	}
	m := map[string]string{"id": ctx.ID, "source": ctx.Source.String(), "type": ctx.Type}
	if ctx.Subject != nil {
		m["subject"] = *ctx.Subject
	}
	if ctx.DataContentType != nil {
		m["datacontenttype"] = *ctx.DataContentType
	}
	if ctx.DataSchema != nil {
		m["dataschema"] = ctx.DataSchema.String()
	}
	if ctx.Time != nil {
		m["time"] = types.FormatTime(ctx.Time.Time)
	}
	for name, value := range ctx.Extensions {
		text, err := types.Format(value)
		if err != nil {
			t.Fatal(err)
		}
		m[name] = text
	}
	if e.DataEncoded != nil {
		m["data"] = string(e.DataEncoded)
	}
	if e.DataBase64 {
		m["base64"] = "yes"
	}
	return m
}

// headers makes a header of a minimal binary event and more: pairs of name and
// value; a value "-" removes the name.
func headers(pairs ...string) nats.Header {
	h := nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "-" {
			delete(h, pairs[i])
		} else {
			h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
		}
	}
	return h
}

// minimal is what headers() and body("") decode to, with more attributes.
func minimal(pairs ...string) map[string]string {
	m := map[string]string{"id": "1", "source": "/s", "type": "t"}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

// body makes a minimal structured event; more is further JSON fields.
func body(more string) string {
	if more != "" {
		more = "," + more
	}
	return `{"specversion":"1.0","id":"1","source":"/s","type":"t"` + more + `}`
}

const (
	contentJSON  = "application/cloudevents+json"
	longestValue = 4096
)

type decodeCase struct {
	name   string
	header nats.Header
	body   string
	want   map[string]string // nil if the event is refused
	code   string            // of the refusal
	text   string            // in its message or hint
}

var binaryCases = []decodeCase{
	{name: "minimal", header: headers(), want: minimal()},
	{name: "body is data", header: headers("ce-datacontenttype", "application/json"), body: `{"a":1}`,
		want: minimal("datacontenttype", "application/json", "data", `{"a":1}`)},
	{name: "body keeps its bytes", header: headers(), body: " {\"a\":\xff}\r\n", want: minimal("data", " {\"a\":\xff}\r\n")},
	{name: "body of another media type", header: headers("ce-datacontenttype", "text/csv"), body: "a,b\n1,2",
		want: minimal("datacontenttype", "text/csv", "data", "a,b\n1,2")},
	{name: "plain content type stands in", header: headers("Content-Type", "application/json; charset=utf-8"), body: "{}",
		want: minimal("datacontenttype", "application/json; charset=utf-8", "data", "{}")},
	{name: "ce-datacontenttype beats content type", header: headers("Content-Type", "text/plain", "ce-datacontenttype", "application/json"),
		want: minimal("datacontenttype", "application/json")},
	{name: "names in any case", header: nats.Header{"Ce-SpecVersion": {"1.0"}, "CE-ID": {"1"}, "cE-Source": {"/s"}, "Ce-Type": {"t"}, "CE-SUBJECT": {"d"}},
		want: minimal("subject", "d")},
	{name: "percent-encoded", header: headers("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"), want: minimal("subject", "Euro € 😀")},
	{name: "percent-encoded in lower case", header: headers("ce-subject", "%e2%82%ac"), want: minimal("subject", "€")},
	{name: "percent-encoded without need", header: headers("ce-subject", "%61%62"), want: minimal("subject", "ab")},
	{name: "percent-decoded once", header: headers("ce-subject", "100%2525"), want: minimal("subject", "100%25")},
	{name: "plus is a plus", header: headers("ce-subject", "a+b"), want: minimal("subject", "a+b")},
	{name: "raw UTF-8", header: headers("ce-subject", "Euro €"), want: minimal("subject", "Euro €")},
	{name: "raw space", header: headers("ce-subject", "two words"), want: minimal("subject", "two words")},
	{name: "quoted", header: headers("ce-subject", `"two words"`), want: minimal("subject", "two words")},
	{name: "quoted with escapes", header: headers("ce-subject", `"a \"b\" \\ c"`), want: minimal("subject", `a "b" \ c`)},
	{name: "quoted, then percent-encoded", header: headers("ce-subject", `"a%20%22b%22"`), want: minimal("subject", `a "b"`)},
	{name: "quote inside is a quote", header: headers("ce-subject", `5"`), want: minimal("subject", `5"`)},
	{name: "spaces around", header: headers("ce-subject", "  d \t"), want: minimal("subject", "d")},
	{name: "encoded space around is kept", header: headers("ce-note", "%20d%20"), want: minimal("note", " d ")},
	{name: "time", header: headers("ce-time", "2026-01-31T13:00:00.25+01:00"), want: minimal("time", "2026-01-31T12:00:00.25Z")},
	{name: "time percent-encoded", header: headers("ce-time", "2026-01-31T12%3A00%3A00Z"), want: minimal("time", "2026-01-31T12:00:00Z")},
	{name: "dataschema", header: headers("ce-dataschema", "https://nextbatch.dev/schemas/t/v1.json"), want: minimal("dataschema", "https://nextbatch.dev/schemas/t/v1.json")},
	{name: "extensions are kept", header: headers("ce-traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "ce-sequence", "7"),
		want: minimal("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "sequence", "7")},
	{name: "empty extension", header: headers("ce-note", ""), want: minimal("note", "")},
	{name: "other headers do not matter", header: headers("Nats-Msg-Id", "x", "traceparent", "y", "cetera", "z", "ce", "w"), want: minimal()},
	{name: "header without a value is absent", header: func() nats.Header { h := headers(); h["ce-subject"] = nil; return h }(), want: minimal()},
	{name: "body looks structured", header: headers(), body: body(`"subject":"inner"`), want: minimal("data", body(`"subject":"inner"`))},

	{name: "bad percent", header: headers("ce-subject", "100%"), code: "bad_event", text: "%25"},
	{name: "bad hexadecimal", header: headers("ce-subject", "%zz"), code: "bad_event", text: "ce-subject"},
	{name: "percent-encoded invalid UTF-8", header: headers("ce-subject", "%C0%A0"), code: "bad_event", text: "UTF-8"},
	{name: "raw invalid UTF-8", header: headers("ce-subject", "a\xff"), code: "bad_event", text: "UTF-8"},
	{name: "open quote", header: headers("ce-subject", `"a`), code: "bad_event", text: "not closed"},
	{name: "lone quote", header: headers("ce-subject", `"`), code: "bad_event", text: "not closed"},
	{name: "escaped closing quote", header: headers("ce-subject", `"a\"`), code: "bad_event", text: "not closed"},
	{name: "text after the quote", header: headers("ce-subject", `"a" b`), code: "bad_event", text: "follows"},
	{name: "control character", header: headers("ce-subject", "a%0Ab"), code: "bad_event", text: "U+000A"},
	{name: "C1 control character", header: headers("ce-subject", "a%C2%85b"), code: "bad_event", text: "U+0085"},
	{name: "noncharacter", header: headers("ce-subject", "%EF%BF%BF"), code: "bad_event", text: "U+FFFF"},
	{name: "unknown specversion", header: headers("ce-specversion", "-", "CE-specversion", "0.3"), code: "unsupported_format", text: "0.3"},
	{name: "empty specversion", header: headers("ce-specversion", "-", "CE-specversion", ""), code: "unsupported_format", text: "1.0"},
	{name: "no id", header: headers("ce-id", "-"), code: "bad_event", text: "id is missing"},
	{name: "no source", header: headers("ce-source", "-"), code: "bad_event", text: "source is missing"},
	{name: "no type", header: headers("ce-type", "-"), code: "bad_event", text: "type is missing"},
	{name: "no specversion", header: headers("ce-specversion", "-"), body: "1,2", code: "bad_event", text: "no ce-specversion"},
	{name: "empty id", header: headers("ce-id", "-", "Ce-Id", ""), code: "bad_event", text: "id: is empty"},
	{name: "blank type", header: headers("ce-type", "-", "Ce-Type", "%20"), code: "bad_event", text: "type: is empty"},
	{name: "empty subject", header: headers("ce-subject", ""), code: "bad_event", text: "subject: is empty"},
	{name: "source no URI", header: headers("ce-source", "-", "Ce-Source", "http://[::1"), code: "bad_event", text: "URI"},
	{name: "dataschema relative", header: headers("ce-dataschema", "/v1.json"), code: "bad_event", text: "absolute"},
	{name: "time without zone", header: headers("ce-time", "2026-01-31T12:00:00"), code: "bad_event", text: "zone"},
	{name: "time no time", header: headers("ce-time", "yesterday"), code: "bad_event", text: "RFC 3339"},
	{name: "time before year 0", header: headers("ce-time", "0000-01-01T00:00:00+10:00"), code: "bad_event", text: "RFC 3339"},
	{name: "datacontenttype no media type", header: headers("ce-datacontenttype", "json json"), code: "bad_event", text: "media type"},
	{name: "header twice", header: headers("ce-id", "2"), code: "bad_event", text: "ce-id is given twice"},
	{name: "header twice in two cases", header: headers("CE-ID", "1"), code: "bad_event", text: "ce-id is given twice"},
	{name: "content type twice", header: headers("Content-Type", "a/b", "content-type", "a/b"), code: "bad_event", text: "2 content type"},
	{name: "name with a hyphen", header: headers("ce-trace-parent", "x"), code: "bad_event", text: "lower-case letters and digits"},
	{name: "name without letters", header: headers("ce-", "x"), code: "bad_event", text: "0 bytes"},
	{name: "name too long", header: headers("ce-"+strings.Repeat("a", 65), "x"), code: "bad_event", text: "65 bytes"},
	{name: "ce-data", header: headers("ce-data", "x"), code: "bad_event", text: "body"},
	{name: "value at the limit", header: headers("ce-subject", strings.Repeat("a", longestValue)), want: minimal("subject", strings.Repeat("a", longestValue))},
	{name: "value too long", header: headers("ce-subject", strings.Repeat("a", longestValue+1)), code: "bad_event", text: "4097"},
	{name: "value far too long", header: headers("ce-subject", strings.Repeat("%", 1<<16)), code: "bad_event", text: "too many"},
	{name: "too many attributes", header: func() nats.Header {
		h := headers()
		for i := range 64 {
			h["ce-x"+strings.Repeat("y", i)] = []string{"1"}
		}
		return h
	}(), code: "bad_event", text: "68 attributes"},
	{name: "body too large", header: headers(), body: strings.Repeat("x", 1<<20+1), code: "bad_event", text: "by reference"},
}

func TestDecodeBinary(t *testing.T) { runDecode(t, binaryCases) }

func runDecode(t *testing.T, cases []decodeCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			data := []byte(c.body)
			e, err := Decode(c.header, data)
			if c.want == nil {
				checkRefusal(t, err, c.code, c.text)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			clear(data) // the event must not share it
			if diff := cmp.Diff(c.want, flat(t, e)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if err := e.Validate(); err != nil {
				t.Errorf("the SDK finds the event invalid: %v", err)
			}
			for _, mode := range []Mode{Binary, Structured} {
				checkAgain(t, e, mode)
			}
		})
	}
}

// checkAgain encodes an event and decodes it.
func checkAgain(t rapid.TB, e event.Event, mode Mode) {
	t.Helper()
	header, data, err := Encode(e, mode)
	if err != nil {
		t.Fatalf("mode %d: %v", mode, err)
	}
	again, err := Decode(header, data)
	if err != nil {
		t.Fatalf("mode %d: cannot decode what Encode wrote: %v\n%v\n%s", mode, err, header, data)
	}
	want, got := flat(t, e), flat(t, again)
	// Which of two spellings the data had in JSON does not survive.
	delete(want, "base64")
	delete(got, "base64")
	if mode == Structured && isJSON(e.DataContentType()) && !e.DataBase64 {
		want, got = maps.Clone(want), maps.Clone(got)
		want["data"], got["data"] = strings.TrimSpace(want["data"]), strings.TrimSpace(got["data"])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mode %d: -before +after:\n%s", mode, diff)
	}
}

func checkRefusal(t rapid.TB, err error, code, text string) {
	t.Helper()
	refusal, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error is %v, want an *Error with code %s", err, code)
	}
	if refusal.Code != code || !strings.Contains(refusal.Message+" "+refusal.Hint, text) {
		t.Errorf("refused with %v (hint: %s), want code %s and %q", refusal, refusal.Hint, code, text)
	}
}
