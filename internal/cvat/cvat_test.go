package cvat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/cvat"
	"nextbatch/internal/cvat/cvatfake"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
	"nextbatch/internal/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of the test"

// rig is a server with a worker and connectors on it, beside a CVAT.
type rig struct {
	*testing.T
	cvat    *cvatfake.CVAT
	url     string
	js      jetstream.JetStream
	state   *state.Store
	blobs   *blob.Store
	results jetstream.Consumer
	hook    string // address of the first connector
	n       int
}

// newRig runs a worker, and replicas of a connector for the dataset "clothing"
// and project 7.
func newRig(t *testing.T, replicas int, change func(*cvat.Config)) *rig {
	t.Helper()
	r := &rig{T: t, cvat: cvatfake.Start(map[int]string{7: "Clothing", 8: "Something else"})}
	t.Cleanup(r.cvat.Close)
	e, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: t.TempDir()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	r.url = e.URL
	nc := r.dial()
	if r.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), r.js, bus.Layout{}, true); err != nil {
		t.Fatal(err)
	}
	if r.blobs, err = blob.OpenStore(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	opener, err := blob.NewOpener(blob.Config{JetStream: r.js, Blobs: r.blobs})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(t.Context(), worker.Config{}, worker.Deps{NATS: nc, Blobs: r.blobs, Opener: opener, Metrics: prometheus.NewRegistry(), Log: r.log()})
	if err != nil {
		t.Fatal(err)
	}
	r.state = w.State()
	r.run(w.Run)
	for range replicas {
		r.connect(change)
	}
	if r.results, err = r.js.OrderedConsumer(t.Context(), bus.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"al.v1.out.>"}}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) log() zerolog.Logger {
	return zerolog.New(zerolog.NewTestWriter(r.T)).Level(zerolog.InfoLevel)
}

// run runs f until the test ends, or until the returned function is called.
func (r *rig) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	r.Cleanup(stop)
	return stop
}

// connect runs one more connector and returns what stops it.
func (r *rig) connect(change func(*cvat.Config)) (stop func()) {
	r.Helper()
	web := httptest.NewUnstartedServer(nil)
	if r.hook == "" {
		r.hook = "http://" + web.Listener.Addr().String()
	}
	cfg := cvat.Config{URL: r.cvat.URL, Token: cvatfake.Token, Projects: map[string]int{"clothing": 7}, Secrets: []string{secret}, JobSize: 4,
		HookURL: r.hook, Every: time.Hour, AckWait: 2 * time.Second, Create: true}
	if change != nil {
		change(&cfg)
	}
	c, err := cvat.New(r.Context(), cfg, cvat.Deps{NATS: r.dial(), State: r.state, Blobs: r.blobs, Metrics: prometheus.NewRegistry(), Log: r.log()})
	if err != nil {
		r.Fatal(err)
	}
	web.Config.Handler = c
	web.Start()
	r.Cleanup(web.Close)
	return r.run(c.Run)
}

func (r *rig) dial() *nats.Conn {
	r.Helper()
	nc, err := bus.Connect(bus.Auth{URL: r.url}, zerolog.Nop())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(nc.Close)
	return nc
}

func (r *rig) send(typ string, data any) {
	r.Helper()
	r.n++
	e := event.New()
	e.SetType(typ)
	e.SetSource("/test")
	e.SetID(fmt.Sprintf("e%d", r.n))
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		r.Fatal(err)
	}
	if _, err := events.Publish(r.Context(), r.js, e); err != nil {
		r.Fatal(err)
	}
}

// next returns the next result of the worker.
func (r *rig) next() any {
	r.Helper()
	m, err := r.results.Next(jetstream.FetchMaxWait(30 * time.Second))
	if err != nil {
		r.Fatalf("no result came: %v", err)
	}
	e, err := events.Decode(m.Headers(), m.Data())
	if err != nil {
		r.Fatal(err)
	}
	data, err := events.ParseOutput(e)
	if err != nil {
		r.Fatal(err)
	}
	return data
}

// choose selects so many images of a pool, the first time from a new dataset,
// and returns their names in order.
func (r *rig) choose(pool, n int) (names []string, s *events.Created) {
	r.Helper()
	if r.n == 0 {
		var rows []map[string]any
		for i := range pool {
			rows = append(rows, map[string]any{"filename": fmt.Sprintf("photos/%04d.jpg", i), "embedding": []float64{float64(i * i), float64(i)}})
		}
		r.sendRows(rows)
	}
	return r.chooseMore(n)
}

func (r *rig) sendRows(rows []map[string]any) {
	r.Helper()
	data, err := json.Marshal(rows)
	if err != nil {
		r.Fatal(err)
	}
	r.send(events.EmbeddingsReady, events.Embeddings{Dataset: "clothing", Embeddings: events.Reference{URI: "inline:", Data: data}})
}

func (r *rig) chooseMore(n int) (names []string, s *events.Created) {
	r.Helper()
	r.send(events.SelectionRequested, events.Request{Dataset: "clothing", Selection: events.Spec{Method: "CORESET", BatchSize: &n, Name: fmt.Sprintf("batch-%d", r.n)}})
	result := r.next()
	s, ok := result.(*events.Created)
	if !ok {
		r.Fatalf("the selection failed: %+v", result)
	}
	for _, a := range s.Added {
		names = append(names, a.Filename)
	}
	return names, s
}

// tasks waits until there are n tasks, all with images, and returns them.
func (r *rig) tasks(n int) (all []cvatfake.Task) {
	r.Helper()
	r.until(fmt.Sprintf("there are %d tasks with images", n), func() bool {
		all = r.cvat.Tasks()
		return len(all) == n && !slices.ContainsFunc(all, func(t cvatfake.Task) bool { return len(t.Frames) == 0 })
	})
	return all
}

// hooked waits until the connector has set up its webhook.
func (r *rig) hooked() {
	r.Helper()
	r.until("the webhook is there", func() bool { return r.cvat.Calls("POST /api/webhooks") > 0 })
}

func (r *rig) until(what string, holds func() bool) {
	r.Helper()
	for began := time.Now(); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 40*time.Second {
			r.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// settle waits for the label state of a batch, whatever events it takes.
func (r *rig) settle(tag string, want events.Batch) {
	r.Helper()
	var last *events.Labelset
	for began := time.Now(); time.Since(began) < 40*time.Second; {
		l, ok := r.next().(*events.Labelset)
		if !ok || l.Tag != tag {
			continue
		}
		if last = l; *l.Batch == want {
			return
		}
	}
	r.Fatalf("the batch is %+v, want %+v", last, want)
}

// labelEvents are the labels.completed so far, without what repeats them.
func (r *rig) labelEvents() (all []events.Labels) {
	r.Helper()
	c, err := r.js.OrderedConsumer(r.Context(), bus.StreamIn, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"al.v1.in.labels.>"}})
	if err != nil {
		r.Fatal(err)
	}
	info, err := c.Info(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	for range info.NumPending {
		m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			r.Fatal(err)
		}
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil {
			r.Fatal(err)
		}
		data, err := events.Parse(e)
		if err != nil {
			r.Fatal(err)
		}
		all = append(all, *data.(*events.Labels))
	}
	return all
}

// A selection becomes a task whose frames are its images in order, so many a
// job. Finished jobs label them, deleted frames are skipped, a job that is
// taken back withdraws its labels.
func TestRound(t *testing.T) {
	r := newRig(t, 1, nil)
	r.hooked()
	names, s := r.choose(30, 10)
	task := r.tasks(1)[0]
	if diff := cmp.Diff(names, task.Frames); diff != "" {
		t.Errorf("frames: %s", diff)
	}
	if task.Project != 7 || !strings.HasPrefix(task.Name, s.Tag.Name+" [") || len(task.Jobs) != 3 {
		t.Errorf("%+v", task)
	}
	if j := r.cvat.Job(task.Jobs[2]); j.Start != 8 || j.Stop != 9 {
		t.Errorf("the last job has frames %d to %d", j.Start, j.Stop)
	}

	r.cvat.SetJob(task.Jobs[0], "", "in progress")
	r.cvat.DeleteFrames(task.ID, 1, 9)
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 3, Skipped: 1, Pending: 6})
	r.cvat.SetJob(task.Jobs[1], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 7, Skipped: 1, Pending: 2})
	r.cvat.SetJob(task.Jobs[0], "", "in progress") // a reviewer found something
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Pending: 6})
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 7, Skipped: 1, Pending: 2})
	r.cvat.SetJob(task.Jobs[2], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 8, Skipped: 2, Complete: true})

	want := []events.Labels{
		{Labeled: []string{names[0], names[2], names[3]}, Skipped: names[1:2]},
		{Labeled: names[4:8]},
		{Unlabeled: names[:4]},
		{Labeled: []string{names[0], names[2], names[3]}, Skipped: names[1:2]},
		{Labeled: names[8:9], Skipped: names[9:]},
	}
	for i := range want {
		want[i].Dataset, want[i].Tag = "clothing", s.Tag.Name
	}
	if diff := cmp.Diff(want, r.labelEvents()); diff != "" {
		t.Error(diff)
	}
}

// What no webhook told of is found at the next look at all jobs, and at the
// start of a connector.
func TestLostWebhooks(t *testing.T) {
	r := newRig(t, 0, nil)
	stop := r.connect(func(c *cvat.Config) { c.Every = time.Second })
	r.hooked()
	r.cvat.Lose(true)
	_, s := r.choose(30, 10)
	task := r.tasks(1)[0]
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Pending: 6})
	r.cvat.SetJob(task.Jobs[0], "", "rejected")
	r.settle(s.Tag.Name, events.Batch{Pending: 10})
	stop()
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.cvat.SetJob(task.Jobs[1], "", "completed")
	r.connect(nil)
	r.settle(s.Tag.Name, events.Batch{Labeled: 8, Pending: 2})
	for _, d := range r.cvat.Sent() {
		if d.Status != 0 {
			t.Errorf("%s reached the connector", d.Event)
		}
	}
}

// A call that fails, before or after CVAT has done it, makes no second task
// and loses none.
func TestCallsThatFail(t *testing.T) {
	for _, call := range []string{"GET /api/tasks", "POST /api/tasks", "GET /api/tasks/N", "POST /api/tasks/N/data", "GET /api/requests",
		"GET /api/requests/action=create&target=task&id=N", "GET /api/jobs/N", "GET /api/jobs/N/data/meta"} {
		t.Run(strings.ReplaceAll(call, "/", "_"), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, nil)
			r.hooked()
			for _, after := range []bool{false, true} {
				for _, code := range []int{0, 503} {
					r.cvat.Break(call, after, code)
				}
			}
			names, s := r.choose(12, 6)
			task := r.tasks(1)[0]
			if !slices.Equal(task.Frames, names) {
				t.Errorf("frames %v, want %v", task.Frames, names)
			}
			for _, j := range task.Jobs {
				r.cvat.SetJob(j, "", "completed")
			}
			r.settle(s.Tag.Name, events.Batch{Labeled: 6, Complete: true})
			if n := len(r.cvat.Tasks()); n != 1 {
				t.Errorf("%d tasks", n)
			}
		})
	}
}

// While CVAT is away nothing is lost: selections wait, and what was finished
// meanwhile is found.
func TestAway(t *testing.T) {
	r := newRig(t, 1, nil)
	r.hooked()
	first, s1 := r.choose(40, 6)
	task := r.tasks(1)[0]
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s1.Tag.Name, events.Batch{Labeled: 4, Pending: 2})
	r.cvat.Down(true)
	second, s2 := r.chooseMore(5)
	third, _ := r.chooseMore(3)
	before := r.cvat.Calls("GET /api/tasks")
	r.until("it was tried again and again", func() bool { return r.cvat.Calls("GET /api/tasks") > before+2 })
	r.cvat.SetJob(task.Jobs[1], "", "completed") // its webhook comes through, its connector cannot ask
	r.cvat.Down(false)
	tasks := r.tasks(3)
	for i, want := range [][]string{first, second, third} {
		if !slices.Equal(tasks[i].Frames, want) {
			t.Errorf("task %d has %v, want %v", i, tasks[i].Frames, want)
		}
	}
	r.settle(s1.Tag.Name, events.Batch{Labeled: 6, Complete: true})
	r.cvat.SetJob(tasks[1].Jobs[1], "", "completed")
	r.settle(s2.Tag.Name, events.Batch{Labeled: 1, Pending: 4})
}

// What CVAT refuses does not hold up what comes after it, and is tried again.
func TestRefused(t *testing.T) {
	r := newRig(t, 1, func(c *cvat.Config) { c.Every = time.Second })
	names := []string{"a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg", "a/5.jpg", "a/6.jpg"}
	r.cvat.Lack(true, names...)
	var rows []map[string]any
	for i, name := range append(names, "noextension") {
		rows = append(rows, map[string]any{"filename": name, "embedding": []float64{float64(i), 1}})
	}
	r.sendRows(rows)
	picks, s := r.chooseMore(7)
	want := slices.DeleteFunc(slices.Clone(picks), func(n string) bool { return !strings.HasPrefix(n, "a/") })
	r.until("the task was refused", func() bool { return r.cvat.Calls("POST /api/tasks/N/data") > 1 })
	r.cvat.Lack(false, names...)
	task := r.tasks(1)[0]
	if !slices.Equal(task.Frames, want) {
		t.Errorf("frames %v, want %v", task.Frames, want)
	}
	for _, j := range task.Jobs {
		r.cvat.SetJob(j, "", "completed")
	}
	r.settle(s.Tag.Name, events.Batch{Labeled: 6, Pending: 1})
}

// With a stage, a job counts when it is completed there; empty images may be
// skipped; a deleted task skips what was not labeled.
func TestStageEmptyAndDeletedTask(t *testing.T) {
	r := newRig(t, 1, func(c *cvat.Config) { c.Stage, c.Empty = "validation", "skipped" })
	r.hooked()
	_, s := r.choose(30, 10)
	task := r.tasks(1)[0]
	r.cvat.Annotate(task.Jobs[0], 1, 0, 2, 3)
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.cvat.SetJob(task.Jobs[0], "validation", "")
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 3, Skipped: 1, Pending: 6})
	if all := r.labelEvents(); len(all) != 1 {
		t.Errorf("labels were said in %d events: %+v", len(all), all)
	}
	r.cvat.SetJob(task.Jobs[0], "acceptance", "") // further on: they stay labeled
	r.cvat.Annotate(task.Jobs[1], 2, 5)
	r.cvat.SetJob(task.Jobs[1], "acceptance", "new")
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Skipped: 4, Pending: 2})
	r.cvat.DeleteTask(task.ID)
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Skipped: 6, Complete: true})
}

// A task whose deletion no webhook told of is missed at the next look.
func TestLostDeletion(t *testing.T) {
	r := newRig(t, 1, func(c *cvat.Config) { c.Every = time.Second })
	r.hooked()
	r.cvat.Lose(true)
	_, s := r.choose(30, 10)
	r.cvat.DeleteTask(r.tasks(1)[0].ID)
	r.settle(s.Tag.Name, events.Batch{Skipped: 10, Complete: true})
}

// Honeypots are labeled images in every job; what annotators do with them says
// nothing new.
func TestHoneypots(t *testing.T) {
	r := newRig(t, 1, func(c *cvat.Config) { c.Honeypots, c.JobSize = 0.25, 8 })
	r.hooked()
	first, s := r.choose(60, 12) // nothing is labeled: no honeypots
	task := r.tasks(1)[0]
	if !slices.Equal(task.Frames, first) || task.Validation != "" {
		t.Errorf("%+v", task)
	}
	for _, j := range task.Jobs {
		r.cvat.SetJob(j, "", "completed")
	}
	r.settle(s.Tag.Name, events.Batch{Labeled: 12, Complete: true})

	second, s := r.chooseMore(12)
	task = r.tasks(2)[1]
	if task.Validation != "gt_pool" || task.SegmentSize != 6 || len(task.Jobs) != 3 || len(task.Frames) != 12+2*2+3 {
		t.Fatalf("%+v", task)
	}
	for i, n := range task.Jobs {
		j, known := r.cvat.Job(n), 0
		for _, f := range task.Frames[j.Start : j.Stop+1] {
			if slices.Contains(first, f) {
				known++
			} else if !slices.Contains(second, f) {
				t.Errorf("%s is neither of the batch nor labeled", f)
			}
		}
		if want := []int{2, 2, 3}[i]; known != want {
			t.Errorf("job %d has %d labeled images, want %d", i, known, want)
		}
	}
	r.cvat.SetJob(task.Jobs[2], "", "completed") // ground truth
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 6, Pending: 6})
	r.cvat.SetJob(task.Jobs[1], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 12, Complete: true})
}

// By URL CVAT knows an image only by the last part of it: images of one name go
// into tasks of their own.
func TestRemoteFiles(t *testing.T) {
	r := newRig(t, 1, func(c *cvat.Config) { c.ImageURL = "https://images.example/{filename}?v=1" })
	r.hooked()
	var rows []map[string]any
	for i, name := range []string{"a/1.jpg", "b/1.jpg", "a/2 ü.jpg", "a/3.jpg", "b/2 ü.jpg", "c/1.jpg"} {
		rows = append(rows, map[string]any{"filename": name, "embedding": []float64{float64(i), 1}})
	}
	r.sendRows(rows)
	_, s := r.chooseMore(6)
	tasks := r.tasks(3)
	var frames []string
	for _, task := range tasks {
		frames = append(frames, task.Frames...)
		for _, j := range task.Jobs {
			r.cvat.SetJob(j, "", "completed")
		}
	}
	slices.Sort(frames)
	if want := []string{"1.jpg", "1.jpg", "1.jpg", "2 ü.jpg", "2 ü.jpg", "3.jpg"}; !slices.Equal(frames, want) {
		t.Errorf("frames %q, want %q", frames, want)
	}
	r.settle(s.Tag.Name, events.Batch{Labeled: 6, Complete: true})
}

// Replicas share the work: each selection becomes one task, whoever takes it.
func TestReplicas(t *testing.T) {
	r := newRig(t, 3, nil)
	r.hooked()
	var want [][]string
	names, _ := r.choose(60, 5)
	want = append(want, names)
	for range 5 {
		names, _ := r.chooseMore(5)
		want = append(want, names)
	}
	for i, task := range r.tasks(6) {
		if !slices.Equal(task.Frames, want[i]) {
			t.Errorf("task %d has %v, want %v", i, task.Frames, want[i])
		}
	}
	hooks := r.cvat.Calls("POST /api/webhooks")
	if hooks < 1 || hooks > 3 {
		t.Errorf("%d webhooks", hooks)
	}
}

// Jobs of other people's tasks in the project are none of ours.
func TestForeignTasks(t *testing.T) {
	r := newRig(t, 1, func(c *cvat.Config) { c.Every = time.Second })
	r.hooked()
	_, s := r.choose(20, 4)
	task := r.tasks(1)[0]
	other := r.cvat.NewTask(7, "by hand", "photos/0001.jpg", "x.jpg")
	r.cvat.SetJob(other.Jobs[0], "", "completed")
	r.cvat.DeleteTask(other.ID)
	looks := r.cvat.Calls("GET /api/jobs")
	r.until("all jobs were looked at", func() bool { return r.cvat.Calls("GET /api/jobs") > looks+1 })
	if all := r.labelEvents(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Complete: true})
}

func TestConfig(t *testing.T) {
	good := cvat.Config{URL: "http://cvat", Token: "t", Projects: map[string]int{"a": 1, "c": 2}, Secrets: []string{"1234567890123456"}, HookURL: "https://w"}
	for want, change := range map[string]func(*cvat.Config){
		`the address of CVAT is "cvat:8080"`:                          func(c *cvat.Config) { c.URL = "cvat:8080" },
		`needs an access token`:                                       func(c *cvat.Config) { c.Token = "" },
		`AL_CVAT_PROJECTS is empty`:                                   func(c *cvat.Config) { c.Projects = nil },
		`AL_CVAT_PROJECTS has clothing:0`:                             func(c *cvat.Config) { c.Projects = map[string]int{"clothing": 0} },
		`AL_CVAT_PROJECTS gives project 1 to "a" and "b"`:             func(c *cvat.Config) { c.Projects = map[string]int{"a": 1, "b": 1} },
		`AL_CVAT_STAGE is "review"`:                                   func(c *cvat.Config) { c.Stage = "review" },
		`AL_CVAT_EMPTY is "no"`:                                       func(c *cvat.Config) { c.Empty = "no" },
		`AL_CVAT_HONEYPOTS is 1`:                                      func(c *cvat.Config) { c.Honeypots = 1 },
		`AL_CVAT_JOB_SIZE is -1`:                                      func(c *cvat.Config) { c.JobSize = -1 },
		`AL_CVAT_EVERY is 1ms`:                                        func(c *cvat.Config) { c.Every = time.Millisecond },
		`AL_CVAT_IMAGE_URL is "x"`:                                    func(c *cvat.Config) { c.ImageURL = "x" },
		`want {filename} in the path`:                                 func(c *cvat.Config) { c.ImageURL = "https://h/get?file={filename}" },
		`AL_CVAT_IMAGE_URL is a URL and AL_CVAT_CLOUD_STORAGE is set`: func(c *cvat.Config) { c.ImageURL, c.CloudStorage = "https://h/{filename}", 3 },
		`AL_CVAT_HOOK_URL is "w"`:                                     func(c *cvat.Config) { c.HookURL = "w" },
		`AL_CVAT_HOOK_URL needs AL_CVAT_SECRET`:                       func(c *cvat.Config) { c.Secrets = nil },
		`a secret of AL_CVAT_SECRET has 3 bytes: want 16 to 64`:       func(c *cvat.Config) { c.Secrets = []string{"1234567890123456", "abc"} },
	} {
		c := good
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	fake := cvatfake.Start(map[int]string{7: "Clothing"})
	defer fake.Close()
	cfg := cvat.Config{URL: fake.URL, Token: cvatfake.Token, Projects: map[string]int{"clothing": 7}}
	var said []string
	check := func() (err error) { said, err = cvat.Describe(t.Context(), cfg); return }
	if err := check(); err != nil || len(said) != 2 || !strings.Contains(said[1], "project 7 (Clothing) for dataset clothing: it has no webhook") {
		t.Errorf("%q, %v", said, err)
	}
	cfg.Projects = map[string]int{"clothing": 7, "food": 9}
	if err := check(); err == nil || !strings.Contains(err.Error(), "dataset food: GET /api/projects/9: CVAT answers 404") {
		t.Error(err)
	}
	cfg.Token = "wrong"
	if err := check(); err == nil || !strings.Contains(err.Error(), "is AL_CVAT_TOKEN right") || strings.Contains(err.Error(), "wrong") {
		t.Error(err)
	}
	fake.Down(true)
	if err := check(); err == nil || !strings.Contains(err.Error(), "502") || strings.Contains(err.Error(), "html") {
		t.Error(err)
	}
}

// Of two tasks that a lost call left the older one stays, and nothing is done
// twice.
func TestTaskMadeTwice(t *testing.T) {
	r := newRig(t, 1, nil)
	r.hooked()
	r.cvat.Twice()
	names, s := r.choose(20, 4)
	task := r.tasks(1)[0]
	if !slices.Equal(task.Frames, names) || r.cvat.Calls("DELETE /api/tasks/N") != 1 {
		t.Errorf("%+v after %d deletions", task, r.cvat.Calls("DELETE /api/tasks/N"))
	}
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Complete: true})
}

// A job, a task or a project that CVAT fails at, or that the token may not
// see, does not hold up the others.
func TestOneThingIsBroken(t *testing.T) {
	r := newRig(t, 1, func(c *cvat.Config) {
		c.Projects = map[string]int{"clothing": 7, "other": 8}
		c.Every = time.Second
	})
	r.hooked()
	_, s1 := r.choose(60, 4)
	_, s2 := r.chooseMore(4)
	tasks := r.tasks(2)
	r.cvat.Always(fmt.Sprintf("GET /api/jobs/%d/data/meta", tasks[0].Jobs[0]), 500)
	r.cvat.Always(fmt.Sprintf("GET /api/jobs/%d", tasks[0].Jobs[0]), 403)
	r.cvat.SetJob(tasks[0].Jobs[0], "", "completed")
	r.cvat.SetJob(tasks[1].Jobs[0], "", "completed")
	r.settle(s2.Tag.Name, events.Batch{Labeled: 4, Complete: true})
	r.cvat.Heal()
	r.settle(s1.Tag.Name, events.Batch{Labeled: 4, Complete: true})

	r.cvat.Always("POST /api/tasks/N/data", 500)
	_, s3 := r.chooseMore(4)
	r.until("the connector has given up for now", func() bool { return r.cvat.Calls("POST /api/tasks/N/data") > 3 })
	r.cvat.Heal()
	task := r.tasks(3)[2]
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s3.Tag.Name, events.Batch{Labeled: 4, Complete: true})
}

// A very large selection, which travels by reference, becomes several tasks.
func TestLargeSelection(t *testing.T) {
	r := newRig(t, 1, func(c *cvat.Config) { c.JobSize = 1000 })
	r.hooked()
	const n = 11_000
	var rows []map[string]any
	for i := range n {
		rows = append(rows, map[string]any{"filename": fmt.Sprintf("a folder with a rather long name/%06d.jpg", i), "embedding": []float64{float64(i)}})
	}
	for part := range slices.Chunk(rows, 4000) {
		r.sendRows(part)
	}
	names, s := r.chooseMore(n)
	if len(names) != 0 || s.Counts.Added != n {
		t.Fatalf("%d names inline of %d", len(names), s.Counts.Added)
	}
	frames, jobs := map[string]bool{}, 0
	for _, task := range r.tasks(3) {
		for _, f := range task.Frames {
			frames[f] = true
		}
		for _, j := range task.Jobs {
			r.cvat.SetJob(j, "", "completed")
			jobs++
		}
	}
	if len(frames) != n || jobs != 11 {
		t.Errorf("%d different images in %d jobs", len(frames), jobs)
	}
	r.settle(s.Tag.Name, events.Batch{Labeled: n, Complete: true})
}
