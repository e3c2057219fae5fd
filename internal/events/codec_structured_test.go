package events

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"
)

func contentType(value string) nats.Header { return nats.Header{"Content-Type": {value}} }

var structuredCases = []decodeCase{
	{name: "with content type", header: contentType(contentJSON), body: body(`"data":{"a":1}`), want: minimal("data", `{"a":1}`)},
	{name: "without headers", body: body(`"data":{"a":1}`), want: minimal("data", `{"a":1}`)},
	{name: "content type in another case", header: nats.Header{"content-TYPE": {"Application/CloudEvents+JSON; Charset=UTF-8"}}, body: body(""), want: minimal()},
	{name: "bare media type of the binding", header: contentType("application/cloudevents"), body: body(""), want: minimal()},
	{name: "plain JSON content type", header: contentType("application/json"), body: body(""), want: minimal()},
	{name: "wins over ce- headers", header: headers("Content-Type", contentJSON, "ce-subject", "outer"), body: body(`"subject":"inner"`), want: minimal("subject", "inner")},
	{name: "wins over broken ce- headers", header: headers("Content-Type", contentJSON, "ce-id", "2", "ce-subject", "%"), body: body(""), want: minimal()},
	{name: "space around", body: " \r\n\t" + body("") + "\n", want: minimal()},
	{name: "null is absent", body: body(`"subject":null,"note":null,"data_base64":null`), want: minimal()},
	{name: "all attributes", body: body(`"subject":"d","time":"2026-01-31T12:00:00Z","datacontenttype":"application/json","dataschema":"https://x/y"`),
		want: minimal("subject", "d", "time", "2026-01-31T12:00:00Z", "datacontenttype", "application/json", "dataschema", "https://x/y")},
	{name: "extensions of each type", body: body(`"a":"x","b":true,"c":-2147483648`), want: minimal("a", "x", "b", "true", "c", "-2147483648")},
	{name: "escapes", body: body(`"subject":"\u0045uro \u20ac \ud83d\ude00 \\\"\/"`), want: minimal("subject", `Euro € 😀 \"/`)},
	{name: "percent signs are text", body: body(`"subject":"100%25"`), want: minimal("subject", "100%25")},
	{name: "JSON data keeps its bytes", body: body(`"data": { "b":1.0,  "a":"<\u0041>" } `), want: minimal("data", `{ "b":1.0,  "a":"<\u0041>" }`)},
	{name: "JSON data of a +json type", body: body(`"datacontenttype":"application/x+json","data":[1]`), want: minimal("datacontenttype", "application/x+json", "data", "[1]")},
	{name: "JSON data null", body: body(`"data":null`), want: minimal("data", "null")},
	{name: "JSON data a string", body: body(`"data":"x"`), want: minimal("data", `"x"`)},
	{name: "text data", body: body(`"datacontenttype":"text/csv","data":"a,b\n\u00e9"`), want: minimal("datacontenttype", "text/csv", "data", "a,b\né")},
	{name: "text data null", body: body(`"datacontenttype":"text/csv","data":null`), want: minimal("datacontenttype", "text/csv")},
	{name: "data_base64", body: body(`"datacontenttype":"image/png","data_base64":"iVBORw=="`), want: minimal("datacontenttype", "image/png", "data", "\x89PNG", "base64", "yes")},
	{name: "data_base64 of JSON", body: body(`"data_base64":"eyJhIjoxfQ=="`), want: minimal("data", `{"a":1}`, "base64", "yes")},
	{name: "data before specversion", body: `{"data":{"a":1},"type":"t","source":"/s","id":"1","specversion":"1.0"}`, want: minimal("data", `{"a":1}`)},

	{name: "batch", header: contentType("application/cloudevents-batch+json"), body: "[" + body("") + "]", code: "unsupported_format", text: "one event per message"},
	{name: "avro", header: contentType("application/cloudevents+avro"), body: "\x00", code: "unsupported_format", text: "avro"},
	{name: "protobuf, although ce- headers", header: headers("Content-Type", "application/cloudevents+protobuf"), code: "unsupported_format", text: "protobuf"},
	{name: "charset", header: contentType(contentJSON + "; charset=utf-16"), body: body(""), code: "unsupported_format", text: "utf-16"},
	{name: "broken content type", header: contentType(contentJSON + "; charset"), body: body(""), code: "bad_event", text: "content type"},
	{name: "array without content type", body: "[" + body("") + "]", code: "bad_event", text: "not a JSON object"},
	{name: "array with content type", header: contentType(contentJSON), body: "[" + body("") + "]", code: "bad_event", text: "not a JSON object"},
	{name: "nothing at all", code: "bad_event", text: "not a CloudEvent"},
	{name: "empty body with content type", header: contentType(contentJSON), code: "bad_event", text: "not valid JSON"},
	{name: "JSON that is no event", body: `{"dataset":"x"}`, code: "bad_event", text: "specversion is missing"},
	{name: "cut off", body: body("")[:40], code: "bad_event", text: "unexpected end"},
	{name: "something after it", body: body("") + body(""), code: "bad_event", text: "not valid JSON"},
	{name: "byte order mark", header: contentType(contentJSON), body: "\ufeff" + body(""), code: "bad_event", text: "not valid JSON"},
	{name: "invalid UTF-8", body: body("\"subject\":\"\xff\""), code: "bad_event", text: "UTF-8"},
	{name: "half a surrogate pair", body: body(`"subject":"\ud83d!"`), code: "bad_event", text: `\ud83d`},
	{name: "second half alone", body: body(`"subject":"\\\ude00"`), code: "bad_event", text: `\ude00`},
	{name: "half a surrogate pair in data", body: body(`"data":["\ud83d\ud83d"]`), code: "bad_event", text: `\ud83d`},
	{name: "NaN in data", body: body(`"data":{"accuracy":NaN}`), code: "bad_event", text: "JSON has no NaN"},
	{name: "attribute twice", body: body(`"id":"2"`), code: "bad_event", text: "id is given twice"},
	{name: "attribute twice, one escaped", body: body(`"\u0069d":"2"`), code: "bad_event", text: "id is given twice"},
	{name: "data twice", body: body(`"data":1,"data":2`), code: "bad_event", text: "data is given twice"},
	{name: "data and data_base64", body: body(`"data":1,"data_base64":"YQ=="`), code: "bad_event", text: "both"},
	{name: "data_base64 no string", body: body(`"data_base64":1`), code: "bad_event", text: "not a string"},
	{name: "data_base64 no base64", body: body(`"data_base64":"a"`), code: "bad_event", text: "base64"},
	{name: "text data no string", body: body(`"datacontenttype":"text/csv","data":{}`), code: "bad_event", text: "text/csv"},
	{name: "specversion 0.3", body: strings.Replace(body(""), "1.0", "0.3", 1), code: "unsupported_format", text: "0.3"},
	{name: "specversion a number", body: strings.Replace(body(""), `"1.0"`, "1.0", 1), code: "bad_event", text: `"specversion": "1.0"`},
	{name: "id a number", body: strings.Replace(body(""), `"1"`, "1", 1), code: "bad_event", text: "id: must be a string"},
	{name: "id empty", body: strings.Replace(body(""), `"1"`, `""`, 1), code: "bad_event", text: "id: is empty"},
	{name: "source null", body: strings.Replace(body(""), `"/s"`, "null", 1), code: "bad_event", text: "source is missing"},
	{name: "source empty", body: strings.Replace(body(""), `"/s"`, `""`, 1), code: "bad_event", text: "source: is empty"},
	{name: "time a number", body: body(`"time":1769860800`), code: "bad_event", text: "time: must be a string"},
	{name: "name in upper case", body: body(`"dataSchema":"x"`), code: "bad_event", text: "lower-case letters and digits"},
	{name: "name with an underscore", body: body(`"run_id":"x"`), code: "bad_event", text: "belong into data"},
	{name: "empty name", body: body(`"":"x"`), code: "bad_event", text: "0 bytes"},
	{name: "extension an object", body: body(`"model":{"name":"x"}`), code: "bad_event", text: "into data"},
	{name: "extension a fraction", body: body(`"loss":0.5`), code: "bad_event", text: "32-bit integer"},
	{name: "extension beyond 32 bits", body: body(`"step":2147483648`), code: "bad_event", text: "32 bits"},
	{name: "extension beyond numbers", body: body(`"step":1e999`), code: "bad_event", text: "range"},
	{name: "too many attributes", body: body(strings.TrimSuffix(manyAttributes(67), ",")), code: "bad_event", text: "64 attributes"},
	{name: "nested too deep", body: body(`"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100)), code: "bad_event", text: "64 levels"},
	{name: "nested far too deep", body: body(`"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000)), code: "bad_event", text: "not valid JSON"},
	{name: "body too large", body: body(`"data":"` + strings.Repeat("x", 1<<20) + `"`), code: "bad_event", text: "by reference"},
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"x%d":"",`, i)
	}
	return b.String()
}

func TestDecodeStructured(t *testing.T) { runDecode(t, structuredCases) }

// made returns an event with attributes that need care.
func made(change func(*event.Event)) event.Event {
	e := event.New()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType("t")
	if change != nil {
		change(&e)
	}
	return e
}

func TestEncode(t *testing.T) {
	day := time.Date(2026, 1, 31, 13, 0, 0, 250e6, time.FixedZone("", 3600))
	ce := func(pairs ...string) nats.Header { return headers(pairs...) }
	for _, c := range []struct {
		name   string
		change func(*event.Event)
		mode   Mode
		header nats.Header
		body   string
	}{
		{"binary", nil, Binary, ce(), ""},
		{"binary data", func(e *event.Event) { e.DataEncoded = []byte("\xff") }, Binary, ce(), "\xff"},
		{"binary media type", func(e *event.Event) { e.SetDataContentType("application/json") }, Binary, ce("ce-datacontenttype", "application/json"), ""},
		{"binary percent-encodes", func(e *event.Event) { e.SetSubject("Euro € 😀 \"100%\" ~!") }, Binary,
			ce("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22100%25%22%20~!"), ""},
		{"binary time in UTC", func(e *event.Event) { e.SetTime(day) }, Binary, ce("ce-time", "2026-01-31T12:00:00.25Z"), ""},
		{"binary extensions", func(e *event.Event) {
			e.SetExtension("flag", true)
			e.SetExtension("n", -5)
			e.SetExtension("raw", []byte{0xff})
			e.SetExtension("at", day)
			e.SetExtension("ref", types.URIRef{URL: url.URL{Path: "/x y"}})
		}, Binary, ce("ce-flag", "true", "ce-n", "-5", "ce-raw", "/w==", "ce-at", "2026-01-31T12:00:00.25Z", "ce-ref", "/x%2520y"), ""},
		{"structured", nil, Structured, contentType(contentJSON), `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`},
		{"structured order and types", func(e *event.Event) {
			e.SetSubject("Euro €")
			e.SetTime(day)
			e.SetDataContentType("application/json")
			e.SetDataSchema("https://x/y")
			e.SetExtension("z", 1)
			e.SetExtension("a", true)
			e.DataEncoded = []byte("  {\"b\": \"<&>\"}\n")
		}, Structured, contentType(contentJSON), `{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"Euro €",` +
			`"time":"2026-01-31T12:00:00.25Z","datacontenttype":"application/json","dataschema":"https://x/y","a":true,"z":1,"data":{"b": "<&>"}}`},
		{"structured text", func(e *event.Event) { e.SetDataContentType("text/plain"); e.DataEncoded = []byte("a\n\"b\"") }, Structured,
			contentType(contentJSON), `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"a\n\"b\""}`},
		{"structured bytes", func(e *event.Event) { e.SetDataContentType("image/png"); e.DataEncoded = []byte("\x89PNG") }, Structured,
			contentType(contentJSON), `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"image/png","data_base64":"iVBORw=="}`},
		{"structured JSON that is none", func(e *event.Event) { e.DataEncoded = []byte("{") }, Structured,
			contentType(contentJSON), `{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"ew=="}`},
		{"structured marked as bytes", func(e *event.Event) { e.DataEncoded = []byte("{}"); e.DataBase64 = true }, Structured,
			contentType(contentJSON), `{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"e30="}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := made(c.change)
			header, data, err := Encode(e, c.mode)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.header, header); diff != "" {
				t.Errorf("header -want +got:\n%s", diff)
			}
			if string(data) != c.body {
				t.Errorf("body\n got %s\nwant %s", data, c.body)
			}
			checkAgain(t, e, c.mode)
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*event.Event)
		text   string
	}{
		{"no context", func(e *event.Event) { e.Context = nil }, "1.0"},
		{"version 0.3", func(e *event.Event) { e.SetSpecVersion("0.3") }, "1.0"},
		{"no id", func(e *event.Event) { e.Context.(*event.EventContextV1).ID = "" }, "id: is empty"},
		{"no source", func(e *event.Event) { e.Context.(*event.EventContextV1).Source = types.URIRef{} }, "source: is empty"},
		{"setter failed", func(e *event.Event) { e.SetType("") }, "attribute type"},
		{"control character", func(e *event.Event) { e.SetSubject("a\r\nNats-Rollup: all") }, "U+000D"},
		{"invalid UTF-8", func(e *event.Event) { e.SetExtension("note", "\xff") }, "UTF-8"},
		{"reserved name", func(e *event.Event) { e.SetExtension("data", "x") }, "body"},
		{"long value", func(e *event.Event) { e.SetSubject(strings.Repeat("a", longestValue+1)) }, "4097"},
		{"far future", func(e *event.Event) { e.SetTime(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) }, "RFC 3339"},
		{"large data", func(e *event.Event) { e.DataEncoded = make([]byte, 1<<20+1) }, "by reference"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, mode := range []Mode{Binary, Structured} {
				_, _, err := Encode(made(c.change), mode)
				if err == nil {
					t.Fatal("accepted")
				}
				if text := err.Error() + err.(*Error).Hint; !strings.Contains(text, c.text) {
					t.Errorf("refused with %s, want %q", text, c.text)
				}
			}
		})
	}
}

func isURI(s string) bool {
	uri, err := url.Parse(s)
	return err == nil && uri.String() != ""
}

// TestRoundTrip sends events of every kind of attribute and data through both
// modes.
func TestRoundTrip(t *testing.T) {
	text := rapid.StringOfN(rapid.RuneFrom([]rune(`ab%"\ €😀é/:+~`)), 1, 20, -1).Filter(func(s string) bool { return strings.TrimSpace(s) != "" })
	name := rapid.StringMatching(`x[a-z0-9]{0,19}`)
	value := rapid.OneOf(text.AsAny(), rapid.Bool().AsAny(), rapid.Int32().AsAny(), rapid.Just("").AsAny())
	data := rapid.OneOf(
		rapid.SampledFrom([]string{"", "null", `{"a":[1,"é"]}`, `"\ud83d"`, "\x00", "plain"}),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(r *rapid.T) {
		e := made(func(e *event.Event) {
			e.SetID(text.Draw(r, "id"))
			e.SetType(text.Draw(r, "type"))
			e.SetSource(text.Filter(isURI).Draw(r, "source"))
			if rapid.Bool().Draw(r, "optional") {
				e.SetSubject(text.Draw(r, "subject"))
				e.SetTime(time.Unix(rapid.Int64Range(0, 4e9).Draw(r, "s"), rapid.Int64Range(0, 1e9-1).Draw(r, "ns")))
				e.SetDataContentType(rapid.SampledFrom([]string{"application/json", "text/plain", "a/b; c=d"}).Draw(r, "datacontenttype"))
			}
			for _, n := range rapid.SliceOfN(name, 0, 5).Draw(r, "names") {
				e.SetExtension(n, value.Draw(r, n))
			}
			if d := data.Draw(r, "data"); d != "" {
				e.DataEncoded = []byte(d)
			}
			e.DataBase64 = rapid.Bool().Draw(r, "base64")
		})
		checkAgain(r, e, rapid.SampledFrom([]Mode{Binary, Structured}).Draw(r, "mode"))
	})
}
