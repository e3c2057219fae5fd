package lightly_test

import (
	"math/bits"
	"strings"
	"testing"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/events"
	"nextbatch/internal/lightly"
)

func rowsOf(t *testing.T, tag lightly.Tag) *bitmask.Mask {
	t.Helper()
	m, err := bitmask.FromHex(tag.BitMaskData)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestDistanceCap: CORAL is the plain product, unless the server has a cap.
func TestDistanceCap(t *testing.T) {
	plain := newRig(t, lightly.ServerConfig{Loopback: true})
	for _, r := range []*rig{plain, newRig(t, lightly.ServerConfig{Loopback: true, DistanceCap: events.AutoCap})} {
		r.work()
		d, e := r.dataset("clothing", 60)
		initial := ok[[]lightly.Tag](r, "GET", d+"/tags", nil)[0].ID
		r.created(d+"/tags/"+initial+"/scores", object{"scoreType": "uncertainty_margin", "scores": ramp(60)})
		r.sampling(d, e, object{"newTagName": "capped", "method": "CORAL", "config": stop(10, -1), "queryTagId": initial})
		if c := r.selected("clothing", runOf{Message: "made the tag capped"}); (c.Parameters.DistanceCap != nil) != (r != plain) {
			t.Errorf("plain %t: distance cap %v", r == plain, c.Parameters.DistanceCap)
		}
	}
}

// TestLoop goes the way of the seed: upload, CORESET, scores, CORAL.
func TestLoop(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	r.work()
	d, e := r.dataset("clothing", 60)
	tags := ok[[]lightly.Tag](r, "GET", d+"/tags", nil)
	if len(tags) != 1 || tags[0].Name != "initial-tag" || tags[0].PrevTagID != nil || tags[0].TotSize != 60 || tags[0].BitMaskData != "0x"+strings.Repeat("f", 15) {
		t.Fatalf("tags %+v", tags)
	}
	initial := tags[0].ID
	first := r.sampling(d, e, object{"newTagName": "initial-selection", "method": "CORESET", "config": stop(10, -1), "rowCount": 60})
	if rowsOf(t, first).Count() != 10 || first.TotSize != 60 || *first.PrevTagID != initial {
		t.Fatalf("first selection: %+v", first)
	}

	// Scores of the releases up to 1.1.6: for the rows that are not preselected, to the preselected tag.
	r.created(d+"/tags/"+first.ID+"/scores", object{"scoreType": "prediction-margin", "scores": ramp(50)})
	second := r.sampling(d, e, object{"newTagName": "al-1", "method": "CORAL", "config": stop(20, -1), "preselectedTagId": first.ID, "rowCount": 60})
	rows := rowsOf(t, second)
	if rows.Count() != 20 || rowsOf(t, first).Subtract(rows).Count() != 0 || *second.PrevTagID != first.ID || second.PreselectedTagID != first.ID {
		t.Fatalf("second selection: %+v", second)
	}

	// Later ones: for every row, to the query tag.
	r.created(d+"/tags/"+initial+"/scores", object{"scoreType": "uncertainty_margin", "scores": ramp(60)})
	third := r.sampling(d, e, object{"newTagName": "al-2", "method": "ACTIVE_LEARNING", "config": stop(25, -1), "preselectedTagId": second.ID, "queryTagId": initial})
	if rowsOf(t, third).Count() != 25 || third.QueryTagID != initial {
		t.Fatalf("third selection: %+v", third)
	}
	// Equal to what is preselected: the same rows.
	if same := r.sampling(d, e, object{"newTagName": "al-3", "method": "RANDOM", "config": stop(25, -1), "preselectedTagId": third.ID}); same.BitMaskData != third.BitMaskData {
		t.Errorf("n_samples of the preselected tag: %s, want %s", same.BitMaskData, third.BitMaskData)
	}
	// Without a preselected tag nothing is: samples may be chosen again.
	again := r.sampling(d, e, object{"newTagName": "again", "method": "CORESET", "config": stop(10, -1)})
	if again.BitMaskData != first.BitMaskData {
		t.Errorf("the first selection again: %s, want %s", again.BitMaskData, first.BitMaskData)
	}
	if all := r.sampling(d, e, object{"newTagName": "all", "method": "CORESET", "config": stop(-1, -1)}); rowsOf(t, all).Count() != 60 {
		t.Errorf("nSamples -1 took %d", rowsOf(t, all).Count())
	}
	if half := r.sampling(d, e, object{"newTagName": "half", "method": "RANDOM", "config": stop(0.5, -1)}); rowsOf(t, half).Count() != 30 {
		t.Errorf("nSamples 0.5 took %d", rowsOf(t, half).Count())
	}
	if far := r.sampling(d, e, object{"newTagName": "far", "method": "CORESET", "config": stop(-1, 5)}); rowsOf(t, far).Count() >= 60 || rowsOf(t, far).Count() < 2 {
		t.Errorf("minDistance 5 took %d", rowsOf(t, far).Count())
	}

	r.refused(409, "TAG_NAME_EXISTS", "POST", d+"/embeddings/"+e+"/sampling", object{"newTagName": "al-1", "method": "CORESET", "config": stop(10, -1)})
	r.refused(400, "TAG_QUERYTAG_NOT_IN_DATASET", "POST", d+"/embeddings/"+e+"/sampling", object{"newTagName": "new", "method": "CORESET", "queryTagId": e})
	r.refused(400, "TAG_PRESELECTEDTAG_NOT_IN_DATASET", "POST", d+"/embeddings/"+e+"/sampling", object{"newTagName": "new", "method": "CORESET", "preselectedTagId": e})
	r.refused(400, "TAG_NO_SCORES_AVAILABLE", "POST", d+"/embeddings/"+e+"/sampling", object{"newTagName": "new", "method": "CORAL", "queryTagId": second.ID})
	r.refused(404, "EMBEDDING_UNKNOWN", "POST", d+"/embeddings/"+initial+"/sampling", object{"newTagName": "new", "method": "CORESET"})
	for _, n := range []any{-2, 1.5, -0.5, "5", 1e300} {
		status, answer := r.send("POST", d+"/embeddings/"+e+"/sampling", object{"newTagName": "new", "method": "CORESET", "config": stop(n, -1)})
		if status != 400 {
			t.Errorf("nSamples %v: %d %s", n, status, answer)
		}
	}
	r.refused(400, "BAD_REQUEST", "POST", d+"/embeddings/"+e+"/sampling", object{"newTagName": "new", "method": "BEST"})
	r.refused(400, "BAD_REQUEST", "POST", d+"/embeddings/"+e+"/sampling", object{"newTagName": "new", "method": "CORESET", "rowCount": 61})

	// Scores of a length that fits nothing: the job says which it saw.
	r.created(d+"/tags/"+first.ID+"/scores", object{"scoreType": "uncertainty_margin", "scores": ramp(3)})
	failed := r.finish(r.created(d+"/embeddings/"+e+"/sampling", object{"newTagName": "new", "method": "ACTIVE_LEARNING", "queryTagId": first.ID, "scoreType": "uncertainty_margin"}))
	if failed.Status != "FAILED" || !strings.Contains(failed.Error, "3 of uncertainty_margin") {
		t.Errorf("scores of a wrong length: %+v", failed)
	}
	jobs := ok[[]object](r, "GET", "/v1/jobs", nil)
	if len(jobs) < 10 {
		t.Errorf("%d jobs", len(jobs))
	}
}

func ramp(n int) (scores []float64) {
	for i := range n {
		scores = append(scores, float64(bits.Reverse8(uint8(i)))/256)
	}
	return scores
}

// TestTwoSamplingsOfOneName: both are accepted, one makes the tag.
func TestTwoSamplingsOfOneName(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	end := r.work()
	d, e := r.dataset("race", 10)
	end()
	body := object{"newTagName": "same", "method": "CORESET", "config": stop(3, -1)}
	jobs := []string{r.created(d+"/embeddings/"+e+"/sampling", body), r.created(d+"/embeddings/"+e+"/sampling", body)}
	r.work()
	ended := map[string]int{}
	for _, job := range jobs {
		s := r.finish(job)
		ended[s.Status]++
		if s.Status == "FAILED" && !strings.Contains(s.Error, "TAG_NAME_EXISTS") {
			t.Errorf("failed: %s", s.Error)
		}
	}
	if ended["FINISHED"] != 1 || ended["FAILED"] != 1 {
		t.Errorf("ended as %v", ended)
	}
}

// TestOurClient sends a worker's query, as for another platform, to this
// server.
func TestOurClient(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Tokens: []string{"worker:secret"}})
	r.work()
	d, _ := r.dataset("platform", 30)
	names := ok[[]string](r, "GET", d+"/mappings?field=fileName", nil)
	c, err := lightly.New(lightly.Config{BaseURL: r.base, Token: "secret", PollMin: 1e7})
	if err != nil {
		t.Fatal(err)
	}
	q := lightly.Query{Dataset: "platform", Filenames: names, Pool: bitmask.New(30), Preselected: bitmask.FromIndices(1, 5), Method: "CORAL", NSamples: 8,
		Scores: []lightly.NamedScores{{Name: "uncertainty_margin", Values: ramp(30)}}, Score: "uncertainty_margin", TagName: "theirs"}
	q.Pool.Invert(20)
	q.Pool.Difference(q.Preselected)
	first, err := c.Select(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Rows) != 6 {
		t.Errorf("%d rows, want 6: %v", len(first.Rows), first.Rows)
	}
	for _, row := range first.Rows {
		if !q.Pool.Has(row) {
			t.Errorf("row %d is not in the pool", row)
		}
	}
	again, err := c.Select(t.Context(), q) // as after a crash
	if err != nil || again.TagID != first.TagID {
		t.Errorf("again: %+v, %v, want %+v", again, err, first)
	}
}
