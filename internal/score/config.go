package score

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// DetectionConfig weighs the boxes of object_frequency. Both values lie in
// [0, 1].
type DetectionConfig struct {
	FrequencyPenalty float64 // what a repeated label adds to the weighted count; default 0.25
	MinScore         float64 // score of the emptiest image; default 0.9
}

// DefaultDetection returns the defaults.
func DefaultDetection() DetectionConfig { return DetectionConfig{0.25, 0.9} }

// ParseDetection reads a configuration from what JSON decodes to: an object
// with the keys "frequency_penalty" and "min_score", each a number in [0, 1].
// A missing key, and nil for the whole, means the default. Anything else is an
// error that names every fault. The argument is not changed.
func ParseDetection(config any) (DetectionConfig, error) {
	c := DefaultDetection()
	if config == nil {
		return c, nil
	}
	object, ok := config.(map[string]any)
	if !ok {
		return c, fmt.Errorf("detection configuration is %T, want an object", config)
	}
	fields := map[string]*float64{"frequency_penalty": &c.FrequencyPenalty, "min_score": &c.MinScore}
	var faults []error
	for _, key := range slices.Sorted(maps.Keys(object)) {
		field := fields[key]
		if field == nil {
			faults = append(faults, fmt.Errorf("unknown key %q, want frequency_penalty or min_score", key))
			continue
		}
		if *field, ok = number(object[key]); !ok {
			faults = append(faults, fmt.Errorf("%s is %v, want a number", key, object[key]))
		}
	}
	if err := errors.Join(append(faults, c.check())...); err != nil {
		return DefaultDetection(), fmt.Errorf("detection configuration: %w", err)
	}
	return c, nil
}

func (c DetectionConfig) check() error {
	var faults []error
	for _, f := range []struct {
		key   string
		value float64
	}{{"frequency_penalty", c.FrequencyPenalty}, {"min_score", c.MinScore}} {
		if !(f.value >= 0 && f.value <= 1) {
			faults = append(faults, fmt.Errorf("%s is %v, want a number in [0, 1]", f.key, f.value))
		}
	}
	return errors.Join(faults...)
}

// number takes the number types that decoders and Go callers produce; it
// returns 0 for any other.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	}
	return 0, false
}
