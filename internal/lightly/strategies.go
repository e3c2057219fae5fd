package lightly

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// selectionConfig is what a run of a compute worker is to select, as clients
// send it. NSamples is how many samples are new; -1 means no limit.
type selectionConfig struct {
	NSamples          *float64        `json:"nSamples"`          // a whole number, which some write as 5.0
	ProportionSamples *float64        `json:"proportionSamples"` // of the samples in the dataset
	Strategies        []strategyEntry `json:"strategies"`
}

// strategyEntry is a value per sample and what is done with it. Nulls count as
// left out.
type strategyEntry struct {
	Input    map[string]json.RawMessage `json:"input"`
	Strategy map[string]json.RawMessage `json:"strategy"`
}

// plan is a selection config in the words of a sampling query.
type plan struct {
	method      string
	task, score string // of predictions; "" without scores
	minDistance float64
	seed        uint64
}

// The combinations that are served, with the fields that each may have.
var strategies = map[string]struct{ input, strategy []string }{
	"DIVERSITY on EMBEDDINGS": {nil, []string{"stopping_condition_minimum_distance", "strength"}},
	"WEIGHTS on SCORES":       {[]string{"task", "score"}, []string{"strength"}},
	"WEIGHTS on RANDOM":       {[]string{"randomSeed"}, []string{"strength"}},
}

const servedStrategies = "DIVERSITY on EMBEDDINGS, WEIGHTS on SCORES, these two together, and WEIGHTS on RANDOM alone"

// plan translates the config. DIVERSITY is CORESET, WEIGHTS on SCORES is
// ACTIVE_LEARNING, both are CORAL. Whatever would choose other samples than
// the client's author expects is an error that names it.
func (c selectionConfig) plan() (p plan, err error) {
	switch {
	case (c.NSamples == nil) == (c.ProportionSamples == nil):
		return p, errors.New("selection: give nSamples or proportionSamples, and not both")
	case c.NSamples != nil && (*c.NSamples < -1 || *c.NSamples > maxCount || *c.NSamples != math.Trunc(*c.NSamples)):
		return p, fmt.Errorf("selection: nSamples is %v: want a whole number from -1 to 2^53-1", *c.NSamples)
	case c.ProportionSamples != nil && !(*c.ProportionSamples >= 0 && *c.ProportionSamples <= 1):
		return p, fmt.Errorf("selection: proportionSamples is %v, not in 0 … 1", *c.ProportionSamples)
	case len(c.Strategies) == 0:
		return p, errors.New("selection: no strategies; served are " + servedStrategies)
	}
	kinds := map[string]bool{}
	for i, e := range c.Strategies {
		kind, err := e.read(&p)
		if err == nil && kinds[kind] {
			err = fmt.Errorf("%s a second time; each can be given once", kind)
		}
		if err != nil {
			return p, fmt.Errorf("selection: strategy %d: %w", i, err)
		}
		kinds[kind] = true
	}
	diverse, scored, random := kinds["DIVERSITY on EMBEDDINGS"], kinds["WEIGHTS on SCORES"], kinds["WEIGHTS on RANDOM"]
	switch {
	case random && len(kinds) > 1:
		return p, errors.New("selection: WEIGHTS on RANDOM together with another strategy is not supported; served are " + servedStrategies)
	case random:
		p.method = "RANDOM"
	case diverse && scored:
		p.method = "CORAL"
	case diverse:
		p.method = "CORESET"
	default:
		p.method = "ACTIVE_LEARNING"
	}
	return p, nil
}

// size is how many samples of a dataset are to be new.
func (c selectionConfig) size(rows int) int {
	switch {
	case c.NSamples == nil:
		return int(math.Round(*c.ProportionSamples * float64(rows)))
	case *c.NSamples < 0:
		return rows
	}
	return int(*c.NSamples)
}

// read checks one entry, puts what it says into the plan and returns which
// combination it is.
func (e strategyEntry) read(p *plan) (kind string, err error) {
	for _, m := range []map[string]json.RawMessage{e.Input, e.Strategy} {
		maps.DeleteFunc(m, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	}
	input, err := field[string](e.Input, "type")
	if err != nil {
		return "", fmt.Errorf("input.%w", err)
	}
	strategy, err := field[string](e.Strategy, "type")
	if err != nil {
		return "", fmt.Errorf("strategy.%w", err)
	}
	kind = strategy + " on " + input
	allowed, ok := strategies[kind]
	if !ok {
		return "", fmt.Errorf("%.80q is not supported; served are %s", kind, servedStrategies)
	}
	if extra := unserved(e.Input, allowed.input); extra != "" {
		return "", fmt.Errorf("%s with input.%s is not supported", kind, extra)
	}
	if extra := unserved(e.Strategy, allowed.strategy); extra != "" {
		return "", fmt.Errorf("%s with strategy.%s is not supported", kind, extra)
	}
	if strength, err := optional(e.Strategy, "strength", 1.0); err != nil || strength != 1 {
		return "", errors.Join(err, fmt.Errorf("%s with a strength other than 1 is not supported", kind))
	}
	switch kind {
	case "DIVERSITY on EMBEDDINGS":
		p.minDistance, err = optional(e.Strategy, "stopping_condition_minimum_distance", 0.0)
		if err == nil && (p.minDistance < 0 || p.minDistance > 2) {
			err = fmt.Errorf("stopping_condition_minimum_distance is %v, not in 0 … 2, the distances of vectors of length 1", p.minDistance)
		}
	case "WEIGHTS on SCORES":
		if p.task, err = field[string](e.Input, "task"); err == nil {
			p.score, err = field[string](e.Input, "score")
		}
		switch {
		case err != nil:
		case p.task == "lightly_pretagging":
			err = errors.New("task lightly_pretagging is not supported: there is no built-in detector; upload predictions of a task of your own")
		case !taskPattern.MatchString(p.task):
			err = fmt.Errorf("task is %.80q, which no task can be called", p.task)
		case !scorePattern.MatchString(p.score):
			err = fmt.Errorf("score is %.80q, which no score can be called", p.score)
		}
	case "WEIGHTS on RANDOM":
		var seed count
		seed, err = optional(e.Input, "randomSeed", seed)
		p.seed = uint64(seed)
	}
	return kind, err
}

// unserved returns the first field, by name, that is not allowed.
func unserved(m map[string]json.RawMessage, allowed []string) string {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if name != "type" && !slices.Contains(allowed, name) {
			return name
		}
	}
	return ""
}

// field reads a field that must be there.
func field[T any](m map[string]json.RawMessage, name string) (v T, err error) {
	if m[name] == nil {
		return v, fmt.Errorf("%s is missing", name)
	}
	return optional(m, name, v)
}

// optional reads a field, or returns what it is without one.
func optional[T any](m map[string]json.RawMessage, name string, otherwise T) (T, error) {
	raw := m[name]
	if raw == nil {
		return otherwise, nil
	}
	v := otherwise
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "json: "))
	}
	return v, nil
}
