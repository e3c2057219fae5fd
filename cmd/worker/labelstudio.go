package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/labelstudio"
)

// labelStudio is the connector's part of the configuration.
func (c config) labelStudio() labelstudio.Config {
	return labelstudio.Config{URL: c.LabelstudioURL, Token: c.LabelstudioToken, Projects: c.LabelstudioProjects, Secrets: c.LabelstudioSecret,
		ImageURL: c.LabelstudioImageURL, HookURL: c.LabelstudioHookURL, Prelabels: c.LabelstudioPrelabels, Every: c.LabelstudioEvery, Instance: c.Instance, Create: c.Provision == "auto", AckWait: c.AckWait}
}

// loadLabelStudio reads the token's file and checks the settings.
func (c *config) loadLabelStudio() error {
	if c.LabelstudioURL == "" {
		if c.LabelstudioToken != "" || len(c.LabelstudioProjects) > 0 {
			return fmt.Errorf("AL_LABELSTUDIO_URL is not set, but other settings of Label Studio are")
		}
		return nil
	}
	if name, ok := strings.CutPrefix(c.LabelstudioToken, "@"); ok {
		b, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("AL_LABELSTUDIO_TOKEN: %w", err)
		}
		c.LabelstudioToken = string(b)
	}
	c.LabelstudioToken = strings.TrimSpace(c.LabelstudioToken)
	return c.labelStudio().Check()
}

// startLabelStudio makes the connector, if there is a Label Studio.
func (s *service) startLabelStudio(ctx context.Context, js jetstream.JetStream) (err error) {
	if s.cfg.LabelstudioURL == "" {
		return nil
	}
	s.labelstudio, err = labelstudio.New(ctx, s.cfg.labelStudio(),
		labelstudio.Deps{JetStream: js, State: s.worker.State(), Blobs: s.blobs, Metrics: s.registry, Log: s.log})
	return err
}

// serveLabelStudio hands a webhook to the connector.
func (s *service) serveLabelStudio(w http.ResponseWriter, r *http.Request) {
	switch {
	case !s.health.started.Load():
		http.Error(w, "starting", http.StatusServiceUnavailable)
	case s.labelstudio == nil:
		http.Error(w, "no Label Studio is connected: AL_LABELSTUDIO_URL is not set", http.StatusNotFound)
	default:
		s.labelstudio.ServeHTTP(w, r)
	}
}

// checkLabelStudio asks Label Studio for the projects of the configuration.
func checkLabelStudio(ctx context.Context, a *app, cfg config) error {
	if cfg.LabelstudioURL == "" {
		return nil
	}
	lines, err := labelstudio.Describe(ctx, cfg.labelStudio())
	for _, line := range lines {
		fmt.Fprintln(a.out, line)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out, "Label Studio: ok")
	return nil
}
