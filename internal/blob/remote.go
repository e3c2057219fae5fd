package blob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// remote is the bucket that holds the blobs of a Store whose folder is a cache:
//
//	<prefix><first two digits>/<all 64 digits>
//	<prefix>swept/<all 64 digits>/<random>     while somebody removes the blob
//
// A bucket cannot be told to remove an object only if it is still as old as it
// was. So who sweeps marks the blob first, then looks at its age again,
// removes it, and takes the mark away; and who puts looks, after the blob is
// there, for marks, and then whether it still is. Of a removal that saw the
// age before the blob was put, either the mark or the effect is seen.
type remote struct {
	bucket *blob.Bucket
	prefix string
	fresh  time.Duration // a blob this young is not put again: far below any age at which blobs are swept
	void   time.Duration // a mark this old is of somebody who died; removing takes a tenth at most
	stall  time.Duration // for leastBytes
}

// OpenRemote returns a store whose blobs are in a bucket, below its prefix. Dir is
// a cache: what was read or put is kept there until Sweep finds it unused,
// so that it can be mapped into memory. Any number of processes may share the
// bucket, and the folder.
func OpenRemote(dir string, bucket Bucket) (*Store, error) {
	s, err := OpenStore(dir)
	if err != nil {
		return nil, err
	}
	s.remote = &remote{bucket: bucket.Handle, prefix: bucket.Prefix, fresh: 24 * time.Hour, void: 10 * time.Minute, stall: time.Minute}
	return s, nil
}

func (r *remote) key(sha string) string { return r.prefix + sha[:2] + "/" + sha }

func (r *remote) marks(sha string) string { return r.prefix + "swept/" + sha + "/" }

// attributes returns those of a blob, nil if it is not there.
func (r *remote) attributes(ctx context.Context, sha string) (*blob.Attributes, error) {
	slow, p := watched(ctx, r.stall)
	defer p.stop()
	a, err := r.bucket.Attributes(slow, r.key(sha))
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, nil
	}
	return a, r.explain(sha, err)
}

func (r *remote) explain(sha string, err error) error {
	switch {
	case err == nil:
		return nil
	case gcerrors.Code(err) == gcerrors.NotFound:
		return fmt.Errorf("blob %s in its bucket: %w", sha, fs.ErrNotExist)
	}
	return fmt.Errorf("blob %s in its bucket: %w", sha, err)
}

// put makes a file of the cache durable in the bucket.
func (r *remote) put(ctx context.Context, file, sha string, size int64) error {
	for {
		a, err := r.attributes(ctx, sha)
		if err != nil {
			return err
		}
		if a == nil || a.Size != size || time.Since(a.ModTime) > r.fresh {
			if err := r.upload(ctx, file, sha); err != nil {
				return err
			}
		}
		marked, err := r.marked(ctx, sha)
		if err != nil {
			return err
		}
		if !marked {
			if a, err = r.attributes(ctx, sha); err != nil || a != nil {
				return err
			}
			continue
		}
		select { // somebody removes it, or did
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(r.void / 1000):
		}
	}
}

func (r *remote) upload(ctx context.Context, file, sha string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	slow, p := watched(ctx, r.stall)
	defer p.stop()
	err = r.bucket.Upload(slow, r.key(sha), io.TeeReader(f, p), &blob.WriterOptions{ContentType: "application/octet-stream"})
	return r.explain(sha, err)
}

// marked reports whether somebody is removing a blob.
func (r *remote) marked(ctx context.Context, sha string) (bool, error) {
	slow, p := watched(ctx, r.stall)
	defer p.stop()
	marks, _, err := r.bucket.ListPage(slow, blob.FirstPageToken, 100, &blob.ListOptions{Prefix: r.marks(sha)})
	for _, m := range marks {
		if time.Since(m.ModTime) < r.void {
			return true, nil
		}
	}
	return false, r.explain(sha, err)
}

// fetch copies a blob from the bucket into the cache.
func (s *Store) fetch(ctx context.Context, sha string) error {
	r := s.remote
	slow, p := watched(ctx, r.stall)
	defer p.stop()
	body, err := r.bucket.NewReader(slow, r.key(sha), nil)
	if err != nil {
		return r.explain(sha, err)
	}
	defer body.Close()
	w, err := s.Create()
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := io.Copy(io.MultiWriter(w, p), body); err != nil {
		return r.explain(sha, err)
	}
	if hex.EncodeToString(w.hash.Sum(nil)) != sha {
		return fmt.Errorf("blob %s is damaged in its bucket: its bytes have another digest", sha)
	}
	return w.publish(sha)
}

// keep makes a blob of the folder durable where blobs are kept.
func (s *Store) keep(ctx context.Context, sha string, size int64) error {
	if s.remote == nil {
		return nil
	}
	file, err := s.path(sha)
	if err != nil {
		return err
	}
	return s.remote.put(ctx, file, sha, size)
}

// open opens a blob, from the bucket if it has to be.
func (s *Store) open(ctx context.Context, sha string) (*os.File, error) {
	file, err := s.path(sha)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if s.remote == nil || !errors.Is(err, fs.ErrNotExist) {
		if err == nil && s.remote != nil {
			now := time.Now()
			os.Chtimes(file, now, now) // used: Sweep leaves it in the cache
		}
		return f, err
	}
	if err := s.fetch(ctx, sha); err != nil {
		return nil, err
	}
	return os.Open(file)
}

// damaged is the error of a blob with another digest. From a cache it is removed:
// the next attempt gets it from the bucket.
func (s *Store) damaged(sha string) error {
	err := fmt.Errorf("blob %s is damaged: its bytes have another digest", sha)
	if file, pathErr := s.path(sha); pathErr == nil && s.remote != nil {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

// sweep removes the blobs that were last put before olderThan and that keep
// does not want, and the marks of those who died.
func (r *remote) sweep(ctx context.Context, keep func(sha string) bool, olderThan time.Time) (removed int, err error) {
	var faults []error
	for token := blob.FirstPageToken; len(token) > 0; {
		var page []*blob.ListObject
		slow, p := watched(ctx, r.stall)
		page, token, err = r.bucket.ListPage(slow, token, 1000, &blob.ListOptions{Prefix: r.prefix})
		p.stop()
		if err != nil {
			return removed, errors.Join(append(faults, fmt.Errorf("list blobs in their bucket: %w", err))...)
		}
		for _, o := range page {
			if ctx.Err() != nil {
				return removed, context.Cause(ctx)
			}
			sha := path.Base(o.Key)
			switch {
			case path.Dir(path.Dir(o.Key))+"/" == r.prefix+"swept/" && time.Since(o.ModTime) > 2*r.void:
				faults = append(faults, ignoreGone(r.bucket.Delete(ctx, o.Key)))
			case validSHA(sha) && o.Key == r.key(sha) && o.ModTime.Before(olderThan) && !keep(sha):
				gone, err := r.remove(ctx, sha, olderThan)
				faults = append(faults, err)
				if gone {
					removed++
				}
			}
		}
	}
	return removed, errors.Join(faults...)
}

// remove removes a blob if it is still old once it is marked.
func (r *remote) remove(ctx context.Context, sha string, olderThan time.Time) (gone bool, err error) {
	hurry, cancel := context.WithTimeout(ctx, r.void/10)
	defer cancel()
	mark := r.marks(sha) + rand.Text()
	if err := r.bucket.WriteAll(hurry, mark, []byte("removed by a sweep\n"), nil); err != nil {
		return false, r.explain(sha, err)
	}
	defer func() {
		err = errors.Join(err, ignoreGone(r.bucket.Delete(context.WithoutCancel(ctx), mark)))
	}()
	a, err := r.bucket.Attributes(hurry, r.key(sha))
	if err != nil || !a.ModTime.Before(olderThan) {
		return false, ignoreGone(err)
	}
	err = r.bucket.Delete(hurry, r.key(sha))
	return err == nil, ignoreGone(err)
}

func ignoreGone(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return err
}
