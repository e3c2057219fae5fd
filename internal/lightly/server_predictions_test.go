package lightly_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/bus"
	"nextbatch/internal/lightly"
)

// bare makes a dataset with n samples and its initial tag.
func (r *rig) bare(name string, n int) (path string) {
	r.Helper()
	path = "/v1/datasets/" + r.created("/v1/datasets", object{"name": name})
	for i := range n {
		r.created(path+"/samples", object{"fileName": fmt.Sprintf("img/%03d.jpg", i)})
	}
	r.created(path+"/tags/initial", object{"imgType": "meta"})
	return path
}

const schema = `{"name":"my-task","type":"CLASSIFICATION","categories":[{"id":3,"name":"cat"},{"id":7,"name":"dog"}]}`

// classes writes the predictions of one image.
func classes(p float64) string {
	return fmt.Sprintf(`[{"type":"CLASSIFICATION","taskName":"my-task","categoryId":7,"score":%g,"probabilities":[%g,%g]}]`, 1-p, p, 1-p)
}

func TestPredictionsAreKept(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	path := r.bare("photos", 3)
	samples := ok[[]string](r, "GET", path+"/mappings?field=_id", nil)
	tasks, predictions := path+"/predictions/tasks", path+"/predictions/samples"
	r.created(tasks, schema)
	newer := strings.Replace(schema, `"cat"`, `"lion"`, 1)
	r.created(tasks+"?predictionUUIDTimestamp=1700000000000", newer)
	raw := func(path string) string {
		t.Helper()
		return string(ok[json.RawMessage](r, "GET", path, nil))
	}
	for path, want := range map[string]string{
		tasks: "[" + newer + "]",
		tasks + "/my-task?predictionUUIDTimestamp=-1": schema,
		tasks + "?predictionUUIDTimestamp=5":          "[]",
		predictions:                                   "[[],[],[]]",
		predictions + "/" + samples[0]:                "[]",
	} {
		if got := raw(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	r.created(predictions+"/"+samples[1], classes(0.25))
	r.created(predictions+"/"+samples[1], classes(0.5)) // replaces it
	if got := raw(predictions + "/" + samples[1]); got != classes(0.5) {
		t.Errorf("of a sample: %s", got)
	}
	if got := raw(predictions); got != "[[],"+classes(0.5)+",[]]" {
		t.Errorf("of all samples: %s", got)
	}
	if got := raw(predictions + "?taskName=other"); got != "[[],[],[]]" {
		t.Errorf("of another task: %s", got)
	}
	// A mask of 200,000 runs does not stand in a record.
	r.created(tasks, `{"name":"masks","type":"SEMANTIC_SEGMENTATION","categories":[{"id":0,"name":"sky"}]}`)
	mask := `[{"type":"SEMANTIC_SEGMENTATION","taskName":"masks","categoryId":0,"score":0.5,"segmentation":[` + strings.Repeat("1,", 199_999) + `1]}]`
	r.created(predictions+"/"+samples[2], mask)
	if got := raw(predictions + "/" + samples[2] + "?taskName=masks"); got != mask {
		t.Errorf("a large mask comes back with %d bytes of %d", len(got), len(mask))
	}
	ok[nothing](r, "DELETE", path, "{}")
	stream, err := r.js.Stream(t.Context(), bus.Stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("al.v1.prediction.>"))
	if err != nil {
		t.Fatal(err)
	}
	for subject := range info.State.Subjects {
		m, err := stream.GetLastMsgForSubject(t.Context(), subject)
		if err != nil || len(m.Data) > 0 {
			t.Errorf("%s is left of a deleted dataset: %s, %v", subject, m.Data, err)
		}
	}
}

// TestListThatCannotBegin is an error like any other; only what is on its way
// already is cut off.
func TestListThatCannotBegin(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	path := r.bare("photos", 1)
	sample := ok[[]string](r, "GET", path+"/mappings?field=_id", nil)[0]
	r.created(path+"/predictions/tasks", `{"name":"masks","type":"SEMANTIC_SEGMENTATION","categories":[{"id":0,"name":"sky"}]}`)
	mask := `[{"type":"SEMANTIC_SEGMENTATION","taskName":"masks","categoryId":0,"score":0.5,"segmentation":[` + strings.Repeat("1,", 50_000) + `1]}]`
	r.created(path+"/predictions/samples/"+sample, mask)
	sum := sha256.Sum256([]byte(mask))
	file, err := r.blobs.Path(hex.EncodeToString(sum[:]))
	if err == nil {
		err = os.Remove(file)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.refused(500, "INTERNAL_SERVER_ERROR", "GET", path+"/predictions/samples", nil)
}

func TestPredictionsRefused(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	path := r.bare("photos", 3)
	tasks, sample := path+"/predictions/tasks", path+"/predictions/samples/"+ok[[]string](r, "GET", path+"/mappings?field=_id", nil)[0]
	r.created(tasks, schema)
	of := func(rest string) string { return `[{"type":"CLASSIFICATION","taskName":"my-task",` + rest + `}]` }
	for _, c := range []struct {
		path, body string
		status     int
		code, want string
	}{
		{tasks, `{"name":"x y!","type":"CLASSIFICATION","categories":[]}`, 400, "BAD_REQUEST", "name is"},
		{tasks, `{"name":"task","type":"classification","categories":[]}`, 400, "BAD_REQUEST", "type is"},
		{tasks, `{"name":"task","type":"CLASSIFICATION"}`, 400, "BAD_REQUEST", "no categories"},
		{tasks, `{"name":"task","type":"CLASSIFICATION","categories":[{"id":1,"name":"a"},{"id":1,"name":"b"}]}`, 400, "PREDICTION_TASK_SCHEMA_CATEGORIES_NOT_UNIQUE", "1"},
		{tasks, `[]`, 400, "MALFORMED_REQUEST", "want an object"},
		{tasks + "?predictionUUIDTimestamp=now", schema, 400, "BAD_REQUEST", "predictionUUIDTimestamp"},
		{sample, `{}`, 400, "MALFORMED_REQUEST", "want a list"},
		{sample, `[null]`, 404, "PREDICTION_TASK_SCHEMA_UNKNOWN", ""},
		{sample, of(`"categoryId":3,"score":NaN`), 400, "MALFORMED_REQUEST", "NaN"},
		{sample, of(`"score":1`), 400, "BAD_REQUEST", "categoryId or score is missing"},
		{sample, of(`"categoryId":4,"score":1`), 400, "BAD_REQUEST", "no category 4"},
		{sample, of(`"categoryId":3,"score":2`), 400, "BAD_REQUEST", "score is 2"},
		{sample, of(`"categoryId":3,"score":1,"probabilities":[1]`), 400, "BAD_REQUEST", "1 probabilities for the 2"},
		{sample, of(`"categoryId":3,"score":1,"probabilities":[1,-1]`), 400, "BAD_REQUEST", "probability -1"},
		{sample, strings.Replace(of(`"categoryId":3,"score":1`), "CLASSIFICATION", "OBJECT_DETECTION", 1), 400, "BAD_REQUEST", "but task my-task is CLASSIFICATION"},
		{sample, strings.Replace(classes(0.5), "my-task", "other", 1), 404, "PREDICTION_TASK_SCHEMA_UNKNOWN", "other"},
		{sample + "?predictionUUIDTimestamp=5", classes(0.5), 404, "PREDICTION_TASK_SCHEMA_UNKNOWN", "of version 5"},
		{sample, strings.TrimSuffix(classes(0.5), "]") + "," + strings.TrimPrefix(classes(0.5), "["), 400, "BAD_REQUEST", "prediction 1: a second one of task my-task"},
		{sample[:len(sample)-1] + "9", classes(0.5), 404, "SAMPLE_UNKNOWN", ""},
		{"/v1/datasets/" + strings.Repeat("0", 24) + "/predictions/tasks", schema, 404, "DATASET_UNKNOWN", ""},
	} {
		if message := r.refused(c.status, c.code, "POST", c.path, c.body); !strings.Contains(message, c.want) {
			t.Errorf("%s\nwants %s", message, c.want)
		}
	}
	r.refused(404, "PREDICTION_TASK_SCHEMA_UNKNOWN", "GET", tasks+"/other", nil)
	r.refused(404, "PREDICTION_TASK_SCHEMA_UNKNOWN", "GET", tasks+"/a%2e%3e%2a", nil)
	if all := ok[json.RawMessage](r, "GET", path+"/predictions/samples", nil); string(all) != "[[],[],[]]" {
		t.Errorf("something was stored: %s", all)
	}
}

func TestMetadataConfiguration(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	path := r.bare("photos", 1) + "/configuration/metadata"
	id := r.created(path, `{"name":"weather","configs":[{"name":"Temperature","path":"weather.temperature","defaultValue":0,"valueDataType":"NUMERIC_FLOAT"}]}`)
	ok[nothing](r, "PUT", path+"/"+id, `{"name":"sky","configs":[{"name":"Sky","path":"weather.sky","defaultValue":"clear","valueDataType":"CATEGORICAL_STRING"}]}`)
	type configuration struct {
		ID, Name                  string
		CreatedAt, LastModifiedAt int64
		Configs                   []object
	}
	list, one := ok[[]configuration](r, "GET", path, nil), ok[configuration](r, "GET", path+"/"+id, nil)
	if len(list) != 1 || list[0].ID != one.ID || one.ID != id || one.Name != "sky" || len(one.Configs) != 1 || one.Configs[0]["defaultValue"] != "clear" || one.CreatedAt == 0 {
		t.Errorf("%+v and %+v", list, one)
	}
	for body, want := range map[string]string{
		`{"configs":[]}`: "name has 0",
		`{"name":"x"}`:   "configs is missing",
		`{"name":"x","configs":[{"name":"a","path":"b","valueDataType":"NUMERIC_INT"}]}`:                "configs 0",
		`{"name":"x","configs":[{"name":"a","path":"b","defaultValue":1,"valueDataType":"NUMBER"}]}`:    "configs 0: valueDataType",
		`{"name":"x","configs":[{"name":"a","path":"b","defaultValue":null,"valueDataType":"NUMBER"}]}`: "defaultValue is missing",
	} {
		for _, message := range []string{r.refused(400, "BAD_REQUEST", "POST", path, body), r.refused(400, "BAD_REQUEST", "PUT", path+"/"+id, body)} {
			if !strings.Contains(message, want) {
				t.Errorf("%s\nwants %s", message, want)
			}
		}
	}
	r.refused(404, "METADATA_CONFIGURATION_UNKNOWN", "GET", path+"/"+strings.Repeat("0", 24), nil)
	r.refused(404, "METADATA_CONFIGURATION_UNKNOWN", "GET", path+"/x", nil)
}
