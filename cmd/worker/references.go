package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"

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
			faults = append(faults, errors.New("AL_CLOUD_BUCKETS: want s3://bucket, gs://bucket or azblob://container, comma separated, each maybe with /prefix and ?parameters"))
			break // and do not repeat it: parameters may be secret
		}
	}
	if len(c.HTTPSNetworks) > 0 && len(c.HTTPSHosts) == 0 {
		faults = append(faults, errors.New("AL_HTTPS_NETWORKS is for the hosts of AL_HTTPS_HOSTS: set both, or neither"))
	}
	_, err := c.networks()
	return errors.Join(append(faults, err)...)
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
	cfg.Roots, cfg.Buckets, cfg.MaxBytes, cfg.Hosts, cfg.TempDir = s.cfg.Roots, s.cfg.Buckets, s.cfg.RefBytes, s.cfg.HTTPSHosts, s.cfg.CacheDir
	s.opener, err = blob.NewOpener(cfg)
	return err
}

// checkClouds asks for every bucket of the configuration.
func checkClouds(ctx context.Context, urls []string, report func(bucket string)) error {
	buckets, closeAll, err := cloud.OpenAll(ctx, urls)
	if err != nil {
		return fmt.Errorf("AL_CLOUD_BUCKETS: %w", err)
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
