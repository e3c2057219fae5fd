package blob

import (
	"net/url"
	"path"
	"strings"
	"unicode/utf8"
)

const (
	maxURI = 4096
	maxKey = 1024 // bytes of a key, or of a path below its folder
)

// location is a URI taken apart.
type location struct {
	scheme string // file, nats, blob or inline
	bucket string // nats
	path   string // an absolute path, a key without leading slash, or a digest
}

// locate takes a URI apart: file:///path, nats://bucket/key, blob:sha256 or
// inline:.
// Whatever could mean something else to some other reader of URIs is refused.
// Percent-encoding is undone once.
func locate(uri string) (location, error) {
	bad := func(format string, args ...any) (location, error) {
		return location{}, fault("bad_reference", "want file:///path/to/file, nats://bucket/key or inline:", "reference "+format, args...)
	}
	switch {
	case uri == "":
		return bad("without a uri")
	case len(uri) > maxURI:
		return bad("with a uri of %d bytes, at most %d are allowed", len(uri), maxURI)
	case uri == "inline:":
		return location{scheme: "inline"}, nil
	case strings.HasPrefix(uri, "blob:"):
		sha := strings.TrimPrefix(uri, "blob:")
		if !validSHA(sha) {
			return bad("%s is not blob: and 64 lower-case hexadecimal digits", show(uri))
		}
		return location{scheme: "blob", path: sha}, nil
	}
	if what := suspicious(uri); what != "" {
		return bad("%s contains %s", show(uri), what)
	}
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return bad("%s is no absolute uri", show(uri))
	}
	if scheme != "file" && scheme != "nats" {
		return location{}, fault("unsupported_scheme", "copy the data below an allowed folder or into an allowed object store bucket",
			"reference %s: this worker reads file://, nats:// and inline:", show(uri))
	}
	if strings.ContainsRune(rest, '?') {
		return bad("%s has a query (write ? in a name as %%3F)", show(uri))
	}
	if strings.ContainsRune(rest, '#') {
		return bad("%s has a fragment (write # in a name as %%23)", show(uri))
	}
	host, raw, slash := strings.Cut(rest, "/")
	switch {
	case strings.ContainsRune(host, '@'):
		return bad("%s has a user name", show(uri))
	case strings.ContainsRune(host, ':'):
		return bad("%s has a port", show(uri))
	case !slash || raw == "":
		return bad("%s names no file or key", show(uri))
	case scheme == "file" && host != "":
		return bad("%s names a host: a file is file:// and an absolute path, with three slashes", show(uri))
	case scheme == "nats" && !validBucket(host):
		return bad("%s has no valid bucket name", show(uri))
	}
	if what := encoded(raw); what != "" {
		return bad("%s contains %s", show(uri), what)
	}
	key, err := url.PathUnescape(raw)
	if err != nil {
		return bad("%s has a broken percent-encoding (write %% in a name as %%25)", show(uri))
	}
	if what := suspicious(key); what != "" {
		return bad("%s contains %s", show(uri), what)
	}
	if what := encoded(key); what != "" {
		return bad("%s contains %s, encoded twice", show(uri), what)
	}
	loc := location{scheme: scheme, bucket: host, path: key}
	if scheme == "file" { // a folder may be written with a slash at its end
		key = strings.TrimSuffix(key, "/")
		loc.path = "/" + key
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return bad("%s has the path segment %s", show(uri), quote(segment))
		}
	}
	if scheme == "nats" && len(key) > maxKey {
		return bad("%s has a key of %d bytes, at most %d are allowed", show(uri), len(key), maxKey)
	}
	return loc, nil
}

func suspicious(s string) string {
	if !utf8.ValidString(s) {
		return "invalid UTF-8"
	}
	for _, r := range s {
		switch {
		case r == '\\':
			return "a backslash"
		case r == 0:
			return "a NUL"
		case r < ' ' || r == 0x7f:
			return "a control character"
		}
	}
	return ""
}

// encoded finds percent-encodings that only serve to get past a check.
func encoded(s string) string {
	lower := strings.ToLower(s)
	for _, e := range []string{"%2e", "%2f", "%5c", "%00"} {
		if strings.Contains(lower, e) {
			return "an encoded dot, slash, backslash or NUL"
		}
	}
	return ""
}

func validBucket(name string) bool {
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return name != "" && len(name) <= 255
}

// show quotes a URI for a message without what may be secret in it: user name
// and password, query, fragment.
func show(uri string) string {
	if i := strings.IndexAny(uri, "?#"); i >= 0 {
		uri = uri[:i] + "…"
	}
	if scheme, rest, ok := strings.Cut(uri, "://"); ok {
		host, path, _ := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			uri = scheme + "://…@" + host[i+1:] + "/" + path
		}
	}
	return quote(uri)
}

// formatOf decides the format of a reference to a path. "" means that the
// extension does not tell.
func formatOf(format, name string) (string, error) {
	ext := strings.ToLower(path.Ext(name))
	switch ext {
	case ".pt", ".pth", ".pkl", ".pickle", ".joblib":
		return "", pickle("a " + ext + " file is a pickle")
	}
	switch format {
	case "npy", "npz", "parquet", "safetensors", "csv", "jsonl", "json", "txt", "lightly", "coco", "ultralytics", "fiftyone":
		return format, nil
	case "pt", "pth", "pkl", "pickle", "joblib":
		return "", pickle("format " + format + " is a pickle")
	case "":
	default:
		return "", fault("unsupported_format", "formats are npy, npz, parquet, safetensors, csv, jsonl, lightly, coco, ultralytics and fiftyone, and json and txt for filenames", "unknown format %s", quote(format))
	}
	switch ext {
	case ".npy", ".npz", ".parquet", ".safetensors", ".csv", ".jsonl", ".json", ".txt":
		return ext[1:], nil
	case ".ndjson":
		return "jsonl", nil
	}
	return "", nil
}
