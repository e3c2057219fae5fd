// Package blob reads what events refer to, and keeps what is too large for an
// event or a record.
//
// An Opener turns a reference into a File, by allow-list only: a URI from an
// event names a file below a configured folder or an object in a configured
// bucket, and is handed to nothing that opens URLs but, for configured hosts,
// a client that connects to checked addresses only. The Read functions
// decode a File into the row types of package score. Everything read comes
// from outside: size, shape and digest are checked before memory is taken, and
// no input makes a decoder panic. Pickle is refused, because unpickling runs
// code.
//
// A Store is a folder of content-addressed blobs, or a bucket with a folder as its
// cache.
//
// The package decides nothing about what rows mean: whether probabilities sum
// to one, or a dataset knows a filename, is the business of its callers.
package blob

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Ref points to embeddings, predictions or a list of filenames. It has the
// fields of events.Reference, so that one converts to the other.
type Ref struct {
	URI    string          // file:///path, nats://bucket/key, s3://bucket/key, gs://…, azblob://…, https://…, blob:sha256, inline:; a folder or a prefix that ends with a slash is all files below it
	Files  []FileRef       // instead of URI: several files, which are one after another
	Format string          // npy, npz, parquet, safetensors, csv, jsonl, json, txt, lightly, coco, ultralytics, fiftyone; "" means by extension
	SHA256 string          // lower-case hex of the bytes; "" means unchecked
	Size   int64           // bytes; 0 means unchecked
	Data   json.RawMessage // with inline: only, an array of rows
}

// FileRef is one of several files of a reference.
type FileRef struct {
	URI    string
	SHA256 string
	Size   int64
}

// Error is a failure that whoever sent the reference can cause. Codes are
// stable:
//
//	bad_reference          the URI or another field is malformed
//	unsupported_scheme     none of those of Ref
//	unsupported_format     unknown, or not one for this kind of data
//	reference_not_allowed  outside the allowed folders, buckets and hosts, or no regular file
//	reference_missing      no such file or object (transient)
//	reference_unreadable   the worker may not, or could not, read it (transient)
//	reference_changed      written to while it was read (transient)
//	reference_too_large    more bytes, rows, columns or memory than allowed
//	memory_short           more memory than Limit left (transient)
//	size_mismatch          not of the declared size
//	digest_mismatch        not of the declared SHA-256
//	empty_file             0 bytes
//	pickle_refused         a pickle, or an array of Python objects
//	bad_npy, bad_npz, bad_parquet, bad_safetensors, bad_csv, bad_json, bad_txt, bad_tree, bad_coco, bad_ultralytics, bad_fiftyone  not what the format promises
//	bad_shape              an array of another rank, or rows of unequal length
//	bad_filename, duplicate_filenames, not_finite  counted, the first few named
type Error struct {
	Code    string
	Message string // what is wrong, with the reference; lower case
	Hint    string // what to do about it; may be empty
	// Transient means that the same reference may be good later.
	Transient bool
	Short     int64 // bytes that memory_short is about, at least
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func fault(code, hint, format string, args ...any) *Error {
	return &Error{Code: code, Hint: hint, Message: fmt.Sprintf(format, args...)}
}

// coded makes an *Error of an error that is not final.
func coded(code, hint string, err error) error {
	if err == nil || final(err) {
		return err
	}
	return fault(code, hint, "%s", err)
}

const pickleHint = `unpickling runs code; convert with np.savez(out, filenames=np.array(names), probs=t.softmax(1).cpu().numpy().astype("float32"))`

func pickle(what string) error {
	return fault("pickle_refused", pickleHint, "%s", what)
}

// quote makes text from outside fit for a message.
func quote[T ~string | ~[]byte](text T) string {
	const limit = 120
	if len(text) <= limit {
		return strconv.Quote(string(text))
	}
	end := limit
	for end > limit-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return strconv.Quote(string(text[:end])) + "…"
}

// maxFirst is how many offenders a message names.
const maxFirst = 3

// offenders counts what is wrong and keeps the first few.
type offenders struct {
	count int
	first []string
}

func (o *offenders) add(format string, args ...any) {
	if o.count++; o.count <= maxFirst {
		o.first = append(o.first, fmt.Sprintf(format, args...))
	}
}

func (o *offenders) String() string {
	s := "first " + strings.Join(o.first, ", ")
	if o.count > len(o.first) {
		s += ", …"
	}
	return s
}
