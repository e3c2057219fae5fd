package main

import (
	"context"
	"fmt"

	"nextbatch/internal/bus"
	"nextbatch/internal/webhook"
)

func runCheck(ctx context.Context, a *app, args []string) error {
	fs := a.flags("check", "", "Checks the configuration, and the streams and consumers against what the protocol needs, without starting or changing anything.")
	if err := fs.parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return wrongUsage("check takes no arguments")
	}
	cfg, err := loadConfig()
	if err != nil {
		return usageError{err}
	}
	fmt.Fprintln(a.out, "configuration: ok")
	if warning := cfg.warning(); warning != "" {
		fmt.Fprintf(a.out, "warning: %s\n", warning)
	}
	_, memory := cfg.budget("/")
	fmt.Fprintf(a.out, "memory for jobs: %s\n", memory)
	if err := cfg.checkClouds(ctx, func(bucket string) { fmt.Fprintf(a.out, "bucket %s: ok\n", bucket) }); err != nil {
		return err
	}
	nc, js, err := dial(a)
	if err != nil {
		return err
	}
	defer nc.Close()
	fmt.Fprintf(a.out, "server %s, version %s: ok\n", nc.ConnectedAddr(), nc.ConnectedServerVersion())
	if err := bus.Provision(ctx, js, cfg.layout(), false); err != nil {
		return fmt.Errorf("streams: %w", err)
	}
	if cfg.Provision == "off" { // else they are made
		hooks, err := webhook.Parse(cfg.Webhooks, cfg.WebhookSecrets)
		if err != nil {
			return usageError{err}
		}
		if _, err := webhook.New(ctx, webhook.Config{Hooks: hooks, AckWait: cfg.AckWait}, webhook.Deps{NATS: nc, Log: a.log}); err != nil {
			return err
		}
	}
	fmt.Fprintln(a.out, "streams and consumers: ok")
	if err := checkLabelStudio(ctx, a, cfg); err != nil {
		return err
	}
	return checkCvat(ctx, a, cfg)
}
