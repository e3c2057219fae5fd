package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// Bucket is a bucket of a cloud that references may name.
type Bucket struct {
	Scheme, Name string // as in scheme://name/key: s3, gs or azblob
	Prefix       string // that keys begin with; "" allows all
	Handle       *blob.Bucket
}

// bucketOf finds the handle of an allowed key, or prefix of keys.
func (o *Opener) bucketOf(loc location) (*blob.Bucket, error) {
	for _, b := range o.cfg.Clouds {
		if b.Scheme == loc.scheme && b.Name == loc.bucket && strings.HasPrefix(loc.path, b.Prefix) {
			return b.Handle, nil
		}
	}
	return nil, notAllowed("is not in a bucket, or below a prefix, that this worker may read")
}

// openCloud copies an object of an allowed bucket.
func (o *Opener) openCloud(ctx context.Context, loc location, ref Ref) (*File, error) {
	bucket, err := o.bucketOf(loc)
	if err != nil {
		return nil, err
	}
	if loc.folder {
		return o.openCloudTree(ctx, loc)
	}
	slow, p := watched(ctx, o.cfg.Stall)
	defer p.stop()
	r, err := bucket.NewReader(slow, loc.path, nil)
	if err != nil {
		return nil, cloudError(slow, err)
	}
	defer r.Close()
	if err := o.checkSize(r.Size(), ref); err != nil {
		return nil, err
	}
	f, err := o.fetch(ctx, r, r.Size(), ref, p)
	return f, cloudError(slow, err)
}

// cloudSize returns how large an object is.
func (o *Opener) cloudSize(ctx context.Context, loc location) (int64, error) {
	if loc.folder {
		return folderSize, nil
	}
	bucket, err := o.bucketOf(loc)
	if err != nil {
		return 0, err
	}
	slow, p := watched(ctx, o.cfg.Stall)
	defer p.stop()
	a, err := bucket.Attributes(slow, loc.path)
	if err != nil {
		return 0, cloudError(slow, err)
	}
	return a.Size, nil
}

// listCloud lists the objects below a prefix, by key; all of them, or without
// those that listing leaves out.
func (o *Opener) listCloud(ctx context.Context, loc location, all bool) ([]piece, error) {
	bucket, err := o.bucketOf(loc)
	if err != nil {
		return nil, err
	}
	list := listing{prefix: loc, all: all}
	for token := blob.FirstPageToken; len(token) > 0; {
		var page []*blob.ListObject
		slow, p := watched(ctx, o.cfg.Stall)
		page, token, err = bucket.ListPage(slow, token, 1000, &blob.ListOptions{Prefix: loc.path})
		err = cloudError(slow, err)
		p.stop()
		if err != nil {
			return nil, err
		}
		for _, object := range page {
			if err := list.add(object.Key, object.Size); err != nil {
				return nil, err
			}
		}
	}
	return list.done()
}

// cloudError says what an error of a cloud means to the sender.
func cloudError(ctx context.Context, err error) error {
	var known *Error
	switch code := gcerrors.Code(err); {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(context.Cause(ctx), errStalled):
		return unreadable("the server stopped sending it")
	case code == gcerrors.NotFound:
		return &Error{Code: "reference_missing", Message: "does not exist", Hint: "put the object before sending the event", Transient: true}
	case code == gcerrors.PermissionDenied:
		return &Error{Code: "reference_unreadable", Message: "the worker may not read it", Hint: "give the worker's account the right to read and to list it", Transient: true}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return unreadable("ended too early")
	}
	return fmt.Errorf("cloud: %w", err)
}

// checkClouds reports what is wrong with the buckets of a configuration.
func checkClouds(buckets []Bucket) error {
	var faults []error
	for _, b := range buckets {
		if !cloudScheme(b.Scheme) || !validCloudBucket(b.Name) || b.Handle == nil {
			faults = append(faults, fmt.Errorf("%q is no bucket of a cloud", b.Scheme+"://"+b.Name))
		}
	}
	return errors.Join(faults...)
}
