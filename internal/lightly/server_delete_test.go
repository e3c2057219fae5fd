package lightly_test

import (
	"path"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/bus"
	"nextbatch/internal/lightly"
)

// TestDeletionLeavesNothing: no record has the id of a deleted dataset, but
// for the one that keeps it in mind.
func TestDeletionLeavesNothing(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	d := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "shoes"})
	sample := d + "/samples/" + r.created(d+"/samples", object{"fileName": "a.jpg", "metaData": object{"snr": 1}})
	r.created(d+"/predictions/tasks", object{"name": "task", "type": "CLASSIFICATION", "categories": []object{{"id": 0, "name": "a"}}})
	r.created(d+"/predictions/samples/"+path.Base(sample), []object{{"type": "CLASSIFICATION", "taskName": "task", "categoryId": 0, "score": 1}})
	r.created(d+"/configuration/metadata", object{"name": "m", "configs": []object{}})
	records := func() int {
		stream, err := r.js.Stream(t.Context(), bus.Stream)
		if err != nil {
			t.Fatal(err)
		}
		info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("al.v1.*."+path.Base(d)+".>"))
		if err != nil {
			t.Fatal(err)
		}
		return len(info.State.Subjects)
	}
	if n := records(); n != 4 {
		t.Fatalf("%d records, want one of each kind", n)
	}
	ok[nothing](r, "DELETE", d, object{})
	if n := records(); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

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
