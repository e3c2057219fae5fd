package selection

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"nextbatch/internal/bitmask"
)

// TestMemoryBytes watches the heap while the engine works. The embeddings are
// in it all the time, as are the names. CORESET and CORAL make so little garbage
// that all they allocate is below the estimate, even without its least part.
func TestMemoryBytes(t *testing.T) {
	for _, m := range []Method{TypiClust, Typicality, FilterCluster, Badge} {
		q := randomQuery(60_000, 32, 300, 300)
		q.Method, q.KeepState = m, false
		q.Probabilities = benchKinds[0].make(60_000, 5)
		q.Scores = make([]float64, q.Rows)
		taken := peakHeap(func() { mustSelect(t, q) })
		estimate := MemoryBytes(m, 59_700, 32, 300, 300) + 4*5*60_000
		t.Logf("%s: %.1f MB of %.1f MB", m, float64(taken)/1e6, float64(estimate)/1e6)
		if taken > estimate || estimate > 4*taken+32<<20 {
			t.Errorf("%s took %d bytes, MemoryBytes says %d", m, taken, estimate)
		}
	}
	for _, c := range []struct {
		method                    Method
		rows, dim, centers, picks int
		shift                     float32
	}{
		{Herding, 7_000, 16, 0, 50, 0}, {Herding, 7_000, 16, 1000, 700, 100},
		{Coreset, 100_000, 16, 0, 500, 0}, {Coreset, 40_000, 64, 0, 4_000, 0}, {Coreset, 40_000, 64, 0, 4_000, 100}, {Coreset, 60_000, 32, 20_000, 200, 100}, {Coreset, 640_000, 4, 600_000, 200, 0}, {Coreset, 20_000, 256, 100, 500, 0},
		{Coral, 40_000, 64, 0, 4_000, 0},
	} {
		q := randomQuery(c.rows, c.dim, c.centers, c.picks)
		q.Method, q.Cosine = c.method, c.shift > 0
		for i := range q.Embeddings.Data {
			q.Embeddings.Data[i] += c.shift
		}
		q.Scores, q.ScoreExponent, q.DistanceExponent = make([]float64, q.Rows), 1, 1
		for row := range q.Scores {
			q.Scores[row] = float64(1 + row%7)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		taken := peakHeap(func() { mustSelect(t, q) })
		runtime.ReadMemStats(&after)
		estimate := MemoryBytes(q.Method, c.rows-c.centers, c.dim, c.centers, c.picks)
		if q.directed() {
			estimate += 4 * int64(len(q.Embeddings.Data))
		}
		t.Logf("%+v: %.1f MB of %.1f MB", c, float64(taken)/1e6, float64(estimate)/1e6)
		// Of herding it is known only afterwards how much the preselected rows leave to cover.
		if taken > estimate || estimate > 4*taken+16<<20 && !(c.method == Herding && c.centers > 0) {
			t.Errorf("%+v took %d bytes, MemoryBytes says %d", c, taken, estimate)
		}
		if made := int64(after.TotalAlloc - before.TotalAlloc); c.method != Herding && made > estimate-8<<20 {
			t.Errorf("%+v allocated %d bytes altogether, MemoryBytes says %d", c, made, estimate)
		}
	}
}

// randomQuery asks for picks among normals, of which the first are centers.
func randomQuery(rows, dim, centers, picks int) Query {
	x := benchKinds[0].make(rows, dim)
	q := Query{Method: Coreset, Rows: rows, Embeddings: x, BatchSize: picks, Filenames: nameList(rows), KeepState: true,
		Pool: bitmask.New(rows), Preselected: bitmask.New(centers)}
	q.Pool.Invert(rows)
	q.Preselected.Invert(centers)
	q.Pool.Difference(q.Preselected)
	return q
}

// nameList makes names that take no memory when they are asked for.
func nameList(rows int) func(int) string {
	names := make([]byte, 8*rows)
	for i := range names {
		names[i] = 'a' + byte(i/8>>(4*(i%8))&15)
	}
	text := string(names)
	return func(row int) string { return text[8*row : 8*row+8] }
}

// peakHeap returns by how much the heap grew above what it was, garbage
// included.
func peakHeap(do func()) int64 {
	heap := func() int64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return int64(s[0].Value.Uint64())
	}
	runtime.GC()
	before, peak := heap(), int64(0)
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			peak = max(peak, heap())
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	do()
	close(ended)
	watch.Wait()
	return peak - before
}
