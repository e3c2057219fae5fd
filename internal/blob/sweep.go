package blob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Sweep removes the blobs that were last put before olderThan and that keep
// does not want, and left-overs of interrupted writes as old. It returns how
// many blobs it removed. A blob that is put again at the same moment stays:
// it is moved aside first, and back if it turns out to be new. olderThan must
// leave time between a Put and its becoming known to keep.
//
// Where the folder is a cache this is done in the bucket, and blobs are removed
// from the folder that were not used since olderThan.
func (s *Store) Sweep(ctx context.Context, keep func(sha string) bool, olderThan time.Time) (removed int, err error) {
	if s.remote != nil {
		removed, err = s.remote.sweep(ctx, keep, olderThan)
		_, cacheErr := s.sweepFolder(ctx, func(string) bool { return false }, olderThan)
		return removed, errors.Join(err, cacheErr)
	}
	return s.sweepFolder(ctx, keep, olderThan)
}

func (s *Store) sweepFolder(ctx context.Context, keep func(sha string) bool, olderThan time.Time) (removed int, err error) {
	var faults []error
	for i := range 256 {
		if ctx.Err() != nil {
			return removed, context.Cause(ctx)
		}
		dir := filepath.Join(s.dir, fmt.Sprintf("%02x", i))
		entries, err := os.ReadDir(dir)
		faults = append(faults, err)
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !validSHA(e.Name()) || !info.ModTime().Before(olderThan) || keep(e.Name()) {
				continue
			}
			gone, err := s.remove(filepath.Join(dir, e.Name()), olderThan)
			faults = append(faults, err)
			if gone {
				removed++
			}
		}
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, tempDir))
	faults = append(faults, err)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().Before(olderThan) {
			os.Remove(filepath.Join(s.dir, tempDir, e.Name()))
		}
	}
	return removed, errors.Join(faults...)
}

func (s *Store) remove(path string, olderThan time.Time) (bool, error) {
	aside := filepath.Join(s.dir, tempDir, "swept-"+filepath.Base(path))
	if err := os.Rename(path, aside); err != nil {
		return false, ignoreMissing(err)
	}
	info, err := os.Stat(aside)
	if err == nil && !info.ModTime().Before(olderThan) {
		return false, os.Rename(aside, path)
	}
	return err == nil, ignoreMissing(os.Remove(aside))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
