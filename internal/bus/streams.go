package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Names of the streams and consumers.
const (
	StreamIn       = "AL_IN"      // inputs
	Stream         = "AL"         // state, results, dead letters
	WorkConsumer   = "al-workers" // every input but labels
	LabelsConsumer = "al-labels"  // labels.completed
)

// ResultTTL is how long results and dead letters are kept. State is kept for
// ever.
const ResultTTL = 30 * 24 * time.Hour

// Layout sizes the streams.
type Layout struct {
	Replicas    int           // default 1
	InBytes     int64         // default 2 GiB
	Bytes       int64         // default 6 GiB
	AckWait     time.Duration // lease of a delivery; default 30 s
	MaxInFlight int           // over all replicas; default 1024
}

func (l Layout) withDefaults() Layout {
	if l.Replicas == 0 {
		l.Replicas = 1
	}
	if l.InBytes == 0 {
		l.InBytes = 2 << 30
	}
	if l.Bytes == 0 {
		l.Bytes = 6 << 30
	}
	if l.AckWait == 0 {
		l.AckWait = 30 * time.Second
	}
	if l.MaxInFlight == 0 {
		l.MaxInFlight = 1024
	}
	return l
}

// Streams returns the configuration of both streams.
func (l Layout) Streams() []jetstream.StreamConfig {
	l = l.withDefaults()
	return []jetstream.StreamConfig{{
		Name: StreamIn, Description: "nextbatch inputs",
		Subjects: []string{ // each type by name: a misspelled one is refused where it is published
			"al.v1.in.embeddings.ready.>", "al.v1.in.predictions.ready.>", "al.v1.in.labels.completed.>", "al.v1.in.selection.requested.>"},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard: jetstream.DiscardNew, MaxAge: 14 * 24 * time.Hour, MaxBytes: l.InBytes, MaxMsgSize: 1 << 20,
		Duplicates: 10 * time.Minute, Replicas: l.Replicas,
	}, {
		Name: Stream, Description: "nextbatch state and results",
		Subjects: []string{"al.v1.dataset.*", "al.v1.tag.*.*", "al.v1.labels.*", "al.v1.bounds.*.*", "al.v1.job.*",
			"al.v1.scores.*.*", "al.v1.sample.*.*.*", "al.v1.gone.*", "al.v1.secret",
			"al.v1.task.*.*.*", "al.v1.prediction.*.*.*.*", "al.v1.metadata.*.*", "al.v1.compute.*.*.*", "al.v1.tool.>", "al.v1.out.>", "al.v1.dlq.>", "al.v1.probe"},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		MaxAge: ResultTTL, MaxBytes: l.Bytes, Duplicates: 2 * time.Minute, Replicas: l.Replicas,
		AllowAtomicPublish: true, AllowMsgTTL: true, AllowRollup: true, AllowDirect: true,
	}}
}

// Consumers returns the configuration of the durable consumers of AL_IN. They
// set no BackOff, which would replace AckWait and bend the delays of negative
// acknowledgements, and no delivery limit: attempts are counted in the job
// record, which survives what a server's counter does not.
func (l Layout) Consumers() []jetstream.ConsumerConfig {
	l = l.withDefaults()
	durable := func(name, about string, filter ...string) jetstream.ConsumerConfig {
		return jetstream.ConsumerConfig{
			Durable: name, Description: about, FilterSubjects: filter,
			AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy, ReplayPolicy: jetstream.ReplayInstantPolicy,
			AckWait: l.AckWait, MaxDeliver: -1, MaxAckPending: l.MaxInFlight,
		}
	}
	labels := durable(LabelsConsumer, "labels to fold", "al.v1.in.labels.completed.>")
	labels.MaxAckPending = 16 * l.MaxInFlight
	return []jetstream.ConsumerConfig{
		durable(WorkConsumer, "events that become jobs", "al.v1.in.embeddings.ready.>", "al.v1.in.predictions.ready.>", "al.v1.in.selection.requested.>"),
		labels,
	}
}

// ResultsConsumer creates a durable consumer of results, or changes it to
// these filter subjects, and returns it. It hands out one message at a time, in
// the order of the stream, whichever replica asks. Where it begins is decided
// when it is created: with everything that is kept, or with what comes after.
// With create false it must exist.
func ResultsConsumer(ctx context.Context, js jetstream.JetStream, name, about string, ackWait time.Duration, everything, create bool, filter ...string) (jetstream.Consumer, error) {
	c := jetstream.ConsumerConfig{
		Durable: name, Description: about, FilterSubjects: filter, AckPolicy: jetstream.AckExplicitPolicy, ReplayPolicy: jetstream.ReplayInstantPolicy,
		DeliverPolicy: jetstream.DeliverNewPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: 1,
	}
	if everything {
		c.DeliverPolicy = jetstream.DeliverAllPolicy
	}
	have, err := js.Consumer(ctx, Stream, name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound) && create:
		have, err = js.CreateOrUpdateConsumer(ctx, Stream, c)
	case err == nil && create:
		c.DeliverPolicy = have.CachedInfo().Config.DeliverPolicy // cannot be changed
		have, err = js.CreateOrUpdateConsumer(ctx, Stream, c)
	case err == nil:
		err = errors.Join(consumerDrift(c, have.CachedInfo().Config)...)
	}
	if err != nil {
		return nil, fmt.Errorf("consumer %s of stream %s: %w", name, Stream, err)
	}
	return have, nil
}

// Provision creates streams and consumers that do not exist and compares those
// that do. With create false it only compares. A difference in a setting that
// the protocol depends on is an error that lists every one; sizes and ages are
// the operator's and are left alone.
func Provision(ctx context.Context, js jetstream.JetStream, l Layout, create bool) error {
	var drift []error
	for _, want := range l.Streams() {
		s, err := js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) && create {
			s, err = js.CreateStream(ctx, want)
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", want.Name, err)
		}
		drift = append(drift, streamDrift(want, s.CachedInfo().Config)...)
	}
	for _, want := range l.Consumers() {
		c, err := js.Consumer(ctx, StreamIn, want.Durable)
		if errors.Is(err, jetstream.ErrConsumerNotFound) && create {
			c, err = js.CreateConsumer(ctx, StreamIn, want)
		}
		if err != nil {
			return fmt.Errorf("consumer %s: %w", want.Durable, err)
		}
		drift = append(drift, consumerDrift(want, c.CachedInfo().Config)...)
	}
	return errors.Join(drift...)
}

// differs compares one setting.
func differs[T comparable](out *[]error, what, field string, got, want T) {
	if got != want {
		*out = append(*out, fmt.Errorf("%s: %s is %v, must be %v", what, field, got, want))
	}
}

func streamDrift(want, got jetstream.StreamConfig) (d []error) {
	what := "stream " + want.Name
	slices.Sort(want.Subjects)
	slices.Sort(got.Subjects)
	differs(&d, what, "subjects", fmt.Sprint(got.Subjects), fmt.Sprint(want.Subjects))
	differs(&d, what, "storage", got.Storage, want.Storage)
	differs(&d, what, "retention", got.Retention, want.Retention)
	differs(&d, what, "discard", got.Discard, want.Discard)
	differs(&d, what, "no_ack", got.NoAck, false)
	differs(&d, what, "sealed", got.Sealed, false)
	differs(&d, what, "max_msgs_per_subject", got.MaxMsgsPerSubject, -1)
	differs(&d, what, "allow_direct", got.AllowDirect, want.AllowDirect)
	if got.PersistMode == jetstream.AsyncPersistMode {
		d = append(d, fmt.Errorf("%s: persist_mode is async: an acknowledged write would not be on disk", what))
	}
	if want.Name != Stream {
		return d
	}
	differs(&d, what, "allow_atomic", got.AllowAtomicPublish, true)
	differs(&d, what, "allow_msg_ttl", got.AllowMsgTTL, true)
	differs(&d, what, "allow_rollup_hdrs", got.AllowRollup, true)
	differs(&d, what, "deny_purge", got.DenyPurge, false)
	return d
}

func consumerDrift(want, got jetstream.ConsumerConfig) (d []error) {
	what := "consumer " + want.Durable
	filter := got.FilterSubjects
	if got.FilterSubject != "" {
		filter = []string{got.FilterSubject}
	}
	slices.Sort(filter)
	slices.Sort(want.FilterSubjects)
	differs(&d, what, "filter_subjects", fmt.Sprint(filter), fmt.Sprint(want.FilterSubjects))
	differs(&d, what, "ack_policy", got.AckPolicy, want.AckPolicy)
	differs(&d, what, "deliver_policy", got.DeliverPolicy, want.DeliverPolicy)
	differs(&d, what, "ack_wait", got.AckWait, want.AckWait)
	differs(&d, what, "max_deliver", got.MaxDeliver, want.MaxDeliver)
	differs(&d, what, "backoff", len(got.BackOff), 0)
	differs(&d, what, "headers_only", got.HeadersOnly, false)
	return d
}
