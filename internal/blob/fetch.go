package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// errStalled is why a transfer was ended that hardly moved.
var errStalled = errors.New("stalled")

// leastBytes is what a transfer must bring in every stretch of Config.Stall:
// a server that sends a byte now and then would keep a job for ever.
const leastBytes = 64 << 10

// pulse ends a context when the bytes it counts do not come fast enough.
type pulse struct {
	got, seen atomic.Int64
	cancel    context.CancelCauseFunc
	mu        sync.Mutex // guards timer
	timer     *time.Timer
}

// watched returns a context for one transfer. The first bytes may take three
// times as long as the later ones: a connection is made first, and tried again.
// The caller stops the pulse.
func watched(ctx context.Context, stall time.Duration) (context.Context, *pulse) {
	p := &pulse{}
	ctx, p.cancel = context.WithCancelCause(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(3*stall, func() {
		if now := p.got.Load(); now-p.seen.Swap(now) < leastBytes {
			p.cancel(errStalled)
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.timer.Reset(stall)
	})
	return ctx, p
}

func (p *pulse) stop() {
	p.mu.Lock()
	p.timer.Stop()
	p.mu.Unlock()
	p.cancel(nil)
}

// Write implements io.Writer: it counts.
func (p *pulse) Write(b []byte) (int, error) {
	p.got.Add(int64(len(b)))
	return len(b), nil
}

// fetch copies a body of a size that was checked to a temporary file, which has
// no name and so is gone with the process. The digest is computed on the way,
// if ref has one.
func (o *Opener) fetch(ctx context.Context, body io.Reader, size int64, ref Ref, p *pulse) (_ *File, err error) {
	h, err := os.CreateTemp(o.cfg.TempDir, "reference-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	if err := os.Remove(h.Name()); err != nil {
		return nil, err
	}
	to := []io.Writer{h}
	if p != nil {
		to = append(to, p)
	}
	digest := sha256.New()
	if ref.SHA256 != "" {
		to = append(to, digest)
	}
	n, err := io.CopyBuffer(io.MultiWriter(to...), struct{ io.Reader }{io.LimitReader(body, size+1)}, make([]byte, 1<<18))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, unreadable("ended after %d of %d bytes", n, size)
	case err != nil:
		return nil, err
	case n != size:
		return nil, fault("size_mismatch", "put the object again", "has not the %d bytes that it is said to have", size)
	}
	f, err := newFile(ctx, h)
	if err == nil && ref.SHA256 != "" {
		f.sha = hex.EncodeToString(digest.Sum(nil))
	}
	return f, err
}

// checkSize refuses, before anything is copied, what is larger than allowed or
// not of the size that its reference says.
func (o *Opener) checkSize(size int64, ref Ref) error {
	switch {
	case size > o.cfg.MaxBytes:
		return fault("reference_too_large", "split the data into several events, or have the operator raise the limit",
			"has %d bytes, at most %d are allowed", size, o.cfg.MaxBytes)
	case ref.Size != 0 && ref.Size != size:
		return fault("size_mismatch", "write the file completely, close it, then send the event", "has %d bytes, the reference says %d", size, ref.Size)
	}
	return nil
}

// unreadable is the error of a transfer that may go better next time.
func unreadable(format string, args ...any) *Error {
	e := fault("reference_unreadable", "see that the server answers and that the worker may read there", format, args...)
	e.Transient = true
	return e
}
