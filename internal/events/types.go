// Package events is the contract with the outside: the types of the
// CloudEvents that training jobs, annotation tools and workers exchange, their
// subjects, the check against the published JSON Schemas, the codec for the
// CloudEvents NATS binding, and the consumers that turn a handler's answer into
// the fate of a message. It refuses to decide anything: what an event means is
// the business of package worker.
package events

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Event types, version 1 of each. The version of the payload stands in the
// event's dataschema, not in its type.
const (
	EmbeddingsReady    = "embeddings.ready"    // training → worker
	PredictionsReady   = "predictions.ready"   // training → worker
	LabelsCompleted    = "labels.completed"    // annotation → worker
	SelectionRequested = "selection.requested" // anyone → worker
	SelectionCreated   = "selection.created"   // worker → annotation, training
	SelectionFailed    = "selection.failed"    // worker → everyone
	LabelsetUpdated    = "labelset.updated"    // worker → training
)

// InputTypes are the types that workers consume, in the order of the contract.
var InputTypes = []string{EmbeddingsReady, PredictionsReady, LabelsCompleted, SelectionRequested}

// OutputTypes are the types that workers publish.
var OutputTypes = []string{SelectionCreated, SelectionFailed, LabelsetUpdated}

// DatasetID is the extension by which an input says that it is about the
// dataset of this id, and not about one that was made anew under its name.
const DatasetID = "datasetid"

// SchemaBase is the prefix of every $id and dataschema.
const SchemaBase = "https://nextbatch.dev/schemas/"

// DataSchema returns the URI of the JSON Schema of an event type's data, for
// example https://nextbatch.dev/schemas/labels.completed/v1.json.
func DataSchema(eventType string) string { return SchemaBase + eventType + "/v1.json" }

// Subjects. The dataset is one token: see Token.
func InSubject(eventType, dataset string) string {
	return "al.v1.in." + eventType + "." + Token(dataset)
}
func OutSubject(eventType, dataset string) string {
	return "al.v1.out." + eventType + "." + Token(dataset)
}
func DeadSubject(dataset string) string { return "al.v1.dlq." + Token(dataset) }

// Token writes a name as one NATS subject token: letters, digits, '-' and '_'
// stay, every other byte becomes '=' and two upper-case hexadecimal digits.
// The empty name becomes "=". Different names give different tokens.
func Token(name string) string {
	if name == "" {
		return "="
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// Untoken is the inverse of Token; a token that Token does not make is
// returned as it is.
func Untoken(token string) string {
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		c, err := strconv.ParseUint(token[i+1:min(i+3, len(token))], 16, 8)
		if err != nil {
			return strings.TrimPrefix(token, "=")
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String()
}

// Reference points to a large immutable object: embeddings, predictions, a
// list of filenames.
type Reference struct {
	URI    string          `json:"uri,omitempty"`    // file://, nats://, s3://, gs://, azblob://, https://, inline:
	Files  []FileRef       `json:"files,omitempty"`  // instead of uri: several files, whose rows follow one another
	Format string          `json:"format,omitempty"` // npy, npz, parquet, safetensors, csv, jsonl, lightly, coco, ultralytics, fiftyone; default by extension
	SHA256 string          `json:"sha256,omitempty"` // lower-case hex of the bytes
	Size   int64           `json:"size,omitempty"`   // bytes
	Data   json.RawMessage `json:"data,omitempty"`   // the rows themselves, with uri "inline:"
}

// FileRef is one of several files of a reference.
type FileRef struct {
	URI    string `json:"uri"`
	SHA256 string `json:"sha256,omitempty"`
	Size   int64  `json:"size,omitempty"`
}

// Filenames is a list of filenames, or a reference to one: in JSON an array
// of strings or a Reference object.
type Filenames struct {
	List []string
	Ref  *Reference
}

// Empty reports whether neither a list nor a reference was given.
func (f Filenames) Empty() bool { return f.List == nil && f.Ref == nil }

// MarshalJSON writes the array or the reference.
func (f Filenames) MarshalJSON() ([]byte, error) {
	if f.Ref != nil {
		return json.Marshal(f.Ref)
	}
	if f.List == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(f.List)
}

// UnmarshalJSON reads an array or a reference.
func (f *Filenames) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		f.Ref = new(Reference)
		return json.Unmarshal(data, f.Ref)
	}
	return json.Unmarshal(data, &f.List)
}

// Metrics, by which UHERDING and HERDING tell how near samples are to each other.
const (
	Euclidean = "euclidean" // the vectors as they are
	Cosine    = "cosine"    // their directions alone
)

// Spec is the "selection" block of an event: a sampling query. Everything is
// optional; what is left out comes from the dataset's policy, then from the
// worker's configuration. NSamples is the size of the labeled set after the
// selection, BatchSize how many samples are new; not both.
type Spec struct {
	Method           string   `json:"method,omitempty"`
	NSamples         *int     `json:"n_samples,omitempty"`
	BatchSize        *int     `json:"batch_size,omitempty"`
	MinDistance      *float64 `json:"min_distance,omitempty"` // Euclidean; ≤ 0 means no limit
	Name             string   `json:"name,omitempty"`         // tag name
	Score            string   `json:"score,omitempty"`        // acquisition score to use
	Embedding        string   `json:"embedding,omitempty"`
	Seed             *uint64  `json:"seed,omitempty"` // at most 2^53-1
	ScoreExponent    *float64 `json:"score_exponent,omitempty"`
	DistanceExponent *float64 `json:"distance_exponent,omitempty"`
	ScoreFloor       *float64 `json:"score_floor,omitempty"`
	RandomShare      *float64 `json:"random_share,omitempty"` // of the batch, picked at random whatever the method; 0 … 1
	Radius           *float64 `json:"radius,omitempty"`       // of UHERDING and HERDING; absent or 0: from the data
	Metric           string   `json:"metric,omitempty"`       // of UHERDING and HERDING: Euclidean (default) or Cosine

	DistanceCap *DistanceCap `json:"distance_cap,omitempty"` // of CORAL; absent or 0: none

	Strategies []Strategy `json:"strategies,omitempty"` // instead of a method
}

// Model names the model that made predictions.
type Model struct {
	Name    string             `json:"name,omitempty"`
	Version string             `json:"version,omitempty"`
	Metrics map[string]float64 `json:"metrics,omitempty"`
}

// Embeddings is the data of embeddings.ready.
type Embeddings struct {
	Dataset    string     `json:"dataset"`
	Embedding  string     `json:"embedding,omitempty"` // name of the set; default "default"
	Embeddings Reference  `json:"embeddings"`
	Filenames  *Filenames `json:"filenames,omitempty"` // not needed where the file carries names
	Selection  *Spec      `json:"selection,omitempty"` // with it: make the initial selection
}

// Predictions is the data of predictions.ready.
type Predictions struct {
	Dataset        string    `json:"dataset"`
	Task           string    `json:"task"`
	Predictions    Reference `json:"predictions"`
	KeyedBy        string    `json:"keyed_by,omitempty"`      // filename (default), unlabeled_order, query_order
	Normalization  string    `json:"normalization,omitempty"` // none (default), softmax, sum
	Model          *Model    `json:"model,omitempty"`
	QueryTag       string    `json:"query_tag,omitempty"`
	PreselectedTag string    `json:"preselected_tag,omitempty"`
	Selection      *Spec     `json:"selection,omitempty"`
}

// Labels is the data of labels.completed.
type Labels struct {
	Dataset   string   `json:"dataset"`
	Tag       string   `json:"tag,omitempty"`
	Labeled   []string `json:"labeled,omitempty"`
	Skipped   []string `json:"skipped,omitempty"`   // the annotator rejected them: never offered again
	Unlabeled []string `json:"unlabeled,omitempty"` // a label was withdrawn
	Selection *Spec    `json:"selection,omitempty"`
}

// Request is the data of selection.requested: a sampling query over the
// scores that are already stored. FromScratch: nothing counts as selected, and
// what is selected or labeled may be chosen again; not with PreselectedTag.
type Request struct {
	Dataset        string `json:"dataset"`
	QueryTag       string `json:"query_tag,omitempty"`
	PreselectedTag string `json:"preselected_tag,omitempty"`
	FromScratch    bool   `json:"from_scratch,omitempty"`
	Selection      Spec   `json:"selection"`
}

// TagRef names a tag in a result.
type TagRef struct {
	ID   string `json:"id"` // 24 lower-case hex digits
	Name string `json:"name"`
}

// Added is one newly selected sample. Rank counts from 1 in selection order.
type Added struct {
	Filename string   `json:"filename"`
	Rank     int      `json:"rank"`
	Score    *float64 `json:"score,omitempty"`   // acquisition score, where there is one
	Gain     *float64 `json:"gain,omitempty"`    // what the pick was worth to the method
	Covers   *int     `json:"covers,omitempty"`  // UHERDING, HERDING: samples of the pool that it covers better than any before it
	Nearest  string   `json:"nearest,omitempty"` // nearest sample that was selected before it
	Random   bool     `json:"random,omitempty"`  // of the random share: picked whatever the model says
}

// Counts of a selection.
type Counts struct {
	Dataset     int `json:"dataset"`     // samples in the dataset
	Query       int `json:"query"`       // samples in the query set
	Preselected int `json:"preselected"` // centers and labeled samples before the selection
	Added       int `json:"added"`
	Random      int `json:"random,omitempty"` // of the added ones, the random share
	Selected    int `json:"selected"`         // preselected + added
}

// Coverage certifies a k-center selection: no query sample is further than
// Radius from the selection, and no selection of this size has a radius below
// LowerBound.
type Coverage struct {
	Radius     float64 `json:"radius"`
	LowerBound float64 `json:"lower_bound"`
}

// Herding says how a UHERDING or HERDING selection was made: see
// selection.HerdingReport.
type Herding struct {
	Radius        float64 `json:"radius"`
	Landmarks     int     `json:"landmarks"`
	ListLimit     int     `json:"list_limit,omitempty"`
	Cut           int     `json:"cut,omitempty"`
	CoveredBefore float64 `json:"covered_before"`
	CoveredAfter  float64 `json:"covered_after"`
	Loss          float64 `json:"loss"`
}

// Parameters of a selection as they were used, defaults filled in.
type Parameters struct {
	BatchSize        int      `json:"batch_size"`
	NSamples         *int     `json:"n_samples,omitempty"` // where the caller gave it
	MinDistance      float64  `json:"min_distance,omitempty"`
	Score            string   `json:"score,omitempty"`
	Embedding        string   `json:"embedding,omitempty"`
	Seed             uint64   `json:"seed"`
	ScoreExponent    *float64 `json:"score_exponent,omitempty"`
	DistanceExponent *float64 `json:"distance_exponent,omitempty"`
	ScoreFloor       *float64 `json:"score_floor,omitempty"`
	RandomShare      float64  `json:"random_share,omitempty"`
	Radius           *float64 `json:"radius,omitempty"`       // where the caller gave it
	Metric           string   `json:"metric,omitempty"`       // where it is not Euclidean
	DistanceCap      *float64 `json:"distance_cap,omitempty"` // as it was used, also where the caller left it to the data

	Strategies []Strategy `json:"strategies,omitempty"`
}

// Digests are SHA-256 of the inputs of a selection, lower-case hex.
type Digests struct {
	Embedding     string `json:"embedding,omitempty"`
	Scores        string `json:"scores,omitempty"`
	Configuration string `json:"configuration"`
}

// Cause names the event that led to a result.
type Cause struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Type   string `json:"type"`
}

// Created is the data of selection.created. Above the inline limit Added and
// Filenames are left out here and stand in the object that the event's dataref
// points to; Counts stay.
type Created struct {
	Dataset        string     `json:"dataset"`
	Tag            TagRef     `json:"tag"`
	Method         string     `json:"method"`
	Parameters     Parameters `json:"parameters"`
	QueryTag       string     `json:"query_tag,omitempty"`
	PreselectedTag string     `json:"preselected_tag,omitempty"`
	FromScratch    bool       `json:"from_scratch,omitempty"` // nothing counted as selected before
	Added          []Added    `json:"added,omitempty"`
	Filenames      []string   `json:"filenames,omitempty"` // the whole labeled set after it, sorted by name
	Counts         Counts     `json:"counts"`
	Coverage       *Coverage  `json:"coverage,omitempty"`
	Herding        *Herding   `json:"herding,omitempty"`
	Model          *Model     `json:"model,omitempty"`
	Digests        Digests    `json:"digests"`
	Warnings       []string   `json:"warnings,omitempty"`
	Cause          Cause      `json:"cause"`
}

// Failed is the data of selection.failed, and of a dead letter's reason.
type Failed struct {
	Dataset   string `json:"dataset,omitempty"`
	Cause     Cause  `json:"cause"`
	Code      string `json:"code"` // stable, snake_case
	Message   string `json:"message"`
	Hint      string `json:"hint,omitempty"`
	Attempts  int    `json:"attempts,omitempty"`
	Retryable bool   `json:"retryable"` // always false: what can be retried is retried
}

// Labelset is the data of labelset.updated. Counts are of the whole dataset,
// or of the tag where one is named: with all that was selected before it.
type Labelset struct {
	Dataset  string `json:"dataset"`
	Tag      string `json:"tag,omitempty"`
	Labeled  int    `json:"labeled"`
	Pending  int    `json:"pending"` // selected, not yet labeled or skipped
	Skipped  int    `json:"skipped"`
	Complete bool   `json:"complete"` // every selected sample is labeled or skipped
	Batch    *Batch `json:"batch,omitempty"`
}

// Batch counts the samples that the tag's own selection added.
type Batch struct {
	Labeled  int  `json:"labeled"`
	Pending  int  `json:"pending"` // neither labeled nor skipped
	Skipped  int  `json:"skipped"`
	Complete bool `json:"complete"` // the batch is finished: each sample is labeled or skipped
}

// Error says that an event can never succeed, and what its sender can do.
type Error struct {
	Code    string // stable, snake_case: bad_event, unknown_dataset, …
	Message string
	Hint    string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }
