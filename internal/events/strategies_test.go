package events

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestStrategies(t *testing.T) {
	wish := func(input, rule string) string {
		return `{"input":{` + input + `},"strategy":{` + rule + `}}`
	}
	diversity := wish(`"type":"EMBEDDINGS"`, `"type":"DIVERSITY","stopping_condition_minimum_distance":0.1`)
	for list, want := range map[string]string{
		diversity: "",
		diversity + "," + wish(`"type":"SCORES","score":"uncertainty_margin"`, `"type":"WEIGHTS","strength":-2.5`): "",
		wish(`"type":"METADATA","key":"a.b"`, `"type":"THRESHOLD","threshold":0,"operation":"BIGGER"`):             "",
		wish(`"type":"PREDICTIONS","name":"CLASS_DISTRIBUTION"`, `"type":"BALANCE","target":{"a":0.5,"b":0.5}`):    "",
		wish(`"type":"METADATA","key":"city"`, `"type":"BALANCE","distribution":"UNIFORM"`):                        "",
		wish(`"type":"EMBEDDINGS","tagName":"good-ones"`, `"type":"SIMILARITY","strength":-1`):                     "",
		wish(`"type":"PREDICTIONS","name":"CATEGORY_COUNT","categories":["car"]`, `"type":"WEIGHTS"`):              "",

		``: "0 strategies: give 1 to 16",
		strings.Repeat(diversity+",", 16) + diversity:                                                        "17 strategies",
		diversity + "," + diversity:                                                                          "DIVERSITY is given 2 times",
		wish(`"type":"RANDOM"`, `"type":"BALANCE"`):                                                          "strategy 0: \"BALANCE on RANDOM\" is not supported; served are BALANCE on METADATA",
		diversity + "," + wish(`"type":"SCORES"`, `"type":"WEIGHTS"`):                                        "strategy 1: WEIGHTS on SCORES needs input.score",
		wish(`"type":"METADATA"`, `"type":"WEIGHTS"`):                                                        "needs input.key",
		wish(`"type":"EMBEDDINGS","key":"a"`, `"type":"DIVERSITY"`):                                          "with input.key is not supported",
		wish(`"type":"EMBEDDINGS"`, `"type":"DIVERSITY","threshold":1`):                                      "with strategy.threshold is not supported",
		wish(`"type":"EMBEDDINGS"`, `"type":"DIVERSITY","strength":-1`):                                      "strength of DIVERSITY is -1",
		wish(`"type":"EMBEDDINGS"`, `"type":"DIVERSITY","strength":21`):                                      "21 is above 20",
		wish(`"type":"EMBEDDINGS"`, `"type":"SIMILARITY"`):                                                   "needs input.tagName",
		wish(`"type":"SCORES","score":"s"`, `"type":"THRESHOLD","threshold":1`):                              "needs strategy.threshold and strategy.operation",
		wish(`"type":"PREDICTIONS","name":"CATEGORY_COUNT"`, `"type":"BALANCE","distribution":"INPUT"`):      "needs input.name CLASS_DISTRIBUTION",
		wish(`"type":"METADATA","key":"city"`, `"type":"BALANCE"`):                                           "needs strategy.target",
		wish(`"type":"METADATA","key":"city"`, `"type":"BALANCE","distribution":"UNIFORM","target":{"a":1}`): "needs strategy.target",
		wish(`"type":"METADATA","key":"city"`, `"type":"BALANCE","target":{"a":-1}`):                         `the target of class "a" is -1`,
		wish(`"type":"METADATA","key":"city"`, `"type":"BALANCE","target":{"a":0.75,"b":0.5}`):               "sum to 1.25",
		wish(`"type":"METADATA","key":"city"`, `"type":"BALANCE","strength":-1,"target":{"a":0.75}`):         "strength of BALANCE is -1",
		wish(`"type":"EMBEDDING"`, `"type":"DIVERSITY"`):                                                     "did you mean EMBEDDINGS?",
		wish(`"type":"METADATA","keys":"city"`, `"type":"WEIGHTS"`):                                          "did you mean key?",
		`{"input":{"type":"RANDOM"}}`:                                                                        "strategy: is missing",
	} {
		data := `{"dataset":"d","selection":{"strategies":[` + list + `]}}`
		payload, err := Parse(dataEvent(SelectionRequested, data))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", list, err)
		case want == "":
			text, _ := json.Marshal(payload)
			if again, err := Parse(dataEvent(SelectionRequested, string(text))); err != nil || len(again.(*Request).Selection.Strategies) != strings.Count(list, `"input"`) {
				t.Errorf("%s: written again as %s, %v", list, text, err)
			}
		case err == nil || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v\nwants %s", list, err, want)
		}
	}
	named := `{"dataset":"d","selection":{"method":"COMBINED","strategies":[` + diversity + `]}}`
	if _, err := Parse(dataEvent(SelectionRequested, named)); err != nil {
		t.Errorf("strategies with their method: %v", err)
	}
	both := `{"dataset":"d","selection":{"method":"CORAL","strategies":[` + diversity + `]}}`
	if _, err := Parse(dataEvent(SelectionRequested, both)); err == nil || !strings.Contains(err.Error(), "method CORAL and strategies") {
		t.Error(err)
	}
}
