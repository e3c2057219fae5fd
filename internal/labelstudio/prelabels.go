package labelstudio

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// prelabels are what the model would label, for annotators to accept or to
// change: the choice at the place of the most probable class.
type prelabels struct {
	control, image string
	choices        []string
	names          *state.Names
	top            []float64 // class of each row, NaN where none is known
}

// prelabels reads them from the newest predictions for the query tag. It returns
// nil where they are not wanted, or there are none; that they cannot be right,
// because the project has other choices, is an error.
func (c *Connector) prelabels(ctx context.Context, d state.Dataset, p project, created *events.Created) (*prelabels, error) {
	set := d.Scores[cmp.Or(created.QueryTag, state.InitialTag)]
	if !c.cfg.Prelabels || set.Top == nil {
		return nil, nil
	}
	l, err := p.choices()
	if err != nil {
		return nil, err
	}
	if len(l.choices) != set.Classes {
		return nil, fmt.Errorf("Label Studio: project %d (%s) has %d choices and the model %d classes: AL_LABELSTUDIO_PRELABELS needs as many, in the same order", p.ID, p.Title, len(l.choices), set.Classes)
	}
	if l.names, err = c.store.Names(ctx, d); err != nil {
		return nil, err
	}
	l.top, err = c.store.Scores(ctx, *set.Top, d.Rows)
	return l, err
}

// choices finds the one <Choices> of a project's labeling interface.
func (p project) choices() (*prelabels, error) {
	var found []prelabels
	for _, name := range slices.Sorted(maps.Keys(p.Config)) {
		var control struct {
			Type   string   `json:"type"`
			To     []string `json:"to_name"`
			Labels []string `json:"labels"`
		}
		if json.Unmarshal(p.Config[name], &control) == nil && control.Type == "Choices" && len(control.To) == 1 {
			found = append(found, prelabels{control: name, image: control.To[0], choices: control.Labels})
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("Label Studio: project %d (%s) has %d <Choices>: AL_LABELSTUDIO_PRELABELS needs one in the labeling interface", p.ID, p.Title, len(found))
	}
	return &found[0], nil
}

// result is the label of a sample as a prediction has it: none where none is
// known.
func (l *prelabels) result(filename string) []any {
	if l == nil {
		return []any{}
	}
	row, ok := l.names.Row(filename)
	if !ok || row >= len(l.top) || l.top[row] != l.top[row] {
		return []any{}
	}
	return []any{map[string]any{"from_name": l.control, "to_name": l.image, "type": "choices",
		"value": map[string]any{"choices": []string{l.choices[int(l.top[row])]}}}}
}
