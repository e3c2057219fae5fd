package events

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// fault is one thing wrong with the data: where, and what to say about it.
type fault struct {
	path []string // [] for the data itself; indices are written [3]
	say  func() string
}

func (f fault) String() string {
	if len(f.path) == 0 {
		return "data: " + f.say()
	}
	return join(f.path) + ": " + f.say()
}

// faults lists what validation found wrong with a JSON value: one fault for
// each path, in the order of paths. first is the index that the first element
// of each array at the top level has.
func (c *compiled) faults(err *jsonschema.ValidationError, root any, first int) []fault {
	list := c.collect(nil, err, root, first)
	slices.SortStableFunc(list, func(a, b fault) int { return slices.CompareFunc(a.path, b.path, compareSteps) })
	return slices.CompactFunc(list, func(a, b fault) bool { return slices.Equal(a.path, b.path) })
}

// compareSteps orders indices by number.
func compareSteps(a, b string) int {
	if len(a) != len(b) && strings.HasPrefix(a, "[") && strings.HasPrefix(b, "[") {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func (c *compiled) collect(list []fault, err *jsonschema.ValidationError, root any, first int) []fault {
	if len(err.Causes) > 0 {
		for _, cause := range err.Causes {
			list = c.collect(list, cause, root, first)
		}
		return list
	}
	path, found := locate(root, err.InstanceLocation, first)
	rule := c.byLocation[err.SchemaURL]
	switch k := err.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			f := fault{append(slices.Clone(path), name), func() string { return "unknown field; " + suggest(name, rule) }}
			list = append(list, f)
		}
	case *kind.Required:
		for _, name := range k.Missing {
			list = append(list, fault{append(slices.Clone(path), name), func() string { return "is missing" }})
		}
	default:
		list = append(list, fault{path, func() string { return explain(err.ErrorKind, rule, found) }})
	}
	return list
}

// explain says what was found and what the rule allows.
func explain(err jsonschema.ErrorKind, rule *jsonschema.Schema, found any) string {
	comment := "see the schema"
	if rule != nil && rule.Comment != "" {
		comment = rule.Comment
	}
	switch k := err.(type) {
	case *kind.Type:
		want := make([]string, len(k.Want))
		for i, name := range k.Want {
			want[i] = typeNames[name]
		}
		if found == nil {
			return fmt.Sprintf("null where %s is needed; leave the field out instead", strings.Join(want, " or "))
		}
		return fmt.Sprintf("%s where %s is needed", show(found), strings.Join(want, " or "))
	case *kind.Enum:
		return fmt.Sprintf("%s is not allowed; %s", show(found), oneOf(found, k.Want))
	case *kind.Const:
		return fmt.Sprintf("%s is not allowed, only %s: %s", show(found), show(k.Want), comment)
	case *kind.Pattern:
		return fmt.Sprintf("%s is not allowed: %s", show(found), comment)
	case *kind.Not:
		return comment
	case *kind.MinLength:
		return fmt.Sprintf("%d characters, at least %d needed", k.Got, k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("%d characters, at most %d allowed", k.Got, k.Want)
	case *kind.MaxProperties:
		return fmt.Sprintf("%d fields, at most %d allowed", k.Got, k.Want)
	case *kind.Minimum:
		return fmt.Sprintf("%s is below %s", show(found), k.Want.RatString())
	case *kind.Maximum:
		return fmt.Sprintf("%s is above %s", show(found), k.Want.RatString())
	}
	return err.LocalizedString(message.NewPrinter(language.English))
}

// typeNames puts the types of JSON Schema into words.
var typeNames = map[string]string{
	"array": "an array", "boolean": "true or false", "integer": "an integer",
	"number": "a number", "object": "an object", "string": "a string",
}

// locate follows the path of a validation error into the JSON value.
func locate(v any, location []string, first int) (path []string, found any) {
	for depth, step := range location {
		switch container := v.(type) {
		case map[string]any:
			v = container[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(container) {
				return path, nil
			}
			v = container[i]
			if depth == 1 {
				i += first
			}
			step = "[" + strconv.Itoa(i) + "]"
		}
		path = append(path, step)
	}
	return path, v
}

// suggest names the field that was meant, or those there are.
func suggest(name string, rule *jsonschema.Schema) string {
	if rule == nil {
		return "remove it"
	}
	return suggestOf(name, slices.Sorted(maps.Keys(rule.Properties)))
}

func suggestOf(name string, known []string) string {
	if near := closest(name, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "known here: " + strings.Join(known, ", ")
}

// oneOf names the value that was meant, or those there are.
func oneOf(found any, allowed []any) string {
	var names []string
	for _, v := range allowed {
		if v != Combined { // which nobody asks for by its name
			names = append(names, fmt.Sprint(v))
		}
	}
	list := "one of " + strings.Join(names, ", ")
	if text, ok := found.(string); ok {
		if near := closest(text, names); near != "" {
			return "did you mean " + near + "? (" + list + ")"
		}
	}
	return list
}

// summary names the first few faults and counts them; whole says that there
// are no others.
func summary(faults []fault, whole bool) string {
	const named = 3
	if len(faults) == 1 && whole {
		return faults[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d fault", len(faults))
	if len(faults) > 1 {
		b.WriteByte('s')
	}
	if !whole {
		b.WriteString(" or more")
	}
	for i, f := range faults[:min(named, len(faults))] {
		b.WriteString([]string{": ", "; "}[min(i, 1)] + f.String())
	}
	if len(faults) > named {
		b.WriteString("; …")
	}
	return b.String()
}

// show writes a value of an event for a message.
func show(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	case string:
		return strconv.Quote(shorten(v))
	}
	text, _ := json.Marshal(v)
	return string(text)
}

// closest returns the candidate that name is most likely a misspelling of, ""
// if none is near: at most a third of the letters, and at most two, differ, or
// it is a beginning. Case, hyphens, dots and underscores do not count.
func closest(name string, candidates []string) string {
	const longest = 64
	if len(name) > longest {
		return ""
	}
	name = plain.Replace(strings.ToLower(name))
	best, bestDistance := "", min(len(name)/3, 2)+1
	for _, candidate := range candidates {
		other := plain.Replace(strings.ToLower(candidate))
		d := distance(name, other)
		if len(name) > 2 && strings.HasPrefix(other, name) {
			d = min(d, 1)
		}
		if d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

var plain = strings.NewReplacer("-", "", "_", "", ".", "", " ", "")

// distance is the number of bytes to insert, delete or replace to turn a into
// b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
