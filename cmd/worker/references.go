package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nextbatch/internal/blob"
	"nextbatch/internal/cloud"
)

// checkReferences checks what can be checked of the settings of references
// without asking anybody.
func (c config) checkReferences() error {
	var faults []error
	for _, raw := range c.CloudBuckets {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "s3" && u.Scheme != "gs" && u.Scheme != "azblob" || u.Host == "" {
			faults = append(faults, errors.New("AL_CLOUD_BUCKETS: want s3://bucket, gs://bucket or azblob://container, comma separated, each maybe with /folder and ?parameters"))
			break // and do not repeat it: parameters may be secret
		}
	}
	if len(c.HTTPSNetworks) > 0 && len(c.HTTPSHosts) == 0 {
		faults = append(faults, errors.New("AL_HTTPS_NETWORKS is for the hosts of AL_HTTPS_HOSTS: set both, or neither"))
	}
	if err := (blob.Config{Buckets: c.Buckets}).Check(); err != nil {
		faults = append(faults, fmt.Errorf("AL_BUCKETS: %w", err))
	}
	if err := (blob.Config{Hosts: c.HTTPSHosts}).Check(); err != nil {
		faults = append(faults, fmt.Errorf("AL_HTTPS_HOSTS: %w", err))
	}
	_, err := c.networks()
	return errors.Join(append(faults, err, c.checkBlobURL())...)
}

func (c config) checkBlobURL() error {
	u, err := url.Parse(c.BlobURL)
	switch {
	case c.BlobURL == "":
		return nil
	case err == nil && u.Scheme == "file" && u.Host == "" && u.Path != "":
		return nil
	case err != nil || u.Scheme != "s3" && u.Scheme != "gs" && u.Scheme != "azblob" || u.Host == "":
		return errors.New("AL_BLOB_URL: want file:///directory, or s3://bucket/folder, gs:// or azblob:// with parameters as in AL_CLOUD_BUCKETS")
	case c.PublicURL == "":
		return errors.New("AL_BLOB_URL is a bucket: set AL_PUBLIC_URL, from which consumers fetch large results")
	}
	return nil
}

// openBlobs opens the folder or the bucket of AL_BLOB_URL. The handle of a bucket
// lives as long as the process.
func (c config) openBlobs(ctx context.Context) (*blob.Store, error) {
	u, err := url.Parse(c.BlobURL)
	if err == nil && u.Scheme == "file" {
		return blob.OpenStore(u.Path)
	}
	bucket, err := cloud.Open(ctx, c.BlobURL)
	if err != nil {
		return nil, fmt.Errorf("AL_BLOB_URL: %w", err)
	}
	return blob.OpenRemote(filepath.Join(c.CacheDir, "blobs"), bucket)
}

func (c config) networks() (all []netip.Prefix, err error) {
	for _, s := range c.HTTPSNetworks {
		n, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("AL_HTTPS_NETWORKS: %q is no network such as 10.0.0.0/8", s)
		}
		all = append(all, n)
	}
	return all, nil
}

// openReferences opens what references may point to.
func (s *service) openReferences(ctx context.Context, cfg blob.Config) (err error) {
	if cfg.Networks, err = s.cfg.networks(); err != nil {
		return err
	}
	if cfg.Clouds, s.closeClouds, err = cloud.OpenAll(ctx, s.cfg.CloudBuckets); err != nil {
		return fmt.Errorf("AL_CLOUD_BUCKETS: %w", err)
	}
	if err := os.MkdirAll(s.cfg.CacheDir, 0o700); err != nil {
		return fmt.Errorf("AL_CACHE_DIR: %w", err)
	}
	cfg.Roots, cfg.Buckets, cfg.MaxBytes, cfg.Hosts, cfg.TempDir = s.cfg.Roots, s.cfg.Buckets, int64(s.cfg.RefBytes), s.cfg.HTTPSHosts, s.cfg.CacheDir
	s.opener, err = blob.NewOpener(cfg)
	return err
}

// checkClouds asks for every bucket of the configuration.
func (c config) checkClouds(ctx context.Context, report func(bucket string)) error {
	urls := slices.Clone(c.CloudBuckets)
	if !strings.HasPrefix(c.BlobURL, "file:") {
		urls = append(urls, c.BlobURL)
	}
	buckets, closeAll, err := cloud.OpenAll(ctx, urls)
	if err != nil {
		return err
	}
	defer closeAll()
	var faults []error
	for _, b := range buckets {
		name := b.Scheme + "://" + b.Name + "/" + b.Prefix
		if err := cloud.Check(ctx, b); err != nil {
			faults = append(faults, fmt.Errorf("bucket %s: %w", name, err))
			continue
		}
		report(name)
	}
	return errors.Join(faults...)
}
