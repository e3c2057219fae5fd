package worker

import (
	"fmt"
	"slices"

	"nextbatch/internal/events"
	"nextbatch/internal/selection"
)

// particular are the parameters of a selection block that not every method uses.
// Not among them is embedding, which clients of Lightly give with any method, and
// score counts for all that have a method: it stands beside each sample.
var particular = []struct {
	name  string
	of    []selection.Method
	given func(events.Spec) bool
}{
	{"radius", herding, func(s events.Spec) bool { return s.Radius != nil && *s.Radius != 0 }},
	{"metric", herding, func(s events.Spec) bool { return s.Metric == events.Cosine }},
	{"distance_cap", []selection.Method{selection.Coral}, func(s events.Spec) bool { return s.DistanceCap != nil && *s.DistanceCap != 0 }},
	{"score_exponent", []selection.Method{selection.Coral, selection.Power}, func(s events.Spec) bool { return s.ScoreExponent != nil }},
	{"distance_exponent", []selection.Method{selection.Coral}, func(s events.Spec) bool { return s.DistanceExponent != nil }},
	{"score_floor", []selection.Method{selection.Coral, selection.Combined}, func(s events.Spec) bool { return s.ScoreFloor != nil }},
	{"score", allBut(selection.Combined), func(s events.Spec) bool { return s.Score != "" }},
}

var herding = []selection.Method{selection.UHerding, selection.Herding}

func allBut(m selection.Method) []selection.Method {
	return slices.DeleteFunc(selection.Methods(), func(other selection.Method) bool { return other == m })
}

// Ignored returns a warning for each parameter that a caller gave and the method
// does not use. What a policy or the defaults filled in must not be in the spec.
func Ignored(given events.Spec, m selection.Method) (warnings []string) {
	for _, p := range particular {
		if p.given(given) && !slices.Contains(p.of, m) {
			warnings = append(warnings, fmt.Sprintf("%s has no effect on %s", p.name, m))
		}
	}
	return warnings
}
