package state_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// open returns a store on a real server, and its stream.
func open(t *testing.T) (*state.Store, jetstream.Stream) {
	t.Helper()
	e, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{Dir: t.TempDir()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	nc, err := bus.Connect(bus.Auth{URL: e.URL}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), js, bus.Layout{}, true); err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := state.Open(t.Context(), nc, blobs)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), bus.Stream)
	if err != nil {
		t.Fatal(err)
	}
	return s, stream
}

func TestCommitIsAllOrNothing(t *testing.T) {
	s, stream := open(t)
	ctx := t.Context()
	var b state.Batch
	b.Job(state.Job{ID: "j", State: state.JobRunning}, 0)
	claimed, err := s.Commit(ctx, &b)
	if err != nil {
		t.Fatal(err)
	}
	b = state.Batch{}
	b.Job(state.Job{ID: "j", State: state.JobDone}, claimed)
	b.Tag(state.Tag{Dataset: "d", Name: "t"}, 0)
	b.Publish("al.v1.out.selection.created.d", nats.Header{"X": {"y"}}, []byte("result"), "id")
	rev, err := s.Commit(ctx, &b)
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := s.Job(ctx, "j"); got != rev || err != nil {
		t.Errorf("revision of the first record = %d, %v; Commit said %d", got, err, rev)
	}
	if _, got, err := s.Tag(ctx, "d", "t"); got != rev+1 || err != nil {
		t.Errorf("revision of the second record = %d, %v; want %d", got, err, rev+1)
	}

	// One stale revision anywhere, and nothing of the batch is written.
	before, err := stream.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b = state.Batch{}
	b.Tag(state.Tag{Dataset: "d", Name: "t2"}, 0)
	b.Publish("al.v1.out.selection.created.d", nil, []byte("never"), "id2")
	b.Job(state.Job{ID: "j", State: state.JobDone}, claimed)
	if _, err := s.Commit(ctx, &b); !errors.Is(err, state.ErrConflict) {
		t.Errorf("stale revision: %v, want ErrConflict", err)
	}
	after, err := stream.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if before.State.LastSeq != after.State.LastSeq {
		t.Errorf("a refused batch wrote %d messages", after.State.LastSeq-before.State.LastSeq)
	}
	if _, _, err := s.Tag(ctx, "d", "t2"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("tag of a refused batch: %v", err)
	}
}

// Of many writers with the same revision exactly one wins, each time.
func TestCommitHasOneWinner(t *testing.T) {
	s, _ := open(t)
	const writers, rounds = 8, 20
	var rev uint64
	for range rounds {
		wins := make(chan uint64, writers)
		var wg sync.WaitGroup
		for k := range writers {
			wg.Go(func() {
				var b state.Batch
				b.Job(state.Job{ID: "j", Attempt: k}, rev)
				b.Tag(state.Tag{Dataset: "d", Name: fmt.Sprint(rev)}, 0)
				if r, err := s.Commit(context.Background(), &b); err == nil {
					wins <- r
				} else if !errors.Is(err, state.ErrConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(wins) != 1 {
			t.Fatalf("%d of %d writers won", len(wins), writers)
		}
		rev = <-wins
	}
}

func TestListsReadEveryRecord(t *testing.T) {
	s, _ := open(t)
	for i := range 1200 {
		var b state.Batch
		b.Job(state.Job{ID: fmt.Sprintf("%04d", i)}, 0)
		if _, err := s.Commit(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	if err := s.Jobs(t.Context(), func(j state.Job) error { seen[j.ID] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1200 {
		t.Errorf("listed %d jobs of 1200", len(seen))
	}
	if err := s.Datasets(t.Context(), func(state.Dataset) error { return errors.New("there is none") }); err != nil {
		t.Error(err)
	}
}

// Clients list tags many times a second; what a list reads through must not
// stay.
func TestListsLeaveNoConsumer(t *testing.T) {
	s, stream := open(t)
	var b state.Batch
	b.Tag(state.Tag{Dataset: "d", Name: "t"}, 0)
	if _, err := s.Commit(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	count := func() int {
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Consumers
	}
	before := count()
	for range 20 {
		if err := s.Tags(t.Context(), "d", func(state.Tag) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if after := count(); after != before {
		t.Errorf("%d consumers after 20 lists, %d before", after, before)
	}
}

// Whatever the sizes in which names arrive, they come back in order, and the
// number of chunks stays logarithmic.
func TestNamesAppend(t *testing.T) {
	s, _ := open(t)
	rapid.Check(t, func(r *rapid.T) {
		d := state.Dataset{Name: "d"}
		var want []string
		for _, n := range rapid.SliceOfN(rapid.IntRange(1, 40), 1, 30).Draw(r, "sizes") {
			var more []string
			for range n {
				more = append(more, fmt.Sprintf("dir/ä %d.jpg", len(want)+len(more)))
			}
			var err error
			if d, err = s.AppendNames(t.Context(), d, more); err != nil {
				r.Fatal(err)
			}
			want = append(want, more...)
		}
		names, err := s.Names(t.Context(), d)
		if err != nil {
			r.Fatal(err)
		}
		if names.Len() != len(want) || d.Rows != len(want) {
			r.Fatalf("%d names, %d rows, want %d", names.Len(), d.Rows, len(want))
		}
		for row, name := range want {
			if got, ok := names.Row(name); names.At(row) != name || got != row || !ok {
				r.Fatalf("row %d is %q, %q is row %d", row, names.At(row), name, got)
			}
		}
		if _, ok := names.Row("dir/nobody.jpg"); ok {
			r.Fatal("found a name that is not there")
		}
		for i := 1; i < len(d.Filenames); i++ {
			if d.Filenames[i-1].Rows <= 2*d.Filenames[i].Rows {
				r.Fatalf("chunks %v are not merged", d.Filenames)
			}
		}
	})
	if _, err := s.AppendNames(t.Context(), state.Dataset{Name: "e"}, []string{"a", "a"}); err == nil {
		d, _ := s.AppendNames(t.Context(), state.Dataset{Name: "e"}, []string{"a", "a"})
		if _, err := s.Names(t.Context(), d); err == nil {
			t.Error("a name twice was taken")
		}
	}
}

// Vectors that arrive in any order and pieces, new ones and replacements, are
// those of a plain map, and so is the digest, whatever the order.
func TestVectorsAgreeWithAMap(t *testing.T) {
	s, _ := open(t)
	const rows, dim = 60, 3
	d, err := s.AppendNames(t.Context(), state.Dataset{Name: "d"}, numbered(rows))
	if err != nil {
		t.Fatal(err)
	}
	names, err := s.Names(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		want := map[int][]float32{}
		var set, atOnce state.EmbeddingSet
		for range rapid.IntRange(1, 6).Draw(r, "events") {
			var data []float32
			var some []int
			if rapid.Bool().Draw(r, "append") {
				for row := set.Rows(); row < min(rows, set.Rows()+rapid.IntRange(1, 20).Draw(r, "n")); row++ {
					some = append(some, row)
				}
			} else {
				some = rapid.SliceOfNDistinct(rapid.IntRange(0, rows-1), 1, 20, rapid.ID[int]).Draw(r, "rows")
			}
			if len(some) == 0 {
				continue
			}
			for _, row := range some {
				v := []float32{rapid.Float32Range(-1, 1).Draw(r, "x"), float32(row), 1}
				want[row] = v
				data = append(data, v...)
			}
			if set, err = s.PutVectors(t.Context(), set, names, some, dim, data); err != nil {
				r.Fatal(err)
			}
		}
		got, release, err := s.Vectors(t.Context(), set, rows)
		if err != nil {
			r.Fatal(err)
		}
		defer release()
		var all []int
		var flat []float32
		for row := rows - 1; row >= 0; row-- {
			v, ok := want[row]
			if x := got[row*dim]; !ok && x == x {
				r.Fatalf("row %d has no vector, but %v came", row, got[row*dim:row*dim+dim])
			}
			if ok {
				if diff := cmp.Diff(v, got[row*dim:row*dim+dim]); diff != "" {
					r.Fatalf("row %d: %s", row, diff)
				}
				all, flat = append(all, row), append(flat, v...)
			}
		}
		if len(all) == 0 {
			return
		}
		if atOnce, err = s.PutVectors(t.Context(), atOnce, names, all, dim, flat); err != nil {
			r.Fatal(err)
		}
		if set.Digest != atOnce.Digest {
			r.Fatalf("digest %s, of the same vectors at once %s", set.Digest, atOnce.Digest)
		}
	})
}

func TestScoresRoundTrip(t *testing.T) {
	s, _ := open(t)
	d, err := s.AppendNames(t.Context(), state.Dataset{Name: "d"}, numbered(5))
	if err != nil {
		t.Fatal(err)
	}
	names, _ := s.Names(t.Context(), d)
	in := []float64{1, math.NaN(), 0, 0.1 + 0.2}
	v, err := s.PutScores(t.Context(), "margin", names, in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Scores(t.Context(), v, 5)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range append(in, math.NaN()) {
		if math.Float64bits(out[i]) != math.Float64bits(want) && !(math.IsNaN(out[i]) && math.IsNaN(want)) {
			t.Errorf("score %d = %v, want %v", i, out[i], want)
		}
	}
}

// Labels fold to the last word by sequence, however they are ordered, cut into
// batches and repeated; and a snapshot blob changes nothing.
func TestLabelsFoldInAnyOrder(t *testing.T) {
	s, _ := open(t)
	const rows = 3000 // more than a record carries
	rng := rand.New(rand.NewPCG(1, 2))
	type word struct {
		row    int
		status state.Status
		seq    uint64
	}
	var words []word
	want := make([]state.Status, rows)
	for seq := uint64(1); seq <= 9000; seq++ {
		w := word{rng.IntN(rows), state.Status(rng.IntN(3)), seq}
		words = append(words, w)
		want[w.row] = w.status
	}
	words = append(words, words[:2000]...) // delivered twice
	rng.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	commits := uint64(0)
	for at := 0; at < len(words); {
		n := min(1+rng.IntN(900), len(words)-at)
		l, rev, err := s.Labels(t.Context(), "d")
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range words[at : at+n] {
			l.Set(w.row, w.status, w.seq)
			if w.row%7 == 0 {
				l.Select(w.row)
			}
		}
		var b state.Batch
		if err := s.SaveLabels(t.Context(), &b, l, rev); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		commits++
		at += n
	}
	l, _, err := s.Labels(t.Context(), "d")
	if err != nil {
		t.Fatal(err)
	}
	if l.Version() != commits {
		t.Errorf("version %d after %d commits", l.Version(), commits)
	}
	var sum events.Labelset
	touched := map[int]bool{}
	for _, w := range words {
		touched[w.row] = true
	}
	preselected, skipped := l.Sets(rows)
	for row := range rows {
		status, selected := l.Status(row)
		wantSelected := row%7 == 0 && touched[row]
		if status != want[row] || selected != wantSelected {
			t.Fatalf("row %d: status %d, selected %v; want %d, %v", row, status, selected, want[row], wantSelected)
		}
		if preselected.Has(row) != (want[row] == state.Labeled || want[row] != state.Skipped && wantSelected) || skipped.Has(row) != (want[row] == state.Skipped) {
			t.Fatalf("row %d is in the wrong set", row)
		}
		switch {
		case want[row] == state.Labeled:
			sum.Labeled++
		case want[row] == state.Skipped:
			sum.Skipped++
		case wantSelected:
			sum.Pending++
		}
	}
	sum.Dataset = "d"
	if diff := cmp.Diff(sum, l.Count(nil)); diff != "" {
		t.Error(diff)
	}
}

// What records name is found; a longer or shorter run of digits is no blob.
func TestReferenced(t *testing.T) {
	s, _ := open(t)
	sha := strings.Repeat("0a", 32)
	var b state.Batch
	b.Tag(state.Tag{Dataset: "d", Name: "t", Result: sha, Mask: "0x" + strings.Repeat("f", 65)}, 0)
	b.Publish("al.v1.out.selection.created.d", nil, []byte(`{"dataref":"file:///blobs/`+strings.Repeat("b", 64)+`"}`), "id")
	if _, err := s.Commit(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	got, err := s.Referenced(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{sha: true, strings.Repeat("b", 64): true}, got); diff != "" {
		t.Error(diff)
	}
}

func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%06d.jpg", i))
	}
	return names
}

// TestListsLeaveNoConsumers: a stream has room for a limited number.
func TestListsLeaveNoConsumers(t *testing.T) {
	s, stream := open(t)
	for range 20 {
		if err := s.Jobs(t.Context(), func(state.Job) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Consumers > 0 {
		t.Errorf("%d consumers are left", info.State.Consumers)
	}
}
