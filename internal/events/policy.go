package events

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Policy is what holds for every selection of a dataset: what an event leaves
// out, and when a selection is made that no event asks for. Name and NSamples
// are not set.
type Policy struct {
	Spec
	Select string `json:"select,omitempty"` // OnPredictions, BatchFinished, PendingBelow and a number, or ""
}

// The values of Policy.Select.
const (
	OnPredictions = "on_predictions" // predictions.ready without a selection block makes one
	BatchFinished = "batch_finished" // labels.completed that ends the newest batch makes one
	PendingBelow  = "pending_below:" // labels.completed or predictions.ready makes one while fewer samples are pending
)

var selectPattern = regexp.MustCompile(`^(` + OnPredictions + `|` + BatchFinished + `|` + PendingBelow + `[1-9][0-9]{0,8})$`)

// Pending is the number behind PendingBelow, 0 for another policy.
func (p *Policy) Pending() int {
	text, _ := strings.CutPrefix(p.Select, PendingBelow)
	n, _ := strconv.Atoi(text)
	return n
}

// IsZero reports whether nothing is set.
func (p Policy) IsZero() bool { return reflect.ValueOf(p).IsZero() }

// ParsePolicy makes a policy of key=value. What the schema of a selection block
// refuses is refused here too. Every error is an *Error.
func ParsePolicy(settings map[string]string) (Policy, error) {
	fields := map[string]any{}
	for key, value := range settings {
		fields[key] = value
		if !slices.Contains([]string{"score", "embedding"}, key) && json.Valid([]byte(value)) {
			fields[key] = json.RawMessage(value)
		}
	}
	return newPolicy(fields)
}

// DecodePolicy makes a policy of a JSON object, as ParsePolicy does.
func DecodePolicy(data []byte) (Policy, error) {
	raw, err := objectFields(data)
	if err != nil {
		return Policy{}, badPolicy("%v", err)
	}
	fields := map[string]any{}
	for key, value := range raw {
		fields[key] = value
		var text string
		if json.Unmarshal(value, &text) == nil && string(value) != "null" {
			fields[key] = text
		}
	}
	return newPolicy(fields)
}

func badPolicy(format string, args ...any) error {
	return &Error{Code: "bad_policy", Message: fmt.Sprintf(format, args...), Hint: "worker datasets --help lists the keys"}
}

// ofOne are the keys of a selection block that a policy has not.
var ofOne = []string{"name", "n_samples"}

// policyKeys are those of a policy, sorted.
var policyKeys = func() (keys []string) {
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Policy]()) {
		if key, _, _ := strings.Cut(field.Tag.Get("json"), ","); key != "" && !slices.Contains(ofOne, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}()

// newPolicy checks the fields of a policy: strings, or other JSON.
func newPolicy(fields map[string]any) (p Policy, err error) {
	spec := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value := fields[key]
		text, isText := value.(string)
		switch {
		case key == "select":
			if p.Select = text; !selectPattern.MatchString(text) {
				return Policy{}, badPolicy("select is %s: want %s, %s or %sN", cut(fmt.Sprintf("%s", value)), OnPredictions, BatchFinished, PendingBelow)
			}
		case slices.Contains(ofOne, key):
			return Policy{}, badPolicy("%s is of one selection, not of all: set batch_size, and leave names to the worker", key)
		case !slices.Contains(policyKeys, key):
			return Policy{}, badPolicy("%s: unknown field; %s", join([]string{key}), suggestOf(key, policyKeys))
		default:
			if spec[key] = value; key == "method" && isText {
				spec[key] = strings.ToUpper(text)
			}
		}
	}
	e := event.New()
	e.SetID("policy")
	e.SetSource("/policy")
	e.SetType(SelectionRequested)
	if err := e.SetData(event.ApplicationJSON, map[string]any{"dataset": "any", "selection": spec}); err != nil {
		return Policy{}, badPolicy("%v", err)
	}
	payload, err := Parse(e)
	if err != nil {
		return Policy{}, badPolicy("%s", strings.ReplaceAll(err.(*Error).Message, "selection.", ""))
	}
	p.Spec = payload.(*Request).Selection
	return p, nil
}
