package blob

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"gocloud.dev/blob"
	"golang.org/x/sync/errgroup"
)

// treeFormats are the folders of JSON and text that may be below a prefix.
// FiftyOne's have the images in them.
var treeFormats = []string{"lightly", "coco", "ultralytics"}

const treePrefix = "reference-tree-"

// isTree reports whether files below a prefix are a prediction tree.
func isTree(loc location, pieces []piece) bool {
	return slices.ContainsFunc(pieces, func(p piece) bool {
		name := strings.TrimPrefix(p.loc.path, loc.path)
		return name == "schema.json" || name == "tasks.json"
	})
}

// openCloudTree copies the JSON and text files below a prefix into a folder,
// which is removed when the file is closed.
func (o *Opener) openCloudTree(ctx context.Context, loc location) (_ *File, err error) {
	pieces, err := o.listCloud(ctx, loc, true)
	if err != nil {
		return nil, err
	}
	pieces = slices.DeleteFunc(pieces, func(p piece) bool {
		ext := path.Ext(p.loc.path)
		return ext != ".json" && ext != ".txt"
	})
	total := int64(0)
	for _, p := range pieces {
		total += p.ref.Size
	}
	if err := o.checkSize(total, Ref{}); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.cfg.TempDir, treePrefix+"*")
	if err != nil {
		return nil, err
	}
	f := &File{ctx: ctx, copied: dir}
	if f.tree, err = os.OpenRoot(dir); err == nil {
		err = o.copyTree(ctx, f.tree, loc, pieces)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// copyTree copies several files at a time: they are small, and each costs a
// round trip.
func (o *Opener) copyTree(ctx context.Context, to *os.Root, loc location, pieces []piece) error {
	bucket, err := o.bucketOf(loc)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, p := range pieces {
		g.Go(func() error {
			err := o.copyPiece(ctx, bucket, to, strings.TrimPrefix(p.loc.path, loc.path), p)
			if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.EEXIST) {
				err = fault("bad_reference", "rename one of them", "is a file and a folder")
			}
			return (&File{name: p.name()}).named(err)
		})
	}
	return g.Wait()
}

func (o *Opener) copyPiece(ctx context.Context, bucket *blob.Bucket, to *os.Root, name string, p piece) error {
	if dir := path.Dir(name); dir != "." {
		if err := to.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	slow, pulse := watched(ctx, o.cfg.Stall)
	defer pulse.stop()
	r, err := bucket.NewReader(slow, p.loc.path, nil)
	if err != nil {
		return cloudError(slow, err)
	}
	defer r.Close()
	if r.Size() != p.ref.Size {
		return &Error{Code: "reference_changed", Message: "was written to while it was read", Hint: "write new files, then send the event", Transient: true}
	}
	h, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer h.Close()
	n, err := io.Copy(io.MultiWriter(h, pulse), io.LimitReader(r, p.ref.Size+1))
	switch {
	case err != nil:
		return cloudError(slow, err)
	case n != p.ref.Size:
		return unreadable("ended after %d of %d bytes", n, p.ref.Size)
	}
	return h.Close()
}

// removeTrees removes the folders of processes that died: no attempt at an
// event takes a day.
func removeTrees(dir string) {
	if dir == "" {
		dir = os.TempDir()
	}
	left, _ := filepath.Glob(filepath.Join(dir, treePrefix+"*"))
	for _, tree := range left {
		if info, err := os.Lstat(tree); err == nil && info.IsDir() && time.Since(info.ModTime()) > 24*time.Hour {
			os.RemoveAll(tree)
		}
	}
}
