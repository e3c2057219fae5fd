package main

import (
	"errors"
	"fmt"
	"net/http"

	"nextbatch/internal/cvat"
)

// cvat is the configuration of the connector.
func (c config) cvat() cvat.Config {
	return cvat.Config{URL: c.CvatURL, Token: c.CvatToken, Org: c.CvatOrg, Projects: c.CvatProjects, Secrets: c.CvatSecret, JobSize: c.CvatJobSize,
		ImageURL: c.CvatImageURL, CloudStorage: c.CvatCloudStorage, HookURL: c.CvatHookURL, Stage: c.CvatStage, Empty: c.CvatEmpty, Honeypots: c.CvatHoneypots,
		Every: c.CvatEvery, AckWait: c.AckWait, Drain: c.Drain, Provision: c.Provision == "auto", Instance: c.Instance}
}

func (c config) checkCvat() error {
	if c.CvatURL == "" {
		if c.CvatToken != "" || len(c.CvatProjects) > 0 {
			return errors.New("AL_CVAT_TOKEN or AL_CVAT_PROJECTS is set without AL_CVAT_URL")
		}
		return nil
	}
	if c.HTTPAddr == "" && c.CvatHookURL != "" {
		return fmt.Errorf("AL_CVAT_HOOK_URL needs AL_HTTP_ADDR")
	}
	return c.cvat().Check()
}

// serveCvat hands a webhook to the connector.
func (s *service) serveCvat(w http.ResponseWriter, r *http.Request) {
	switch {
	case !s.health.started.Load():
		http.Error(w, "starting", http.StatusServiceUnavailable)
	case s.cvat == nil:
		http.NotFound(w, r)
	default:
		s.cvat.ServeHTTP(w, r)
	}
}
