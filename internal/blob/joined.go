package blob

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Joined returns blobs of little-endian float32 one after another, followed by
// NaN up to the given number of values, as one piece of mapped memory:
// read-only, shared, until release is called.
//
// A mapping begins and ends with a page and a blob does not, so the blobs are
// copied into a file. It has no name and is gone with its last mapping; until
// then the kernel may drop its pages from memory, as those of a blob. The last
// few are kept, since rounds of selections ask for the same again.
func (s *Store) Joined(ctx context.Context, shas []string, values int) (data []float32, release func(), err error) {
	if values == 0 && len(shas) == 0 {
		return nil, func() {}, nil
	}
	key := fmt.Sprint(values, strings.Join(shas, ""))
	j := s.joins.use(key)
	if j == nil {
		raw, err := s.join(ctx, shas, values)
		if err != nil {
			return nil, nil, err
		}
		j = s.joins.add(key, raw)
	}
	data = unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(j.raw))), values)
	return data, sync.OnceFunc(func() { s.joins.release(j) }), nil
}

// join copies blobs into a file and maps it.
func (s *Store) join(ctx context.Context, shas []string, values int) ([]byte, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, tempDir), "joined-*")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	left := values
	for _, sha := range shas {
		part, release, err := s.Float32s(ctx, sha)
		if err != nil {
			return nil, err
		}
		if left -= len(part); left < 0 {
			err = fmt.Errorf("blob %s: with those before it, %d values too many", sha, -left)
		} else {
			err = writeFloats(ctx, f, part)
		}
		release()
		if err != nil {
			return nil, err
		}
	}
	none := slices.Repeat([]float32{float32(math.NaN())}, min(left, chunkBytes/4))
	for ; left > 0; left -= len(none) {
		none = none[:min(left, len(none))]
		if err := writeFloats(ctx, f, none); err != nil {
			return nil, err
		}
	}
	raw, err := unix.Mmap(int(f.Fd()), 0, 4*values, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d joined blobs: %w", len(shas), err)
	}
	return raw, nil
}

func writeFloats(ctx context.Context, f *os.File, v []float32) error {
	for part := range slices.Chunk(v, chunkBytes) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := f.Write(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(part))), 4*len(part))); err != nil {
			return err
		}
	}
	return nil
}

// joinsKept is how many joined files without users take room on the disk.
const joinsKept = 2

// joins are the joined files that are mapped.
type joins struct {
	mu  sync.Mutex // guards all
	all []*join    // least recently used first
}

type join struct {
	key   string
	raw   []byte
	users int
}

// use returns the file of a key, nil if there is none.
func (s *joins) use(key string) *join {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.all {
		if j.key == key {
			j.users++
			return j
		}
	}
	return nil
}

func (s *joins) add(key string, raw []byte) *join {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := &join{key, raw, 1}
	s.all = append(s.all, j)
	return j
}

// release ends one use, and drops what is not used and was used longest ago.
func (s *joins) release(j *join) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.users--
	s.all = append(slices.DeleteFunc(s.all, func(other *join) bool { return other == j }), j)
	idle := 0
	for _, other := range s.all {
		if other.users == 0 {
			idle++
		}
	}
	s.all = slices.DeleteFunc(s.all, func(other *join) bool {
		if other.users > 0 || idle <= joinsKept {
			return false
		}
		idle--
		unix.Munmap(other.raw)
		return true
	})
}
