package blob

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Config says what references may point to.
type Config struct {
	Roots     []string            // folders below which file:// references are allowed; must exist
	Buckets   []string            // object store buckets that nats:// references may name
	JetStream jetstream.JetStream // where the buckets are; needed with Buckets
	Blobs     *Store              // what blob: references name; nil allows none
	Clouds    []Bucket            // what s3://, gs:// and azblob:// references may name
	Hosts     []string            // hosts that https:// references may name, as host or host:port; none allow none
	Networks  []netip.Prefix      // where these hosts may be besides the public internet
	MaxBytes  int64               // largest file or object, and what it may unpack to; default 16 GiB
	MaxMemory int64               // most memory that decoding one reference may take; default 4 GiB
	Stall     time.Duration       // how long the next 64 KiB of an object may take; default 10 s
	TempDir   string              // where objects are copied to while they are read; default os.TempDir()
}

const (
	defaultMaxBytes  = 16 << 30
	defaultMaxMemory = 4 << 30
)

// Opener opens references by allow-list. It may be used concurrently.
type Opener struct {
	cfg     Config
	roots   []root
	buckets map[string]bool
	web     *web
}

// root is an allowed folder.
type root struct {
	dir   *os.Root
	paths []string // under which URIs may know it: as configured, and without symlinks
}

// Check says which of the names of buckets and hosts are none.
func (c Config) Check() error {
	var faults []error
	for _, bucket := range c.Buckets {
		if !validBucket(bucket) {
			faults = append(faults, fmt.Errorf("%q is no bucket name", bucket))
		}
	}
	for _, host := range c.Hosts {
		if !validHost(host) {
			faults = append(faults, fmt.Errorf("%q is no host of references: want host or host:port", host))
		}
	}
	return errors.Join(faults...)
}

// NewOpener opens the roots and checks the rest.
func NewOpener(cfg Config) (*Opener, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	if cfg.MaxMemory == 0 {
		cfg.MaxMemory = defaultMaxMemory
	}
	if cfg.Stall == 0 {
		cfg.Stall = 10 * time.Second
	}
	removeTrees(cfg.TempDir)
	o := &Opener{cfg: cfg, buckets: map[string]bool{}, web: newWeb(cfg.Hosts, cfg.Networks, cfg.Stall)}
	faults := []error{cfg.Check()}
	if cfg.MaxBytes < 0 || cfg.MaxMemory < 0 || cfg.Stall < 0 {
		faults = append(faults, errors.New("a negative limit of references"))
	}
	for _, bucket := range cfg.Buckets {
		o.buckets[bucket] = true
	}
	faults = append(faults, checkClouds(cfg.Clouds))
	if len(cfg.Buckets) > 0 && cfg.JetStream == nil {
		faults = append(faults, errors.New("buckets without JetStream"))
	}
	for _, path := range cfg.Roots {
		r, err := openRoot(path)
		if err != nil {
			faults = append(faults, fmt.Errorf("folder of references: %w", err))
			continue
		}
		o.roots = append(o.roots, r)
	}
	if err := errors.Join(faults...); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

func openRoot(path string) (root, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return root{}, err
	}
	dir, err := os.OpenRoot(abs)
	if err != nil {
		return root{}, err
	}
	r := root{dir: dir, paths: []string{abs}}
	if real, err := filepath.EvalSymlinks(abs); err == nil && real != abs {
		r.paths = append(r.paths, real)
	}
	return r, nil
}

// Close closes the roots. Open files stay open.
func (o *Opener) Close() error {
	var faults []error
	for _, r := range o.roots {
		faults = append(faults, r.dir.Close())
	}
	return errors.Join(faults...)
}

// Open opens what ref points to, after checking that it is allowed, of the
// declared size and digest, and not too large. Of several files this is done
// with each before it is decoded. It returns an *Error for what
// the reference's sender can cause, any other error for what happened to the
// worker. Reading ends when ctx does. The caller closes the file.
func (o *Opener) Open(ctx context.Context, ref Ref) (*File, error) {
	loc, err := locateAll(ref)
	if err != nil {
		return nil, err
	}
	pieces, format, err := o.severalOf(ctx, ref, loc)
	if err != nil {
		return nil, (&File{name: nameOf(ref)}).named(err)
	}
	if pieces == nil {
		return o.openOne(ctx, nameOf(ref), ref, loc)
	}
	return &File{ctx: ctx, name: nameOf(ref), format: format, maxBytes: o.cfg.MaxBytes, memory: o.cfg.MaxMemory,
		several: &several{o, pieces, ref.Files == nil}}, nil
}

// locateAll takes the URI of a reference apart, if it is one.
func locateAll(ref Ref) (location, error) {
	if ref.Files != nil {
		return location{}, nil
	}
	return locate(ref.URI)
}

// nameOf names a reference in messages.
func nameOf(ref Ref) string {
	if len(ref.Files) == 0 {
		return show(ref.URI)
	}
	return fmt.Sprintf("%s and %d more", show(ref.Files[0].URI), len(ref.Files)-1)
}

func (o *Opener) openOne(ctx context.Context, name string, ref Ref, loc location) (*File, error) {
	f, err := o.open(ctx, ref, loc)
	if err != nil {
		f = &File{}
	}
	f.name, f.maxBytes, f.memory = name, o.cfg.MaxBytes, o.cfg.MaxMemory
	if err == nil && f.size == 0 && f.tree == nil {
		err = fault("empty_file", "write the file completely, close it, then send the event", "is empty (0 bytes)")
	}
	if err == nil {
		err = f.check(ref)
	}
	if err != nil {
		f.Close()
		return nil, f.named(err)
	}
	return f, nil
}

func (o *Opener) open(ctx context.Context, ref Ref, loc location) (*File, error) {
	if ref.Size < 0 {
		return nil, fault("bad_reference", "", "has the negative size %d", ref.Size)
	}
	if ref.SHA256 != "" && !validSHA(ref.SHA256) {
		return nil, fault("bad_reference", "give 64 lower-case hexadecimal digits", "has no SHA-256 in sha256 but %s", quote(ref.SHA256))
	}
	format, err := formatOf(ref.Format, loc.path)
	if err != nil {
		return nil, err
	}
	if loc.scheme == "inline" {
		return openInline(ctx, ref)
	}
	if len(ref.Data) > 0 {
		return nil, fault("bad_reference", "set uri to inline: or leave data out", "has both a location and inline data")
	}
	var f *File
	switch loc.scheme {
	case "nats":
		f, err = o.openObject(ctx, loc, ref)
	case "s3", "gs", "azblob":
		f, err = o.openCloud(ctx, loc, ref)
	case "https":
		f, err = o.openWeb(ctx, loc, ref)
	case "blob":
		f, err = o.openBlob(ctx, loc.path)
	default:
		f, err = o.openFile(ctx, loc.path)
	}
	if err != nil {
		return nil, err
	}
	err = f.setFormat(format)
	if err == nil && f.tree != nil && (ref.SHA256 != "" || ref.Size != 0) {
		err = fault("bad_reference", "leave sha256 and size out", "is a folder, which has neither digest nor size")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// setFormat makes a folder a prediction tree, if it is not said to be something
// else, and nothing else one.
func (f *File) setFormat(format string) error {
	f.format = format
	switch {
	case f.tree == nil && format == "ultralytics":
		return fault("bad_ultralytics", "point to the folder of text files; predictions.json has the format coco", "is a file")
	case f.tree == nil && format == "lightly":
		return fault("bad_tree", "point to the folder that holds schema.json", "is a file; a lightly prediction tree is a folder")
	case f.tree != nil && format == "":
		f.format = "lightly"
	case f.tree != nil && !slices.Contains([]string{"lightly", "coco", "ultralytics", "fiftyone"}, format):
		return fault("reference_not_allowed", "only the formats lightly, coco, ultralytics and fiftyone are folders", "is a folder")
	}
	return nil
}

func openInline(ctx context.Context, ref Ref) (*File, error) {
	switch {
	case len(ref.Data) == 0:
		return nil, fault("bad_reference", `add the rows as an array in "data"`, "has no data")
	case ref.SHA256 != "" || ref.Size != 0:
		return nil, fault("bad_reference", "leave sha256 and size out", "is inline, which has neither digest nor size")
	case ref.Format != "" && ref.Format != "json" && ref.Format != "jsonl":
		return nil, fault("unsupported_format", "leave format out", "is a JSON array of rows, not %s", quote(ref.Format))
	}
	return newInline(ctx, ref.Data), nil
}

// openBlob opens a blob. Whoever knows its digest may read it.
func (o *Opener) openBlob(ctx context.Context, sha string) (*File, error) {
	if o.cfg.Blobs == nil {
		return nil, notAllowed("is a blob, and this worker keeps none")
	}
	h, err := o.cfg.Blobs.Open(sha)
	if err != nil {
		return nil, pathError(err)
	}
	return newFile(ctx, h)
}
