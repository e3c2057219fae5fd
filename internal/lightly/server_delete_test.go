package lightly_test

import (
	"testing"
	"time"

	"nextbatch/internal/lightly"
)

// TestScoresForATagThatGoes: scores that come while their tag is deleted are
// not left to the next tag of its name.
func TestScoresForATagThatGoes(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	d := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "shoes"})
	r.created(d+"/samples", object{"fileName": "a.jpg"})
	initial := r.created(d+"/tags/initial", object{"imgType": "full"})
	tag := func() string {
		return r.created(d+"/tags", object{"name": "same", "prevTagId": initial, "bitMaskData": "0x1", "totSize": 1})
	}
	for i := range 30 {
		id, gone := tag(), make(chan struct{})
		go func() {
			defer close(gone)
			time.Sleep(time.Duration(i) * 100 * time.Microsecond)
			r.send("DELETE", d+"/tags/"+id, object{})
		}()
		status, body := r.send("POST", d+"/tags/"+id+"/scores", object{"scoreType": "x", "scores": []int{i}})
		if <-gone; status != 200 && status != 404 {
			t.Fatalf("scores: %d %s", status, body)
		}
		next := tag()
		if left := ok[[]object](r, "GET", d+"/tags/"+next+"/scores", nil); len(left) != 0 {
			t.Fatalf("round %d: a new tag has scores of the old one: %v", i, left)
		}
		ok[nothing](r, "DELETE", d+"/tags/"+next, object{})
	}
}
