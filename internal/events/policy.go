package events

import (
	"encoding/json"
	"fmt"
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

// ParsePolicy makes a policy of key=value. What the schema of a selection block
// refuses is refused here too. Every error is an *Error.
func ParsePolicy(settings map[string]string) (p Policy, err error) {
	bad := func(format string, args ...any) (Policy, error) {
		return Policy{}, &Error{Code: "bad_policy", Message: fmt.Sprintf(format, args...)}
	}
	spec := map[string]any{}
	for key, value := range settings {
		switch key {
		case "select":
			if p.Select = value; !selectPattern.MatchString(value) {
				return bad("select is %s: want %s, %s or %sN", cut(value), OnPredictions, BatchFinished, PendingBelow)
			}
		case "name", "n_samples":
			return bad("%s is of one selection, not of all: set batch_size, and leave names to the worker", key)
		case "method":
			spec[key] = strings.ToUpper(value)
		default:
			spec[key] = value
			if !slices.Contains([]string{"score", "embedding"}, key) && json.Valid([]byte(value)) {
				spec[key] = json.RawMessage(value)
			}
		}
	}
	e := event.New()
	e.SetID("policy")
	e.SetSource("/policy")
	e.SetType(SelectionRequested)
	if err := e.SetData(event.ApplicationJSON, map[string]any{"dataset": "any", "selection": spec}); err != nil {
		return bad("%v", err)
	}
	payload, err := Parse(e)
	if err != nil {
		return bad("%s", strings.ReplaceAll(err.(*Error).Message, "selection.", ""))
	}
	p.Spec = payload.(*Request).Selection
	return p, nil
}
