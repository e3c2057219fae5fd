package events

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/url"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
)

// Decode reads the CloudEvent in a NATS message: structured if the content
// type says so, else binary if there is a ce-specversion header, else, because
// Python producers send it so, structured if the body is a JSON object with a
// specversion. Batches and formats other than JSON are refused. Attributes
// that CloudEvents does not define are kept; in binary mode they are strings.
// The event owns its data. Every error is an *Error.
func Decode(header nats.Header, data []byte) (event.Event, error) {
	e, err := decode(header, data)
	if err != nil {
		return event.Event{}, err
	}
	return *e, nil
}

func decode(header nats.Header, data []byte) (*event.Event, *Error) {
	if len(data) > maxBody {
		return nil, badEvent("send large data by reference", "the body has %d bytes, %d are allowed", len(data), maxBody)
	}
	contentType, err := contentTypeOf(header)
	if err != nil {
		return nil, err
	}
	switch {
	case len(contentType) >= len(ceMedia) && strings.EqualFold(contentType[:len(ceMedia)], ceMedia):
		if err := checkFormat(contentType); err != nil {
			return nil, err
		}
		return decodeStructured(data)
	case hasHeader(header, cePrefix+"specversion"):
		return decodeBinary(header, contentType, data)
	case !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")):
		return nil, badEvent(howToSend, "not a CloudEvent: no ce-specversion header, and the body is not a JSON object")
	}
	return decodeStructured(data)
}

// contentTypeOf returns the value of the content type header, "" if there is
// none. More than one is refused: which counts would be a guess.
func contentTypeOf(header nats.Header) (string, *Error) {
	var found []string
	for key, values := range header {
		if strings.EqualFold(key, "content-type") {
			found = append(found, values...)
		}
	}
	if len(found) > 1 {
		return "", badEvent("send one", "%d content type headers", len(found))
	}
	return strings.Trim(strings.Join(found, ""), " \t"), nil
}

func hasHeader(header nats.Header, name string) bool {
	for key := range header {
		if strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}

// checkFormat accepts the JSON event format in UTF-8. The bare media type
// application/cloudevents means JSON too: it is the only format of the NATS
// binding.
func checkFormat(contentType string) *Error {
	media, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return badEvent("send "+ceJSON, "content type %s: %v", cut(contentType), err)
	}
	if media != ceJSON && media != ceMedia {
		return unsupported("send one event per message as "+ceJSON, "content type %s is not supported", cut(media))
	}
	if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return unsupported("send UTF-8", "charset %s is not supported", cut(charset))
	}
	return nil
}

// decodeBinary reads the attributes from the ce- headers. A plain content type
// stands in for a missing ce-datacontenttype, as the HTTP binding has it and
// many producers do.
func decodeBinary(header nats.Header, contentType string, data []byte) (*event.Event, *Error) {
	attributes := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(header)) {
		values := header[key]
		if len(key) < len(cePrefix) || !strings.EqualFold(key[:len(cePrefix)], cePrefix) || len(values) == 0 {
			continue
		}
		name := strings.ToLower(key[len(cePrefix):])
		if _, twice := attributes[name]; twice || len(values) > 1 {
			return nil, badEvent("send each attribute once", "header %s is given twice", cut(cePrefix+name))
		}
		value, err := decodeHeader(values[0])
		if err != nil {
			err.Message = "header " + cut(cePrefix+name) + ": " + err.Message
			return nil, err
		}
		attributes[name] = value
	}
	if _, ok := attributes["datacontenttype"]; !ok && contentType != "" {
		attributes["datacontenttype"] = contentType
	}
	e, err := newEvent(attributes)
	if err == nil && len(data) > 0 {
		e.DataEncoded = bytes.Clone(data)
	}
	return e, err
}

// decodeHeader undoes double quotes, then percent-encoding, once.
func decodeHeader(value string) (string, *Error) {
	if len(value) > 3*maxAttribute {
		return "", badEvent("", "%d bytes are too many", len(value))
	}
	value = strings.Trim(value, " \t")
	if strings.HasPrefix(value, `"`) {
		var err *Error
		if value, err = unquote(value); err != nil {
			return "", err
		}
	}
	if strings.Contains(value, "%") {
		plain, err := url.PathUnescape(value)
		if err != nil {
			return "", badEvent("write % as %25", "%v in a percent-encoded value", err)
		}
		value = plain
	}
	return value, nil
}

func unquote(value string) (string, *Error) {
	var b strings.Builder
	for i := 1; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"' && i == len(value)-1:
			return b.String(), nil
		case c == '"':
			return "", badEvent("percent-encode quotes as %22", "text follows the closing quote")
		case c == '\\' && i+1 < len(value):
			i++
			b.WriteByte(value[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", badEvent("percent-encode quotes as %22", "the quote is not closed")
}

// decodeStructured reads the JSON event format.
func decodeStructured(data []byte) (*event.Event, *Error) {
	fields, err := objectFields(data)
	if err != nil {
		return nil, badEvent(howToSend, "%v", err)
	}
	attributes := make(map[string]any, len(fields))
	for name, raw := range fields {
		if name == "data" || name == "data_base64" {
			continue
		}
		value, err := parseJSON(raw)
		if err != nil {
			return nil, badEvent("", "attribute %s: %v", cut(name), err)
		}
		if value != nil { // null means absent
			attributes[name] = value
		}
	}
	e, fault := newEvent(attributes)
	if fault != nil {
		return nil, fault
	}
	if fault := setData(e, fields["data"], fields["data_base64"]); fault != nil {
		return nil, fault
	}
	return e, nil
}

// setData sets the data of an event from the fields of the JSON event format,
// of which one or both are nil.
func setData(e *event.Event, data, encoded json.RawMessage) *Error {
	if string(encoded) == "null" {
		encoded = nil
	}
	asJSON := isJSON(e.DataContentType())
	if string(data) == "null" && !asJSON {
		data = nil
	}
	var text string
	switch {
	case data != nil && encoded != nil:
		return badEvent("send one of them", "both data and data_base64 are given")
	case encoded != nil:
		if json.Unmarshal(encoded, &text) != nil {
			return badEvent("", "data_base64 is not a string")
		}
		plain, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return badEvent("", "data_base64: %v", err)
		}
		e.DataEncoded, e.DataBase64 = plain, true
	case data != nil && asJSON:
		e.DataEncoded = data
	case data != nil:
		if json.Unmarshal(data, &text) != nil {
			return badEvent("", "data is not a string, although datacontenttype is %s", cut(e.DataContentType()))
		}
		e.DataEncoded = []byte(text)
	}
	if len(e.DataEncoded) == 0 {
		e.DataEncoded = nil
	}
	return nil
}

// objectFields splits a JSON object into its fields, refusing a key that
// stands there twice. The fields do not share memory with data.
func objectFields(data []byte) (map[string]json.RawMessage, error) {
	if err := checkJSON(data); err != nil {
		return nil, fmt.Errorf("the body is %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if tok, _ := dec.Token(); tok != json.Delim('{') {
		return nil, errors.New("the body is not a JSON object")
	}
	fields := map[string]json.RawMessage{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key := tok.(string)
		if _, twice := fields[key]; twice {
			return nil, fmt.Errorf("%s is given twice", cut(key))
		}
		if len(fields) == maxAttributes+2 { // data and data_base64
			return nil, fmt.Errorf("more than %d attributes", maxAttributes)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, err
		}
		fields[key] = raw
	}
	return fields, nil
}
