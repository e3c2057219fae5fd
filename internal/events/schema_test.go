package events

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
)

// dataEvent makes an event of a type with JSON data.
func dataEvent(eventType, data string) event.Event {
	e := made(nil)
	e.SetType(eventType)
	e.SetDataContentType("application/json")
	e.DataEncoded = []byte(data)
	return e
}

func TestParse(t *testing.T) {
	n, seed := 3, uint64(1<<53-1)
	for _, c := range []struct {
		eventType, data string
		want            any
	}{
		{LabelsCompleted, `{"dataset":"d"}`, &Labels{Dataset: "d"}},
		{LabelsCompleted, `{"dataset":"d","labeled":["Größe 42/é.png"],"skipped":[],"unlabeled":["x","x"]}`,
			&Labels{Dataset: "d", Labeled: []string{"Größe 42/é.png"}, Skipped: []string{}, Unlabeled: []string{"x", "x"}}},
		{"org.example.al.labels.completed.v1", `{"dataset":"d"}`, &Labels{Dataset: "d"}},
		{SelectionRequested, ` { "selection" : { "n_samples" : 3, "seed": 9007199254740991, "method":"CORAL" } , "dataset":"a b.c_d-e" } `,
			&Request{Dataset: "a b.c_d-e", Selection: Spec{Method: "CORAL", NSamples: &n, Seed: &seed}}},
		{EmbeddingsReady, `{"dataset":"d","embeddings":{"uri":"inline:","data":[{"a":1e3}]},"filenames":["x"]}`,
			&Embeddings{Dataset: "d", Embeddings: Reference{URI: "inline:", Data: []byte(`[{"a":1e3}]`)}, Filenames: &Filenames{List: []string{"x"}}}},
		{EmbeddingsReady, `{"dataset":"d","embeddings":{"uri":"x"},"filenames":{"uri":"y","size":5}}`,
			&Embeddings{Dataset: "d", Embeddings: Reference{URI: "x"}, Filenames: &Filenames{Ref: &Reference{URI: "y", Size: 5}}}},
		{PredictionsReady, `{"dataset":"d","task":"classification","predictions":{"uri":"x"},"model":{"metrics":{"a":1}}}`,
			&Predictions{Dataset: "d", Task: "classification", Predictions: Reference{URI: "x"}, Model: &Model{Metrics: map[string]float64{"a": 1}}}},
	} {
		got, err := Parse(dataEvent(c.eventType, c.data))
		if err != nil {
			t.Errorf("%s %s: %v", c.eventType, c.data, err)
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %s: -want +got:\n%s", c.eventType, c.data, diff)
		}
	}
}

func TestParseEnvelope(t *testing.T) {
	good := `{"dataset":"d"}`
	for _, c := range []struct {
		name   string
		change func(*event.Event)
		code   string // "" if it is accepted
		text   string
	}{
		{"no data schema, no subject", func(e *event.Event) {}, "", ""},
		{"our data schema", func(e *event.Event) { e.SetDataSchema(DataSchema(LabelsCompleted)) }, "", ""},
		{"our data schema from a worker", func(e *event.Event) { e.SetDataSchema("http://worker:8080/schemas/labels.completed/v1.json") }, "", ""},
		{"no media type", func(e *event.Event) { e.Context.(*event.EventContextV1).DataContentType = nil }, "", ""},
		{"media type with charset", func(e *event.Event) { e.SetDataContentType("Application/JSON; charset=utf-8") }, "", ""},
		{"equal subject", func(e *event.Event) { e.SetSubject("d") }, "", ""},
		{"data as base64", func(e *event.Event) { e.DataBase64 = true }, "", ""},
		{"no event", func(e *event.Event) { *e = event.Event{} }, "bad_event", "no event"},
		{"unknown type", func(e *event.Event) { e.SetType("user.created") }, "unknown_type", "one of embeddings.ready"},
		{"misspelled type", func(e *event.Event) { e.SetType("label.completed") }, "unknown_type", "did you mean labels.completed?"},
		{"type with underscore", func(e *event.Event) { e.SetType("labels_completed") }, "unknown_type", "did you mean labels.completed?"},
		{"type in another case", func(e *event.Event) { e.SetType("Labels.Completed") }, "unknown_type", "did you mean labels.completed?"},
		{"long type of version 2", func(e *event.Event) { e.SetType("org.example.al.labels.completed.v2") }, "unknown_type", "not known"},
		{"long type glued", func(e *event.Event) { e.SetType("xlabels.completed.v1") }, "unknown_type", "not known"},
		{"type of an output", func(e *event.Event) { e.SetType(SelectionCreated) }, "unknown_type", "selection.created"},
		{"CSV", func(e *event.Event) { e.SetDataContentType("text/csv") }, "bad_event", "must be JSON"},
		{"another schema", func(e *event.Event) { e.SetDataSchema("https://example.org/labels.json") }, "bad_event", "not the schema of labels.completed"},
		{"schema of another type", func(e *event.Event) { e.SetDataSchema(DataSchema(PredictionsReady)) }, "bad_event", "not the schema of labels.completed"},
		{"schema of version 2", func(e *event.Event) { e.SetDataSchema("https://nextbatch.dev/schemas/labels.completed/v2.json") }, "bad_event", "version 1"},
		{"no data", func(e *event.Event) { e.DataEncoded = nil }, "bad_event", "no data"},
		{"too much data", func(e *event.Event) { e.DataEncoded = make([]byte, 1<<20+1) }, "bad_event", "by reference"},
		{"another subject", func(e *event.Event) { e.SetSubject("D") }, "bad_event", "subject D, but data.dataset d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := dataEvent(LabelsCompleted, good)
			c.change(&e)
			payload, err := Parse(e)
			if c.code != "" {
				checkRefusal(t, err, c.code, c.text)
			} else if err != nil || payload.(*Labels).Dataset != "d" {
				t.Errorf("got %v, %v", payload, err)
			}
		})
	}
}

// TestParseOutputsAndInputsApart checks that a worker does not take results
// for inputs.
func TestParseOutputsAndInputsApart(t *testing.T) {
	labelset := `{"dataset":"d","labeled":1,"pending":0,"skipped":0,"complete":true}`
	got, err := ParseOutput(dataEvent(LabelsetUpdated, labelset))
	if diff := cmp.Diff(&Labelset{Dataset: "d", Labeled: 1, Complete: true}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	_, err = Parse(dataEvent(LabelsetUpdated, labelset))
	checkRefusal(t, err, "unknown_type", "labelset.updated")
	_, err = ParseOutput(dataEvent(LabelsCompleted, `{"dataset":"d"}`))
	checkRefusal(t, err, "unknown_type", "labels.completed")
}

func TestParseMessages(t *testing.T) {
	request := func(selection string) string { return `{"dataset":"d","selection":` + selection + `}` }
	const (
		nameRule = `letters, digits, space, dot, underscore and hyphen, beginning with a letter or digit`
		tagRule  = `letters, digits, space and . : ; = @ _ -, beginning with a letter or digit`
		methods  = `one of RANDOM, CORESET, CORAL, ACTIVE_LEARNING, HERDING, UHERDING, TYPICLUST, BADGE, POWER, FILTER_CLUSTER, TYPICALITY`
	)
	for _, c := range []struct{ eventType, data, want string }{
		{SelectionRequested, request(`{"n_sample":3}`), `selection.n_sample: unknown field; did you mean n_samples?`},
		{SelectionRequested, request(`{"batchSize":3}`), `selection.batchSize: unknown field; did you mean batch_size?`},
		{SelectionRequested, request(`{"budget":3}`), `selection.budget: unknown field; known here: batch_size, distance_cap, distance_exponent, embedding, method, metric, min_distance, n_samples, name, radius, random_share, score, score_exponent, score_floor, seed, strategies`},
		{SelectionRequested, request(`{"metric":"manhattan"}`), `selection.metric: "manhattan" is not allowed; one of euclidean, cosine`},
		{SelectionRequested, request(`{"distance_cap":"much"}`), `selection.distance_cap: "much" is not allowed: a distance, or auto`},
		{SelectionRequested, request(`{"distance_cap":-1}`), `selection.distance_cap: -1 is below 0`},
		{SelectionRequested, request(`{"n_samples":3,"batch_size":3}`), `selection: give n_samples or batch_size, not both`},
		{SelectionRequested, `{"dataset":"d","preselected_tag":"abc","from_scratch":true,"selection":{}}`, `data: give preselected_tag or from_scratch, not both`},
		{SelectionRequested, request(`{"n_samples":-1}`), `selection.n_samples: -1 is below 0`},
		{SelectionRequested, request(`{"batch_size":"ten"}`), `selection.batch_size: "ten" where an integer is needed`},
		{SelectionRequested, request(`{"batch_size":1.5}`), `selection.batch_size: 1.5 where an integer is needed`},
		{SelectionRequested, request(`{"batch_size":20.0}`), `selection.batch_size: write 20.0 in digits only`},
		{SelectionRequested, request(`{"batch_size":2e1}`), `selection.batch_size: write 2e1 in digits only`},
		{SelectionRequested, request(`{"batch_size":true}`), `selection.batch_size: true where an integer is needed`},
		{SelectionRequested, request(`{"batch_size":null}`), `selection.batch_size: null where an integer is needed; leave the field out instead`},
		{SelectionRequested, request(`{"seed":9007199254740992}`), `selection.seed: 9007199254740992 is above 9007199254740991`},
		{SelectionRequested, request(`{"seed":1e300}`), `selection.seed: 1e+300 is above 9007199254740991`},
		{SelectionRequested, request(`{"seed":1e309}`), `selection.seed: 1e309 is beyond the range of numbers`},
		{SelectionRequested, request(`{"seed":-1}`), `selection.seed: -1 is below 0`},
		{SelectionRequested, request(`{"method":"coreset"}`), `selection.method: "coreset" is not allowed; did you mean CORESET? (` + methods + `)`},
		{SelectionRequested, request(`{"method":"K-MEANS"}`), `selection.method: "K-MEANS" is not allowed; ` + methods},
		{SelectionRequested, request(`{"method":"COMBINE"}`), `selection.method: "COMBINE" is not allowed; ` + methods},
		{SelectionRequested, request(`{"method":"COMBINED"}`), `selection.method: ` + ErrCombined.Error()},
		{LabelsCompleted, `{"dataset":"d","selection":{"method":"COMBINED","batch_size":3}}`, `selection.method: ` + ErrCombined.Error()},
		{SelectionRequested, request(`{"method":1}`), `selection.method: 1 is not allowed; ` + methods},
		{SelectionRequested, request(`{"score_floor":1.5}`), `selection.score_floor: 1.5 is above 1`},
		{SelectionRequested, request(`{"score_exponent":-0.5}`), `selection.score_exponent: -0.5 is below 0`},
		{SelectionRequested, request(`{"distance_exponent":"1"}`), `selection.distance_exponent: "1" where a number is needed`},
		{SelectionRequested, request(`{"min_distance":NaN}`), `not valid JSON: invalid character 'N' looking for beginning of value (byte 44); JSON has no NaN and no Infinity: leave such values out`},
		{SelectionRequested, request(`{"name":"ab"}`), `selection.name: 2 characters, at least 3 needed`},
		{SelectionRequested, request(`{"name":"` + strings.Repeat("a", 256) + `"}`), `selection.name: 256 characters, at most 255 allowed`},
		{SelectionRequested, request(`{"name":"a/b"}`), `selection.name: "a/b" is not allowed: ` + tagRule},
		{SelectionRequested, request(`{"score":""}`), `selection.score: 0 characters, at least 1 needed`},
		{SelectionRequested, request(`[]`), `selection: an array where an object is needed`},
		{SelectionRequested, request(`null`), `selection: null where an object is needed; leave the field out instead`},
		{SelectionRequested, `{"dataset":"d"}`, `selection: is missing`},
		{SelectionRequested, `{"dataset":"d","Selection":{}}`, `2 faults: Selection: unknown field; did you mean selection?; selection: is missing`},
		{SelectionRequested, `[]`, `data: an array where an object is needed`},
		{SelectionRequested, `null`, `data: null where an object is needed; leave the field out instead`},
		{SelectionRequested, `{"dataset":"d"`, `not valid JSON: unexpected end of JSON input (byte 14)`},
		{SelectionRequested, `{"dataset":"d"} {}`, `not valid JSON: invalid character '{' after top-level value (byte 17)`},
		{SelectionRequested, `{"dataset":"d","dataset":"e"}`, `dataset: is given twice`},
		{SelectionRequested, request(`{"seed":1,"seed":1}`), `selection.seed: is given twice`},
		{LabelsCompleted, `{}`, `dataset: is missing`},
		{LabelsCompleted, `{"dataset":""}`, `dataset: 0 characters, at least 1 needed`},
		{LabelsCompleted, `{"dataset":"a/b"}`, `dataset: "a/b" is not allowed: ` + nameRule},
		{LabelsCompleted, `{"dataset":" a"}`, `dataset: " a" is not allowed: ` + nameRule},
		{LabelsCompleted, `{"dataset":"` + strings.Repeat("a", 129) + `"}`, `dataset: 129 characters, at most 128 allowed`},
		{LabelsCompleted, `{"dataset":"` + strings.Repeat("é", 70) + `"}`, `dataset: "` + strings.Repeat("é", 40) + `…" is not allowed: ` + nameRule},
		{LabelsCompleted, "{\"dataset\":\"a\xff\"}", `not valid UTF-8`},
		{LabelsCompleted, `{"dataset":"a","labeled":["\ud800"]}`, `\ud800 is half of a surrogate pair`},
		{LabelsCompleted, `{"dataset":"d","labeled":"x"}`, `labeled: "x" where an array is needed`},
		{LabelsCompleted, `{"dataset":"d","labeled":["x",1,""]}`, `2 faults: labeled[1]: 1 where a string is needed; labeled[2]: 0 characters, at least 1 needed`},
		{LabelsCompleted, `{"dataset":"d","labeled":["` + strings.Repeat("a", 1025) + `"]}`, `labeled[0]: 1025 characters, at most 1024 allowed`},
		{LabelsCompleted, `{"dataset":"d","skipped":["x"],"labeled":[` + strings.Repeat(`"x",`, 1500) + `1` + strings.Repeat(`,"x"`, 100) + `]}`, `labeled[1500]: 1 where a string is needed`},
		{LabelsCompleted, `{"dataset":"d","labeled":[1` + strings.Repeat(`,"x"`, 1000) + `]}`, `1 fault or more: labeled[0]: 1 where a string is needed`},
		{LabelsCompleted, `{"dataset":"d","labeled":[` + strings.Repeat(`0,`, 1000) + `0]}`, `1000 faults or more: labeled[0]: 0 where a string is needed; labeled[1]: 0 where a string is needed; labeled[2]: 0 where a string is needed; …`},
		{LabelsCompleted, `{"dataset":"d","labelled":["x"]}`, `labelled: unknown field; did you mean labeled?`},
		{LabelsCompleted, `{"dataset":"d","a\nb":1}`, `"a\nb": unknown field; known here: dataset, labeled, selection, skipped, tag, unlabeled`},
		{LabelsCompleted, `{"dataset":"d","a":1,"b":1,"c":1,"d":1}`, `4 faults: a: unknown field; known here: dataset, labeled, selection, skipped, tag, unlabeled; ` +
			`b: unknown field; known here: dataset, labeled, selection, skipped, tag, unlabeled; c: unknown field; known here: dataset, labeled, selection, skipped, tag, unlabeled; …`},
		{EmbeddingsReady, `{"dataset":"d"}`, `embeddings: is missing`},
		{EmbeddingsReady, `{"dataset":"d","embeddings":"file:///x"}`, `embeddings: "file:///x" where an object is needed`},
		{EmbeddingsReady, `{"dataset":"d","embeddings":{"uri":"x","sha":"y"}}`, `embeddings.sha: unknown field; did you mean sha256?`},
		{EmbeddingsReady, `{"dataset":"d","embeddings":{"uri":"x","sha256":"AB"}}`, `embeddings.sha256: "AB" is not allowed: 64 lower-case hexadecimal digits`},
		{EmbeddingsReady, `{"dataset":"d","embeddings":{"uri":"x","size":-1}}`, `embeddings.size: -1 is below 0`},
		{EmbeddingsReady, `{"dataset":"d","embeddings":{"format":"npz"}}`, `embeddings.uri: is missing`},
		{EmbeddingsReady, `{"dataset":"d","embeddings":{"files":[{"uri":"x"}],"size":3}}`, `embeddings: files take the place of uri, sha256, size and data: each file has its own uri, sha256 and size`},
		{EmbeddingsReady, `{"dataset":"d","embeddings":{"files":[{"uri":"x"},{"url":"x"}]}}`, `2 faults: embeddings.files[1].uri: is missing; embeddings.files[1].url: unknown field; did you mean uri?`},
		{EmbeddingsReady, `{"dataset":"d","embeddings":{"uri":"x","data":[]}}`, `embeddings.uri: "x" is not allowed, only "inline:": data goes with uri "inline:" only`},
		{EmbeddingsReady, `{"dataset":"d","embeddings":{"uri":"x"},"filenames":{"url":"y"}}`, `2 faults: filenames.uri: is missing; filenames.url: unknown field; did you mean uri?`},
		{EmbeddingsReady, `{"dataset":"d","embeddings":{"uri":"x"},"filenames":"y"}`, `filenames: "y" where an array or an object is needed`},
		{EmbeddingsReady, `{"dataset":"d","embeddings":{"uri":"x"},"filenames":["y",null]}`, `filenames[1]: null where a string is needed; leave the field out instead`},
		{PredictionsReady, `{"dataset":"d","predictions":{"uri":"x"}}`, `task: is missing`},
		{PredictionsReady, `{"dataset":"d","predictions":{"uri":"x"},"task":"detection"}`, `task: "detection" is not allowed; one of classification, object_detection, semantic_segmentation, keypoint_detection`},
		{PredictionsReady, `{"dataset":"d","predictions":{"uri":"x"},"task":"object-detection"}`, `task: "object-detection" is not allowed; did you mean object_detection? (one of classification, object_detection, semantic_segmentation, keypoint_detection)`},
		{PredictionsReady, `{"dataset":"d","predictions":{"uri":"x"},"task":"classification","keyed_by":"name","normalization":"l2"}`,
			`2 faults: keyed_by: "name" is not allowed; one of filename, unlabeled_order, query_order; normalization: "l2" is not allowed; one of none, softmax, sum`},
		{PredictionsReady, `{"dataset":"d","predictions":{"uri":"x"},"task":"classification","model":{"metrics":{"acc":"0.9"}}}`, `model.metrics.acc: "0.9" where a number is needed`},
		{PredictionsReady, `{"dataset":"d","predictions":{"uri":"x"},"task":"classification","query_tag":""}`, `query_tag: 0 characters, at least 3 needed`},
	} {
		_, err := Parse(dataEvent(c.eventType, c.data))
		refusal, ok := err.(*Error)
		if !ok {
			t.Errorf("%s: got %v, want %s", c.data, err, c.want)
			continue
		}
		if refusal.Code != "bad_data" || refusal.Message != c.want || refusal.Hint != "see "+DataSchema(c.eventType) {
			t.Errorf("%s:\n got %v (%s)\nwant bad_data: %s", c.data, refusal, refusal.Hint, c.want)
		}
	}
}

// TestParseHostile sends a megabyte of faults of each kind and watches the
// memory and the length of the message.
func TestParseHostile(t *testing.T) {
	fill := func(before, unit, after string) string {
		return before + strings.Repeat(unit, (1<<20-len(before)-len(after))/len(unit)) + after
	}
	keys := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for name, data := range map[string]string{
		"numbers for names": fill(`{"dataset":"d","labeled":[`, `1,`, `1]}`),
		"empty names":       fill(`{"dataset":"d","labeled":[`, `"",`, `""]}`),
		"objects for names": fill(`{"dataset":"d","labeled":[`, `{},`, `{}]}`),
		"last name empty":   fill(`{"dataset":"d","labeled":[`, `"x",`, `""]}`),
		"nesting":           fill(`{"dataset":"d","labeled":`, `[`, ``),
		"long number":       fill(`{"dataset":"d","selection":{"seed":`, `9`, `}}`),
		"long fraction":     fill(`{"dataset":"d","selection":{"seed":0.`, `9`, `}}`),
		"big exponents":     fill(`{"dataset":"d","labeled":[`, `1e308,`, `1]}`),
		"long key":          fill(`{"dataset":"d","`, `k`, `":1}`),
		"unknown fields":    `{"dataset":"d"` + keys(`,"k%d":1`, 9_000) + `}`,
		"too many fields":   `{"dataset":"d"` + keys(`,"k%d":1`, 80_000) + `}`,
		"escapes":           fill(`{"dataset":"`, `\u0041`, `"}`),
	} {
		t.Run(name, func(t *testing.T) {
			e := dataEvent(LabelsCompleted, data)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Parse(e)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatal("accepted")
			}
			if n := len(err.Error()); n > 1000 {
				t.Errorf("the message has %d bytes: %.200s…", n, err)
			}
			// Garbage included; most of it is the validator's, element by element.
			if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 200 {
				t.Errorf("%d MiB for %d KiB of data", mib, len(data)>>10)
			}
		})
	}
}

// TestParseConcurrently is for the race detector: compiled schemas are shared.
func TestParseConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 50 {
				if _, err := Parse(dataEvent(LabelsCompleted, oneLabel)); err != nil {
					t.Error(err)
				}
				if _, err := Parse(dataEvent(LabelsCompleted, fmt.Sprintf(`{"datase":%d}`, i))); err == nil {
					t.Error("accepted")
				}
			}
		})
	}
	wg.Wait()
}

const oneLabel = `{"dataset":"clothing","tag":"round-1","labeled":["shoes/000017.png"]}`

func BenchmarkParseOneLabel(b *testing.B) {
	e := dataEvent(LabelsCompleted, oneLabel)
	e.SetSubject("clothing")
	e.SetDataSchema(DataSchema(LabelsCompleted))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseManyLabels(b *testing.B) {
	names := strings.TrimSuffix(strings.Repeat(`"shoes/000017.png",`, 20_000), ",")
	e := dataEvent(LabelsCompleted, `{"dataset":"clothing","labeled":[`+names+`]}`)
	b.SetBytes(int64(len(e.DataEncoded)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	e := dataEvent(LabelsCompleted, oneLabel)
	e.SetSubject("clothing")
	e.SetDataSchema(DataSchema(LabelsCompleted))
	for name, mode := range map[string]Mode{"binary": Binary, "structured": Structured} {
		b.Run(name, func(b *testing.B) {
			header, data, err := Encode(e, mode)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(header, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
