// Package cloud opens the buckets of clouds that a configuration names. It
// links the drivers of Go CDK; nothing that comes with an event gets here.
//
// Credentials are found as each cloud's own tools find them: environment
// variables, files in the home folder, the identity of the machine.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	cdk "gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	_ "gocloud.dev/blob/s3blob"    // s3://

	"nextbatch/internal/blob"
)

// Open opens the bucket of a URL, scheme://bucket/folder?parameters: scheme is
// s3, gs or azblob, keys have to lie below the folder, which may be absent,
// and the parameters are those of Go CDK. Errors do not repeat the parameters.
// The caller closes the handle.
func Open(ctx context.Context, raw string) (blob.Bucket, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return blob.Bucket{}, errors.New("a bucket that is no URL")
	}
	shown := fmt.Sprintf("%q", u.Scheme+"://"+u.Host+u.Path)
	switch {
	case u.Scheme != "s3" && u.Scheme != "gs" && u.Scheme != "azblob", u.Host == "", u.User != nil, u.Fragment != "":
		return blob.Bucket{}, fmt.Errorf("bucket %s: want s3://bucket, gs://bucket or azblob://container, then maybe /folder and ?parameters", shown)
	case u.Query().Has("prefix"):
		return blob.Bucket{}, fmt.Errorf("bucket %s: write the prefix as a path", shown)
	}
	b := blob.Bucket{Scheme: u.Scheme, Name: u.Host, Prefix: strings.TrimPrefix(u.Path, "/")}
	if b.Prefix != "" && !strings.HasSuffix(b.Prefix, "/") {
		b.Prefix += "/" // run must not allow running
	}
	u.Path, u.RawPath = "", ""
	if b.Handle, err = cdk.OpenBucket(ctx, u.String()); err != nil {
		return blob.Bucket{}, fmt.Errorf("bucket %s: %w", shown, err)
	}
	return b, nil
}

// OpenAll opens the buckets of several URLs. The returned function closes them.
func OpenAll(ctx context.Context, urls []string) (buckets []blob.Bucket, closeAll func(), err error) {
	closeAll = func() {
		for _, b := range buckets {
			b.Handle.Close()
		}
	}
	var faults []error
	for _, raw := range urls {
		b, err := Open(ctx, raw)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		buckets = append(buckets, b)
	}
	if err := errors.Join(faults...); err != nil {
		closeAll()
		return nil, nil, err
	}
	return buckets, closeAll, nil
}

// Check reports whether the worker may list what references may name in a
// bucket.
func Check(ctx context.Context, b blob.Bucket) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, _, err := b.Handle.ListPage(ctx, cdk.FirstPageToken, 1, &cdk.ListOptions{Prefix: b.Prefix})
	return err
}
