package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"

	"nextbatch/internal/cvat"
)

// cvat is the connector's part of the configuration.
func (c config) cvat() cvat.Config {
	return cvat.Config{URL: c.CvatURL, Token: c.CvatToken, Org: c.CvatOrg, Projects: c.CvatProjects, Secrets: c.CvatSecret, JobSize: c.CvatJobSize,
		ImageURL: c.CvatImageURL, CloudStorage: c.CvatCloudStorage, HookURL: c.CvatHookURL, Stage: c.CvatStage, Empty: c.CvatEmpty, Honeypots: c.CvatHoneypots,
		Every: c.CvatEvery, AckWait: c.AckWait, Drain: c.Drain, Create: c.Provision == "auto", Instance: c.Instance}
}

// loadCvat reads the token's file and checks the settings.
func (c *config) loadCvat() error {
	if c.CvatURL == "" {
		if c.CvatToken != "" || len(c.CvatProjects) > 0 {
			return fmt.Errorf("AL_CVAT_URL is not set, but other settings of CVAT are")
		}
		return nil
	}
	if name, ok := strings.CutPrefix(c.CvatToken, "@"); ok {
		b, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("AL_CVAT_TOKEN: %w", err)
		}
		c.CvatToken = string(b)
	}
	c.CvatToken = strings.TrimSpace(c.CvatToken)
	if c.HTTPAddr == "" && c.CvatHookURL != "" {
		return fmt.Errorf("AL_CVAT_HOOK_URL needs AL_HTTP_ADDR")
	}
	return c.cvat().Check()
}

// startCvat makes the connector, if there is a CVAT.
func (s *service) startCvat(ctx context.Context) (err error) {
	if s.cfg.CvatURL == "" {
		return nil
	}
	s.cvat, err = cvat.New(ctx, s.cfg.cvat(), cvat.Deps{NATS: s.nats, State: s.worker.State(), Blobs: s.blobs, Metrics: s.registry, Log: s.log})
	return err
}

// serveCvat hands a webhook to the connector.
func (s *service) serveCvat(w http.ResponseWriter, r *http.Request) {
	switch {
	case !s.health.started.Load():
		http.Error(w, "starting", http.StatusServiceUnavailable)
	case s.cvat == nil:
		http.Error(w, "no CVAT is connected: AL_CVAT_URL is not set", http.StatusNotFound)
	default:
		s.cvat.ServeHTTP(w, r)
	}
}

// checkCvat asks CVAT for the projects of the configuration.
func checkCvat(ctx context.Context, a *app, cfg config) error {
	if cfg.CvatURL == "" {
		return nil
	}
	lines, err := cvat.Describe(ctx, cfg.cvat())
	for _, line := range lines {
		fmt.Fprintln(a.out, line)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out, "CVAT: ok")
	return nil
}
