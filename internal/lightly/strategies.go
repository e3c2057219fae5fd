package lightly

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"

	"nextbatch/internal/events"
)

// selectionConfig is what a run of a compute worker is to select, as clients
// send it. NSamples is how many samples are new; -1 means no limit.
type selectionConfig struct {
	NSamples          *float64          `json:"nSamples"`          // a whole number, which some write as 5.0
	ProportionSamples *float64          `json:"proportionSamples"` // of the samples in the dataset
	Strategies        []json.RawMessage `json:"strategies"`        // as in a sampling query; nulls count as left out
}

// plan is a selection config in the words of a sampling query.
type plan struct {
	method      string
	task, score string // of predictions to be scored first; "" without
	minDistance float64
	seed        uint64
	embedded    bool              // embeddings are needed
	strategies  []events.Strategy // of COMBINED
}

// plan translates the config. What one method does alone is that method:
// DIVERSITY is CORESET, WEIGHTS on SCORES is ACTIVE_LEARNING, both are CORAL,
// WEIGHTS on RANDOM is RANDOM. Whatever would choose other samples than the
// client's author expects is an error that names it.
func (c selectionConfig) plan() (p plan, err error) {
	switch {
	case (c.NSamples == nil) == (c.ProportionSamples == nil):
		return p, errors.New("selection: give nSamples or proportionSamples, and not both")
	case c.NSamples != nil && (*c.NSamples < -1 || *c.NSamples > maxCount || *c.NSamples != math.Trunc(*c.NSamples)):
		return p, fmt.Errorf("selection: nSamples is %v: want a whole number from -1 to 2^53-1", *c.NSamples)
	case c.ProportionSamples != nil && !(*c.ProportionSamples >= 0 && *c.ProportionSamples <= 1):
		return p, fmt.Errorf("selection: proportionSamples is %v, not in 0 … 1", *c.ProportionSamples)
	}
	kinds := map[string]int{}
	plain := true // strengths are 1
	for i, raw := range c.Strategies {
		s, err := readStrategy(raw)
		if err == nil {
			err = p.add(s)
		}
		if err != nil {
			return p, fmt.Errorf("selection: strategy %d: %w", i, err)
		}
		kinds[s.Kind()]++
		plain = plain && s.Power() == 1
	}
	if err := events.CheckStrategies(p.strategies); err != nil {
		return p, fmt.Errorf("selection: %w", err)
	}
	const diverse, scored, random = "DIVERSITY on EMBEDDINGS", "WEIGHTS on SCORES", "WEIGHTS on RANDOM"
	p.method = events.Combined
	switch {
	case !plain || len(p.strategies) > 2:
	case len(p.strategies) == 1 && kinds[random] == 1:
		p.method = "RANDOM"
	case len(p.strategies) == 1 && kinds[diverse] == 1:
		p.method = "CORESET"
	case len(p.strategies) == 1 && kinds[scored] == 1:
		p.method = "ACTIVE_LEARNING"
	case kinds[diverse] == 1 && kinds[scored] == 1:
		p.method = "CORAL"
	}
	if p.method != events.Combined {
		p.strategies = nil
	} else {
		p.score, p.seed = "", 0
	}
	return p, nil
}

// readStrategy reads one entry.
func readStrategy(raw json.RawMessage) (s events.Strategy, err error) {
	var parts map[string]map[string]json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return s, errors.New("want an object with input and strategy, both objects")
	}
	for _, part := range parts {
		maps.DeleteFunc(part, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	}
	for _, name := range []string{"input", "strategy"} {
		if parts[name]["type"] == nil {
			return s, fmt.Errorf("%s.type is missing", name)
		}
	}
	if text := parts["input"]["randomSeed"]; text != nil { // some write 7.0
		var seed count
		if err := json.Unmarshal(text, &seed); err != nil {
			return s, fmt.Errorf("randomSeed: %w", err)
		}
		parts["input"]["randomSeed"], _ = json.Marshal(uint64(seed))
	}
	clean, err := json.Marshal(parts)
	if err != nil {
		return s, err
	}
	d := json.NewDecoder(bytes.NewReader(clean))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return s, fmt.Errorf("%s is not supported", field)
		}
		return s, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return s, nil
}

// add takes a strategy into the plan, and refuses what a run cannot mean.
func (p *plan) add(s events.Strategy) error {
	p.strategies = append(p.strategies, s)
	p.embedded = p.embedded || s.Input.Type == "EMBEDDINGS"
	switch s.Input.Type {
	case "SCORES":
		switch task := s.Input.Task; {
		case task == "":
			return errors.New("task is missing")
		case task == "lightly_pretagging":
			return errors.New("task lightly_pretagging is not supported: there is no built-in detector; upload predictions of a task of your own")
		case !taskPattern.MatchString(task):
			return fmt.Errorf("task is %.80q, which no task can be called", task)
		case !scorePattern.MatchString(s.Input.Score):
			return fmt.Errorf("score is %.80q, which no score can be called", s.Input.Score)
		case p.task != "" && p.task != task:
			return fmt.Errorf("scores of task %s beside those of task %s are not supported: one run scores the predictions of one task", task, p.task)
		}
		p.task, p.score = s.Input.Task, s.Input.Score
	case "RANDOM":
		if s.Input.RandomSeed != nil {
			p.seed = *s.Input.RandomSeed
		}
	}
	if d := s.Rule.MinDistance; d != nil {
		if p.minDistance = *d; !(*d >= 0 && *d <= 2) {
			return fmt.Errorf("stopping_condition_minimum_distance is %v, not in 0 … 2, the distances of vectors of length 1", *d)
		}
	}
	return nil
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
