package blob

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patient is a context whose deadline is always as far away. The object
// store's client takes it as the deadline of each single read, and without
// one it would give the whole object five seconds.
type patient struct {
	context.Context
	stall time.Duration
}

func (p patient) Deadline() (time.Time, bool) { return time.Now().Add(p.stall), true }

// openObject copies an object of an allowed bucket. The client checks the
// object's own digest on the way.
func (o *Opener) openObject(ctx context.Context, loc location, ref Ref) (*File, error) {
	if !o.buckets[loc.bucket] {
		return nil, notAllowed("is not in a bucket that this worker may read")
	}
	slow := patient{ctx, o.cfg.Stall}
	bucket, err := o.cfg.JetStream.ObjectStore(slow, loc.bucket)
	if err != nil {
		return nil, objectError(err)
	}
	info, err := bucket.GetInfo(slow, loc.path)
	if err != nil {
		return nil, objectError(err)
	}
	if err := o.acceptable(info, loc); err != nil {
		return nil, err
	}
	object, err := bucket.Get(slow, loc.path)
	if err != nil {
		return nil, objectError(err)
	}
	defer object.Close()
	// It may have been replaced meanwhile, also by a link that Get followed.
	if info, err = object.Info(); err != nil {
		return nil, objectError(err)
	}
	if err := o.acceptable(info, loc); err != nil {
		return nil, err
	}
	f, err := o.fetch(ctx, object, int64(info.Size), ref, nil)
	if err != nil {
		return nil, objectError(err)
	}
	return f, nil
}

// acceptable refuses links, which may lead to any other bucket, and what is
// too large to copy.
func (o *Opener) acceptable(info *jetstream.ObjectInfo, loc location) error {
	if info.Opts != nil && info.Opts.Link != nil || info.Bucket != loc.bucket || info.Name != loc.path {
		return notAllowed("is a link to another object")
	}
	if info.Size > uint64(o.cfg.MaxBytes) {
		return fault("reference_too_large", "split the data into several events, or have the operator raise the limit",
			"has %d bytes, at most %d are allowed", info.Size, o.cfg.MaxBytes)
	}
	return nil
}

// objectError says what an error of the object store means to the sender.
func objectError(err error) error {
	var known *Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, jetstream.ErrObjectNotFound), errors.Is(err, jetstream.ErrBucketNotFound):
		return &Error{Code: "reference_missing", Message: "does not exist", Hint: "put the object before sending the event", Transient: true}
	case errors.Is(err, jetstream.ErrDigestMismatch), errors.Is(err, jetstream.ErrBadObjectMeta):
		return fault("digest_mismatch", "put the object again", "is damaged in the object store: %s", err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: "reference_unreadable", Message: "the object store stopped sending it", Hint: "put the object again if it stays so", Transient: true}
	}
	return fmt.Errorf("object store: %w", err)
}
