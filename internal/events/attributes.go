package events

import (
	"maps"
	"mime"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// newEvent makes an event from attributes: strings, and from JSON also bool,
// int64 and what is no attribute at all.
func newEvent(attributes map[string]any) (*event.Event, *Error) {
	if len(attributes) > maxAttributes {
		return nil, badEvent("", "%d attributes, %d are allowed", len(attributes), maxAttributes)
	}
	switch version, ok := attributes["specversion"].(string); {
	case attributes["specversion"] == nil:
		return nil, badEvent(howToSend, "not a CloudEvent: specversion is missing")
	case !ok:
		return nil, badEvent(`write "specversion": "1.0"`, "specversion is not a string")
	case version != event.CloudEventsVersionV1:
		return nil, unsupported("send CloudEvents 1.0", "specversion %s is not supported", cut(version))
	}
	ctx := &event.EventContextV1{}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if err := setAttribute(ctx, name, attributes[name]); err != nil {
			err.Message = "attribute " + cut(name) + ": " + err.Message
			return nil, err
		}
	}
	for _, required := range []string{"id", "source", "type"} {
		if attributes[required] == nil {
			return nil, badEvent(howToSend, "attribute %s is missing", required)
		}
	}
	return &event.Event{Context: ctx}, nil
}

func setAttribute(ctx *event.EventContextV1, name string, value any) *Error {
	if err := checkName(name); err != nil {
		return err
	}
	text, isText := value.(string)
	if isText {
		if err := checkValue(text); err != nil {
			return err
		}
	}
	switch name {
	case "specversion":
		return nil
	case "id", "source", "type", "subject", "datacontenttype", "dataschema", "time":
		if !isText {
			return badEvent("", "must be a string")
		}
		if strings.TrimSpace(text) == "" {
			return badEvent("leave it out or give it a value", "is empty")
		}
	}
	switch name {
	case "id":
		ctx.ID = text
	case "type":
		ctx.Type = text
	case "subject":
		ctx.Subject = &text
	case "source":
		uri, err := url.Parse(text)
		if err != nil || uri.String() == "" {
			return badEvent("for example /training/run-7", "%s is not a URI reference", cut(text))
		}
		ctx.Source = types.URIRef{URL: *uri}
	case "dataschema":
		uri, err := url.Parse(text)
		if err != nil || !uri.IsAbs() {
			return badEvent("", "%s is not an absolute URI", cut(text))
		}
		ctx.DataSchema = &types.URI{URL: *uri}
	case "datacontenttype":
		if _, _, err := mime.ParseMediaType(text); err != nil {
			return badEvent("send application/json", "%s is not a media type", cut(text))
		}
		ctx.DataContentType = &text
	case "time":
		t, err := types.ParseTime(text)
		if err != nil || t.UTC().Year() < 0 || t.UTC().Year() > 9999 {
			return badEvent("write it as 2026-01-31T12:00:00Z, with the zone", "%s is not an RFC 3339 time", cut(text))
		}
		ctx.Time = &types.Timestamp{Time: t}
	default:
		return setExtension(ctx, name, value)
	}
	return nil
}

func setExtension(ctx *event.EventContextV1, name string, value any) *Error {
	switch value.(type) {
	case string, bool, int64:
		if ctx.SetExtension(name, value) == nil {
			return nil
		}
		return badEvent("", "%v is beyond 32 bits", value)
	}
	return badEvent("put structured values into data", "must be a string, a boolean or a 32-bit integer")
}

// checkName refuses what cannot be an attribute name: in particular fields
// that belong into data.
func checkName(name string) *Error {
	const hint = "attribute names are lower-case letters and digits; fields of your own belong into data"
	switch {
	case name == "" || len(name) > maxName:
		return badEvent(hint, "the name has %d bytes, 1 to %d are allowed", len(name), maxName)
	case name == "data":
		return badEvent("the data of a binary event is its body", "is not an attribute")
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return badEvent(hint, "not an attribute name")
		}
	}
	return nil
}

// checkValue refuses what the CloudEvents type String excludes: control
// characters, noncharacters, invalid UTF-8.
func checkValue(text string) *Error {
	if len(text) > maxAttribute {
		return badEvent("", "%d bytes, %d are allowed", len(text), maxAttribute)
	}
	if !utf8.ValidString(text) {
		return badEvent("percent-encode UTF-8", "not valid UTF-8")
	}
	for _, r := range text {
		if r < 0x20 || r >= 0x7F && r <= 0x9F || r >= 0xFDD0 && r <= 0xFDEF || r&0xFFFE == 0xFFFE {
			return badEvent("", "character %U is not allowed", r)
		}
	}
	return nil
}
