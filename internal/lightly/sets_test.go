package lightly

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nextbatch/internal/bitmask"
)

// picker is a platform that keeps its tags and picks the samples of the
// highest score, or the first by name.
type picker struct {
	t     testing.TB
	names []string // by row

	mu        sync.Mutex // guards all below
	tags      []Tag
	scores    map[string]map[string][]float64 // tag id, score type
	conflicts int                             // tags that were to be made a second time
}

func newPicker(t testing.TB, names []string) *picker {
	all, err := bitmask.FromLength(len(names))
	if err != nil {
		t.Fatal(err)
	}
	p := &picker{t: t, names: names, scores: map[string]map[string][]float64{}}
	p.add(Tag{Name: initialTag, BitMaskData: all.Hex()})
	return p
}

func (p *picker) add(tag Tag) string {
	tag.ID = fmt.Sprintf("%024x", len(p.tags)+1)
	tag.TotSize = int64(len(p.names))
	p.tags = append(p.tags, tag)
	return tag.ID
}

func (p *picker) mask(id string) *bitmask.Mask {
	for _, tag := range p.tags {
		if tag.ID == id {
			m, err := bitmask.FromHex(tag.BitMaskData)
			if err != nil {
				p.t.Error(err)
			}
			return m
		}
	}
	return bitmask.New(0)
}

func (p *picker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var tag newTag
	var scores newScores
	var sampling newSampling
	if r.Method == http.MethodPost {
		body, _ := io.ReadAll(r.Body)
		if err := errors.Join(json.Unmarshal(body, &tag), json.Unmarshal(body, &scores), json.Unmarshal(body, &sampling)); err != nil {
			p.t.Error(err)
		}
	}
	var out any
	path := strings.TrimPrefix(r.URL.Path, "/v1/datasets/d")
	switch {
	case r.URL.Path == "/v1/datasets/query/name/many":
		out = []Dataset{{ID: "d", Name: "many"}}
	case path == "/mappings":
		out = p.names
	case path == "/embeddings":
		out = []Embedding{{ID: "e"}}
	case path == "/tags" && r.Method == http.MethodGet:
		out = p.tags
	case path == "/tags":
		if slices.ContainsFunc(p.tags, func(t Tag) bool { return t.Name == tag.Name }) {
			p.conflicts++
			w.WriteHeader(http.StatusConflict)
			return
		}
		out = createdEntity{ID: p.add(Tag{Name: tag.Name, PrevTagID: &tag.PrevTagID, BitMaskData: tag.BitMaskData})}
	case strings.HasSuffix(path, "/scores"):
		id := strings.Split(path, "/")[2]
		if n := p.mask(id).Count(); n != len(scores.Scores) {
			p.t.Errorf("%d scores for %d rows", len(scores.Scores), n)
		}
		if p.scores[id] == nil {
			p.scores[id] = map[string][]float64{}
		}
		p.scores[id][scores.ScoreType] = scores.Scores
		out = createdEntity{ID: "s"}
	case path == "/embeddings/e/sampling":
		out = createdEntity{JobID: p.pick(sampling)}
	case strings.HasPrefix(r.URL.Path, "/v1/jobs/"):
		out = JobStatus{Status: jobFinished, Result: &JobResult{"SAMPLING", strings.TrimPrefix(r.URL.Path, "/v1/jobs/")}}
	default:
		id := strings.TrimPrefix(path, "/tags/")
		for _, tag := range p.tags {
			if tag.ID == id {
				out = tag
			}
		}
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		p.t.Error(err)
	}
}

// pick makes the tag of a sampling. Its id is that of the job, too.
func (p *picker) pick(in newSampling) string {
	query, result := p.mask(in.QueryTagID), p.mask(in.PreselectedTagID)
	value := map[int]float64{}
	if v := p.scores[in.QueryTagID][in.ScoreType]; v != nil {
		for i, row := range query.Indices() {
			value[row] = v[i]
		}
	}
	rows := query.Subtract(result).Indices()
	slices.SortFunc(rows, func(a, b int) int {
		if value[a] != value[b] {
			if value[a] > value[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(p.names[a], p.names[b])
	})
	left := len(rows)
	if n := int(in.Config.StoppingCondition.NSamples); n >= 0 {
		left = min(left, n-result.Count())
	}
	for _, row := range rows[:left] {
		result.Set(row)
	}
	return p.add(Tag{Name: in.NewTagName, PrevTagID: new(p.tags[0].ID), BitMaskData: result.Hex(),
		QueryTagID: in.QueryTagID, PreselectedTagID: in.PreselectedTagID})
}

// TestRowsAndScoresFollowNames: whatever the order of the platform and the
// samples it has besides, the rows that come back are ours, and each score
// belongs to its sample. Checked against a choice made by name.
func TestRowsAndScoresFollowNames(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		n := 1 + rng.IntN(150)
		ours, theirs := make([]string, n), []string(nil)
		for i := range ours {
			ours[i] = fmt.Sprintf("%x/%d.jpg", rng.Uint32(), i)
		}
		theirs = slices.Clone(ours)
		for i := range rng.IntN(20) {
			theirs = append(theirs, fmt.Sprintf("other %d", i))
		}
		rng.Shuffle(len(theirs), func(i, j int) { theirs[i], theirs[j] = theirs[j], theirs[i] })
		q := Query{Dataset: "many", Filenames: ours, Pool: bitmask.New(n), Preselected: bitmask.New(n), Method: "ACTIVE_LEARNING", Score: "b",
			Scores: []NamedScores{{"a", make([]float64, n)}, {"b", make([]float64, n)}}, TagName: fmt.Sprint("round ", round)}
		var pool []int
		for row := range n {
			q.Scores[1].Values[row] = math.NaN()
			switch rng.IntN(4) {
			case 0:
				q.Preselected.Set(row)
				if rng.IntN(2) == 0 {
					q.Pool.Set(row)
				}
			case 1, 2:
				q.Pool.Set(row)
				q.Scores[1].Values[row] = float64(rng.IntN(5)) // many ties
				pool = append(pool, row)
			}
		}
		if len(pool)+q.Preselected.Count() == 0 {
			continue
		}
		q.NSamples = max(1, q.Preselected.Count()+rng.IntN(len(pool)+2))
		if rng.IntN(10) == 0 {
			q.NSamples = -1
		}
		slices.SortFunc(pool, func(a, b int) int {
			if d := q.Scores[1].Values[b] - q.Scores[1].Values[a]; d != 0 {
				return int(d)
			}
			return strings.Compare(ours[a], ours[b])
		})
		want := pool
		if q.NSamples >= 0 {
			want = pool[:min(len(pool), q.NSamples-q.Preselected.Count())]
		}
		slices.Sort(want)

		p := newPicker(t, theirs)
		srv := httptest.NewServer(p)
		c := newClient(t, srv)
		for attempt := range 2 { // the second finds the tag
			got, err := c.Select(t.Context(), q)
			if err != nil || !slices.Equal(got.Rows, want) {
				t.Fatalf("round %d, attempt %d: rows %v, %v, want %v", round, attempt, got.Rows, err, want)
			}
		}
		srv.Close()
		if p.conflicts > 0 {
			t.Errorf("round %d: %d tags were made twice", round, p.conflicts)
		}
	}
}

func TestConcurrentQueries(t *testing.T) {
	names := make([]string, 100)
	for i := range names {
		names[i] = fmt.Sprintf("%02d", i)
	}
	p := newPicker(t, names)
	srv := httptest.NewServer(p)
	defer srv.Close()
	c := newClient(t, srv)
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			q := Query{Dataset: "many", Filenames: names, Pool: bitmask.FromIndices(10*k, 10*k+1, 10*k+2), Preselected: bitmask.FromIndices(99),
				Method: "RANDOM", NSamples: 3, TagName: fmt.Sprint("tag ", k)}
			r, err := c.Select(t.Context(), q)
			if want := []int{10 * k, 10*k + 1}; err != nil || !slices.Equal(r.Rows, want) {
				t.Errorf("query %d: %v, %v, want %v", k, r.Rows, err, want)
			}
		})
	}
	wg.Wait()
}

// TestMillionRows keeps an eye on time and memory: mapping, masks, scores and
// translation of a million samples.
func TestMillionRows(t *testing.T) {
	const n = 1_000_000
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("camera_%d/2024/%07d.jpg", i%7, i)
	}
	theirs := slices.Clone(names)
	slices.Reverse(theirs)
	// The platform's answers are made beforehand: its time is not measured.
	var mapping bytes.Buffer
	if err := json.NewEncoder(&mapping).Encode(theirs); err != nil {
		t.Fatal(err)
	}
	all, err := bitmask.FromLength(n)
	if err != nil {
		t.Fatal(err)
	}
	chosen := bitmask.New(n)
	for row := 0; row < n; row += 5 {
		chosen.Set(row)
	}
	initial, _ := json.Marshal([]Tag{{ID: "t", Name: initialTag, BitMaskData: all.Hex(), TotSize: n}})
	tag, _ := json.Marshal(Tag{ID: "new", Name: "big", BitMaskData: chosen.Hex()})
	mux := http.NewServeMux()
	for pattern, body := range map[string][]byte{
		"GET /v1/datasets/query/name/many": []byte(`[{"id":"d","name":"many"}]`), "GET /v1/datasets/d/mappings": mapping.Bytes(),
		"GET /v1/datasets/d/tags": initial, "GET /v1/datasets/d/embeddings": []byte(`[{"id":"e"}]`), "POST /v1/datasets/d/tags/t/scores": nil,
		"POST /v1/datasets/d/embeddings/e/sampling": []byte(`{"jobId":"j"}`),
		"GET /v1/jobs/j":              []byte(`{"status":"FINISHED","result":{"data":"new"}}`),
		"GET /v1/datasets/d/tags/new": tag,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { w.Write(body) })
	}
	srv := httptest.NewServer(mux)
	defer srv.Close()
	q := Query{Dataset: "many", Filenames: names, Pool: all, Preselected: bitmask.New(0), Method: "CORAL", NSamples: n / 5, TagName: "big",
		Scores: []NamedScores{{"uncertainty_margin", make([]float64, n)}}}
	for i := range n {
		q.Scores[0].Values[i] = rand.Float64()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	r, err := newClient(t, srv).Select(t.Context(), q)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if err != nil || len(r.Rows) != n/5 || r.Rows[0] != 4 || r.Rows[n/5-1] != n-1 {
		t.Fatalf("%d rows, %v", len(r.Rows), err)
	}
	t.Logf("%v, %d MB allocated in all", took, (after.TotalAlloc-before.TotalAlloc)>>20)
}
