package blob

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxURI = 4096
	maxKey = 1024 // bytes of a key, or of a path below its folder
)

// location is a URI taken apart.
type location struct {
	scheme string // file, nats, s3, gs, azblob, https, blob or inline
	bucket string // of nats, s3, gs and azblob; of https the host, with its port
	path   string // an absolute path, a key without leading slash, or a digest
	folder bool   // of s3, gs and azblob: path ends with a slash and stands for what is below it
	query  string // of https
}

const wantURI = "want file:///path/to/file, nats://bucket/key, s3://bucket/key, gs://bucket/key, azblob://container/key, https://host/path or inline:"

// locate takes a URI apart: file:///path, scheme://bucket/key,
// https://host/path?query, blob:sha256 or inline:.
// Whatever could mean something else to some other reader of URIs is refused.
// Percent-encoding is undone once.
func locate(uri string) (location, error) {
	switch {
	case uri == "":
		return location{}, fault("bad_reference", wantURI, "reference without a uri")
	case len(uri) > maxURI:
		return badURI("with a uri of %d bytes, at most %d are allowed", len(uri), maxURI)
	case uri == "inline:":
		return location{scheme: "inline"}, nil
	case strings.HasPrefix(uri, "blob:"):
		sha := strings.TrimPrefix(uri, "blob:")
		if !validSHA(sha) {
			return badURI("%s is not blob: and 64 lower-case hexadecimal digits", show(uri))
		}
		return location{scheme: "blob", path: sha}, nil
	}
	if what := suspicious(uri); what != "" {
		return badURI("%s contains %s", show(uri), what)
	}
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return badURI("%s is no absolute uri", show(uri))
	}
	switch scheme {
	case "file", "nats", "s3", "gs", "azblob", "https":
	default:
		return location{}, fault("unsupported_scheme", "copy the data below an allowed folder or into an allowed bucket",
			"reference %s: this worker reads file://, nats://, s3://, gs://, azblob://, https:// and inline:", show(uri))
	}
	if strings.ContainsRune(rest, '#') {
		return badURI("%s has a fragment (write # in a name as %%23)", show(uri))
	}
	rest, query, queried := strings.Cut(rest, "?")
	host, raw, slash := strings.Cut(rest, "/")
	switch {
	case queried && scheme != "https":
		return badURI("%s has a query (write ? in a name as %%3F)", show(uri))
	case strings.ContainsRune(query, ' '):
		return badURI("%s has a space in its query (write it as %%20)", show(uri))
	case strings.ContainsRune(host, '@'):
		return badURI("%s has a user name", show(uri))
	case strings.ContainsRune(host, ':') && scheme != "https":
		return badURI("%s has a port", show(uri))
	case !slash || raw == "":
		return badURI("%s names no file or key", show(uri))
	case scheme == "file" && host != "":
		return badURI("%s names a host: a file is file:// and an absolute path, with three slashes", show(uri))
	case scheme == "https" && !validHost(host):
		return badURI("%s has no valid host", show(uri))
	case scheme == "nats" && !validBucket(host), cloudScheme(scheme) && !validCloudBucket(host):
		return badURI("%s has no valid bucket name", show(uri))
	}
	key, err := keyOf(uri, raw)
	if err != nil {
		return location{}, err
	}
	loc := location{scheme: scheme, bucket: strings.ToLower(host), path: key, query: query}
	switch {
	case scheme == "nats":
		loc.bucket = host
	case scheme == "file": // a folder may be written with a slash at its end
		key = strings.TrimSuffix(key, "/")
		loc.path = "/" + key
	case cloudScheme(scheme):
		loc.folder = strings.HasSuffix(key, "/")
	}
	if err := checkSegments(key, loc.folder); err != nil {
		return badURI("%s %s", show(uri), err)
	}
	if scheme != "file" && len(key) > maxKey {
		return badURI("%s has a key of %d bytes, at most %d are allowed", show(uri), len(key), maxKey)
	}
	return loc, nil
}

func badURI(format string, args ...any) (location, error) {
	return location{}, fault("bad_reference", wantURI, "reference "+format, args...)
}

// keyOf decodes the path of a URI.
func keyOf(uri, raw string) (string, error) {
	if what := encoded(raw); what != "" {
		_, err := badURI("%s contains %s", show(uri), what)
		return "", err
	}
	key, err := url.PathUnescape(raw)
	if err != nil {
		_, err = badURI("%s has a broken percent-encoding (write %% in a name as %%25)", show(uri))
		return "", err
	}
	if what := suspicious(key); what != "" {
		_, err = badURI("%s contains %s", show(uri), what)
		return "", err
	}
	if what := encoded(key); what != "" {
		_, err = badURI("%s contains %s, encoded twice", show(uri), what)
		return "", err
	}
	return key, nil
}

// checkSegments refuses a key or a relative path that some readers would not
// take as it stands. That of a folder ends with a slash.
func checkSegments(key string, folder bool) error {
	if folder {
		key = strings.TrimSuffix(key, "/")
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return fmt.Errorf("has the path segment %s", quote(segment))
		}
	}
	return nil
}

func cloudScheme(scheme string) bool { return scheme == "s3" || scheme == "gs" || scheme == "azblob" }

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

// validCloudBucket allows what any of the three clouds allows.
func validCloudBucket(name string) bool {
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-_.$", c) >= 0) {
			return false
		}
	}
	return name != "" && len(name) <= 255 && !strings.Contains(name, "..")
}

// validHost reports whether this is a name or an address, with a port or not.
// Numbers that only some readers take for addresses (127.1, 0x7f000001) are
// none.
func validHost(host string) bool {
	name, port, ported := strings.Cut(host, ":")
	if strings.HasPrefix(host, "[") {
		name, port, ported = strings.Cut(host[1:], "]")
		if addr, err := netip.ParseAddr(name); err != nil || !ported || addr.Zone() != "" || port != "" && port[0] != ':' {
			return false
		}
		port, ported = strings.CutPrefix(port, ":")
	} else {
		last := name[strings.LastIndexByte(name, '.')+1:]
		for _, c := range []byte(strings.ToLower(name)) {
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
				return false
			}
		}
		if _, err := netip.ParseAddr(name); err != nil && (last == "" || last[0] >= '0' && last[0] <= '9') {
			return false
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); ported && (err != nil || n == 0) {
		return false
	}
	return len(name) <= 253
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
