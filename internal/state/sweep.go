package state

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Referenced returns every blob that a record, a result or a dead letter in
// the stream names: every run of 64 lower-case hexadecimal digits counts, so
// that it can only err on the side of keeping.
func (s *Store) Referenced(ctx context.Context) (map[string]bool, error) {
	cons, err := s.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, fmt.Errorf("read the stream: %w", err)
	}
	info, err := cons.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the stream: %w", err)
	}
	defer s.forget(ctx, info.Name)
	found := map[string]bool{}
	for left := int(info.NumPending); left > 0; {
		batch, err := cons.Fetch(min(left, 500), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return nil, fmt.Errorf("read the stream: %w", err)
		}
		got := 0
		for m := range batch.Messages() {
			got++
			digests(m.Data(), found)
		}
		if got == 0 {
			return nil, fmt.Errorf("read the stream: %d messages did not come", left)
		}
		left -= got
	}
	return found, ctx.Err()
}

// digests adds the runs of exactly 64 hexadecimal digits.
func digests(data []byte, found map[string]bool) {
	run := 0
	for i := 0; i <= len(data); i++ {
		if i < len(data) && (data[i] >= '0' && data[i] <= '9' || data[i] >= 'a' && data[i] <= 'f') {
			run++
			continue
		}
		if run == 64 {
			found[string(data[i-64:i])] = true
		}
		run = 0
	}
}
