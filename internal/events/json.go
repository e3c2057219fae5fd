package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Limits of JSON.
const (
	maxDepth = 64     // how deep arrays and objects may lie in one another
	maxKeys  = 10_000 // keys of one object
)

// parseJSON reads one JSON value into map[string]any, []any, string, bool,
// nil, int64 (integers that fit) and float64. It is stricter than
// encoding/json, because each of these would change the meaning of an event
// without a word: a key twice in one object, invalid UTF-8, half of a
// surrogate pair, a number beyond float64. Errors say where.
func parseJSON(data []byte) (any, error) {
	if err := checkJSON(data); err != nil {
		return nil, err
	}
	if data[0] == '"' { // not worth a decoder
		var text string
		err := json.Unmarshal(data, &text)
		return text, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return parseValue(dec, nil)
}

// parseValue reads the next value; path leads to it. The text is known to be
// valid JSON.
func parseValue(dec *json.Decoder, path []string) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if len(path) > maxDepth {
		return nil, fmt.Errorf("%s: nested deeper than %d levels", join(path), maxDepth)
	}
	switch tok := tok.(type) {
	case json.Number:
		return parseNumber(tok.String(), path)
	case json.Delim:
		if tok == '{' {
			return parseObject(dec, path)
		}
		list := []any{}
		for dec.More() {
			v, err := parseValue(dec, append(path, "["+strconv.Itoa(len(list))+"]"))
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	}
	return tok, nil
}

func parseObject(dec *json.Decoder, path []string) (any, error) {
	object := map[string]any{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key := tok.(string)
		inner := append(path, key)
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("%s: is given twice", join(inner))
		}
		if len(object) == maxKeys {
			return nil, fmt.Errorf("%s: an object with more than %d keys", join(path), maxKeys)
		}
		if object[key], err = parseValue(dec, inner); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return object, err
}

func parseNumber(s string, path []string) (any, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, fmt.Errorf("%s: %s is beyond the range of numbers", join(path), cut(s))
	}
	return f, nil
}

// checkJSON refuses what is not JSON, and text that encoding/json would
// silently replace by U+FFFD: invalid UTF-8, and \u escapes of one half of a
// surrogate pair.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("not valid UTF-8")
	}
	if !json.Valid(data) {
		return syntaxFault(data)
	}
	for i := 0; i < len(data); {
		next := bytes.IndexByte(data[i:], '\\')
		if next < 0 {
			return nil
		}
		i += next
		switch unit := escapedUnit(data[i:]); {
		case unit < 0: // \n, \\ and the like
			i += 2
		case unit&0xFC00 == 0xD800 && escapedUnit(data[i+6:])&^0x3FF == 0xDC00:
			i += 12
		case unit&0xF800 == 0xD800:
			return fmt.Errorf("%s is half of a surrogate pair", data[i:i+6])
		default:
			i += 6
		}
	}
	return nil
}

// escapedUnit returns the UTF-16 unit of the \uXXXX that b begins with, -1 if
// it begins with something else.
func escapedUnit(b []byte) int {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

// syntaxFault says why data is not JSON.
func syntaxFault(data []byte) error {
	err := json.Unmarshal(data, new(any))
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		err = fmt.Errorf("%w (byte %d)", err, syntax.Offset)
	}
	if bytes.Contains(data, []byte("NaN")) || bytes.Contains(data, []byte("Infinity")) {
		err = fmt.Errorf("%w; JSON has no NaN and no Infinity: leave such values out", err)
	}
	return fmt.Errorf("not valid JSON: %w", err)
}

// join writes a path as selection.n_samples or added[3].filename.
func join(path []string) string {
	var b bytes.Buffer
	for _, step := range path {
		if b.Len() > 0 && step != "" && step[0] != '[' {
			b.WriteByte('.')
		}
		b.WriteString(step)
	}
	return cut(b.String())
}

// cut makes text from outside fit for a message: short, and quoted if it has
// control characters or quotes.
func cut(text string) string {
	text = shorten(text)
	if quoted := strconv.Quote(text); quoted[1:len(quoted)-1] != text {
		return quoted
	}
	return text
}

func shorten(text string) string {
	const limit = 80
	if len(text) <= limit {
		return text
	}
	end := limit
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
