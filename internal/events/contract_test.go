package events

import (
	"encoding/json"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"nextbatch/schemas"
)

// readSchemas returns the embedded schemas by name, such as
// labels.completed/v1.json.
func readSchemas(t *testing.T) map[string]map[string]any {
	t.Helper()
	files, err := fs.Glob(schemas.FS, "*/v1.json")
	if err != nil {
		t.Fatal(err)
	}
	documents := map[string]map[string]any{}
	for _, name := range files {
		data, err := fs.ReadFile(schemas.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := parseJSON(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		documents[name] = v.(map[string]any)
	}
	return documents
}

func TestSchemasAreComplete(t *testing.T) {
	documents := readSchemas(t)
	for _, eventType := range slices.Concat(InputTypes, OutputTypes) {
		if documents[eventType+"/v1.json"] == nil {
			t.Errorf("no schema for %s", eventType)
		}
	}
	if len(documents) != len(InputTypes)+len(OutputTypes)+1 {
		t.Errorf("%d schemas, want one for each type and the common one", len(documents))
	}
	for name, document := range documents {
		if document["$id"] != SchemaBase+name {
			t.Errorf("%s: $id is %v", name, document["$id"])
		}
		if document["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
			t.Errorf("%s: $schema is %v", name, document["$schema"])
		}
		for _, key := range []string{"title", "description"} {
			if document[key] == nil {
				t.Errorf("%s: no %s", name, key)
			}
		}
		checkSchema(t, name, document)
	}
}

// checkSchema checks the habits that the error messages and the check by
// pieces rely on, and that every field is described.
func checkSchema(t *testing.T, at string, schema map[string]any) {
	for _, key := range []string{"minItems", "maxItems", "uniqueItems", "contains", "propertyNames"} {
		if schema[key] != nil {
			t.Errorf("%s: %s does not go with checking arrays piece by piece", at, key)
		}
	}
	for _, key := range []string{"pattern", "not", "const"} {
		if schema[key] != nil && schema["$comment"] == nil && at != "selection.failed/v1.json/retryable" {
			t.Errorf("%s: %s without a $comment that says what is allowed", at, key)
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	if properties != nil && schema["additionalProperties"] != false && !strings.HasSuffix(at, "/dependent") {
		t.Errorf("%s: additionalProperties is %v", at, schema["additionalProperties"])
	}
	for field, v := range properties {
		property := v.(map[string]any)
		if property["description"] == nil && !strings.HasSuffix(at, "/dependent") {
			t.Errorf("%s: field %s has no description", at, field)
		}
		checkSchema(t, at+"/"+field, property)
	}
	for name, v := range object(schema["$defs"]) {
		definition := v.(map[string]any)
		if definition["description"] == nil || definition["examples"] == nil {
			t.Errorf("%s: definition %s has no description or no examples", at, name)
		}
		checkSchema(t, at+"/"+name, definition)
	}
	for _, v := range object(schema["dependentSchemas"]) {
		checkSchema(t, at+"/dependent", v.(map[string]any))
	}
	for _, key := range []string{"items", "then", "additionalProperties"} {
		if inner := object(schema[key]); inner != nil {
			checkSchema(t, at+"/"+key, inner)
		}
	}
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// TestSchemasMatchTypes compares every schema with its Go type: names of
// fields both ways, what is required, and kinds.
func TestSchemasMatchTypes(t *testing.T) {
	for eventType, empty := range payloads {
		compareType(t, eventType, reflect.TypeOf(empty()).Elem(), contract().types[eventType])
	}
}

func compareType(t *testing.T, at string, goType reflect.Type, schema *jsonschema.Schema) {
	if schema.Ref != nil {
		schema = schema.Ref
	}
	kind := ""
	switch goType.Kind() {
	case reflect.Pointer:
		compareType(t, at, goType.Elem(), schema)
		return
	case reflect.Struct:
		if goType == reflect.TypeFor[Filenames]() {
			compareType(t, at, reflect.TypeFor[Reference](), schema.Then)
			compareType(t, at+"[]", reflect.TypeFor[string](), schema.Items2020)
			return
		}
		kind = "object"
		compareFields(t, at, goType, schema)
	case reflect.Map:
		kind = "object"
		compareType(t, at+".*", goType.Elem(), schema.AdditionalProperties.(*jsonschema.Schema))
	case reflect.Slice:
		if goType == reflect.TypeFor[json.RawMessage]() {
			return
		}
		kind = "array"
		compareType(t, at+"[]", goType.Elem(), schema.Items2020)
	case reflect.String:
		kind = "string"
	case reflect.Bool:
		kind = "boolean"
	case reflect.Float64:
		kind = "number"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		kind = "integer"
	}
	if schema.Enum != nil && kind == "string" {
		return
	}
	want := []string{kind}
	if goType == reflect.TypeFor[DistanceCap]() {
		want = append(want, "string") // auto
	}
	if got := schema.Types.ToStrings(); !slices.Equal(got, want) {
		t.Errorf("%s: %v in Go, so %s, but %v in the schema", at, goType, kind, got)
	}
}

func compareFields(t *testing.T, at string, goType reflect.Type, schema *jsonschema.Schema) {
	var names, required []string
	for i := range goType.NumField() {
		field := goType.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
		if options != "omitempty" {
			required = append(required, name)
		}
		if property := schema.Properties[name]; property != nil {
			compareType(t, at+"."+name, field.Type, property)
		}
	}
	var properties []string
	for name := range schema.Properties {
		properties = append(properties, name)
	}
	for _, list := range [][]string{names, required, properties} {
		slices.Sort(list)
	}
	if diff := cmp.Diff(names, properties); diff != "" {
		t.Errorf("%s: fields -Go +schema:\n%s", at, diff)
	}
	if diff := cmp.Diff(required, slices.Sorted(slices.Values(schema.Required))); diff != "" {
		t.Errorf("%s: required -Go +schema:\n%s", at, diff)
	}
	if schema.AdditionalProperties != false {
		t.Errorf("%s: additionalProperties is %v", at, schema.AdditionalProperties)
	}
}

// TestSchemaExamples checks every example in the schemas against the schema it
// stands in.
func TestSchemaExamples(t *testing.T) {
	c, checked := contract(), 0
	for location, schema := range c.byLocation {
		for i, example := range schema.Examples {
			if err := schema.Validate(example); err != nil {
				t.Errorf("%s: example %d: %v", location, i, err)
			}
			checked++
		}
	}
	for eventType, schema := range c.types {
		if len(schema.Examples) == 0 {
			t.Errorf("%s: no example", eventType)
		}
		for i, example := range schema.Examples {
			data, err := json.Marshal(example)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, fault := parseData(eventType, data); fault != nil {
				t.Errorf("%s: example %d: %v", eventType, i, fault)
			}
		}
	}
	if checked < 60 {
		t.Errorf("only %d examples seen", checked)
	}
}

// TestExampleEvents reads the shipped events as they are and in binary mode.
func TestExampleEvents(t *testing.T) {
	files, err := fs.Glob(schemas.FS, "examples/*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, name := range files {
		eventType := path.Base(path.Dir(name))
		seen[eventType]++
		data, err := fs.ReadFile(schemas.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Decode(nil, data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e.Type() != eventType || e.DataSchema() != DataSchema(eventType) {
			t.Errorf("%s: type %s, dataschema %s", name, e.Type(), e.DataSchema())
		}
		parse := Parse
		if slices.Contains(OutputTypes, eventType) {
			parse = ParseOutput
		}
		payload, err := parse(e)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want := reflect.TypeOf(payloads[eventType]()); reflect.TypeOf(payload) != want {
			t.Errorf("%s: payload is %T, want %v", name, payload, want)
		}
		checkSameData(t, name, data, payload)
		header, body, err := Encode(e, Binary)
		if err != nil {
			t.Fatal(err)
		}
		if e, err = Decode(header, body); err != nil {
			t.Fatalf("%s in binary mode: %v", name, err)
		}
		again, err := parse(e)
		if err != nil {
			t.Fatalf("%s in binary mode: %v", name, err)
		}
		if diff := cmp.Diff(payload, again); diff != "" {
			t.Errorf("%s in binary mode: %s", name, diff)
		}
	}
	for eventType := range payloads {
		if seen[eventType] < 2 {
			t.Errorf("%d example events of %s, want at least 2", seen[eventType], eventType)
		}
	}
}

// checkSameData checks that a payload, written again, says what the event
// said: no field is lost between JSON and Go.
func checkSameData(t *testing.T, name string, structured []byte, payload any) {
	t.Helper()
	var before struct{ Data any }
	if err := json.Unmarshal(structured, &before); err != nil {
		t.Fatal(err)
	}
	written, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	var after any
	if err := json.Unmarshal(written, &after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Data, after); diff != "" {
		t.Errorf("%s: -in the event +written again:\n%s", name, diff)
	}
}

// TestAsyncAPISubjects checks that the AsyncAPI document names the subjects
// that the code uses. Its grammar is checked by its own parser, in package
// schemas under build tag foreign.
func TestAsyncAPISubjects(t *testing.T) {
	data, err := fs.ReadFile(schemas.FS, "asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	document := string(data)
	want := []string{"address: " + strings.TrimSuffix(DeadSubject("x"), "x") + "{dataset}\n"}
	for _, eventType := range InputTypes {
		want = append(want, "address: "+strings.TrimSuffix(InSubject(eventType, "x"), "x")+"{dataset}\n", "$ref: ./"+eventType+"/v1.json\n")
	}
	for _, eventType := range OutputTypes {
		want = append(want, "address: "+strings.TrimSuffix(OutSubject(eventType, "x"), "x")+"{dataset}\n", "$ref: ./"+eventType+"/v1.json\n")
	}
	for _, line := range want {
		if strings.Count(document, line) != 1 {
			t.Errorf("asyncapi.yaml has %q %d times, want once", line, strings.Count(document, line))
		}
	}
	if n := strings.Count(document, "address: "); n != 8 {
		t.Errorf("%d channels, want 8", n)
	}
}
