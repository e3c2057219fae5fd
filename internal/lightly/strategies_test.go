package lightly

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// entry writes one strategy.
func entry(input, strategy string) string {
	return `{"input":{` + input + `},"strategy":{` + strategy + `}}`
}

const (
	diversity = `{"input":{"type":"EMBEDDINGS"},"strategy":{"type":"DIVERSITY","stopping_condition_minimum_distance":0.25}}`
	weights   = `{"input":{"type":"SCORES","task":"cars","score":"uncertainty_entropy"},"strategy":{"type":"WEIGHTS","strength":1.0}}`
)

func readPlan(t *testing.T, text string) (selectionConfig, plan, error) {
	t.Helper()
	var c selectionConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	p, err := c.plan()
	return c, p, err
}

func TestSelectionConfig(t *testing.T) {
	for strategies, want := range map[string]plan{
		diversity:                 {method: "CORESET", minDistance: 0.25, embedded: true},
		weights:                   {method: "ACTIVE_LEARNING", task: "cars", score: "uncertainty_entropy"},
		weights + "," + diversity: {method: "CORAL", task: "cars", score: "uncertainty_entropy", minDistance: 0.25, embedded: true},
		entry(`"type":"EMBEDDINGS","datasetId":null`, `"type":"DIVERSITY"`):      {method: "CORESET", embedded: true},
		entry(`"type":"RANDOM","randomSeed":7`, `"type":"WEIGHTS","strength":1`): {method: "RANDOM", seed: 7},
		entry(`"type":"RANDOM"`, `"type":"WEIGHTS"`):                             {method: "RANDOM"},
	} {
		if _, p, err := readPlan(t, `{"nSamples":5,"strategies":[`+strategies+`]}`); err != nil || !reflect.DeepEqual(p, want) {
			t.Errorf("%s: %+v, %v", strategies, p, err)
		}
	}
	for _, combined := range []string{
		entry(`"type":"SCORES","task":"cars","score":"b"`, `"type":"THRESHOLD","threshold":0.5,"operation":"BIGGER"`),
		entry(`"type":"PREDICTIONS","task":"cars","name":"CLASS_DISTRIBUTION"`, `"type":"BALANCE","target":{"a":1}`),
		entry(`"type":"METADATA","key":"depth"`, `"type":"WEIGHTS"`),
		entry(`"type":"EMBEDDINGS","datasetId":"x","tagName":"yes"`, `"type":"SIMILARITY"`),
		entry(`"type":"EMBEDDINGS"`, `"type":"TYPICALITY","numNearestNeighbors":5`),
		entry(`"type":"EMBEDDINGS"`, `"type":"DIVERSITY","strength":0.5`),
		diversity + "," + entry(`"type":"RANDOM"`, `"type":"WEIGHTS"`),
		diversity + "," + weights + "," + entry(`"type":"METADATA","key":"city"`, `"type":"BALANCE","distribution":"UNIFORM"`),
	} {
		if _, p, err := readPlan(t, `{"nSamples":5,"strategies":[`+combined+`]}`); err != nil || p.method != "COMBINED" || p.score != "" || len(p.strategies) != strings.Count(combined, `"input"`) {
			t.Errorf("%s: %+v, %v", combined, p, err)
		}
	}
	for size, want := range map[string]int{`"nSamples":5`: 5, `"nSamples":5.0`: 5, `"nSamples":0`: 0, `"nSamples":-1`: 42, `"proportionSamples":0.25`: 11, `"proportionSamples":1`: 42} {
		if c, _, err := readPlan(t, `{`+size+`,"strategies":[`+diversity+`]}`); err != nil || c.size(42) != want {
			t.Errorf("%s of 42 samples: %d, want %d, %v", size, c.size(42), want, err)
		}
	}
}

// The strategies of docs/strategies.md are those of a run, once its scores have a task,
// as the page says.
func TestStrategiesPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/strategies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	text, _, _ := strings.Cut(rest, "```")
	var block struct{ Strategies json.RawMessage }
	if err := json.Unmarshal([]byte(text), &block); err != nil {
		t.Fatal(err)
	}
	config := `{"nSamples": 100, "strategies": ` + string(block.Strategies) + `}`
	if _, _, err := readPlan(t, config); err == nil || !strings.Contains(err.Error(), "task is missing") {
		t.Errorf("without a task: %v", err)
	}
	config = strings.Replace(config, `{"type": "SCORES",`, `{"type": "SCORES", "task": "traffic",`, 1)
	if _, p, err := readPlan(t, config); err != nil || p.method != "COMBINED" || len(p.strategies) != 4 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestSelectionConfigRefused(t *testing.T) {
	sized := func(strategies string) string { return `{"nSamples":5,"strategies":[` + strategies + `]}` }
	for text, want := range map[string]string{
		`{"strategies":[` + diversity + `]}`:                                      "nSamples or proportionSamples",
		`{"nSamples":1,"proportionSamples":0.1,"strategies":[` + diversity + `]}`: "and not both",
		`{"nSamples":-2,"strategies":[` + diversity + `]}`:                        "nSamples is -2: want",
		`{"proportionSamples":1.5,"strategies":[` + diversity + `]}`:              "proportionSamples is 1.5",
		sized(``):                          "0 strategies: give 1 to 16",
		sized(diversity + "," + diversity): "DIVERSITY is given 2 times",
		sized(entry(`"type":"EMBEDDINGS","datasetId":"x"`, `"type":"DIVERSITY"`)):                         "input.datasetId is not supported",
		sized(entry(`"type":"SCORES","task":"cars","score":"b"`, `"type":"WEIGHTS","targetRange":{}`)):    `"targetRange" is not supported`,
		sized(entry(`"type":"EMBEDDINGS"`, `"type":"DIVERSITY","stopping_condition_minimum_distance":3`)): "is 3, not in 0 … 2",
		sized(entry(`"type":"SCORES","score":"b"`, `"type":"WEIGHTS"`)):                                   "task is missing",
		sized(entry(`"type":"SCORES","task":7,"score":"b"`, `"type":"WEIGHTS"`)):                          "cannot unmarshal number into Go struct field Input.input.task",
		sized(entry(`"type":"SCORES","task":"lightly_pretagging","score":"b"`, `"type":"WEIGHTS"`)):       "no built-in detector",
		sized(entry(`"type":"RANDOM","randomSeed":-1`, `"type":"WEIGHTS"`)):                               "randomSeed: -1 is no whole number from 0",
		sized(entry(`"type":"RANDOM","randomSeed":9007199254740993`, `"type":"WEIGHTS"`)):                 "randomSeed: 9007199254740993 is no whole number",
		sized(`{}`): "input.type is missing",
		sized(weights + "," + entry(`"type":"SCORES","task":"dogs","score":"b"`, `"type":"WEIGHTS"`)): "scores of task dogs beside those of task cars",
		sized(entry(`"type":"EMBEDDINGS"`, `"type":"SIMILARITY"`)):                                    "SIMILARITY on EMBEDDINGS needs input.tagName",
		sized(entry(`"type":"METADATA","key":"city"`, `"type":"BALANCE","target":{"a":2}`)):           `the target of class "a" is 2`,
		sized(`{"input":[],"strategy":{}}`):                                                           "want an object with input and strategy",
	} {
		if _, p, err := readPlan(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v\nwants %s", text, p, err, want)
		}
	}
}
