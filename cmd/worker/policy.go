package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// aboutPolicy is the help of worker datasets policy.
const aboutPolicy = `

policy NAME shows what holds for every selection of a dataset, policy NAME
KEY=VALUE … changes it, an empty value takes a key away, and --unset all of
them. Keys are those of a selection block (method, batch_size, min_distance,
score, embedding, seed, random_share, …), for what an event leaves out, and

  select=on_predictions    predictions.ready without a selection block selects
  select=batch_finished    the last label of the newest batch selects the next
  select=pending_below:N   labels or predictions select while fewer than N
                           samples are selected and not yet labeled or skipped

A policy counts from the next event on:

  worker datasets policy clothing method=CORAL batch_size=50 \
    select=batch_finished random_share=0.1`

// datasetPolicy shows or changes the policy of a dataset, by compare-and-set.
func datasetPolicy(ctx context.Context, l *looker, args []string) error {
	if l.unset && len(args) > 1 {
		return wrongUsage("--unset takes everything away: it does not go with KEY=VALUE")
	}
	for {
		d, rev, err := l.store.Dataset(ctx, args[0])
		if err != nil {
			return missing(err, "dataset", args[0])
		}
		settings, err := settingsOf(d.Policy)
		if err != nil {
			return err
		}
		if l.unset {
			clear(settings)
		}
		for _, arg := range args[1:] {
			key, value, ok := strings.Cut(arg, "=")
			if !ok || key == "" {
				return wrongUsage("%q is not KEY=VALUE; worker datasets --help", arg)
			}
			if settings[key] = value; value == "" {
				delete(settings, key)
			}
		}
		p, err := events.ParsePolicy(settings)
		if err != nil {
			var bad *events.Error
			if errors.As(err, &bad) {
				return wrongUsage("%s", bad.Message)
			}
			return err
		}
		if l.unset || len(args) > 1 {
			if d.Policy = &p; len(settings) == 0 {
				d.Policy = nil
			}
			var b state.Batch
			b.Dataset(d, rev)
			if _, err := l.store.Commit(ctx, &b); errors.Is(err, state.ErrConflict) || errors.Is(err, state.ErrUnknown) {
				continue // the same again does no harm
			} else if err != nil {
				return err
			}
		}
		if l.json {
			return l.print(p, "", nil)
		}
		if settings, err = settingsOf(&p); err != nil { // as they are kept
			return err
		}
		var rows [][]any
		for _, key := range slices.Sorted(maps.Keys(settings)) {
			rows = append(rows, []any{key, settings[key]})
		}
		return l.print(nil, "POLICY\t"+d.Name, rows)
	}
}

// settingsOf writes a policy as key=value, as it was set.
func settingsOf(p *events.Policy) (map[string]string, error) {
	settings := map[string]string{}
	if p == nil {
		return settings, nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	for key, value := range fields {
		settings[key] = string(value)
		var word string
		if json.Unmarshal(value, &word) == nil {
			settings[key] = word
		}
	}
	return settings, nil
}

// policyLine is a policy in a row of a table.
func policyLine(p *events.Policy) string {
	settings, err := settingsOf(p)
	if err != nil {
		return err.Error()
	}
	var words []string
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		words = append(words, fmt.Sprintf("%s=%s", key, settings[key]))
	}
	return strings.Join(words, " ")
}
