// Package state keeps datasets, tags, label states and jobs in the AL stream.
// The log is the database: state and results share one stream, so that one
// atomic batch under compare-and-set writes both, and a result is never
// published without its state, nor state without its result. What is too
// large for a record is a content-addressed blob that the record names.
package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"nextbatch/internal/bus"
)

// Errors that a caller branches on.
var (
	// ErrNotFound: no such record.
	ErrNotFound = errors.New("not found")
	// ErrConflict: a record of the batch changed since it was read. Nothing
	// was written. Read again and decide.
	ErrConflict = errors.New("state changed meanwhile")
	// ErrUnavailable: the server did not answer a read. It says nothing about
	// the event that is being handled.
	ErrUnavailable = errors.New("no answer from the server")
	// ErrUnknown: no answer came. The batch was written whole or not at all.
	// Read again and decide.
	ErrUnknown = errors.New("no answer to a write: outcome unknown")
)

// Blobs is where records keep what is too large for them.
type Blobs interface {
	// Put stores data under its SHA-256, lower-case hex.
	Put(ctx context.Context, data []byte) (sha string, err error)
	// Get returns the blob whole, its digest checked.
	Get(ctx context.Context, sha string) ([]byte, error)
	// Float32s returns a blob of little-endian float32, memory-mapped where
	// that is possible: read-only, until release is called.
	Float32s(ctx context.Context, sha string) (data []float32, release func(), err error)
	// Joined is Float32s for several blobs one after another, followed by NaN
	// up to so many values.
	Joined(ctx context.Context, shas []string, values int) (data []float32, release func(), err error)
}

// Store reads and writes records. It may be used concurrently.
type Store struct {
	nc     *nats.Conn
	stream jetstream.Stream
	blobs  Blobs
	names  *cache[known]
	labels *cache[*snapshot]
}

// Open returns the store in the AL stream, which must exist.
func Open(ctx context.Context, nc *nats.Conn, blobs Blobs) (*Store, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, bus.Stream)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", bus.Stream, err)
	}
	return &Store{nc: nc, stream: stream, blobs: blobs,
		names: newCache[known](4_000_000), labels: newCache[*snapshot](4_000_000)}, nil
}

// get reads the newest record of a subject and its revision, which is the
// stream sequence, for compare-and-set. Of a record that was deleted lately it
// returns ErrNotFound with a revision: the one to create it anew.
func (s *Store) get(ctx context.Context, subject string, record any) (rev uint64, err error) {
	m, err := Ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.stream.GetLastMsgForSubject(ctx, subject)
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, fmt.Errorf("%s: %w", subject, ErrNotFound)
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", subject, err)
	}
	if m.Header.Get(deletedHeader) != "" {
		return m.Sequence, fmt.Errorf("%s: %w", subject, ErrNotFound)
	}
	if err := json.Unmarshal(m.Data, record); err != nil {
		return 0, fmt.Errorf("record %s, revision %d: %w", subject, m.Sequence, err)
	}
	return m.Sequence, nil
}

// Ask sends a request to the JetStream API and, if no answer comes, sends it
// again: an answer can get lost with the server's connection, and the client
// would wait for it until ctx ends. After a few times it returns
// ErrUnavailable.
func Ask[T any](ctx context.Context, request func(context.Context) (T, error)) (v T, err error) {
	for try := range 4 {
		one, cancel := context.WithTimeout(ctx, 2*time.Second)
		v, err = request(one)
		cancel()
		var answer jetstream.JetStreamError
		if err == nil || ctx.Err() != nil || errors.As(err, &answer) && answer.APIError() != nil && answer.APIError().Code < 500 {
			return v, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(try+1) * 200 * time.Millisecond):
		}
	}
	return v, fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// list calls f with every newest record below a subject filter.
func list[T any](ctx context.Context, s *Store, filter string, f func(T, uint64) error) error {
	// Not an ordered consumer: its first fetch makes a second one, of which
	// nobody knows the name.
	cons, err := s.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: filter, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("list %s: %w", filter, err)
	}
	info := cons.CachedInfo()
	defer s.forget(ctx, info.Name)
	ask := 50 // at a time, then what is about fetchBytes
	for left := int(info.NumPending); left > 0; {
		batch, err := cons.Fetch(min(left, ask), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return fmt.Errorf("list %s: %w", filter, err)
		}
		got, size := 0, 1
		for m := range batch.Messages() {
			got++
			size += len(m.Data())
			if m.Headers().Get(deletedHeader) != "" {
				continue
			}
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			var record T
			if err := json.Unmarshal(m.Data(), &record); err != nil {
				return fmt.Errorf("record %s: %w", m.Subject(), err)
			}
			if err := f(record, meta.Sequence.Stream); err != nil {
				return err
			}
		}
		if err := batch.Error(); err != nil {
			return fmt.Errorf("list %s: %w", filter, err)
		}
		if got == 0 {
			return fmt.Errorf("list %s: %d records did not come", filter, left)
		}
		left -= got
		ask = max(1, min(500, got*fetchBytes/size))
	}
	return ctx.Err()
}

// fetchBytes is about how much a list has in memory.
const fetchBytes = 8 << 20

// forget deletes the consumer of a list. The server would do so itself after
// some minutes, but a stream has room for a limited number.
func (s *Store) forget(ctx context.Context, consumer string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	s.stream.DeleteConsumer(ctx, consumer)
}

// Batch collects writes that are made together or not at all.
type Batch struct {
	msgs []*nats.Msg
	err  error
}

// put adds a state record that replaces its subject's former one, which must
// still be at revision rev; 0 means that there is none.
func (b *Batch) put(subject string, record any, rev uint64) {
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false) // it would make six bytes of one
	if err := enc.Encode(record); err != nil {
		b.err = fmt.Errorf("record %s: %w", subject, err)
		return
	}
	m := nats.NewMsg(subject)
	m.Data = data.Bytes()
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(rev, 10))
	m.Header.Set("Nats-Rollup", "sub")
	m.Header.Set(jetstream.MsgTTLHeader, "never")
	b.msgs = append(b.msgs, m)
}

// deletedHeader marks the message that takes the place of a deleted record.
// It goes by itself after a while.
const (
	deletedHeader = "Al-Deleted"
	deletedTTL    = "1h"
)

// remove deletes a record that must still be at revision rev.
func (b *Batch) remove(subject string, rev uint64) {
	m := nats.NewMsg(subject)
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(rev, 10))
	m.Header.Set("Nats-Rollup", "sub")
	m.Header.Set(jetstream.MsgTTLHeader, deletedTTL)
	m.Header.Set(deletedHeader, "1")
	b.msgs = append(b.msgs, m)
}

// Len is the number of writes.
func (b *Batch) Len() int { return len(b.msgs) }

// MaxBatch is how many writes one batch may have: the server's limit, and a
// margin.
const MaxBatch = 900

// Publish adds a result or a dead letter.
func (b *Batch) Publish(subject string, header nats.Header, data []byte, msgID string) {
	m := nats.NewMsg(subject)
	m.Data = data
	for k, v := range header {
		m.Header[k] = v
	}
	m.Header.Set(jetstream.MsgIDHeader, msgID)
	b.msgs = append(b.msgs, m)
}

const commitTimeout = 10 * time.Second

// Commit writes the batch and returns the revision of its first record; the
// others follow it one by one. Where one is larger than a message can be the
// error is nats.ErrMaxPayload, and nothing is written.
func (s *Store) Commit(ctx context.Context, b *Batch) (rev uint64, err error) {
	if b.err != nil {
		return 0, b.err
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	n := len(b.msgs)
	if n > 1 {
		id := nuid.Next()
		for i, m := range b.msgs {
			m.Header.Set("Nats-Batch-Id", id)
			m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		}
		b.msgs[n-1].Header.Set("Nats-Batch-Commit", "1")
		for _, m := range b.msgs {
			if int64(m.Size()) > s.nc.MaxPayload() {
				return 0, fmt.Errorf("write %s: %w", m.Subject, nats.ErrMaxPayload)
			}
		}
		// The first is a request, so that a stream that takes no batches says so.
		if err := s.request(ctx, b.msgs[0], nil); err != nil {
			return 0, err
		}
		for _, m := range b.msgs[1 : n-1] {
			if err := s.nc.PublishMsg(m); err != nil {
				return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
			}
		}
	}
	var ack jetstream.PubAck
	if err := s.request(ctx, b.msgs[n-1], &ack); err != nil {
		return 0, err
	}
	return ack.Sequence - uint64(n-1), nil
}

// request publishes one message and reads the server's answer. An empty
// answer is the server's "go on" inside a batch.
func (s *Store) request(ctx context.Context, m *nats.Msg, ack *jetstream.PubAck) error {
	reply, err := s.nc.RequestMsgWithContext(ctx, m)
	switch {
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("write %s: %w", m.Subject, err)
	case err != nil:
		return fmt.Errorf("write %s: %w: %w", m.Subject, ErrUnknown, err)
	case ack == nil && len(reply.Data) == 0:
		return nil
	}
	var resp struct {
		jetstream.PubAck
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &resp); err != nil {
		return fmt.Errorf("write %s: %w: answer %q", m.Subject, ErrUnknown, reply.Data)
	}
	if resp.Error != nil {
		switch resp.Error.ErrorCode {
		case 10071, 10164, 10201: // wrong last sequence, in both its forms; duplicate message id
			return fmt.Errorf("write %s: %w", m.Subject, ErrConflict)
		}
		return fmt.Errorf("write %s: %w", m.Subject, resp.Error)
	}
	if ack != nil {
		*ack = resp.PubAck
	}
	return nil
}

// Probe writes and replaces a small record, to prove that the stream takes
// writes.
func (s *Store) Probe(ctx context.Context, who string) error {
	m := nats.NewMsg("al.v1.probe")
	m.Data = []byte(who)
	m.Header.Set("Nats-Rollup", "sub")
	return s.request(ctx, m, new(jetstream.PubAck))
}
