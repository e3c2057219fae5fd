package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/cvat/cvatfake"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
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
	for began := time.Now(); time.Since(began) < 2*time.Minute; time.Sleep(20 * time.Millisecond) {
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
	for began := time.Now(); time.Since(began) < 2*time.Minute; time.Sleep(20 * time.Millisecond) {
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
	for began := time.Now(); time.Since(began) < 2*time.Minute; time.Sleep(20 * time.Millisecond) {
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

// Workers die at random steps, calls to CVAT fail at random, before or after
// CVAT has done what it was asked, and annotators change their minds. When it
// is over each selection is one task, its images in order, and every label is
// what CVAT says.
func TestChaosBesideCVAT(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out killed processes")
	}
	t.Parallel()
	fake := cvatfake.Start(map[int]string{7: "Clothing"})
	t.Cleanup(fake.Close)
	web := freeAddr(t)
	p := newPlant(t, 0, time.Second, "AL_CVAT_URL="+fake.URL, "AL_CVAT_TOKEN="+cvatfake.Token, "AL_CVAT_PROJECTS=clothing:7",
		"AL_CVAT_HOOK_URL=http://"+web, "AL_CVAT_SECRET=a secret of the test", "AL_CVAT_JOB_SIZE=2", "AL_CVAT_EVERY=2s")
	deadly := "NEXTBATCH_FAILPOINT="
	for _, step := range []string{"cvat-creating", "cvat-created", "cvat-attached", "cvat-ready", "cvat-saying", "cvat-said", "cvat-hooked", "before-fold", "after-fold"} {
		deadly += step + "=kill:~15,"
	}
	address := []string{"AL_HTTP_ADDR=" + web, "AL_HTTP_ADDR=" + freeAddr(t)}
	ctx, heal := context.WithCancel(t.Context())
	var kills atomic.Int32
	var respawning sync.WaitGroup
	for i := range 2 {
		p.ws = append(p.ws, nil)
		p.startWorker(i, address[i], deadly)
		respawning.Go(func() { p.respawn(ctx, i, func() { kills.Add(1) }, address[i], deadly) })
	}
	p.addDataset("clothing", 3000, 2)
	p.waitFor("embeddings-clothing")
	rng := rand.New(rand.NewPCG(1, 1))
	calls := []string{"GET /api/tasks", "POST /api/tasks", "GET /api/tasks/N", "POST /api/tasks/N/data", "GET /api/requests",
		"GET /api/requests/action=create&target=task&id=N", "GET /api/jobs", "GET /api/jobs/N", "GET /api/jobs/N/data/meta", "GET /api/webhooks"}
	selections, faults := 0, 0
	for began := time.Now(); time.Since(began) < chaosLength()/2; time.Sleep(30 * time.Millisecond) {
		switch tasks := fake.Tasks(); {
		case rng.IntN(20) == 0 && selections < 700:
			n := 3
			name := fmt.Sprintf("batch-%03d", selections)
			p.send(newEvent(events.SelectionRequested, name, events.Request{Dataset: "clothing", Selection: events.Spec{Method: "RANDOM", BatchSize: &n, Name: name}}), true)
			selections++
		case rng.IntN(40) == 0:
			fake.Break(calls[rng.IntN(len(calls))], rng.IntN(2) == 0, []int{0, 429, 500, 503}[rng.IntN(4)])
			faults++
		case len(tasks) > 0:
			work(fake, tasks[rng.IntN(len(tasks))], rng)
		}
	}
	made, left := len(fake.Tasks()), fake.Heal()
	heal()
	for i := range p.ws {
		p.signal(i, os.Kill)
	}
	respawning.Wait()
	for i := range p.ws {
		p.signal(i, os.Kill) // one that was started again meanwhile
		p.ws[i].Wait()
		p.startWorker(i, address[i])
	}

	blobs, err := blob.OpenStore(filepath.Join(p.dir, "data", "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(t.Context(), p.nc, blobs)
	if err != nil {
		t.Fatal(err)
	}
	var problem string
	for began := time.Now(); time.Since(began) < 3*time.Minute+chaosLength()/2; time.Sleep(200 * time.Millisecond) {
		if problem = compare(t, store, blobs, fake, selections); problem == "" {
			break
		}
	}
	t.Logf("%d selections, %d tasks of them while %d workers were killed and %d calls failed; %d calls to make a task, %d tasks",
		selections, made, kills.Load(), faults-left, fake.Calls("POST /api/tasks"), len(fake.Tasks()))
	if problem != "" {
		t.Error(problem)
	}
	if kills.Load() < 3 || faults-left < 3 || made < 3 {
		t.Error("the run proves too little")
	}
}

// work changes the state of a job, and at times deletes a frame before.
func work(fake *cvatfake.CVAT, task cvatfake.Task, rng *rand.Rand) {
	if len(task.Jobs) == 0 {
		return
	}
	n := task.Jobs[rng.IntN(len(task.Jobs))]
	j := fake.Job(n)
	if rng.IntN(8) == 0 {
		fake.DeleteFrames(task.ID, j.Start)
	}
	if j.State == "completed" {
		fake.SetJob(n, "", "in progress")
	} else {
		fake.SetJob(n, "", "completed")
	}
}

// compare says what differs between CVAT and what is known here of selections
// and labels, or nothing.
func compare(t *testing.T, store *state.Store, blobs *blob.Store, fake *cvatfake.CVAT, selections int) string {
	ctx := t.Context()
	tasks := map[string]cvatfake.Task{} // by tag
	for _, task := range fake.Tasks() {
		tag, _, _ := strings.Cut(task.Name, " [")
		if _, twice := tasks[tag]; twice {
			return fmt.Sprintf("%s has two tasks", tag)
		}
		tasks[tag] = task
	}
	if len(tasks) != selections {
		return fmt.Sprintf("%d tasks, want %d", len(tasks), selections)
	}
	d, _, err := store.Dataset(ctx, "clothing")
	if err != nil {
		return err.Error()
	}
	names, err := store.Names(ctx, d)
	if err != nil {
		return err.Error()
	}
	labels, _, err := store.Labels(ctx, "clothing")
	if err != nil {
		return err.Error()
	}
	want := map[string]state.Status{}
	for tag, task := range tasks {
		record, _, err := store.Tag(ctx, "clothing", tag)
		if err != nil {
			return fmt.Sprintf("%s: %v", tag, err)
		}
		result, err := blobs.Get(ctx, record.Result)
		if err != nil {
			return err.Error()
		}
		var created events.Created
		if err := json.Unmarshal(result, &created); err != nil {
			return err.Error()
		}
		var picks []string
		for _, a := range created.Added {
			picks = append(picks, a.Filename)
		}
		if !slices.Equal(picks, task.Frames) {
			return fmt.Sprintf("%s: the task has %v, want %v", tag, task.Frames, picks)
		}
		for _, n := range task.Jobs {
			j := fake.Job(n)
			for frame := j.Start; frame <= j.Stop && j.State == "completed"; frame++ {
				want[task.Frames[frame]] = state.Labeled
				if slices.Contains(task.Deleted, frame) {
					want[task.Frames[frame]] = state.Skipped
				}
			}
		}
	}
	wrong := 0
	for row := range names.Len() {
		if got, _ := labels.Status(row); got != want[names.At(row)] {
			wrong++
		}
	}
	if wrong > 0 {
		return fmt.Sprintf("%d of %d images have another state than in CVAT", wrong, len(want))
	}
	return ""
}
