package blob

import (
	"context"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

const (
	maxPieces   = 100_000  // files of one reference
	maxKeyBytes = 16 << 20 // and of their keys
)

// piece is one of the files of a reference to several.
type piece struct {
	loc location
	ref Ref
}

func (p piece) name() string {
	if p.ref.URI != "" {
		return show(p.ref.URI)
	}
	if p.loc.scheme == "file" {
		return quote("file://" + p.loc.path)
	}
	return quote(p.loc.scheme + "://" + p.loc.bucket + "/" + p.loc.path)
}

// rowFormats are the formats that may be spread over several files.
var rowFormats = []string{"npy", "npz", "parquet", "safetensors", "csv", "jsonl", "json", "txt"}

// severalOf returns the files of a reference to more than one: those that it
// lists, or, sorted by name, those below a folder or a prefix. Nil means that
// it is one file, or a folder that is a format of its own.
func (o *Opener) severalOf(ctx context.Context, ref Ref, loc location) (pieces []piece, format string, err error) {
	switch {
	case ref.Files != nil:
		pieces, err = listed(ref)
	case loc.folder && slices.Contains(treeFormats, ref.Format):
		return nil, "", nil
	case loc.folder && ref.Format != "" && !slices.Contains(rowFormats, ref.Format):
		return nil, "", fault("unsupported_format", "copy the folder below an allowed folder, or write jsonl", "is a prefix: there files are read as %s and %s, not %s", strings.Join(rowFormats, ", "), strings.Join(treeFormats, ", "), quote(ref.Format))
	case loc.folder:
		if pieces, err = o.listCloud(ctx, loc, false); ref.Format == "" && isTree(loc, pieces) {
			return nil, "", err
		}
	case loc.scheme == "file" && (ref.Format == "" || slices.Contains(rowFormats, ref.Format)):
		pieces, err = o.listFolder(ctx, ref, loc)
	}
	if err != nil || pieces == nil {
		return nil, "", err
	}
	if ref.SHA256 != "" || ref.Size != 0 {
		return nil, "", fault("bad_reference", "leave sha256 and size out, or list the files with those of each under files", "is several files, which have neither one digest nor one size")
	}
	if format, err = sameFormat(ref.Format, pieces); err != nil {
		return nil, "", err
	}
	if loc.scheme == "file" && ref.Format == "" && !slices.Contains(rowFormats, format) {
		return nil, "", nil // the folder of a prediction tree
	}
	return pieces, format, nil
}

// listed returns the files that a reference lists, in its order.
func listed(ref Ref) ([]piece, error) {
	switch {
	case ref.URI != "" || len(ref.Data) > 0:
		return nil, fault("bad_reference", "give one of them", "reference has both files and a uri or data")
	case len(ref.Files) == 0:
		return nil, fault("bad_reference", "", "reference lists no files")
	case len(ref.Files) > maxPieces:
		return nil, tooMany()
	}
	pieces := make([]piece, 0, len(ref.Files))
	seen := map[location]bool{}
	var twice offenders
	for _, f := range ref.Files {
		loc, err := locate(f.URI)
		if err != nil {
			return nil, err
		}
		p := piece{loc, Ref{URI: f.URI, Format: ref.Format, SHA256: f.SHA256, Size: f.Size}}
		switch {
		case loc.scheme == "inline":
			return nil, fault("bad_reference", "write the rows into one reference", "reference lists inline: among its files")
		case loc.folder:
			return nil, fault("bad_reference", "give the prefix as the uri, or list its files", "reference lists the prefix %s among its files", p.name())
		case seen[loc]:
			twice.add("%s", p.name())
		}
		seen[loc] = true
		pieces = append(pieces, p)
	}
	if twice.count > 0 {
		return nil, fault("bad_reference", "list each file once", "reference: %d of %d files are there before (%s)", twice.count, len(pieces), &twice)
	}
	return pieces, nil
}

func tooMany() error {
	return fault("reference_too_large", "write fewer, larger files, or point nearer to them", "holds more than %d files", maxPieces)
}

// sameFormat returns the format of all pieces.
func sameFormat(format string, pieces []piece) (string, error) {
	var others offenders
	first := ""
	for i, p := range pieces {
		f, err := formatOf(format, p.loc.path)
		if err != nil {
			return "", (&File{name: p.name()}).named(err)
		}
		if i == 0 {
			first = f
		} else if f != first {
			others.add("%s", p.name())
		}
	}
	if others.count > 0 {
		return "", fault("bad_reference", "write all files in one format, or set format if only their names differ", "%d of %d files do not have the format of %s (%s)", others.count, len(pieces), pieces[0].name(), &others)
	}
	return first, nil
}

// listing collects the files below a folder or a prefix. Names that begin with
// a dot or an underscore are left out, as Spark and Hadoop do with what
// they write beside the data.
type listing struct {
	prefix location
	all    bool // nothing is left out
	seen   int
	bytes  int
	bad    offenders
	pieces []piece
}

func (l *listing) add(key string, size int64) error {
	if l.seen++; l.seen > maxPieces {
		return tooMany()
	}
	if l.bytes += len(key); l.bytes > maxKeyBytes {
		return fault("reference_too_large", "write fewer, larger files", "holds names of more than %d bytes", maxKeyBytes)
	}
	marker := strings.HasSuffix(key, "/") && size == 0 // what consoles make for an empty folder
	if marker && (key == l.prefix.path || checkSegments(key, true) == nil) {
		return nil
	}
	what := suspicious(key)
	if what == "" {
		what = encoded(key)
	}
	if what != "" {
		what = "contains " + what
	}
	if err := checkSegments(strings.TrimPrefix(key, "/"), false); what == "" && err != nil {
		what = err.Error()
	}
	if what != "" {
		l.bad.add("%s %s", quote(key), what)
		return nil
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(key, l.prefix.path), "/") {
		if !l.all && (strings.HasPrefix(segment, "_") || strings.HasPrefix(segment, ".")) {
			return nil
		}
	}
	loc := location{scheme: l.prefix.scheme, bucket: l.prefix.bucket, path: key}
	l.pieces = append(l.pieces, piece{loc, Ref{Size: size}})
	return nil
}

// refuse counts a name that cannot be used.
func (l *listing) refuse(name, why string) {
	l.seen++
	l.bad.add("%s %s", quote(name), why)
}

func (l *listing) done() ([]piece, error) {
	if l.bad.count > 0 {
		return nil, fault("bad_reference", "remove them, or list the others under files", "%d of %d names cannot be used (%s)", l.bad.count, l.seen, &l.bad)
	}
	if len(l.pieces) == 0 {
		return nil, &Error{Code: "reference_missing", Message: "holds no files", Hint: "write the files before sending the event", Transient: true}
	}
	slices.SortFunc(l.pieces, func(a, b piece) int { return strings.Compare(a.loc.path, b.loc.path) })
	return l.pieces, nil
}

// listFolder lists the files below a folder, nil where it is a file or a
// prediction tree.
func (o *Opener) listFolder(ctx context.Context, ref Ref, loc location) ([]piece, error) {
	dir, rel, ok := o.below(loc.path)
	if !ok {
		return nil, nil // opening it says so
	}
	if info, err := dir.Stat(rel); err != nil || !info.IsDir() {
		return nil, nil
	}
	if ref.Format == "" {
		for _, name := range []string{"schema.json", "tasks.json"} {
			if _, err := dir.Stat(path.Join(rel, name)); err == nil {
				return nil, nil
			}
		}
	}
	loc.path += "/"
	list := &listing{prefix: loc}
	if err := walkFolder(ctx, dir, rel, loc.path, 0, list); err != nil {
		return nil, err
	}
	if ref.Format == "" && len(list.pieces) == 0 {
		return nil, nil
	}
	return list.done()
}

// walkFolder adds the files below rel, whose names in a URI begin with prefix.
func walkFolder(ctx context.Context, dir *os.Root, rel, prefix string, depth int, list *listing) error {
	if depth > maxDepth {
		return fault("bad_reference", "", "has folders nested deeper than %d levels", maxDepth)
	}
	d, err := dir.Open(rel)
	if err != nil {
		return pathError(err)
	}
	defer d.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := d.ReadDir(1024)
		for _, e := range entries {
			name := path.Join(rel, e.Name())
			if e.IsDir() {
				if err := walkFolder(ctx, dir, name, prefix+e.Name()+"/", depth+1, list); err != nil {
					return err
				}
				continue
			}
			info, err := dir.Stat(name)
			if err != nil {
				refusal, ok := pathError(err).(*Error)
				if !ok {
					return err
				}
				list.refuse(name, refusal.Message)
				continue
			}
			if info.IsDir() {
				list.refuse(name, "is a symbolic link to a folder")
				continue
			}
			if err := list.add(prefix+e.Name(), info.Size()); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
