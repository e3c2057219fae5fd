package worker

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"nextbatch/internal/events"
	"nextbatch/internal/selection"
	"nextbatch/internal/state"
)

// Describe writes down a selection: method, parameters, picks and coverage,
// and the filenames that are selected after it, with their counts.
func Describe(q selection.Query, sel selection.Selection) events.Created {
	c := events.Created{Method: string(q.Method), Added: make([]events.Added, len(sel.Picks)),
		Parameters: events.Parameters{BatchSize: q.BatchSize, MinDistance: max(0, q.MinDistance), Seed: q.Seed}}
	if q.Method == selection.Coral {
		c.Parameters.ScoreExponent, c.Parameters.DistanceExponent, c.Parameters.ScoreFloor = &q.ScoreExponent, &q.DistanceExponent, &q.ScoreFloor
	}
	if q.Method == selection.Power {
		c.Parameters.ScoreExponent = &q.ScoreExponent
	}
	if sel.DistanceCap > 0 {
		c.Parameters.DistanceCap = &sel.DistanceCap
	}
	if slices.Contains(herding, q.Method) {
		if q.HerdingRadius > 0 {
			c.Parameters.Radius = &q.HerdingRadius
		}
		if q.Cosine {
			c.Parameters.Metric = events.Cosine
		}
	}
	if h := sel.Herding; h != nil {
		c.Herding = &events.Herding{Radius: h.Radius, Landmarks: h.Landmarks, ListLimit: h.ListLimit, Cut: h.Cut,
			CoveredBefore: h.Before, CoveredAfter: h.After, Loss: h.Loss}
		if h.Clipped > 0 {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%d scores are below 0 or above 1: they counted as 0 or 1", h.Clipped))
		}
	}
	if finite(sel.Radius) {
		c.Coverage = &events.Coverage{Radius: sel.Radius, LowerBound: number(sel.LowerBound)}
	}
	for row := range q.Preselected.All() {
		c.Filenames = append(c.Filenames, q.Filenames(row))
	}
	for i, p := range sel.Picks {
		a := &c.Added[i]
		a.Filename, a.Rank = q.Filenames(p.Row), i+1
		c.Filenames = append(c.Filenames, a.Filename)
		if finite(p.Score) {
			a.Score = &p.Score
		}
		if finite(p.Gain) {
			a.Gain = &p.Gain
		}
		if sel.Herding != nil {
			a.Covers = &p.Covers
		}
		if p.Nearest >= 0 {
			a.Nearest = q.Filenames(p.Nearest)
		}
	}
	slices.Sort(c.Filenames)
	pool, before := q.Pool.Count(), q.Preselected.Count()
	c.Counts = events.Counts{Dataset: q.Rows, Query: pool + before, Preselected: before, Added: len(sel.Picks), Selected: before + len(sel.Picks)}
	c.Digests.Configuration = configDigest(c)
	return c
}

// configDigest identifies method and parameters.
func configDigest(c events.Created) string {
	b, err := json.Marshal(struct {
		Method                   string
		Parameters               events.Parameters
		QueryTag, PreselectedTag string
		FromScratch              bool `json:",omitempty"`
	}{c.Method, c.Parameters, c.QueryTag, c.PreselectedTag, c.FromScratch})
	if err != nil {
		panic(err)
	}
	return state.HexID(64, string(b))
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// number is x, or 0 where JSON has no word for it.
func number(x float64) float64 {
	if finite(x) {
		return x
	}
	return 0
}

func join(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
