package state

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"sync"
	"unsafe"
)

// Vectors returns the vectors of an embedding set as rows × Dim float32; a row
// without one is NaN in its first element. The slice is mapped, shared and must
// not be written; release it when done.
func (s *Store) Vectors(ctx context.Context, e EmbeddingSet, rows int) (data []float32, release func(), err error) {
	if len(e.Chunks) == 1 && e.Rows() == rows {
		return s.blobs.Float32s(ctx, e.Chunks[0].SHA256)
	}
	var shas []string
	for _, c := range e.Chunks {
		shas = append(shas, c.SHA256)
	}
	return s.blobs.Joined(ctx, shas, rows*e.Dim)
}

// EachVector calls use with each row of a set that has a vector, and its name.
// The vector is valid during the call. Chunks are mapped one by one.
func (s *Store) EachVector(ctx context.Context, e EmbeddingSet, names *Names, use func(name string, v []float32) error) error {
	row := 0
	for _, c := range e.Chunks {
		part, release, err := s.blobs.Float32s(ctx, c.SHA256)
		if err != nil {
			return err
		}
		for i := 0; i < c.Rows && err == nil; i++ {
			if v := part[i*e.Dim : (i+1)*e.Dim]; v[0] == v[0] {
				err = use(names.At(row+i), v)
			}
		}
		release()
		if err != nil {
			return err
		}
		row += c.Rows
	}
	return nil
}

// copyVectors copies the vectors of a set into dst, those from a row on that
// begins a chunk.
func (s *Store) copyVectors(ctx context.Context, dst []float32, e EmbeddingSet, from int) error {
	row := 0
	for _, c := range e.Chunks {
		if row >= from {
			part, release, err := s.blobs.Float32s(ctx, c.SHA256)
			if err != nil {
				return err
			}
			dst = dst[copy(dst, part):]
			release()
		}
		row += c.Rows
	}
	return nil
}

// PutVectors stores vectors for rows of a dataset and returns the changed set,
// not yet committed. Row i of data, which has dim columns, is the vector of
// rows[i]; names are those of the dataset with these rows in it. Vectors for
// the rows that follow the set's last are appended, and chunks merged as in
// AppendNames; any others make a set of one chunk.
func (s *Store) PutVectors(ctx context.Context, e EmbeddingSet, names *Names, rows []int, dim int, data []float32) (EmbeddingSet, error) {
	covered := e.Rows()
	keep, from, end, appended := e.place(rows, dim)
	// fresh holds rows from … end-1.
	fresh := data
	if e.Copied(rows, dim) > 0 {
		fresh = make([]float32, (end-from)*dim)
		for i := range fresh {
			fresh[i] = float32(math.NaN())
		}
		if e.Dim == dim && from < covered {
			if err := s.copyVectors(ctx, fresh, e, from); err != nil {
				return e, err
			}
		}
		for i, r := range rows {
			copy(fresh[(r-from)*dim:(r-from+1)*dim], data[i*dim:(i+1)*dim])
		}
	}
	sha, err := s.blobs.Put(ctx, float32Bytes(fresh))
	if err != nil {
		return e, err
	}
	var sum pairSum
	if appended {
		sum.parse(e.Digest)
		sum.add(pairDigest(len(rows), func(i int) (string, []byte) { return names.At(rows[i]), float32Bytes(data[i*dim : (i+1)*dim]) }))
	} else {
		sum = pairDigest(end, func(r int) (string, []byte) {
			if v := fresh[r*dim : (r+1)*dim]; v[0] == v[0] {
				return names.At(r), float32Bytes(v)
			}
			return "", nil
		})
	}
	e.Dim, e.Digest = dim, sum.String()
	e.Chunks = append(keep, Chunk{SHA256: sha, Rows: end - from})
	e.Version++
	if !appended {
		e.Stable, e.Projections = e.Version, nil
	}
	return e, nil
}

// place decides what becomes of the chunks when vectors are put for rows: which
// are kept, and that rows from … end-1 are written.
func (e EmbeddingSet) place(rows []int, dim int) (keep []Chunk, from, end int, appended bool) {
	covered := e.Rows()
	appended, end = e.Dim == dim, covered
	for _, r := range rows {
		appended = appended && r >= covered
		end = max(end, r+1)
	}
	if appended {
		keep, from = tail(e.Chunks, end-covered)
	}
	return keep, from, end, appended
}

// Copied returns how many vectors PutVectors brings together in memory, beside
// those that it is given.
func (e EmbeddingSet) Copied(rows []int, dim int) int {
	_, from, end, _ := e.place(rows, dim)
	if ordered(rows, from) && len(rows) == end-from {
		return 0
	}
	return end - from
}

// ordered reports whether rows is first, first+1, …
func ordered(rows []int, first int) bool {
	for i, r := range rows {
		if r != first+i {
			return false
		}
	}
	return true
}

// PutScores stores one score per row, NaN where there is none.
func (s *Store) PutScores(ctx context.Context, name string, names *Names, values []float64) (ScoreVector, error) {
	sha, err := s.blobs.Put(ctx, float64Bytes(values))
	if err != nil {
		return ScoreVector{}, err
	}
	return ScoreVector{Name: name, SHA256: sha, Rows: len(values), Digest: ScoresDigest(names, values)}, nil
}

// ScoresDigest identifies the (filename, score) pairs of a score vector,
// whatever their order; NaN is no score.
func ScoresDigest(names *Names, values []float64) string {
	return pairDigest(len(values), func(r int) (string, []byte) {
		if v := values[r : r+1]; v[0] == v[0] {
			return names.At(r), float64Bytes(v)
		}
		return "", nil
	}).String()
}

// Scores loads a score vector for a dataset of at least as many rows.
func (s *Store) Scores(ctx context.Context, v ScoreVector, rows int) ([]float64, error) {
	b, err := s.blobs.Get(ctx, v.SHA256)
	if err != nil {
		return nil, err
	}
	if len(b) != 8*v.Rows || v.Rows > rows {
		return nil, fmt.Errorf("scores %s: blob of %d bytes for %d rows", v.Name, len(b), v.Rows)
	}
	values := make([]float64, rows)
	for i := range values {
		values[i] = math.NaN()
		if i < v.Rows {
			values[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		}
	}
	return values, nil
}

// pairSum identifies a set of (name, bytes) pairs whatever their order: the
// sum of the SHA-256 of each, modulo 2^256.
type pairSum [4]uint64

func (p *pairSum) add(q pairSum) {
	var c uint64
	for i := range p {
		p[i], c = bits.Add64(p[i], q[i], c)
	}
}

func (p pairSum) String() string {
	var b [32]byte
	for i, w := range p {
		binary.BigEndian.PutUint64(b[24-8*i:], w)
	}
	return hex.EncodeToString(b[:])
}

func (p *pairSum) parse(s string) {
	b, _ := hex.DecodeString(s)
	for i := range p {
		if len(b) == 32 {
			p[i] = binary.BigEndian.Uint64(b[24-8*i:])
		}
	}
}

// pairDigest sums over pairs 0 … n-1; nil bytes leave one out.
func pairDigest(n int, pair func(i int) (string, []byte)) (total pairSum) {
	workers := min(runtime.GOMAXPROCS(0), n/1024+1)
	parts := make([]pairSum, workers)
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			var buf []byte
			for i := k * n / workers; i < (k+1)*n/workers; i++ {
				name, value := pair(i)
				if value == nil {
					continue
				}
				buf = append(append(append(buf[:0], name...), 0), value...)
				h := sha256.Sum256(buf)
				var one pairSum
				for j := range one {
					one[j] = binary.BigEndian.Uint64(h[24-8*j:])
				}
				parts[k].add(one)
			}
		})
	}
	wg.Wait()
	for _, p := range parts {
		total.add(p)
	}
	return total
}

// The blobs hold little-endian numbers, which is how every machine that this
// runs on has them in memory.
func float32Bytes(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

func float64Bytes(v []float64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 8*len(v))
}
