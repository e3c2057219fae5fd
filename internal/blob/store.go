package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Store is a folder of blobs named by their SHA-256, lower-case hex:
//
//	<dir>/<first two digits>/<all 64 digits>
//
// or, opened with OpenRemote, of a bucket that the folder is a cache of. Blobs
// never change. Any number of processes may share the folder. A blob
// that was put is durable, and visible only whole.
type Store struct {
	dir      string
	remote   *remote // where the blobs are, if the folder is a cache; nil if they are in it
	verified *verified
	joins    joins
}

// tempDir is where blobs lie until they are whole.
const tempDir = "tmp"

// OpenStore creates what is absent of the folders and returns the store.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, tempDir), 0o755); err != nil {
		return nil, err
	}
	// All folders now, so that later only one has to be synced for each blob.
	for i := range 256 {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return &Store{dir: dir, verified: newVerified()}, syncDir(dir)
}

func (s *Store) path(sha string) (string, error) {
	if !validSHA(sha) {
		return "", fmt.Errorf("%.80q is no SHA-256: %w", sha, fs.ErrNotExist)
	}
	return filepath.Join(s.dir, sha[:2], sha), nil
}

func validSHA(sha string) bool {
	return len(sha) == 64 && strings.Trim(sha, "0123456789abcdef") == ""
}

// Put stores data and returns its SHA-256. Storing the same again is harmless
// and cheap.
func (s *Store) Put(ctx context.Context, data []byte) (sha string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	sha = hex.EncodeToString(sum[:])
	if s.touch(sha, int64(len(data))) {
		return sha, errors.Join(s.syncFor(sha), s.keep(ctx, sha, int64(len(data))))
	}
	w, err := s.Create()
	if err != nil {
		return "", err
	}
	defer w.Close()
	if _, err := w.file.Write(data); err != nil {
		return "", err
	}
	if err := w.publish(sha); err != nil {
		return "", err
	}
	return sha, s.keep(ctx, sha, int64(len(data)))
}

// Create returns a writer for a blob that is too large to be in memory.
func (s *Store) Create() (*Writer, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, tempDir), "put-*")
	if err != nil {
		return nil, err
	}
	return &Writer{store: s, file: f, hash: sha256.New()}, nil
}

// Writer writes one blob. Without Commit it leaves nothing behind.
type Writer struct {
	store *Store
	file  *os.File
	hash  hash.Hash
	size  int64
	moved bool // to its place
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	return n, err
}

// Commit makes what was written a blob.
func (w *Writer) Commit() (sha string, size int64, err error) {
	sha = hex.EncodeToString(w.hash.Sum(nil))
	if w.store.touch(sha, w.size) {
		err = w.store.syncFor(sha)
	} else {
		err = w.publish(sha)
	}
	if err == nil {
		err = w.store.keep(context.Background(), sha, w.size) // ends by itself if it stalls
	}
	return sha, w.size, err
}

// publish moves the file to its place.
func (w *Writer) publish(sha string) error {
	if err := w.file.Sync(); err != nil {
		return err
	}
	path, err := w.store.path(sha)
	if err != nil {
		return err
	}
	if err := os.Rename(w.file.Name(), path); err != nil {
		return err
	}
	w.moved = true
	return w.store.syncFor(sha)
}

// Close removes what was not committed. It may be called after Commit.
func (w *Writer) Close() error {
	if !w.moved {
		os.Remove(w.file.Name())
	}
	return w.file.Close()
}

// touch reports whether a blob of this size is there, and makes it new for
// Sweep. It also makes one that somebody else has just put durable for us,
// together with syncFor.
func (s *Store) touch(sha string, size int64) bool {
	path, err := s.path(sha)
	if err != nil {
		return false
	}
	now := time.Now()
	if os.Chtimes(path, now, now) != nil {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Size() == size && info.Mode().IsRegular()
}

func (s *Store) syncFor(sha string) error { return syncDir(filepath.Join(s.dir, sha[:2])) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Has reports whether a blob is there.
func (s *Store) Has(sha string) bool {
	_, err := s.Size(sha)
	return err == nil
}

// Size returns how many bytes a blob has, with the errors of Open.
func (s *Store) Size(sha string) (int64, error) {
	path, err := s.path(sha)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	switch {
	case err == nil:
		return info.Size(), nil
	case s.remote == nil || !errors.Is(err, fs.ErrNotExist):
		return 0, err
	}
	a, err := s.remote.attributes(context.Background(), sha)
	if err != nil {
		return 0, err
	}
	if a == nil {
		return 0, fmt.Errorf("blob %s: %w", sha, fs.ErrNotExist)
	}
	return a.Size, nil
}

// Open opens a blob without checking its digest. The error of a blob that is
// not there is fs.ErrNotExist; so is that of a name that is no SHA-256.
func (s *Store) Open(sha string) (*os.File, error) { return s.open(context.Background(), sha) }

// Get returns a blob whole, its digest checked.
func (s *Store) Get(ctx context.Context, sha string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := s.open(ctx, sha)
	if err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("blob %s: %w", sha, err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != sha {
		return nil, s.damaged(sha)
	}
	return data, nil
}

// Path returns where a blob is, for a file:// URL.
func (s *Store) Path(sha string) (string, error) {
	path, err := s.path(sha)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}
