package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/nats-io/nats.go"
)

// Mode is how an event lies in a message.
type Mode int

const (
	Binary     Mode = iota // attributes in ce- headers, data as the body
	Structured             // the whole event as JSON in the body
)

// Limits of one event. What is larger travels by reference.
const (
	maxBody       = 1 << 20 // bytes of body and of data; also the server's default
	maxAttributes = 64
	maxAttribute  = 4096 // bytes of one attribute's value
	maxName       = 64   // bytes of one attribute's name
)

const (
	ceMedia   = "application/cloudevents"
	ceJSON    = "application/cloudevents+json"
	cePrefix  = "ce-"
	howToSend = `send CloudEvents 1.0: either JSON with content type ` + ceJSON + `, or headers ce-id, ce-source, ce-specversion and ce-type with the data as the body`
)

func badEvent(hint, format string, args ...any) *Error {
	return &Error{Code: "bad_event", Message: fmt.Sprintf(format, args...), Hint: hint}
}

func unsupported(hint, format string, args ...any) *Error {
	return &Error{Code: "unsupported_format", Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Encode writes an event as a NATS message, for Decode and for any other
// reader of the CloudEvents NATS binding. What it refuses is not a valid
// CloudEvents 1.0 event, or larger than the limits that Decode sets. The event
// is not changed; the body may share its memory. Every error is an *Error.
func Encode(e event.Event, mode Mode) (nats.Header, []byte, error) {
	attributes, err := attributesOf(e)
	if err != nil {
		return nil, nil, err
	}
	header, body := nats.Header{}, e.DataEncoded
	if mode == Structured {
		header.Set("Content-Type", ceJSON)
		body = writeStructured(attributes, e)
	} else {
		for _, a := range attributes {
			text, _ := types.Format(a.value) // cannot fail: attributesOf has done it
			header.Set(cePrefix+a.name, percentEncode(text))
		}
	}
	if len(body) > maxBody {
		return nil, nil, badEvent("send large data by reference", "the event has %d bytes, %d are allowed", len(body), maxBody)
	}
	return header, body, nil
}

// attribute is one attribute of an event: a string, or an extension that is a
// bool or an int32.
type attribute struct {
	name  string
	value any
}

// attributesOf lists the attributes of an event: the defined ones first, then
// extensions by name, each checked as Decode would.
func attributesOf(e event.Event) ([]attribute, *Error) {
	ctx, ok := e.Context.(*event.EventContextV1)
	if !ok {
		return nil, unsupported("send CloudEvents 1.0", "not a CloudEvents 1.0 event")
	}
	if failed := slices.Sorted(maps.Keys(e.FieldErrors)); len(failed) > 0 { // a setter refused
		return nil, badEvent("", "attribute %s: %s", cut(failed[0]), cut(e.FieldErrors[failed[0]].Error()))
	}
	list := []attribute{
		{"specversion", event.CloudEventsVersionV1},
		{"id", ctx.ID},
		{"source", ctx.Source.String()},
		{"type", ctx.Type},
	}
	if ctx.Subject != nil {
		list = append(list, attribute{"subject", *ctx.Subject})
	}
	if ctx.Time != nil {
		list = append(list, attribute{"time", types.FormatTime(ctx.Time.Time)})
	}
	if ctx.DataContentType != nil {
		list = append(list, attribute{"datacontenttype", *ctx.DataContentType})
	}
	if ctx.DataSchema != nil {
		list = append(list, attribute{"dataschema", ctx.DataSchema.String()})
	}
	for _, name := range slices.Sorted(maps.Keys(ctx.Extensions)) {
		value, err := types.Validate(ctx.Extensions[name])
		if err != nil {
			return nil, badEvent("", "attribute %s: %v", cut(name), err)
		}
		switch value.(type) {
		case bool, int32:
		default:
			value, _ = types.Format(value) // cannot fail: validated
		}
		list = append(list, attribute{name, value})
	}
	check := make(map[string]any, len(list))
	for _, a := range list {
		check[a.name] = a.value
		if n, ok := a.value.(int32); ok {
			check[a.name] = int64(n)
		}
	}
	if _, err := newEvent(check); err != nil {
		return nil, err
	}
	return list, nil
}

// writeStructured writes the JSON event format. JSON data keeps its bytes. Data
// that is not what its media type says, or not text, travels as data_base64.
func writeStructured(attributes []attribute, e event.Event) []byte {
	b := []byte{'{'}
	for _, a := range attributes {
		b = appendField(b, a.name, a.value)
	}
	asJSON := isJSON(e.DataContentType())
	switch {
	case len(e.DataEncoded) == 0:
	case asJSON && !e.DataBase64 && checkJSON(e.DataEncoded) == nil:
		b = append(b, `"data":`...)
		b = append(b, bytes.TrimSpace(e.DataEncoded)...)
		b = append(b, ',')
	case !asJSON && !e.DataBase64 && utf8.Valid(e.DataEncoded):
		b = appendField(b, "data", string(e.DataEncoded))
	default:
		b = appendField(b, "data_base64", e.DataEncoded)
	}
	b[len(b)-1] = '}' // in place of the last comma
	return b
}

// appendField appends "name":value and a comma. The name needs no escapes; the
// value is a string, a bool, an int32 or bytes.
func appendField(b []byte, name string, value any) []byte {
	text, _ := json.Marshal(value)
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `":`...)
	b = append(b, text...)
	return append(b, ',')
}

// percentEncode writes space, '"', '%' and every byte outside U+0021 to U+007E
// as % and two upper-case hexadecimal digits.
func percentEncode(text string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if c := text[i]; c <= ' ' || c == '"' || c == '%' || c > '~' {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// isJSON reports whether data of this media type is JSON. The JSON event
// format says that a missing type means JSON.
func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "" || media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}
