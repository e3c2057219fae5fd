package worker_test

import (
	"archive/zip"
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
	"nextbatch/internal/worker"
)

// badInput is a message that must end as one selection.failed and one dead
// letter. Its event, if it can be read at all, has the case's name as id.
type badInput struct {
	name string
	msg  *nats.Msg
	code string
	says string // part of the message, or of its hint
	how  int
}

const (
	unread    = 1 << iota // no event could be read: what failed is a place in the stream
	transient             // gets every attempt
	plain                 // the message says it all: no hint needed
)

// ce makes a message on a dataset's subject with the fields of a structured
// event; @ stands for the fields that each event has.
func ce(dataset, typ, fields string) *nats.Msg {
	common := `"specversion":"1.0","id":"@id","source":"/test","type":"` + typ + `"`
	m := raw(events.InSubject(typ, dataset), "{"+strings.Replace(fields, "@", common, 1)+"}")
	m.Header.Set("Content-Type", "application/cloudevents+json")
	return m
}

// binaryCE makes a message in binary mode with more headers.
func binaryCE(typ, body string, more ...string) *nats.Msg {
	m := raw(events.InSubject(typ, "shoes"), body)
	m.Header = nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"@id"}, "ce-source": {"/test"}, "ce-type": {typ}}
	for i := 0; i < len(more); i += 2 {
		m.Header[more[i]] = append(m.Header[more[i]], more[i+1])
	}
	return m
}

func raw(subject, body string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{}, Data: []byte(body)}
}

func labels(fields string) *nats.Msg {
	return ce("shoes", events.LabelsCompleted, `@,"data":{"dataset":"shoes",`+fields+`}`)
}

func request(selection string) *nats.Msg {
	return ce("shoes", events.SelectionRequested, `@,"data":{"dataset":"shoes","selection":{`+selection+`}}`)
}

// embed sends embeddings; ref is the JSON of a reference, or of inline rows.
func embed(ref, more string) *nats.Msg {
	return ce("shoes", events.EmbeddingsReady, `@,"data":{"dataset":"shoes","embeddings":`+reference(ref)+more+`}`)
}

func predict(task, ref, more string) *nats.Msg {
	return ce("shoes", events.PredictionsReady, `@,"data":{"dataset":"shoes","task":"`+task+`","predictions":`+reference(ref)+more+`}`)
}

func reference(ref string) string {
	if strings.HasPrefix(ref, "[") {
		return `{"uri":"inline:","data":` + ref + `}`
	}
	return ref
}

// uri makes a reference without a file.
func uri(s string) string { return fmt.Sprintf(`{"uri":%q}`, s) }

var badEnvelopes = []badInput{
	{"nothing at all", raw("al.v1.in.labels.completed.shoes", ""), "bad_event", "not a CloudEvent", unread},
	{"some text", raw("al.v1.in.embeddings.ready.shoes", "hello"), "bad_event", "not a CloudEvent", unread},
	{"binary garbage", raw("al.v1.in.predictions.ready.shoes", "\x00\xff\x93NUMPY"), "bad_event", "not a CloudEvent", unread},
	{"half an event", ce("shoes", events.LabelsCompleted, `@,"data":`), "bad_event", "not valid JSON", unread},
	{"an envelope in Latin-1", ce("shoes", events.LabelsCompleted, "@,\"note\":\"caf\xe9\""), "bad_event", "not valid UTF-8", unread},
	{"nesting", ce("shoes", events.LabelsCompleted, `@,"data":`+strings.Repeat("[", 100_000)), "bad_event", "not valid JSON", unread | plain},
	{"no id", ce("shoes", events.LabelsCompleted, `"specversion":"1.0","source":"/test","type":"labels.completed"`), "bad_event", "attribute id is missing", unread},
	{"no source", ce("shoes", events.LabelsCompleted, `"specversion":"1.0","id":"1","type":"labels.completed"`), "bad_event", "attribute source is missing", unread},
	{"no type", ce("shoes", events.LabelsCompleted, `"specversion":"1.0","id":"1","source":"/test"`), "bad_event", "attribute type is missing", unread},
	{"empty id", ce("shoes", events.LabelsCompleted, `"specversion":"1.0","id":"","source":"/test","type":"t"`), "bad_event", "attribute id: is empty", unread},
	{"NUL in the id", ce("shoes", events.LabelsCompleted, `"specversion":"1.0","id":"a\u0000b","source":"/test","type":"t"`), "bad_event", "U+0000", unread | plain},
	{"no specversion", ce("shoes", events.LabelsCompleted, `"id":"1","source":"/test","type":"labels.completed"`), "bad_event", "specversion is missing", unread},
	{"old specversion", ce("shoes", events.LabelsCompleted, `"specversion":"0.3","id":"1","source":"/test","type":"t"`), "unsupported_format", "specversion 0.3", unread},
	{"two ids", ce("shoes", events.LabelsCompleted, `@,"id":"other"`), "bad_event", "id is given twice", unread},
	{"data beside the data", ce("shoes", events.LabelsCompleted, `@,"data":{},"data_base64":"e30="`), "bad_event", "both data and data_base64", unread},
	{"broken base64", ce("shoes", events.LabelsCompleted, `@,"data_base64":"%"`), "bad_event", "data_base64", unread | plain},
	{"a field of data as attribute", ce("shoes", events.LabelsCompleted, `@,"query_tag":"x"`), "bad_event", "not an attribute name", unread},
	{"100 attributes", ce("shoes", events.LabelsCompleted, "@"+times(100, `,"a%d":"x"`)), "bad_event", "more than 64 attributes", unread},
	{"time without zone", ce("shoes", events.LabelsCompleted, `@,"time":"2026-01-31 12:00"`), "bad_event", "RFC 3339", unread},
	{"batch", typed("application/cloudevents-batch+json", "[{}]"), "unsupported_format", "cloudevents-batch+json", unread},
	{"avro", typed("application/cloudevents+avro", "\x00\x01"), "unsupported_format", "avro", unread},
	{"UTF-16", typed("application/cloudevents+json; charset=utf-16", "{}"), "unsupported_format", "utf-16", unread},
	{"header of invalid UTF-8", binaryCE(events.LabelsCompleted, "{}", "ce-subject", "caf%E9"), "bad_event", "not valid UTF-8", unread},
	{"header of raw bytes", binaryCE(events.LabelsCompleted, "{}", "ce-subject", "caf\xe9"), "bad_event", "not valid UTF-8", unread},
	{"percent garbage", binaryCE(events.LabelsCompleted, "{}", "ce-subject", "100%"), "bad_event", "percent-encoded", unread},
	{"open quote", binaryCE(events.LabelsCompleted, "{}", "ce-subject", `"shoes`), "bad_event", "the quote is not closed", unread},
	{"header twice", binaryCE(events.LabelsCompleted, "{}", "ce-source", "/other"), "bad_event", "ce-source is given twice", unread},

	{"misspelled type", moved(ce("shoes", "label.completed", `@,"data":{}`), "al.v1.in.labels.completed.shoes"), "unknown_type", "did you mean labels.completed?", 0},
	{"type of a result", moved(ce("shoes", events.SelectionCreated, `@,"data":{}`), "al.v1.in.embeddings.ready.shoes"), "unknown_type", "selection.created is not known", 0},
	{"CSV as data", ce("shoes", events.LabelsCompleted, `@,"datacontenttype":"text/csv","data":"a,b"`), "bad_event", "data must be JSON", 0},
	{"schema of version 2", ce("shoes", events.LabelsCompleted, `@,"dataschema":"https://nextbatch.dev/schemas/labels.completed/v2.json","data":{}`), "bad_event", "is not the schema of labels.completed, version 1", 0},
	{"no data", ce("shoes", events.LabelsCompleted, `@`), "bad_event", "the event has no data", 0},
	{"null as data", ce("shoes", events.LabelsCompleted, `@,"data":null`), "bad_data", "data: null where an object is needed", 0},
	{"list as data", ce("shoes", events.PredictionsReady, `@,"data":[]`), "bad_data", "data: an array where an object is needed", 0},
	{"data is no JSON", binaryCE(events.PredictionsReady, `{"dataset":"shoes",`), "bad_data", "not valid JSON", 0},
	{"NaN in JSON", binaryCE(events.SelectionRequested, `{"dataset":"shoes","selection":{"min_distance":NaN}}`), "bad_data", "JSON has no NaN", 0},
	{"dataset twice", ce("shoes", events.LabelsCompleted, `@,"data":{"dataset":"shoes","dataset":"boots"}`), "bad_data", "dataset: is given twice", 0},
	{"half of a character", labels(`"labeled":["\ud83d"]`), "bad_event", "half of a surrogate pair", unread},
	{"unknown field", labels(`"labelled":["a"]`), "bad_data", "labelled: unknown field; did you mean labeled?", 0},
	{"string for a list", labels(`"labeled":"a"`), "bad_data", `labeled: "a" where an array is needed`, 0},
	{"faults in many places", labels(`"labeled":[1,"",null,true]`), "bad_data", "4 faults: labeled[0]: 1 where a string is needed", 0},
	{"data nested too deep", embed(strings.Repeat("[", 80)+strings.Repeat("]", 80), ""), "bad_data", "nested deeper than 64", 0},
	{"subject of another dataset", ce("shoes", events.LabelsCompleted, `@,"subject":"boots","data":{"dataset":"shoes"}`), "bad_event", "subject boots, but data.dataset shoes", 0},
	{"published for another dataset", moved(labels(`"labeled":[]`), "al.v1.in.labels.completed.boots"), "subject_mismatch", "belongs on al.v1.in.labels.completed.shoes", 0},
	{"published as another type", moved(labels(`"labeled":[]`), "al.v1.in.predictions.ready.shoes"), "subject_mismatch", "belongs on al.v1.in.labels.completed.shoes", 0},
	{"dataset with a dot in the subject", moved(ce("my.shoes", events.LabelsCompleted, `@,"data":{"dataset":"my.shoes"}`), "al.v1.in.labels.completed.my.shoes"), "subject_mismatch", "al.v1.in.labels.completed.my=2Eshoes", 0},
	{"dataset with a slash", ce("my/shoes", events.LabelsCompleted, `@,"data":{"dataset":"my/shoes"}`), "bad_data", `dataset: "my/shoes" is not allowed: letters`, 0},
	{"dataset without a name", ce("", events.SelectionRequested, `@,"data":{"dataset":"","selection":{}}`), "bad_data", "dataset: 0 characters, at least 1 needed", 0},
	{"dataset with a long name", ce(strings.Repeat("s", 200), events.SelectionRequested, `@,"data":{"dataset":"`+strings.Repeat("s", 200)+`","selection":{}}`), "bad_data", "dataset: 200 characters, at most 128 allowed", 0},
	{"e1", request(`"method":"RANDOM"`), "id_reused", `id "e1" but other data`, 0}, // the id of the rig's first event
	{"a megabyte of it", typed("application/cloudevents+json", strings.Repeat("x", 1<<20-1000)), "bad_event", "not valid JSON", unread},

	{"labels: unknown filenames", labels(`"labeled":["img/000001.jpg","../x","nope"]`), "unknown_filenames", `2 of 3 filenames are not in the dataset (first "../x", "nope")`, 0},
	{"labels: 20,000 unknown filenames", labels(`"skipped":["n"` + times(19_999, `,"n%d"`) + `]`), "unknown_filenames", `20000 of 20000 filenames are not in the dataset (first "n", "n0", "n1")`, 0},
	{"labels: twice", labels(`"labeled":["img/000001.jpg","img/000002.jpg","img/000001.jpg"]`), "duplicate_filenames", `1 of 3 filenames occur twice in the event (first "img/000001.jpg")`, 0},
	{"labels: labeled and skipped", labels(`"labeled":["img/000001.jpg"],"skipped":["img/000001.jpg"]`), "duplicate_filenames", `1 of 2 filenames occur twice`, 0},
	{"labels: unknown tag", labels(`"tag":"round-9","labeled":["img/000003.jpg"]`), "unknown_tag", `dataset "shoes" has no tag "round-9"`, 0},
	{"labels: unknown dataset", ce("ghost", events.LabelsCompleted, `@,"data":{"dataset":"ghost","labeled":["a"]}`), "unknown_dataset", `dataset "ghost" does not exist`, 0},
	{"labels: then an impossible selection", labels(`"labeled":["img/000004.jpg"],"selection":{"method":"CORESET","embedding":"clip"}`), "unknown_embedding", `has no embedding "clip"`, 0},
	{"labels: misspelled name of a selection", labels(`"selection":{"batchsize":3}`), "bad_data", "selection.batchsize: unknown field; did you mean batch_size?", 0},

	{"n_samples and batch_size", request(`"n_samples":9,"batch_size":3`), "bad_data", "give n_samples or batch_size, not both", 0},
	{"negative batch", request(`"batch_size":-1`), "bad_data", "selection.batch_size: -1 is below 0", 0},
	{"half a sample", request(`"batch_size":2.5`), "bad_data", "selection.batch_size: 2.5 where an integer is needed", 0},
	{"integer with a fraction", request(`"batch_size":20.0`), "bad_data", "write 20.0 in digits only", 0},
	{"seed beyond 53 bits", request(`"seed":9007199254740993`), "bad_data", "is above 9007199254740991", 0},
	{"number beyond float64", request(`"min_distance":1e999`), "bad_data", "selection.min_distance: 1e999 is beyond the range", 0},
	{"unknown method", request(`"method":"coreset"`), "bad_data", "did you mean CORESET?", 0},
	{"unknown score", request(`"method":"ACTIVE_LEARNING","score":"charm"`), "unknown_score", `no score "charm" for initial-tag`, 0},
	{"unknown embedding", request(`"method":"CORESET","embedding":"clip"`), "unknown_embedding", `dataset "shoes" has no embedding "clip"`, 0},
	{"unknown query tag", ce("shoes", events.SelectionRequested, `@,"data":{"dataset":"shoes","query_tag":"round-9","selection":{}}`), "unknown_tag", `has no tag "round-9"`, 0},
	{"preselected tag and from scratch", ce("shoes", events.SelectionRequested, `@,"data":{"dataset":"shoes","preselected_tag":"round-8","from_scratch":true,"selection":{}}`), "bad_data", "give preselected_tag or from_scratch, not both", 0},
	{"unknown preselected tag", ce("shoes", events.SelectionRequested, `@,"data":{"dataset":"shoes","preselected_tag":"round-8","selection":{}}`), "unknown_tag", `has no tag "round-8"`, 0},
	{"name taken", request(`"method":"RANDOM","name":"round-1"`), "tag_exists", `dataset "shoes" has a tag "round-1" already`, 0},
	{"initial-tag as name", request(`"method":"RANDOM","name":"initial-tag"`), "tag_exists", `"initial-tag"`, 0},
	{"path as name", request(`"name":"../../x"`), "bad_data", "selection.name", 0},
	{"no scores for the tag", ce("shoes", events.SelectionRequested, `@,"data":{"dataset":"shoes","query_tag":"round-1","selection":{"method":"ACTIVE_LEARNING"}}`), "no_scores", "has none for round-1", 0},
	{"huge exponent", request(`"method":"CORAL","score_exponent":1e300`), "bad_data", "selection.score_exponent: 1e+300 is above 100", 0},
	{"negative exponent", request(`"method":"CORAL","distance_exponent":-1`), "bad_data", "selection.distance_exponent: -1 is below 0", 0},
	{"floor above 1", request(`"score_floor":1.5`), "bad_data", "selection.score_floor: 1.5 is above 1", 0},
	{"selection from no dataset", ce("ghost", events.SelectionRequested, `@,"data":{"dataset":"ghost","selection":{}}`), "unknown_dataset", `dataset "ghost" does not exist`, 0},
}

// badSubjects end in tokens that no dataset has: what a worker says of them
// must not contain what it cannot send.
var badSubjects = []badInput{
	{"subject token of a control character", raw("al.v1.in.selection.requested.=07", "{}"), "bad_event", "specversion is missing", unread},
	{"subject token of invalid UTF-8", raw("al.v1.in.selection.requested.=FF", "{}"), "bad_event", "specversion is missing", unread},
	{"subject token that is none", raw("al.v1.in.labels.completed.50=zz", "{}"), "bad_event", "specversion is missing", unread},
	{"subject token that grows", raw("al.v1.in.selection.requested."+strings.Repeat("é", 900), "{}"), "bad_event", "specversion is missing", unread},
}

// status makes an empty message with a header Status.
func status(subject, code, description string) *nats.Msg {
	m := raw(subject, "")
	m.Header = nats.Header{"Status": {code}, "Description": {description}}
	return m
}

var statusHeaders = []badInput{
	{"100 as an embedding", status("al.v1.in.embeddings.ready.shoes", "100", "Idle Heartbeat"), "bad_event", "not a CloudEvent", unread},
	{"404 as a request", status("al.v1.in.selection.requested.shoes", "404", "No Messages"), "bad_event", "not a CloudEvent", unread},
	{"409 as predictions", status("al.v1.in.predictions.ready.shoes", "409", "Consumer Deleted"), "bad_event", "not a CloudEvent", unread},
	{"503 as labels", status("al.v1.in.labels.completed.shoes", "503", ""), "bad_event", "not a CloudEvent", unread},
}

// badData is made of files below the allowed root.
func badData(r *rig) []badInput {
	file := func(name string, data []byte) string { return mustJSON(r.file(name, data)) }
	text := func(name, data string) string { return file(name, []byte(data)) }
	array := func(name, descr, shape string, values ...float32) string {
		return file(name, npy(descr, shape, float32s(values...)))
	}
	good := npy("<f4", "(2, 4)", float32s(1, 2, 3, 4, 5, 6, 7, 8))
	two := `,"filenames":["a","b"]`
	row := func(name, embedding string) string {
		return fmt.Sprintf(`[{"filename":%q,"embedding":[%s]}]`, name, embedding)
	}
	classes := func(p string) string { return `[{"filename":"img/000001.jpg","probabilities":[` + p + `]}]` }
	image := func(fields string) string { return `[{"filename":"img/000001.jpg",` + fields + `}]` }
	tree := func(name, schema, prediction string) string {
		text(name+"/schema.json", schema)
		text(name+"/1.json", prediction)
		return uri("file://" + filepath.Join(r.files, name))
	}
	const detection = `{"task_type":"object-detection","categories":[{"id":0,"name":"shoe"}]}`
	link := func(target, name string) string {
		r.must(os.Symlink(target, filepath.Join(r.files, name)))
		return uri("file://" + filepath.Join(r.files, name))
	}
	r.must(unix.Mkfifo(filepath.Join(r.files, "fifo.npy"), 0o600))
	r.must(os.Mkdir(filepath.Join(r.files, "folder.npy"), 0o700))
	outside := filepath.Join(r.TempDir(), "secret.npy")
	r.must(os.WriteFile(outside, good, 0o600))
	long := r.file("long.jsonl", []byte("["))
	r.must(os.Truncate(strings.TrimPrefix(long.URI, "file://"), 300<<20))
	long.Size = 0
	whole := r.file("whole.npy", good)
	other := whole
	other.SHA256 = strings.Repeat("0", 64)
	grown := whole
	grown.Size++
	at := func(path string) string { return uri("file://" + r.files + "/" + path) }

	return []badInput{
		{"embeddings without names", embed(file("unnamed.npy", good), ""), "no_filenames", "neither the embeddings file nor the event carries filenames", 0},
		{"embeddings: too few names", embed(file("few.npy", good), `,"filenames":["a"]`), "row_count", "1 filenames for 2 embeddings", plain},
		{"embeddings: names from a file of another length", embed(file("some.npy", good), `,"filenames":`+text("some.txt", "a\nb\nc\n")), "row_count", "3 filenames for 2 embeddings", plain},
		{"embeddings: names twice over", embed(row("a", "1,2,3,4"), `,"filenames":["a"]`), "bad_data", "both the embeddings file and the event carry filenames", 0},
		{"embeddings: other dimension", embed(row("a", "1,2,3"), ""), "dimension_mismatch", `embedding "default" of dataset "shoes" has 4 dimensions, these vectors have 3`, 0},
		{"embeddings: NaN", embed(array("nan.npy", "<f4", "(2, 4)", 1, 2, 3, 4, 5, float32(math.NaN()), 7, 8), two), "not_finite", "1 of 2 embeddings contain NaN, an infinity or a number beyond float32 (first row 1)", 0},
		{"embeddings: NaN in CSV", embed(text("nan.csv", "filename,x,y,z,w\na,1,2,3,nan\n"), ""), "not_finite", `1 of 1 embeddings contain NaN, an infinity or a number beyond float32 (first "a")`, 0},
		{"embeddings: beyond float32", embed(row("a", "1,2,3,1e39"), ""), "bad_json", `"1e39" is beyond the range of float32`, plain},
		{"embeddings: duplicates", embed(`[{"filename":"a","embedding":[1,2,3,4]},{"filename":"a","embedding":[1,2,3,4]}]`, ""), "duplicate_filenames", `1 of 2 filenames are there before (first "a")`, 0},
		{"embeddings: duplicates in the event", embed(file("twice.npy", good), `,"filenames":["a","a"]`), "duplicate_filenames", `1 of 2 filenames are there before (first "a")`, 0},
		{"embeddings: name that climbs", embed(row("../../etc/passwd", "1,2,3,4"), ""), "bad_filename", `"../../etc/passwd" has a segment ".."`, 0},
		{"embeddings: name of a root", embed(file("root.npy", good), `,"filenames":["a","/etc/passwd"]`), "bad_filename", `1 of 2 filenames are not allowed (first "/etc/passwd" is an absolute path)`, 0},
		{"embeddings: no rows", embed(`[]`, ""), "bad_shape", "holds no rows", plain},
		{"embeddings: no rows of 4", embed(array("none.npy", "<f4", "(0, 4)"), ""), "bad_shape", "holds no rows", plain},
		{"embeddings: too many dimensions", embed(row("a", "0"+strings.Repeat(",0", 70_000)), ""), "reference_too_large", "rows of more than 65536 values", plain},
		{"embeddings: too many columns", embed(file("wide.npy", npy("<f4", "(1, 65537)", make([]byte, 4*65537))), ""), "reference_too_large", "has 65537 columns", plain},
		{"embeddings: ragged", embed(`[{"filename":"a","embedding":[1,2,3,4]},{"filename":"b","embedding":[1,2,3]}]`, ""), "bad_shape", "row 2 has 3 values, the first has 4", 0},
		{"embeddings: some names", embed(`[{"filename":"a","embedding":[1,2,3,4]},{"embedding":[1,2,3,4]}]`, ""), "bad_json", "some rows have a filename and some do not", plain},
		{"embeddings: three axes", embed(array("cube.npy", "<f4", "(1, 1, 2)", 1, 2), two), "bad_shape", "shape [1 1 2], want rows × dimensions", 0},
		{"embeddings: strings", embed(file("text.npy", npy("|S4", "(1, 1)", []byte("abcd"))), two), "bad_npy", "has strings where numbers are expected", plain},
		{"embeddings: words in CSV", embed(text("words.csv", "filename,x\na,1\nb,one\n"), ""), "bad_csv", `line 3: column 2: want a number, found "one"`, plain},
		{"embeddings: CSV of pandas with its index", embed(text("index.csv", ",filename,x\n0,a,1\n"), ""), "bad_csv", "index=False", plain},
		{"embeddings: torn JSON lines", embed(text("torn.jsonl", `{"filename":"a","embedding":[1,2,3,4]}`+"\n"+`{"filename":"b","emb`), ""), "bad_json", "line 2", plain},
		{"embeddings: unknown field", embed(`[{"file":"a","embedding":[1,2,3,4]}]`, ""), "bad_json", `unknown field "file", known are "filename", "embedding"`, plain},
		{"embeddings: as a prediction tree", embed(tree("tree1", detection, `{}`), ""), "unsupported_format", "embeddings do not come as lightly", 0},
		{"embeddings of a new dataset with an impossible selection", ce("ghost", events.EmbeddingsReady, `@,"data":{"dataset":"ghost","embeddings":`+reference(row("a", "1,2"))+`,"selection":{"method":"CORESET","embedding":"clip"}}`),
			"unknown_embedding", `dataset "ghost" has no embedding "clip"`, 0},

		{"classification: rows that do not sum to 1", predict("classification", classes("0.5,0.6"), ""), "bad_predictions", `1 of 1 predictions are no probabilities (first "img/000001.jpg": sums to 1.1, not 1)`, 0},
		{"classification: logits", predict("classification", file("logits.npz", npz("probs", npy("<f4", "(1, 2)", float32s(3, -1)), "filenames", npy("|S14", "(1,)", []byte("img/000001.jpg")))), ""), "bad_predictions", "entry 0 is 3, outside [0, 1]", 0},
		{"classification: NaN", predict("classification", array("p.npy", "<f4", "(2, 2)", 0.5, 0.5, float32(math.NaN()), 1), `,"keyed_by":"query_order"`), "bad_predictions", `1 of 2 predictions are no probabilities (first "row 1": entry 0 is NaN)`, 0},
		{"classification: softmax of one column", predict("classification", classes("0.5"), `,"normalization":"softmax"`), "bad_predictions", "normalization softmax of one column", plain},
		{"classification: sum of nothing", predict("classification", classes("0,0"), `,"normalization":"sum"`), "bad_predictions", "sums to 0: cannot be divided by it", 0},
		{"classification: unknown filename", predict("classification", strings.ReplaceAll(classes("0.5,0.5"), "img", "IMG"), ""), "unknown_filenames", `1 of 1 filenames are not in the dataset (first "IMG/000001.jpg")`, 0},
		{"classification: duplicates", predict("classification", text("dup.csv", "filename,a,b\nimg/000001.jpg,0,1\nimg/000001.jpg,1,0\n"), ""), "duplicate_filenames", `(first "img/000001.jpg")`, 0},
		{"classification: not in the query set", predict("classification", mustJSON(probabilities(numbered(50))), `,"query_tag":"round-1"`), "not_in_query_set", "45 of 50 filenames are not in query tag round-1", plain},
		{"classification: no names", predict("classification", array("n.npy", "<f4", "(1, 2)", 0, 1), ""), "no_filenames", "the predictions carry no filenames", 0},
		{"classification: rows for others", predict("classification", array("o.npy", "<f4", "(2, 2)", 0, 1, 1, 0), `,"keyed_by":"query_order"`), "row_count", "2 predictions, but the query_order has 50 samples", 0},
		{"classification: rows for the unlabeled", predict("classification", array("u.npy", "<f4", "(2, 2)", 0, 1, 1, 0), `,"keyed_by":"unlabeled_order"`), "row_count", "2 predictions, but the unlabeled_order has", 0},
		{"classification: names and an order", predict("classification", classes("0,1"), `,"keyed_by":"query_order"`), "bad_data", "the predictions carry filenames, and keyed_by is query_order", 0},
		{"classification: none", predict("classification", `[]`, ""), "bad_predictions", "no predictions", plain},
		{"classification: unknown tag", predict("classification", classes("0,1"), `,"query_tag":"round-9"`), "unknown_tag", `has no tag "round-9"`, 0},
		{"classification: then an unknown score", predict("classification", classes("0,1"), `,"selection":{"score":"charm"}`), "unknown_score", `no score "charm"`, 0},
		{"predictions without a dataset", ce("ghost", events.PredictionsReady, `@,"data":{"dataset":"ghost","task":"classification","predictions":`+reference(classes("0,1"))+`}`), "unknown_dataset", `dataset "ghost" does not exist`, 0},
		{"unknown task", predict("segmentation", classes("0,1"), ""), "bad_data", "task", 0},
		{"unknown normalization", predict("classification", classes("0,1"), `,"normalization":"l2"`), "bad_data", `normalization: "l2" is not allowed; one of none, softmax, sum`, 0},

		{"detection: classes that do not sum to 1", predict("object_detection", image(`"object_probabilities":[0.9],"class_probabilities":[[0.9,0.9]]`), ""), "bad_predictions", `(first "img/000001.jpg": box 0: sums to 1.8, not 1)`, 0},
		{"detection: a label short", predict("object_detection", image(`"boxes":[[0,0,1,1]],"scores":[0.5],"labels":[]`), ""), "bad_predictions", "img/000001.jpg", plain},
		{"detection: score of 2", predict("object_detection", image(`"scores":[2],"labels":[0]`), ""), "bad_predictions", "score 2 of box 0 is outside [0, 1]", plain},
		{"detection: boxes alone", predict("object_detection", image(`"boxes":[[0,0,1,1]]`), ""), "bad_json", "give object_probabilities and class_probabilities, or scores and labels", plain},
		{"detection: as npy", predict("object_detection", file("boxes.npy", good), ""), "unsupported_format", "detections do not come as npy", 0},
		{"detection: tree without a schema", predict("object_detection", at("folder.npy"), ""), "reference_not_allowed", "is a folder", 0},
		{"detection: tree of nothing", predict("object_detection", fmt.Sprintf(`{"uri":"file://%s/folder.npy","format":"lightly"}`, r.files), ""), "bad_tree", "neither schema.json nor tasks.json", 0},
		{"detection: tree of another task", predict("keypoint_detection", tree("tree2", detection, `{}`), ""), "bad_tree", `task_type is "object-detection", want keypoint-detection`, plain},
		{"detection: unknown category", predict("object_detection", tree("tree3", detection, `{"file_name":"img/000001.jpg","predictions":[{"category_id":7,"score":1,"bbox":[0,0,1,1]}]}`), ""), "bad_tree", "schema.json has no category 7", plain},
		{"segmentation: two axes", predict("semantic_segmentation", file("flat.npz", npz("img/000001.jpg", good)), ""), "bad_shape", "shape [2 4], want height × width × classes", 0},
		{"segmentation: pixels that do not sum to 1", predict("semantic_segmentation", file("pixels.npz", npz("img/000001.jpg", npy("<f4", "(1, 2, 2)", float32s(0.5, 0.5, 0.5, 0.6)))), ""), "bad_predictions", `"img/000001.jpg": pixel 1: sums to 1.1`, 0},
		{"segmentation: values that do not fill the shape", predict("semantic_segmentation", image(`"shape":[1000000,1000000,2],"data":[0,1]`), ""), "bad_json", "2 values do not fill shape", plain},
		{"segmentation: as CSV", predict("semantic_segmentation", text("s.csv", "a,b\n"), ""), "unsupported_format", "segmentations do not come as csv", 0},
		{"keypoints: two numbers", predict("keypoint_detection", image(`"instances":[{"keypoints":[1,2]}]`), ""), "bad_predictions", "instance 0 has 2 numbers", plain},
		{"keypoints: confidence of 3", predict("keypoint_detection", image(`"instances":[{"keypoints":[1,2,3]}]`), ""), "bad_predictions", "confidence 3 of keypoint 0 of instance 0 is outside [0, 1]", plain},
		{"keypoints: softmax", predict("keypoint_detection", image(`"instances":[]`), `,"normalization":"softmax"`), "bad_predictions", "keypoint confidences cannot be normalized", plain},

		{"another scheme", embed(uri("ftp://example.com/e.npy"), ""), "unsupported_scheme", "this worker reads file://, nats://, s3://, gs://, azblob://, https:// and inline:", 0},
		{"a host that is not on the list", embed(uri("https://example.com/e.npy"), ""), "reference_not_allowed", "not on a host that this worker may read", 0},
		{"a bucket that is not on the list", embed(uri("s3://models/e.npy"), ""), "reference_not_allowed", "not in a bucket, or below a prefix", 0},
		{"files and a uri", embed(`{"uri":"file:///e.npy","files":[{"uri":"file:///f.npy"}]}`, ""), "bad_data", "files take the place of uri", 0},
		{"no files", embed(`{"files":[]}`, ""), "bad_reference", "lists no files", plain},
		{"no scheme", embed(uri("/data/e.npy"), ""), "bad_reference", "is no absolute uri", 0},
		{"a host", embed(uri("file://server/share/e.npy"), ""), "bad_reference", "names a host", 0},
		{"a user", embed(uri("nats://bob:hunter2@models/e.npy"), ""), "bad_reference", "has a user name", 0},
		{"a query", embed(uri("file:///e.npy?token=hunter2"), ""), "bad_reference", "has a query", 0},
		{"a fragment", embed(uri("file:///e.npy#hunter2"), ""), "bad_reference", "has a fragment", 0},
		{"a control character", embed(uri("file:///e\n.npy"), ""), "bad_reference", "a control character", 0},
		{"traversal", embed(at("../secret.npy"), ""), "bad_reference", `path segment ".."`, 0},
		{"encoded traversal", embed(at("%2e%2e/secret.npy"), ""), "bad_reference", "an encoded dot", 0},
		{"traversal encoded twice", embed(at("%252e%252e%252fsecret.npy"), ""), "bad_reference", "encoded twice", 0},
		{"outside the root", embed(uri("file://"+outside), ""), "reference_not_allowed", "not below a folder that this worker may read", 0},
		{"beside the root", embed(uri("file://"+r.files+"-other/e.npy"), ""), "reference_not_allowed", "not below a folder that this worker may read", 0},
		{"symlink out", embed(link(outside, "out.npy"), two), "reference_not_allowed", "leads out of the allowed folder", 0},
		{"symlink to a device", embed(link("/dev/zero", "zero.npy"), two), "reference_not_allowed", "leads out of the allowed folder", 0},
		{"symlink to itself", embed(link("self.npy", "self.npy"), two), "reference_not_allowed", "leads out of the allowed folder", 0},
		{"symlink out of a tree", predict("object_detection", func() string {
			ref := tree("tree4", detection, `{"file_name":"img/000001.jpg","predictions":[]}`)
			link(outside, "tree4/2.json")
			return ref
		}(), ""), "bad_tree", "a symbolic link that cannot be followed", plain},
		{"FIFO", embed(at("fifo.npy"), two), "reference_not_allowed", "is no regular file", 0},
		{"folder", embed(at("folder.npy"), two), "reference_not_allowed", "is a folder", 0},
		{"wrong digest", embed(mustJSON(other), two), "digest_mismatch", "has SHA-256 ", 0},
		{"wrong size", embed(mustJSON(grown), two), "size_mismatch", "has 160 bytes, the reference says 161", 0},
		{"missing file", embed(at("nowhere.npy"), two), "attempts_exhausted", "does not exist", transient},
		{"missing list of names", embed(file("named.npy", good), `,"filenames":`+at("nowhere.txt")), "attempts_exhausted", "nowhere.txt", transient},
		{"missing predictions", predict("classification", at("nowhere.npz"), ""), "attempts_exhausted", "given up after 2 attempts; last error: reference_missing", transient},
		{"file as a folder", embed(at("whole.npy/e.npy"), two), "attempts_exhausted", "does not exist", transient},
		{"empty file", embed(uri(r.file("empty.npy", nil).URI), two), "empty_file", "is empty (0 bytes)", plain},
		{"no extension", embed(text("data", "x"), two), "unsupported_format", "neither its extension nor format tells", 0},
		{"unknown format", embed(`{"uri":"file://`+r.files+`/whole.npy","format":"xls"}`, two), "unsupported_format", `unknown format "xls"`, 0},
		{"no Parquet file", embed(`{"uri":"file://`+r.files+`/whole.npy","format":"parquet"}`, two), "bad_parquet", `does not begin as a Parquet file does`, 0},
		{"no safetensors", embed(`{"uri":"file://`+r.files+`/whole.npy","format":"safetensors"}`, two), "bad_safetensors", `says that its header has`, 0},
		{"detections for embeddings", embed(`{"uri":"file://`+r.files+`/whole.npy","format":"coco"}`, two), "unsupported_format", `embeddings do not come as coco`, 0},
		{"torch", embed(at("model.pt"), two), "pickle_refused", "a .pt file is a pickle", 0},
		{"pickle in disguise", embed(text("pickle.npy", "\x80\x04\x95 and code that is never run"), two), "pickle_refused", "is a pickle", 0},
		{"objects", embed(file("objects.npy", npy("|O", "(2,)", []byte("\x80\x04"))), two), "pickle_refused", "Python objects", 0},
		{"pickle in a zip", embed(file("torch.npz", zipped("archive/data.pkl", []byte("\x80\x04"))), two), "pickle_refused", "archive/data.pkl", 0},
		{"truncated npy", embed(file("cut.npy", good[:len(good)-9]), two), "bad_npy", "has 23 bytes of elements, shape [2 4] of type <f4 needs 32", 0},
		{"npy cut within its header", embed(file("head.npy", good[:40]), two), "bad_npy", "ends within its header", 0},
		{"npy of a terabyte", embed(array("huge.npy", "<f4", "(4294967296, 64)", 1), two), "bad_npy", "needs 1099511627776", 0},
		{"npy beyond counting", embed(array("over.npy", "<f8", "(4611686018427387903, 8)", 1), two), "bad_npy", "needs more than there can be", 0},
		{"npy header of 4 GiB", embed(text("header.npy", "\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'"), two), "bad_npy", "has a header of 4294967295 bytes", 0},
		{"truncated npz", embed(file("cut.npz", npz("embeddings", good)[:100]), two), "bad_npz", "not complete", 0},
		{"npz with damaged bytes", embed(file("damaged.npz", bytes.Replace(npz("embeddings", good), good[len(good)-8:], []byte("damaged!"), 1)), two), "bad_npz", "checksum", plain},
		{"npz of several arrays", embed(file("both.npz", npz("features", good, "vectors", good)), two), "bad_npz", "several arrays that may be the embeddings", 0},
		{"zip bomb in the names", embed(file("bomb1.npz", bomb("filenames", npy("|S65536", "(512,)", nil), 32, 0)), ""), "bad_shape", "holds 512 filenames and 2 rows", 0},
		{"zip bomb in a list of names", embed(file("e2.npy", good), `,"filenames":`+file("bomb2.npz", bomb("filenames", npy("|S65536", "(4608,)", nil), 288, 0))), "bad_filename", `4608 of 4608 filenames are not allowed (first "" is empty`, 0},
		{"zip bomb with a small size", embed(file("bomb3.npz", bomb("embeddings", npy("<f4", "(2, 4)", nil), 288, 128+32)), two), "bad_npz", "not a valid zip", plain},
		{"zip that claims 1 TiB", embed(file("bomb4.npz", bomb("embeddings", npy("<f4", "(4294967296, 64)", nil), 1, 1<<40)), two), "bad_npz", "which cannot be", plain},
		{"zip that unpacks to 17 GiB", embed(file("bomb5.npz", overlapping(17)), two), "reference_too_large", "unpacks to more than 17179869184 bytes", 0},
		{"line of 300 MiB", embed(mustJSON(long), ""), "bad_json", "line 1 is longer than 67108864 bytes", plain},
		{"bucket of others", embed(uri("nats://secrets/e.npy"), two), "reference_not_allowed", "not in a bucket that this worker may read", 0},
		{"link to a bucket of others", embed(uri("nats://models/link.npy"), two), "reference_not_allowed", "is a link to another object", 0},
		{"missing object", embed(uri("nats://models/nothing.npy"), two), "attempts_exhausted", "reference_missing", transient},
		{"truncated object", embed(uri("nats://models/cut.npy"), two), "bad_npy", "ends within its header", 0},
		{"inline without rows", embed(`{"uri":"inline:"}`, two), "bad_reference", "has no data", 0},
		{"inline as npy", embed(`{"uri":"inline:","format":"npy","data":[[1,2,3,4]]}`, two), "unsupported_format", "is a JSON array of rows", 0},
		{"inline object", embed(`{"uri":"inline:","data":{"a":[1,2,3,4]}}`, ""), "bad_json", "want an array", 0},
		{"data beside a file", embed(`{"uri":"file:///e.npy","data":[]}`, two), "bad_data", `data goes with uri "inline:" only`, 0},
		{"digest in capitals", embed(`{"uri":"file:///e.npy","sha256":"`+strings.Repeat("A", 64)+`"}`, two), "bad_data", "64 lower-case hexadecimal digits", 0},
	}
}

// TestBadInput sends every bad input to one worker, all at once. Nothing of it
// may change a dataset or take much memory, and the worker must live on.
func TestBadInput(t *testing.T) {
	r := newRig(t, 1, worker.Config{MaxAttempts: 2, AckWait: 5 * time.Second})
	r.prepare()
	cases := append(badData(r), badEnvelopes...)
	heap := watchHeap()
	began := time.Now()
	r.refuses(cases)
	t.Logf("%d cases in %v, heap grew by %d MiB", len(cases), time.Since(began).Round(time.Millisecond), heap()>>20)
	if grown := heap(); grown > 320<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	if _, _, err := r.workers[0].State().Dataset(t.Context(), "ghost"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("dataset ghost: %v", err)
	}
	shoes, _, err := r.workers[0].State().Dataset(t.Context(), "shoes")
	if err != nil || shoes.Rows != 50 || len(shoes.Embeddings) != 1 || shoes.Embeddings["default"].Version != 1 {
		t.Errorf("dataset shoes: %+v, %v", shoes, err)
	}
	r.works()
}

// TestBadSubjects is about subjects that name no dataset.
func TestBadSubjects(t *testing.T) {
	r := newRig(t, 1, worker.Config{MaxAttempts: 2, AckWait: 5 * time.Second})
	r.prepare()
	r.refuses(badSubjects)
	r.works()
}

// TestStatusHeaders is about messages that look like a server's answer to a
// pull: without a body and with a header Status.
func TestStatusHeaders(t *testing.T) {
	r := newRig(t, 1, worker.Config{MaxAttempts: 2, AckWait: 5 * time.Second})
	r.prepare()
	r.refuses(statusHeaders)
	r.works()
}

// TestSubjectOfNoType: a message that no consumer looks at must not be taken.
func TestSubjectOfNoType(t *testing.T) {
	r := newRig(t, 1, worker.Config{MaxAttempts: 2, AckWait: 5 * time.Second})
	if ack, err := r.js.PublishMsg(t.Context(), raw("al.v1.in.embedding.ready.shoes", "{}")); err == nil {
		t.Errorf("taken as message %d of %s, where nobody reads it", ack.Sequence, ack.Stream)
	}
}

// works shows that the worker takes events of both kinds of consumers.
func (r *rig) works() {
	r.Helper()
	var err error
	r.results, err = r.js.OrderedConsumer(r.Context(), bus.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"al.v1.out.>"}, DeliverPolicy: jetstream.DeliverNewPolicy})
	r.must(err)
	if _, err = r.results.Info(r.Context()); err != nil { // it exists from now on
		r.Fatal(err)
	}
	r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "boots", Embeddings: vectors(numbered(20), 4, 1), Selection: &events.Spec{Method: "CORESET", BatchSize: ptr(3)}})
	if made := r.ask(events.SelectionRequested, events.Request{Dataset: "shoes", Selection: events.Spec{Method: "CORAL", BatchSize: ptr(3)}}); len(made.Added) != 3 {
		r.Errorf("%d samples added", len(made.Added))
	}
	r.send(r.event(events.LabelsCompleted, events.Labels{Dataset: "boots", Labeled: numbered(20)}))
	if e, data := r.next(); e.Type() != events.LabelsetUpdated || data.(*events.Labelset).Labeled != 20 {
		r.Errorf("%s: %s", e.Type(), e.Data())
	}
	r.drain()
}

// refuses sends messages, waits until the queue is empty and looks at what
// became of each.
func (r *rig) refuses(cases []badInput) {
	r.Helper()
	stream, err := r.js.Stream(r.Context(), bus.Stream)
	r.must(err)
	first := stream.CachedInfo().State.LastSeq + 1
	acks := make([]jetstream.PubAckFuture, len(cases))
	for i, c := range cases {
		acks[i] = r.publish(c)
	}
	<-r.js.PublishAsyncComplete()
	r.drain()

	failed := map[events.Cause][]*events.Failed{}
	for _, m := range r.stored("al.v1.out.>", first) {
		e, err := events.Decode(m.Headers(), m.Data())
		r.must(err)
		data, err := events.ParseOutput(e)
		if err != nil {
			r.Errorf("the result is not as its schema says: %v\n%s", err, m.Data())
		}
		switch data := data.(type) {
		case *events.Created:
			r.Errorf("a selection came of %q", data.Cause.ID)
		case *events.Failed:
			cause := data.Cause
			cause.Type = ""
			failed[cause] = append(failed[cause], data)
		}
	}
	dead := map[string][]jetstream.Msg{}
	for _, m := range r.stored("al.v1.dlq.>", first) {
		seq := m.Headers().Get("Al-Seq")
		dead[seq] = append(dead[seq], m)
	}
	if len(failed) != len(cases) || len(dead) != len(cases) {
		r.Errorf("%d failures and %d dead letters of %d bad inputs", len(failed), len(dead), len(cases))
	}
	for i, c := range cases {
		r.Run(c.name, func(t *testing.T) {
			var ack *jetstream.PubAck
			select {
			case ack = <-acks[i].Ok():
			case err := <-acks[i].Err():
				t.Fatal(err)
			}
			seq := strconv.FormatUint(ack.Sequence, 10)
			cause := events.Cause{ID: c.name, Source: "/test"}
			if c.how&unread != 0 {
				cause = events.Cause{ID: seq, Source: "stream"}
			}
			if len(failed[cause]) != 1 || len(dead[seq]) != 1 {
				t.Fatalf("%d selection.failed, %d dead letters", len(failed[cause]), len(dead[seq]))
			}
			f := failed[cause][0]
			t.Logf("%s: %s (%s)", f.Code, f.Message, f.Hint)
			checkFailure(t, c, f)
			checkDeadLetter(t, c, f, dead[seq][0])
			record, _, err := r.workers[0].State().Job(t.Context(), dead[seq][0].Headers().Get("Al-Job"))
			if err != nil || record.State != state.JobDead || record.Error == nil || record.Error.Code != c.code {
				t.Errorf("job record: %+v, %v", record, err)
			}
		})
	}
}

// checkFailure looks at what the sender is told.
func checkFailure(t *testing.T, c badInput, f *events.Failed) {
	t.Helper()
	attempts := 1
	if c.how&transient != 0 {
		attempts = 2
	}
	if f.Code != c.code || f.Attempts != attempts {
		t.Errorf("%s after %d attempts, want %s after %d", f.Code, f.Attempts, c.code, attempts)
	}
	if !strings.Contains(f.Message, c.says) && !strings.Contains(f.Hint, c.says) {
		t.Errorf("nothing of %q", c.says)
	}
	if f.Hint == "" && c.how&plain == 0 {
		t.Error("no hint")
	}
	if len(f.Message) > 1000 || strings.ContainsFunc(f.Message, func(r rune) bool { return r < ' ' }) || strings.Contains(f.Message, "hunter2") {
		t.Errorf("the message is not fit to be shown: %d bytes", len(f.Message))
	}
}

// checkDeadLetter compares the dead letter with the message that was sent.
func checkDeadLetter(t *testing.T, c badInput, f *events.Failed, m jetstream.Msg) {
	t.Helper()
	token := c.msg.Subject[strings.LastIndexByte(c.msg.Subject, '.')+1:]
	if want := "al.v1.dlq." + token; m.Subject() != want && c.how&unread == 0 {
		t.Errorf("dead letter on %s, want %s", m.Subject(), want)
	}
	if !bytes.Equal(m.Data(), c.msg.Data) {
		t.Errorf("%d bytes in the dead letter, %d were sent: %.80q", len(m.Data()), len(c.msg.Data), m.Data())
	}
	for key, values := range c.msg.Header {
		if key == "Status" || key == "Description" { // as they are, clients would take the letter for the server's word
			key = "Al-Original-" + key
		}
		if got := m.Headers()[key]; fmt.Sprintf("%q", got) != fmt.Sprintf("%q", values) {
			t.Errorf("header %s is %q, was %q", key, got, values)
		}
	}
	for key, want := range map[string]string{
		"Al-Subject": c.msg.Subject, "Al-Code": f.Code,
		"Al-Message": f.Message, "Al-Hint": f.Hint, "Al-Attempts": strconv.Itoa(f.Attempts),
	} {
		if got := m.Headers().Get(key); got != want {
			t.Errorf("header %s is %q, want %q", key, got, want)
		}
	}
}

// An id that comes again with other data is refused also while the first event
// waits for its next attempt, and the first is not forgotten.
func TestIDReusedWhileWaiting(t *testing.T) {
	r := newRig(t, 1, worker.Config{MaxAttempts: 2, AckWait: 5 * time.Second})
	r.prepare()
	first := badInput{name: "twin", msg: embed(uri("file://"+r.files+"/nowhere.npy"), `,"filenames":["a"]`)}
	r.publish(first)
	for {
		job, _, err := r.workers[0].State().Job(t.Context(), state.JobID("/test", "twin"))
		if err == nil && job.State == state.JobWaiting {
			break
		}
		if !errors.Is(err, state.ErrNotFound) {
			r.must(err)
		}
		time.Sleep(time.Millisecond)
	}
	r.publish(badInput{name: "twin", msg: request(`"method":"RANDOM","batch_size":1`)})
	got := map[string]bool{}
	for range 2 {
		e, data := r.next()
		f, ok := data.(*events.Failed)
		if !ok {
			t.Fatalf("%s: %s", e.Type(), e.Data())
		}
		got[f.Code] = true
	}
	if !got["id_reused"] || !got["attempts_exhausted"] {
		t.Errorf("%v", got)
	}
}

// A message that cannot be read fails also at the place in the stream that
// some event has as its id.
func TestSourceNamedStream(t *testing.T) {
	r := newRig(t, 1, worker.Config{MaxAttempts: 2, AckWait: 5 * time.Second})
	r.prepare() // messages 1 and 2
	e := r.event(events.SelectionRequested, events.Request{Dataset: "shoes", Selection: events.Spec{Method: "RANDOM", BatchSize: ptr(1)}})
	e.SetSource("stream")
	e.SetID("4")
	r.send(e)
	r.next()
	r.refuses([]badInput{{"garbage", raw("al.v1.in.labels.completed.shoes", "garbage"), "bad_event", "not a CloudEvent", unread}})
}

// A tag that does not exist is refused also when later labels of the same
// samples were folded first.
func TestUnknownTagOfOlderLabels(t *testing.T) {
	r := newRig(t, 1, worker.Config{MaxAttempts: 2, AckWait: 5 * time.Second})
	r.prepare()
	w := r.workers[0]
	message := func(seq uint64, data events.Labels) *events.Message {
		return &events.Message{Seq: seq, Time: time.Now(), Subject: "al.v1.in.labels.completed.shoes", Event: r.event(events.LabelsCompleted, data), Payload: &data}
	}
	older := message(1_000_001, events.Labels{Dataset: "shoes", Tag: "round-9", Labeled: []string{"img/000001.jpg"}})
	newer := message(1_000_002, events.Labels{Dataset: "shoes", Labeled: []string{"img/000001.jpg"}})
	if answers := w.Fold(t.Context(), []*events.Message{older, newer}); !errors.Is(answers[0], events.ErrJob) || answers[1] != nil {
		t.Fatal(answers)
	}
	var refused *events.Error
	if err := w.Handle(t.Context(), older); !errors.As(err, &refused) || refused.Code != "unknown_tag" {
		t.Errorf("%v", err)
	}
}

// prepare makes the dataset shoes with embeddings, scores and the tag round-1,
// and two buckets.
func (r *rig) prepare() {
	r.Helper()
	names := numbered(50)
	r.ask(events.EmbeddingsReady, events.Embeddings{Dataset: "shoes", Embeddings: vectors(names, 4, 1),
		Selection: &events.Spec{Method: "RANDOM", BatchSize: ptr(5), Name: "round-1"}})
	r.ask(events.PredictionsReady, events.Predictions{Dataset: "shoes", Task: "classification", Predictions: probabilities(names),
		Selection: &events.Spec{Method: "ACTIVE_LEARNING", BatchSize: ptr(1)}})
	models, err := r.js.CreateObjectStore(r.Context(), jetstream.ObjectStoreConfig{Bucket: "models"})
	r.must(err)
	secrets, err := r.js.CreateObjectStore(r.Context(), jetstream.ObjectStoreConfig{Bucket: "secrets"})
	r.must(err)
	good := npy("<f4", "(2, 4)", make([]byte, 32))
	info, err := secrets.PutBytes(r.Context(), "e.npy", good)
	r.must(err)
	_, err = models.AddLink(r.Context(), "link.npy", info)
	r.must(err)
	_, err = models.PutBytes(r.Context(), "cut.npy", good[:50])
	r.must(err)
}

// publish sends a message as it stands, but for its id.
func (r *rig) publish(c badInput) jetstream.PubAckFuture {
	r.Helper()
	c.msg.Data = bytes.Replace(c.msg.Data, []byte("@id"), []byte(c.name), 1)
	for _, values := range c.msg.Header {
		for i := range values {
			values[i] = strings.Replace(values[i], "@id", c.name, 1)
		}
	}
	ack, err := r.js.PublishMsgAsync(c.msg)
	r.must(err)
	return ack
}

// drain waits until both consumers have settled all there is, as long as they
// get on with it.
func (r *rig) drain() {
	r.Helper()
	last, since := "", time.Now()
	quiet := 0 // times in a row: for a moment a message may be counted nowhere
	for ; ; time.Sleep(20 * time.Millisecond) {
		var left []string
		for _, name := range []string{bus.WorkConsumer, bus.LabelsConsumer} {
			c, err := r.js.Consumer(r.Context(), bus.StreamIn, name)
			r.must(err)
			info := c.CachedInfo()
			if info.NumPending+uint64(info.NumAckPending) > 0 {
				left = append(left, fmt.Sprintf("%s: %d pending, %d unsettled, settled up to %d", name, info.NumPending, info.NumAckPending, info.AckFloor.Stream))
			}
		}
		if quiet++; left != nil {
			quiet = 0
		}
		if quiet == 5 {
			return
		}
		if now := strings.Join(left, "; "); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) > 2*time.Minute {
			r.Errorf("not drained: %s", last)
			return
		}
	}
}

// stored returns what the state stream holds below a subject from a sequence
// on.
func (r *rig) stored(filter string, from uint64) (msgs []jetstream.Msg) {
	r.Helper()
	c, err := r.js.OrderedConsumer(r.Context(), bus.Stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from})
	r.must(err)
	info, err := c.Info(r.Context())
	r.must(err)
	for range info.NumPending {
		m, err := c.Next()
		r.must(err)
		msgs = append(msgs, m)
	}
	return msgs
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// watchHeap measures from now on; the returned function ends it and tells by
// how much the heap grew at most.
func watchHeap() func() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	start, peak := m.HeapAlloc, m.HeapAlloc
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(2 * time.Millisecond):
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
	}()
	return func() uint64 {
		if end != nil {
			close(end)
			<-ended
			end = nil
		}
		return peak - start
	}
}

func typed(contentType, body string) *nats.Msg {
	m := raw("al.v1.in.labels.completed.shoes", body)
	m.Header.Set("Content-Type", contentType)
	return m
}

// moved sends a message to another subject.
func moved(m *nats.Msg, subject string) *nats.Msg {
	m.Subject = subject
	return m
}

// times repeats text with a number in it.
func times(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// npy writes an array with what may be too few bytes of elements.
func npy(descr, shape string, elements []byte) []byte {
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr, shape)
	header += strings.Repeat(" ", 117-len(header)) + "\n"
	return append([]byte("\x93NUMPY\x01\x00"+string(rune(len(header)))+"\x00"+header), elements...)
}

func float32s(values ...float32) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// npz writes arrays, each a name and an npy, without compression.
func npz(arrays ...any) []byte {
	for i := 0; i < len(arrays); i += 2 {
		arrays[i] = arrays[i].(string) + ".npy"
	}
	return zipped(arrays...)
}

func zipped(members ...any) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		data := members[i+1].([]byte)
		addRaw(z, &zip.FileHeader{Name: members[i].(string), CRC32: crc32.ChecksumIEEE(data), CompressedSize64: uint64(len(data)), UncompressedSize64: uint64(len(data))}, data)
	}
	z.Close()
	return b.Bytes()
}

func addRaw(z *zip.Writer, h *zip.FileHeader, data []byte) {
	w, err := z.CreateRaw(h)
	if err == nil {
		_, err = w.Write(data)
	}
	if err != nil {
		panic(err)
	}
}

// bomb writes an npz whose member holds the header of an array and then so
// many MiB of zeros; claims is the size that it claims to have, 0 for the true
// one. Beside the filenames there are embeddings.
func bomb(member string, header []byte, mib int, claims uint64) []byte {
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, flate.BestSpeed)
	w.Write(header)
	w.Flush()
	start := packed.Len()
	zeros := make([]byte, 1<<20)
	w.Write(zeros)
	w.Flush()
	block := bytes.Clone(packed.Bytes()[start:])
	sum := crc32.NewIEEE()
	sum.Write(header)
	for i := range mib {
		sum.Write(zeros)
		if i > 0 {
			packed.Write(block)
		}
	}
	packed.WriteString("\x01\x00\x00\xff\xff") // the last block: empty

	var b bytes.Buffer
	z := zip.NewWriter(&b)
	if member == "filenames" {
		good := npy("<f4", "(2, 4)", make([]byte, 32))
		addRaw(z, &zip.FileHeader{Name: "embeddings.npy", CRC32: crc32.ChecksumIEEE(good), CompressedSize64: uint64(len(good)), UncompressedSize64: uint64(len(good))}, good)
	}
	addRaw(z, &zip.FileHeader{Name: member + ".npy", Method: zip.Deflate, CRC32: sum.Sum32(), CompressedSize64: uint64(packed.Len()),
		UncompressedSize64: cmp.Or(claims, uint64(len(header)+mib<<20))}, packed.Bytes())
	z.Close()
	return b.Bytes()
}

// overlapping writes an npz of members that all claim the same MiB and to
// unpack it to a GiB.
func overlapping(members int) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	data := make([]byte, 1<<20)
	for i := range members {
		addRaw(z, &zip.FileHeader{Name: fmt.Sprintf("arr_%d.npy", i), Method: zip.Deflate, CompressedSize64: 1 << 20, UncompressedSize64: 1 << 30}, data)
		data = nil
	}
	z.Close()
	return b.Bytes()
}
