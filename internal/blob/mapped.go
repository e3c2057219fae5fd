package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// verified remembers which blobs this process has seen with the right digest.
type verified struct {
	mu   sync.Mutex // guards seen
	seen map[string]stamp
}

type stamp struct {
	inode uint64
	size  int64
}

func newVerified() *verified { return &verified{seen: map[string]stamp{}} }

// Float32s returns a blob of little-endian float32 as memory that is mapped
// from its file: read-only, until release is called. The digest is
// checked the first time in a process. The machine must be little-endian.
func (s *Store) Float32s(ctx context.Context, sha string) (data []float32, release func(), err error) {
	return mapped[float32](ctx, s, sha)
}

// Float64s is Float32s for float64.
func (s *Store) Float64s(ctx context.Context, sha string) (data []float64, release func(), err error) {
	return mapped[float64](ctx, s, sha)
}

func mapped[F float32 | float64](ctx context.Context, s *Store, sha string) ([]F, func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	f, err := s.open(ctx, sha)
	if err != nil {
		return nil, nil, fmt.Errorf("blob: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	width := int64(unsafe.Sizeof(F(0)))
	if info.Size()%width != 0 {
		return nil, nil, fmt.Errorf("blob %s: %d bytes are no whole number of float%d", sha, info.Size(), 8*width)
	}
	if info.Size() == 0 {
		return nil, func() {}, nil
	}
	raw, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("map blob %s: %w", sha, err)
	}
	if !s.verified.check(sha, info, raw) {
		unix.Munmap(raw)
		return nil, nil, s.damaged(sha)
	}
	data := unsafe.Slice((*F)(unsafe.Pointer(unsafe.SliceData(raw))), info.Size()/width)
	return data, sync.OnceFunc(func() { unix.Munmap(raw) }), nil
}

func (v *verified) check(sha string, info os.FileInfo, data []byte) bool {
	now := stamp{size: info.Size()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		now.inode = stat.Ino
	}
	v.mu.Lock()
	known := v.seen[sha] == now
	v.mu.Unlock()
	if known {
		return true
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != sha {
		return false
	}
	v.mu.Lock()
	v.seen[sha] = now
	v.mu.Unlock()
	return true
}
