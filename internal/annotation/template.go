package annotation

import (
	"fmt"
	"net/url"
	"strings"
)

// placeholder stands in a template where the filename goes.
const placeholder = "{filename}"

// Template is where the image of a sample is found: an address with the
// filename in it.
type Template struct {
	before, after string
	escape        func(string) string
	unescape      func(string) (string, error)
}

// ParseTemplate reads a template, for example s3://bucket/data/{filename}. In
// the path of an address the filename is escaped as one (slashes stay); behind
// a question mark as a parameter (they stay too); in s3://, gs:// and
// azure-blob:// not at all, because there an address holds the key as it is.
// "{filename}" alone is the filename.
func ParseTemplate(text string) (Template, error) {
	before, after, ok := strings.Cut(text, placeholder)
	if !ok || strings.Contains(after, placeholder) {
		return Template{}, fmt.Errorf("%q: want an address with %s in it once, such as s3://bucket/data/%s", text, placeholder, placeholder)
	}
	t := Template{before, after, asPath, url.PathUnescape}
	scheme, _, _ := strings.Cut(before, "://")
	switch {
	case before == "", scheme == "s3", scheme == "gs", scheme == "azure-blob":
		t.escape = func(s string) string { return s }
		t.unescape = func(s string) (string, error) { return s, nil }
	case strings.Contains(before, "?"):
		t.escape = func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/") }
		t.unescape = url.QueryUnescape
	}
	return t, nil
}

// asPath escapes a filename as a path of several parts.
func asPath(s string) string {
	parts := strings.Split(s, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// URL is the address of a sample's image.
func (t Template) URL(filename string) string { return t.before + t.escape(filename) + t.after }

// Filename is the inverse of URL, for addresses that somebody else may have
// written: it takes whatever escapes they chose. It returns false for what
// the template does not make.
func (t Template) Filename(address string) (string, bool) {
	inner, ok := strings.CutPrefix(address, t.before)
	if !ok {
		return "", false
	}
	if inner, ok = strings.CutSuffix(inner, t.after); !ok || inner == "" {
		return "", false
	}
	name, err := t.unescape(inner)
	return name, err == nil
}
