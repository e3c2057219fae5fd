package blob

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// openFile opens a path below one of the roots.
func (o *Opener) openFile(ctx context.Context, path string) (*File, error) {
	dir, rel, ok := o.below(path)
	if !ok {
		return nil, notAllowed("is not below a folder that this worker may read")
	}
	return openIn(ctx, dir, rel)
}

// below finds the root that a path lies in.
func (o *Opener) below(path string) (dir *os.Root, rel string, ok bool) {
	for _, r := range o.roots {
		for _, prefix := range r.paths {
			if path == prefix {
				return r.dir, ".", true
			}
			if rel, ok := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/")+"/"); ok {
				return r.dir, rel, true
			}
		}
	}
	return nil, "", false
}

func notAllowed(message string) error {
	return fault("reference_not_allowed", "copy the data below an allowed folder or into an allowed bucket, or have the operator allow this one", "%s", message)
}

// openIn opens a regular file or a folder below dir. Nothing else is opened at
// all: opening a FIFO or a device can block or do harm.
func openIn(ctx context.Context, dir *os.Root, rel string) (*File, error) {
	if len(rel) > maxKey {
		return nil, fault("bad_reference", "", "has a path of %d bytes below its folder, at most %d are allowed", len(rel), maxKey)
	}
	info, err := dir.Stat(rel)
	if err != nil {
		return nil, pathError(err)
	}
	if info.IsDir() {
		sub, err := dir.OpenRoot(rel)
		if err != nil {
			return nil, pathError(err)
		}
		return &File{ctx: ctx, tree: sub}, nil
	}
	h, err := openRegular(dir, rel, info)
	if err != nil {
		return nil, err
	}
	return newFile(ctx, h)
}

// openRegular opens a regular file, as info says it is.
func openRegular(dir *os.Root, rel string, info fs.FileInfo) (*os.File, error) {
	if !info.Mode().IsRegular() {
		return nil, notRegular(info)
	}
	h, err := dir.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may have become a FIFO
	if err != nil {
		return nil, pathError(err)
	}
	if info, err = h.Stat(); err == nil && !info.Mode().IsRegular() {
		err = notRegular(info)
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func notRegular(info fs.FileInfo) error {
	return fault("reference_not_allowed", "point to a regular file", "is no regular file (%s)", info.Mode())
}

// pathError says what an error of an os.Root means to the sender.
func pathError(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return &Error{Code: "reference_missing", Message: "does not exist", Hint: "write the file before sending the event, where every worker sees it", Transient: true}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Code: "reference_unreadable", Message: "the worker may not read it", Hint: "give the worker's user read permission", Transient: true}
	case errors.Is(err, syscall.ELOOP), !errors.As(err, &errno): // what is no system error is os.Root refusing to leave its folder
		return notAllowed("leads out of the allowed folder")
	case errors.Is(err, syscall.ENAMETOOLONG):
		return fault("bad_reference", "", "has a name that is too long")
	}
	return err
}

// OpenPath opens a file or a prediction tree that the user of a command line
// names, with the default limits.
func OpenPath(ctx context.Context, path, format string) (_ *File, err error) {
	name := quote(path)
	defer func() { err = (&File{name: name}).named(err) }()
	if format, err = formatOf(format, path); err != nil {
		return nil, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, pathError(err)
	}
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, pathError(err)
	}
	defer dir.Close()
	f, err := openIn(ctx, dir, filepath.Base(path))
	if err != nil {
		return nil, err
	}
	f.name, f.maxBytes, f.memory = name, defaultMaxBytes, defaultMaxMemory
	if err = f.setFormat(format); err == nil {
		err = f.check(Ref{})
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
