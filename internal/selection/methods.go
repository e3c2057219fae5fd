package selection

import (
	"fmt"
	"slices"
	"strings"
)

// methods says of each method what it needs.
var methods = []struct {
	Method
	embeddings, scores bool
	unscored           Method // what it is without scores, "" where that is nothing
}{
	{Random, false, false, Random},
	{Coreset, true, false, Coreset},
	{Coral, true, true, Coreset},
	{ActiveLearning, false, true, ""},
	{Herding, true, false, Herding},
	{UHerding, true, true, Herding},
	{Combined, false, true, ""}, // embeddings only with DistanceExponent; the scores are its weights
	{TypiClust, true, false, TypiClust},
	{Badge, true, false, Badge},
	{Power, false, true, ""},
	{FilterCluster, true, true, ""},
	{Typicality, true, false, Typicality},
}

// run selects.
func (p *problem) run(m *meter) (Selection, error) {
	switch p.Method {
	case Coreset, Coral:
		return p.greedy(m)
	case Herding, UHerding:
		return p.herd(m)
	case Combined:
		return p.balanced(m)
	case TypiClust:
		return p.listed(p.typiclust, m)
	case Badge:
		return p.listed(p.badge, m)
	case FilterCluster:
		return p.listed(p.filterCluster, m)
	case Typicality:
		return p.listed(p.typical, m)
	case Power:
		return p.listed(p.power, m)
	default:
		return p.inOrder(m)
	}
}

// Methods lists the methods.
func Methods() []Method {
	var list []Method
	for _, m := range methods {
		list = append(list, m.Method)
	}
	return list
}

// place in methods, -1 for a method that is not known.
func (m Method) place() int {
	for at := range methods {
		if methods[at].Method == m {
			return at
		}
	}
	return -1
}

// Check returns an error that lists the methods to choose from, if this is none.
func (m Method) Check() error {
	if m.place() >= 0 {
		return nil
	}
	var names []string
	for _, known := range Methods() {
		if known != Combined { // a query of Factors, which have no name
			names = append(names, string(known))
		}
	}
	return fmt.Errorf("unknown selection method %q; known: %s", m, strings.Join(names, ", "))
}

// NeedsEmbeddings reports whether the method works on distances.
func (m Method) NeedsEmbeddings() bool { at := m.place(); return at >= 0 && methods[at].embeddings }

// NeedsScores reports whether the method works on acquisition scores.
func (m Method) NeedsScores() bool { at := m.place(); return at >= 0 && methods[at].scores }

// NeedsProbabilities reports whether the method works on class probabilities.
func (m Method) NeedsProbabilities() bool { return m == Badge }

// Unscored returns what the method does when there are no scores: itself, if it
// needs none, or "" if it can do nothing.
func (m Method) Unscored() Method {
	if at := m.place(); at >= 0 {
		return methods[at].unscored
	}
	return ""
}

// KeepsState reports whether Query.State and KeepState mean something to it.
func (m Method) KeepsState() bool {
	return slices.Contains([]Method{Coreset, Coral, Herding, UHerding}, m)
}
