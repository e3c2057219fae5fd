package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Strategy is one part of a combined selection, as LightlyOne writes it: a
// value per sample, and what is done with it. All of a list act together, in no
// order.
type Strategy struct {
	Input Input `json:"input"`
	Rule  Rule  `json:"strategy"`
}

// Input says what the value of a sample is.
type Input struct {
	Type       string   `json:"type"`                 // EMBEDDINGS, SCORES, PREDICTIONS, METADATA or RANDOM
	Task       string   `json:"task,omitempty"`       // of SCORES and PREDICTIONS
	Score      string   `json:"score,omitempty"`      // of SCORES
	Name       string   `json:"name,omitempty"`       // of PREDICTIONS: CLASS_DISTRIBUTION or CATEGORY_COUNT
	Categories []string `json:"categories,omitempty"` // that CATEGORY_COUNT counts; default all
	Key        string   `json:"key,omitempty"`        // of METADATA: path into a sample's custom metadata
	DatasetID  string   `json:"datasetId,omitempty"`  // of EMBEDDINGS that SIMILARITY compares with; default this dataset
	TagName    string   `json:"tagName,omitempty"`
	RandomSeed *uint64  `json:"randomSeed,omitempty"` // of RANDOM
}

// Rule says what is done with the value.
type Rule struct {
	Type         string             `json:"type"`                                          // DIVERSITY, WEIGHTS, THRESHOLD, BALANCE, SIMILARITY or TYPICALITY
	Strength     *float64           `json:"strength,omitempty"`                            // exponent, default 1; below 0 the opposite is wanted
	MinDistance  *float64           `json:"stopping_condition_minimum_distance,omitempty"` // of DIVERSITY
	Threshold    *float64           `json:"threshold,omitempty"`                           // of THRESHOLD
	Operation    string             `json:"operation,omitempty"`                           // of THRESHOLD: SMALLER, SMALLER_EQUAL, BIGGER, BIGGER_EQUAL
	Target       map[string]float64 `json:"target,omitempty"`                              // of BALANCE: share by class
	Distribution string             `json:"distribution,omitempty"`                        // of BALANCE: TARGET (default), UNIFORM, or INPUT, that of the query set
	Neighbors    *int               `json:"numNearestNeighbors,omitempty"`                 // of TYPICALITY, default 20
}

const (
	maxStrategies = 16
	maxStrength   = 20 // size of a strength
)

// strategyKinds are the rules by input, with the fields that each may have.
var strategyKinds = map[string]struct{ input, rule []string }{
	"DIVERSITY on EMBEDDINGS":  {nil, []string{"stopping_condition_minimum_distance"}},
	"SIMILARITY on EMBEDDINGS": {[]string{"datasetId", "tagName"}, nil},
	"TYPICALITY on EMBEDDINGS": {nil, []string{"numNearestNeighbors"}},
	"WEIGHTS on SCORES":        {[]string{"task", "score"}, nil},
	"WEIGHTS on METADATA":      {[]string{"key"}, nil},
	"WEIGHTS on PREDICTIONS":   {[]string{"task", "name", "categories"}, nil},
	"WEIGHTS on RANDOM":        {[]string{"randomSeed"}, nil},
	"THRESHOLD on SCORES":      {[]string{"task", "score"}, []string{"threshold", "operation"}},
	"THRESHOLD on METADATA":    {[]string{"key"}, []string{"threshold", "operation"}},
	"THRESHOLD on PREDICTIONS": {[]string{"task", "name", "categories"}, []string{"threshold", "operation"}},
	"BALANCE on PREDICTIONS":   {[]string{"task", "name"}, []string{"target", "distribution"}},
	"BALANCE on METADATA":      {[]string{"key"}, []string{"target", "distribution"}},
}

// Kind is the rule and the input of a strategy, such as "DIVERSITY on EMBEDDINGS".
func (s Strategy) Kind() string { return s.Rule.Type + " on " + s.Input.Type }

// Power is the strength of a strategy.
func (s Strategy) Power() float64 {
	if s.Rule.Strength == nil {
		return 1
	}
	return *s.Rule.Strength
}

// ParseSpec reads a selection block as the JSON Schema has it, and checks it.
func ParseSpec(block []byte) (s Spec, err error) {
	data, err := json.Marshal(struct {
		Dataset   string          `json:"dataset"`
		Selection json.RawMessage `json:"selection"`
	}{"d", block})
	if err != nil {
		return s, err
	}
	_, payload, fault := parseData(SelectionRequested, data)
	if fault != nil {
		return s, errors.New(fault.Message)
	}
	return payload.(*Request).Selection, nil
}

// CheckStrategies says what is wrong with a list of strategies, beyond what the
// JSON Schema says. The error names the strategy by its place, from 0.
func CheckStrategies(list []Strategy) error {
	diverse := 0
	if len(list) == 0 || len(list) > maxStrategies {
		return fmt.Errorf("%d strategies: give 1 to %d", len(list), maxStrategies)
	}
	for i, s := range list {
		if err := s.check(); err != nil {
			return fmt.Errorf("strategy %d: %w", i, err)
		}
		if s.Rule.Type == "DIVERSITY" {
			diverse++
		}
	}
	if diverse > 1 {
		return fmt.Errorf("DIVERSITY is given %d times; once is enough", diverse)
	}
	return nil
}

func (s Strategy) check() error {
	kind, ok := strategyKinds[s.Kind()]
	if !ok {
		return fmt.Errorf("%.80q is not supported; served are %s", s.Kind(), strings.Join(slices.Sorted(maps.Keys(strategyKinds)), ", "))
	}
	if extra := unserved(s.Input, kind.input); extra != "" {
		return fmt.Errorf("%s with input.%s is not supported", s.Kind(), extra)
	}
	if extra := unserved(s.Rule, append(kind.rule, "strength")); extra != "" {
		return fmt.Errorf("%s with strategy.%s is not supported", s.Kind(), extra)
	}
	if p := s.Power(); !(p >= -maxStrength && p <= maxStrength) {
		return fmt.Errorf("strength is %g, not in %d … %d", p, -maxStrength, maxStrength)
	}
	missing := func(name string) error { return fmt.Errorf("%s needs %s", s.Kind(), name) }
	switch s.Input.Type {
	case "SCORES":
		if s.Input.Score == "" {
			return missing("input.score")
		}
	case "METADATA":
		if s.Input.Key == "" {
			return missing("input.key")
		}
	case "PREDICTIONS":
		if want := map[bool]string{true: "CLASS_DISTRIBUTION", false: "CATEGORY_COUNT"}[s.Rule.Type == "BALANCE"]; s.Input.Name != want {
			return missing("input.name " + want)
		}
	}
	switch s.Rule.Type {
	case "SIMILARITY":
		if s.Input.TagName == "" {
			return missing("input.tagName")
		}
	case "THRESHOLD":
		if s.Rule.Threshold == nil || s.Rule.Operation == "" {
			return missing("strategy.threshold and strategy.operation")
		}
	case "DIVERSITY":
		if p := s.Power(); p < 0 || p > 0 && p < 0.01 {
			return fmt.Errorf("the strength of DIVERSITY is %g: want 0, or 0.01 … %d", p, maxStrength)
		}
	case "BALANCE":
		return s.checkBalance()
	}
	return nil
}

func (s Strategy) checkBalance() error {
	if s.Power() < 0 {
		return fmt.Errorf("the strength of BALANCE is %g: want 0 … %d", s.Power(), maxStrength)
	}
	byTarget := s.Rule.Distribution == "" || s.Rule.Distribution == "TARGET"
	if byTarget != (len(s.Rule.Target) > 0) {
		return fmt.Errorf("BALANCE needs strategy.target, the share of each class, or a strategy.distribution UNIFORM or INPUT without one")
	}
	sum := 0.0
	for _, class := range slices.Sorted(maps.Keys(s.Rule.Target)) {
		share := s.Rule.Target[class]
		if !(share >= 0 && share <= 1) {
			return fmt.Errorf("the target of class %.40q is %g, not a share in 0 … 1", class, share)
		}
		sum += share
	}
	if sum > 1+1e-6 {
		return fmt.Errorf("the targets sum to %g, more than 1", sum)
	}
	return nil
}

// unserved returns the first field, by name, that is given and not allowed.
func unserved(part any, allowed []string) string {
	var fields map[string]json.RawMessage
	if text, err := json.Marshal(part); err != nil || json.Unmarshal(text, &fields) != nil {
		return "?"
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name != "type" && !slices.Contains(allowed, name) {
			return name
		}
	}
	return ""
}

// check says what is wrong with a sampling query beyond what the JSON Schema
// says.
func (s *Spec) check() error {
	if s == nil {
		return nil
	}
	if s.Strategies == nil {
		if s.Method == Combined {
			return fmt.Errorf("selection.method: %w", ErrCombined)
		}
		return nil
	}
	if s.Method != "" && s.Method != Combined {
		return fmt.Errorf("selection has method %s and strategies: give one of them", s.Method)
	}
	if err := CheckStrategies(s.Strategies); err != nil {
		return fmt.Errorf("selection.strategies: %w", err)
	}
	return nil
}

// Combined is the method of a selection by strategies.
const Combined = "COMBINED"

// ErrCombined refuses Combined where there are no strategies.
var ErrCombined = errors.New("COMBINED is what strategies make: give strategies in the place of a method")
