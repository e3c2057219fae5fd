package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"nextbatch/schemas"
)

// payloads makes an empty payload for each type.
var payloads = map[string]func() any{
	EmbeddingsReady:    func() any { return new(Embeddings) },
	PredictionsReady:   func() any { return new(Predictions) },
	LabelsCompleted:    func() any { return new(Labels) },
	SelectionRequested: func() any { return new(Request) },
	SelectionCreated:   func() any { return new(Created) },
	SelectionFailed:    func() any { return new(Failed) },
	LabelsetUpdated:    func() any { return new(Labelset) },
}

// Parse checks an input event against the contract and returns its data as
// *Embeddings, *Predictions, *Labels or *Request. The type is one of
// InputTypes or a name that ends in one and .v1, such as
// org.example.al.labels.completed.v1. It may be called concurrently. Every
// error is an *Error: unknown_type, bad_event (the envelope) or bad_data, whose
// message names up to three faults by their path in the data.
func Parse(e event.Event) (any, error) { return parse(e, InputTypes) }

// ParseOutput does the same for OutputTypes: *Created, *Failed or *Labelset.
func ParseOutput(e event.Event) (any, error) { return parse(e, OutputTypes) }

func parse(e event.Event, accepted []string) (any, error) {
	if e.Context == nil {
		return nil, badEvent("", "no event")
	}
	eventType, err := shortType(e.Type(), accepted)
	if err != nil {
		return nil, err
	}
	if err := checkEnvelope(e, eventType); err != nil {
		return nil, err
	}
	tree, payload, err := parseData(eventType, e.Data())
	if err != nil {
		return nil, err
	}
	// Which of two different datasets was meant is not to be guessed at.
	if dataset, ok := tree["dataset"].(string); ok && e.Subject() != "" && e.Subject() != dataset {
		return nil, badEvent("the CloudEvents subject is the dataset: make them equal or leave the subject out",
			"subject %s, but data.dataset %s", cut(e.Subject()), cut(dataset))
	}
	return payload, nil
}

// shortType returns the plain name of an event type.
func shortType(name string, accepted []string) (string, *Error) {
	if slices.Contains(accepted, name) {
		return name, nil
	}
	if long, ok := strings.CutSuffix(name, ".v1"); ok {
		for _, short := range accepted {
			if strings.HasSuffix(long, "."+short) {
				return short, nil
			}
		}
	}
	err := &Error{Code: "unknown_type", Message: "type " + cut(name) + " is not known here", Hint: "one of " + strings.Join(accepted, ", ")}
	if near := closest(name, accepted); near != "" {
		err.Message += "; did you mean " + near + "?"
	}
	return "", err
}

// checkEnvelope checks what the attributes say about the data.
func checkEnvelope(e event.Event, eventType string) *Error {
	if !isJSON(e.DataContentType()) {
		return badEvent("send application/json", "datacontenttype %s: data must be JSON", cut(e.DataContentType()))
	}
	ours := DataSchema(eventType)
	if schema := e.DataSchema(); schema != "" && !strings.HasSuffix(schema, strings.TrimPrefix(ours, schemaHost)) {
		return badEvent("send "+ours+" or leave it out", "dataschema %s is not the schema of %s, version 1", cut(schema), eventType)
	}
	if len(e.Data()) == 0 {
		return badEvent("see "+ours, "the event has no data")
	}
	if len(e.Data()) > maxBody {
		return badEvent("send large data by reference", "data has %d bytes, %d are allowed", len(e.Data()), maxBody)
	}
	return nil
}

// schemaHost is what may differ in a dataschema: every worker serves the
// schemas too.
const schemaHost = "https://nextbatch.dev"

// parseData checks data against the schema of its type. It returns the data as
// it stands and decoded.
func parseData(eventType string, data []byte) (map[string]any, any, *Error) {
	bad := func(message string) *Error {
		return &Error{Code: "bad_data", Message: message, Hint: "see " + DataSchema(eventType)}
	}
	tree, err := parseJSON(data)
	if err != nil {
		return nil, nil, bad(err.Error())
	}
	if message := contract().check(eventType, tree); message != "" {
		return nil, nil, bad(message)
	}
	payload := payloads[eventType]()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(payload); err != nil {
		var mismatch *json.UnmarshalTypeError
		if errors.As(err, &mismatch) { // what is left: an integer written as 20.0 or 2e1
			return nil, nil, bad(fmt.Sprintf("%s: write %s in digits only", mismatch.Field, cut(strings.TrimPrefix(mismatch.Value, "number "))))
		}
		return nil, nil, bad(err.Error())
	}
	if err := specOf(payload).check(); err != nil {
		return nil, nil, bad(err.Error())
	}
	return tree.(map[string]any), payload, nil
}

// specOf is the sampling query of an event, nil if it has none.
func specOf(payload any) *Spec {
	switch p := payload.(type) {
	case *Embeddings:
		return p.Selection
	case *Predictions:
		return p.Selection
	case *Labels:
		return p.Selection
	case *Request:
		return &p.Selection
	}
	return nil
}

// piece is how many elements of an array are checked at a time.
const piece = 1000

// check says what is wrong with a JSON value as the data of a type, "" if
// nothing is. Arrays at the top level are checked piece by piece up to the
// first piece with a fault: otherwise a small event of nothing but faults
// would take hundreds of times its size in memory.
func (c *compiled) check(eventType string, tree any) string {
	for first, more := 0, true; more; first += piece {
		part := tree
		part, more = slicePiece(tree, first)
		err, _ := c.types[eventType].Validate(part).(*jsonschema.ValidationError)
		if err != nil {
			return summary(c.faults(err, part, first), !more)
		}
	}
	return ""
}

// slicePiece returns an object with each of its arrays cut down to the
// elements from first on, and whether there are more to come.
func slicePiece(tree any, first int) (part any, more bool) {
	object, ok := tree.(map[string]any)
	if !ok {
		return tree, false
	}
	cuts := maps.Clone(object)
	for name, v := range object {
		if list, ok := v.([]any); ok && len(list) > piece {
			start, end := min(first, len(list)), min(first+piece, len(list))
			cuts[name] = list[start:end]
			more = more || end < len(list)
		}
	}
	return cuts, more
}

// compiled is the embedded contract: the schema of each type's data, and every
// schema in them by its location.
type compiled struct {
	types      map[string]*jsonschema.Schema
	byLocation map[string]*jsonschema.Schema
}

// contract compiles the embedded schemas once. They are part of the program,
// so a fault in them panics.
var contract = sync.OnceValue(func() *compiled {
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(jsonschema.SchemeURLLoader{}) // nothing is ever fetched
	files, err := fs.Glob(schemas.FS, "*/v1.json")
	if err != nil {
		panic("events: " + err.Error())
	}
	for _, name := range files {
		file, err := schemas.FS.Open(name)
		if err != nil {
			panic("events: " + err.Error())
		}
		document, err := jsonschema.UnmarshalJSON(file)
		if err == nil {
			err = compiler.AddResource(SchemaBase+name, document)
		}
		if err != nil {
			panic("events: schemas/" + name + ": " + err.Error())
		}
	}
	c := &compiled{map[string]*jsonschema.Schema{}, map[string]*jsonschema.Schema{}}
	for eventType := range payloads {
		c.types[eventType] = compiler.MustCompile(DataSchema(eventType))
		c.index(c.types[eventType])
	}
	return c
})

// index records a schema and those inside it.
func (c *compiled) index(s *jsonschema.Schema) {
	if s == nil || c.byLocation[s.Location] != nil {
		return
	}
	c.byLocation[s.Location] = s
	c.index(s.Ref)
	c.index(s.Then)
	c.index(s.Items2020)
	if more, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		c.index(more)
	}
	for _, inner := range s.Properties {
		c.index(inner)
	}
	for _, inner := range s.DependentSchemas {
		c.index(inner)
	}
}
