package lightly

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// read decodes the JSON body into v, a pointer to a struct or a slice. Fields
// that it does not know are passed over: releases differ.
func (c *call) read(v any) error {
	body, err := io.ReadAll(c.r.Body)
	if err != nil {
		return err
	}
	malformed := func(format string, args ...any) error {
		return refuse(http.StatusBadRequest, "MALFORMED_REQUEST", format, args...)
	}
	err = json.Unmarshal(body, v)
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case err == nil && string(body) == "null", len(body) == 0:
		return malformed("the body is missing: want JSON")
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		if word := nonNumber.Find(body[max(0, int(syntax.Offset)-2):min(len(body), int(syntax.Offset)+9)]); word != nil {
			return malformed("the body has %s, which is no JSON number: send finite numbers only", word)
		}
		return malformed("the body is not JSON: %v, at byte %d", syntax, syntax.Offset)
	case errors.As(err, &mismatch):
		if mismatch.Field == "" {
			return malformed("the body is a JSON %s: want %s", mismatch.Value, jsonType(mismatch.Type.Kind().String()))
		}
		return malformed("%s is a %s: want %s", mismatch.Field, mismatch.Value, jsonType(mismatch.Type.Kind().String()))
	}
	return malformed("%v", err)
}

var nonNumber = regexp.MustCompile(`-?(NaN|Infinity)`)

// jsonType names what a field wants.
func jsonType(kind string) string {
	switch {
	case strings.HasPrefix(kind, "int"):
		return "a whole number"
	case strings.HasPrefix(kind, "float"):
		return "a number"
	case kind == "slice":
		return "a list"
	case kind == "bool":
		return "true or false"
	case kind == "struct", kind == "map":
		return "an object"
	}
	return "a " + kind
}

// count is a whole number that is not negative, however it is written: some
// write 5.0.
type count int64

const maxCount = 1<<53 - 1

func (n *count) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || v < 0 || v > maxCount || v != math.Trunc(v) {
		return fmt.Errorf("%.40s is no whole number from 0 to %d", text, int64(maxCount))
	}
	*n = count(v)
	return nil
}

// numbers is a list of finite numbers. Decoding it takes 8 bytes for each, and
// null is not taken for zero.
type numbers []float64

func (n *numbers) UnmarshalJSON(text []byte) error {
	body, ok := bytes.CutPrefix(text, []byte("["))
	if !ok {
		return fmt.Errorf("%.40s is no list of numbers", text)
	}
	body = bytes.TrimSpace(bytes.TrimSuffix(body, []byte("]")))
	*n = nil
	if len(body) == 0 {
		return nil
	}
	*n = make(numbers, 0, bytes.Count(body, []byte(","))+1)
	for part := range bytes.SplitSeq(body, []byte(",")) {
		v, err := strconv.ParseFloat(string(bytes.TrimSpace(part)), 64)
		if err != nil {
			return fmt.Errorf("element %d of the list is no number: %.40s", len(*n), part)
		}
		*n = append(*n, v)
	}
	return nil
}

// flag reads a boolean of the query, which Python writes as True and False.
func (c *call) flag(name string) (value, given bool, err error) {
	if !c.args.Has(name) {
		return false, false, nil
	}
	text := c.args.Get(name)
	value, err = strconv.ParseBool(text)
	if err != nil {
		return false, true, bad("query parameter %s is %.40q: want True or False", name, text)
	}
	return value, true, nil
}

// page is a part of a list, counted in items.
type page struct{ from, size int }

// page reads pageSize and pageOffset; without them the page is everything.
func (c *call) page() (p page, err error) {
	if p.size, err = c.number("pageSize", 1, 1<<31-1); err != nil {
		return p, err
	}
	p.from, err = c.number("pageOffset", 0, 0)
	return p, err
}

// of returns the rows of a page of n items.
func (p page) of(n int) (from, to int) {
	from = min(p.from, n)
	return from, from + min(p.size, n-from)
}

func (c *call) number(name string, least, absent int) (int, error) {
	if !c.args.Has(name) {
		return absent, nil
	}
	text := c.args.Get(name)
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || int(n) < least {
		return 0, bad("query parameter %s is %.40q: want a whole number of at least %d", name, text, least)
	}
	return int(n), nil
}

// oneOf reads a word of the query that may be absent.
func (c *call) oneOf(name string, words ...string) (string, error) {
	text := c.args.Get(name)
	if text == "" && c.args.Has(name) {
		return "", bad("query parameter %s is empty: want one of %s", name, strings.Join(words, ", "))
	}
	return text, wordOf("query parameter "+name, text, words)
}

// wordOf refuses a word that is none of those; "" stands for none.
func wordOf(what, text string, words []string) error {
	if text == "" || slices.Contains(words, text) {
		return nil
	}
	return bad("%s is %.40q: want one of %s", what, text, strings.Join(words, ", "))
}
