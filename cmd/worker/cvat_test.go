package main

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"nextbatch/internal/bus"
	"nextbatch/internal/cvat/cvatfake"
	"nextbatch/internal/events"
)

// A worker that is killed between any two steps of the connector makes no
// second task, loses none, and says what annotators said.
func TestKilledBesideCVAT(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out killed processes")
	}
	t.Parallel()
	fake := cvatfake.Start(map[int]string{7: "Clothing"})
	t.Cleanup(fake.Close)
	web := freeAddr(t)
	p := newPlant(t, 0, time.Second, "AL_HTTP_ADDR="+web, "AL_CVAT_URL="+fake.URL, "AL_CVAT_TOKEN="+cvatfake.Token, "AL_CVAT_PROJECTS=clothing:7",
		"AL_CVAT_HOOK_URL=http://"+web, "AL_CVAT_SECRET=a secret of the test", "AL_CVAT_JOB_SIZE=2", "AL_CVAT_EVERY=1s")
	p.ws = append(p.ws, nil)
	p.startWorker(0)
	p.addDataset("clothing", 60, 2)
	p.waitFor("embeddings-clothing")
	for i, step := range []string{"cvat-creating", "cvat-created", "cvat-attached", "cvat-ready", "cvat-saying", "cvat-said", "cvat-hooked"} {
		t.Log(step)
		p.signal(0, os.Interrupt)
		p.ws[0].Wait()
		p.startWorker(0, "NEXTBATCH_FAILPOINT="+step+"=kill")
		waitReady(t, web)
		n := 4
		p.send(newEvent(events.SelectionRequested, step, events.Request{Dataset: "clothing", Selection: events.Spec{Method: "RANDOM", BatchSize: &n, Name: step}}), true)
		died := false
		rise := func(between func()) { // what the failpoint has killed is started again
			if !died {
				alive := time.AfterFunc(time.Minute, func() {
					t.Errorf("the worker does not come to %s", step)
					p.signal(0, os.Kill)
				})
				p.ws[0].Wait()
				alive.Stop()
				died = true
				between()
				p.startWorker(0)
			}
		}
		if i < 4 {
			rise(func() {})
		}
		task := waitTask(t, fake, i+1)
		if !strings.HasPrefix(task.Name, step+" [") || len(task.Jobs) != 2 {
			t.Fatalf("after %s: %+v", step, task)
		}
		set := func(state string) {
			for _, j := range task.Jobs {
				fake.SetJob(j, "", state)
			}
		}
		set("completed")
		// The job may be taken back before what was to be said is said again.
		rise(func() { set("in progress") })
		if step == "cvat-saying" || step == "cvat-said" { // else nothing was said
			waitBatch(t, p, step, events.Batch{Pending: 4})
		}
		set("completed")
		waitBatch(t, p, step, events.Batch{Labeled: 4, Complete: true})
		if all := fake.Tasks(); len(all) != i+1 {
			t.Fatalf("after %s there are %d tasks, want %d", step, len(all), i+1)
		}
	}
	var frames []string
	for _, task := range fake.Tasks() {
		frames = append(frames, task.Frames...)
	}
	slices.Sort(frames)
	if n := len(slices.Compact(slices.Clone(frames))); n != 28 || len(frames) != 28 {
		t.Errorf("%d images in CVAT, %d of them different, want 28", len(frames), n)
	}
}

func waitReady(t *testing.T, web string) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(20 * time.Millisecond) {
		if r, err := http.Get("http://" + web + "/readyz"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
	}
	t.Fatal("the worker is not ready")
}

// waitTask waits for the n-th task, until it has its images.
func waitTask(t *testing.T, fake *cvatfake.CVAT, n int) cvatfake.Task {
	t.Helper()
	for began := time.Now(); time.Since(began) < 40*time.Second; time.Sleep(20 * time.Millisecond) {
		if all := fake.Tasks(); len(all) >= n && len(all[n-1].Frames) > 0 {
			return all[n-1]
		}
	}
	t.Fatalf("no task %d came", n)
	panic("unreachable")
}

// waitBatch waits until a batch is said to be in this state, last of all.
func waitBatch(t *testing.T, p *plant, tag string, want events.Batch) {
	t.Helper()
	var last *events.Labelset
	for began := time.Now(); time.Since(began) < 40*time.Second; time.Sleep(20 * time.Millisecond) {
		stream, err := p.js.Stream(t.Context(), bus.Stream)
		if err != nil {
			continue
		}
		m, err := stream.GetLastMsgForSubject(t.Context(), events.OutSubject(events.LabelsetUpdated, "clothing"))
		if err != nil {
			continue
		}
		e, err := events.Decode(m.Header, m.Data)
		if err != nil {
			t.Fatal(err)
		}
		data, err := events.ParseOutput(e)
		if err != nil {
			t.Fatal(err)
		}
		if last = data.(*events.Labelset); last.Tag == tag && *last.Batch == want {
			return
		}
	}
	t.Fatalf("the last that is said is %+v, want %+v of %s", last, want, tag)
}
