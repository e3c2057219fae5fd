//go:build foreign

package labelstudio_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nextbatch/internal/events"
	"nextbatch/internal/labelstudio"
	"nextbatch/internal/state"
)

func (s *studio) config(project int) labelstudio.Config {
	return labelstudio.Config{URL: s.url, Token: s.pat, Projects: map[string]int{dataset: project}, Secrets: []string{secret},
		ImageURL: "/data/local-files/?d={dataset}/{filename}", HookURL: here, Every: time.Hour, Create: true}
}

// start runs the connector until it is stopped.
func (r *rig) start() (stop func()) {
	c := r.connector
	return r.run(func(ctx context.Context) {
		if err := c.Run(ctx); err != nil {
			r.Error(err)
		}
	})
}

// batch selects so many samples at random.
func (r *rig) batch(name string, n int) {
	r.Helper()
	r.send(events.SelectionRequested, events.Request{Dataset: dataset, Selection: events.Spec{Method: "RANDOM", Name: name, BatchSize: &n}})
	r.until(name+" is selected", func() bool { _, _, err := r.store.Tag(r.Context(), dataset, name); return err == nil })
}

// pushed waits until Label Studio has the tasks and the connector knows it.
func (r *rig) pushed(s *studio, project, n int) []row {
	r.Helper()
	r.until("the selections are acknowledged", func() bool {
		c, err := r.js.Consumer(r.Context(), "AL", "al-labelstudio-"+dataset)
		return err == nil && c.CachedInfo().NumAckPending+int(c.CachedInfo().NumPending) == 0
	})
	rows := s.rows(r.T, project, 0)
	if len(rows) != n {
		r.Fatalf("project %d has %d tasks, want %d", project, len(rows), n)
	}
	return rows
}

func (r *rig) sample(name string) int {
	var i int
	if _, err := fmt.Sscanf(name, "images/%05d", &i); err != nil || file(i) != name {
		r.Fatalf("%q is no sample", name)
	}
	return i
}

// Personal access tokens and legacy tokens both work; of one that does not
// the error says what to do.
func TestTokens(t *testing.T) {
	s := newStudio(t)
	project := s.project(t, nil)
	bare := s.project(t, map[string]any{"label_config": "<View></View>"})
	taken := s.project(t, map[string]any{"label_config": `<View><Image name="i" value="$filename"/><Choices name="c" toName="i"><Choice value="a"/><Choice value="b"/></Choices></View>`})
	cfg := s.config(project)
	short, _, _ := strings.Cut(s.pat, ".")
	parts := strings.Split(s.pat, ".")
	for _, c := range []struct {
		what, token string
		project     int
		want        []string // in the error; nil: it works
	}{
		{"personal access token", s.pat, project, nil},
		{"legacy token", legacyToken, project, nil},
		{"wrong legacy token", strings.Repeat("0", 40), project, []string{"401", "Invalid token", "looks like a legacy token", "Access Token Settings"}},
		{"cut off", short + "." + parts[1], project, []string{"401", "copied without its end"}},
		{"changed", parts[0] + "." + parts[1] + ".AAAA", project, []string{"401", "personal access token is refused"}},
		{"no such project", s.pat, 9999, []string{"404", "AL_LABELSTUDIO_PROJECTS names a project that does not exist"}},
		{"project without an image", s.pat, bare, []string{"has no <Image>"}},
		{"project with a field of ours", s.pat, taken, []string{"shows its images from $filename", "call it $image"}},
	} {
		cfg.Token, cfg.Projects = c.token, map[string]int{dataset: c.project}
		lines, err := labelstudio.Describe(t.Context(), cfg)
		if c.want == nil {
			if text := strings.Join(lines, "\n"); err != nil || !strings.Contains(text, "Label Studio 1.") || !strings.Contains(text, fmt.Sprintf("dataset clothing: project %d (a test), images in $picture", project)) {
				t.Errorf("%s: %q, %v", c.what, text, err)
			}
			continue
		}
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q in it", c.what, err, want)
			}
		}
		if err != nil && len(c.token) > 30 && strings.Contains(err.Error(), c.token) {
			t.Errorf("%s: the error shows the token", c.what)
		}
	}
	// What a personal access token is exchanged for lasts some minutes.
	if before, after, err := labelstudio.UseStale(t, s.url, s.pat); err != nil || before == after {
		t.Errorf("with an access token that is over: %v, the next is %q", err, after)
	}
}

// A selection becomes tasks in rank order and a tab, once, however often it is
// tried; what is labeled already is not asked for.
func TestSelectionBecomesTasks(t *testing.T) {
	s := newStudio(t)
	project := s.project(t, map[string]any{"sampling": "Uncertainty sampling"})
	proxy := s.behind(t)
	r := newRig(t, 600, offline)
	const n = 510 // in two requests
	r.batch("round 1", n)
	r.send(events.LabelsCompleted, events.Labels{Dataset: dataset, Tag: "round 1", Labeled: r.added("round 1")[:5], Skipped: r.added("round 1")[5:7]})
	r.until("labels are counted", func() bool { return r.status(r.sample(r.added("round 1")[6])) == state.Skipped })

	// Label Studio is away, then loses its answers after it has done what it was asked.
	cfg := s.config(project)
	cfg.URL = proxy.url
	proxy.set(func(*http.Request) string { return "refuse" })
	r.connect(cfg)
	stop := r.start()
	r.until("it is tried", func() bool {
		return r.counted("problems_total", "push") > 0 && r.counted("problems_total", "compare") > 0
	})
	if rows := s.rows(t, project, 0); len(rows) > 0 {
		t.Fatalf("%d tasks while Label Studio is away", len(rows))
	}
	var lost atomic.Int32
	proxy.set(func(q *http.Request) string {
		if isImport(q) {
			if lost.Add(1) == 1 {
				return "forget"
			}
			return "repeat"
		}
		if q.Method == http.MethodPost && strings.Contains(q.URL.Path, "/dm/views") && lost.Load() < 100 {
			lost.Store(100)
			return "lose"
		}
		return ""
	})
	rows := r.pushed(s, project, n-7)
	stop()
	if lost.Load() < 100 {
		t.Errorf("%d answers were lost", lost.Load())
	}

	views := s.views(t, project)
	if len(views) != 1 || views[0].Data.Title != "round 1" {
		t.Fatalf("tabs %+v", views)
	}
	shown := s.rows(t, project, views[0].ID)
	if len(shown) != n-7 {
		t.Fatalf("the tab shows %d tasks", len(shown))
	}
	want := r.added("round 1")[7:]
	for i, list := range [][]row{rows, shown} { // by number, and as the tab orders them
		for k, got := range list {
			d := got.Data
			if d.Filename != want[k] || d.Rank != k+8 || d.Tag != "round 1" || d.Reason != "picked at random" ||
				d.Picture != "/data/local-files/?d=clothing/images/"+fmt.Sprintf("%05d", r.sample(d.Filename))+"+%C3%A9.jpg" {
				t.Fatalf("list %d, task %d: %+v, want %s", i, k, d, want[k])
			}
		}
	}

	// Asked for the least certain, Label Studio gives out what is worth most.
	for k := range 3 {
		var next row
		s.must(t, http.MethodGet, fmt.Sprintf("/api/projects/%d/next/", project), nil, &next)
		if next.Data.Filename != want[k] {
			t.Errorf("next is %s of rank %d, want %s", next.Data.Filename, next.Data.Rank, want[k])
		}
		s.label(t, next.ID, "c1")
	}
}

// added are the picks of a selection, in order.
func (r *rig) added(tag string) (names []string) {
	r.Helper()
	for _, m := range r.messages("AL", "al.v1.out.selection.created.>") {
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil {
			r.Fatal(err)
		}
		data, err := events.ParseOutput(e)
		if err != nil {
			r.Fatal(err)
		}
		if c := data.(*events.Created); c.Tag.Name == tag {
			for _, a := range c.Added {
				names = append(names, a.Filename)
			}
		}
	}
	return names
}

// Labels come by webhook; those that did not are found by comparing, and a
// webhook that is off is switched on.
func TestLabelsComeBack(t *testing.T) {
	s := newStudio(t)
	project := s.project(t, nil)
	other := s.project(t, nil)
	r := newRig(t, 40, offline)
	r.batch("round 1", 10)
	r.connect(s.config(project))
	stop := r.start()
	rows := r.pushed(s, project, 10)
	status := func(k int, want state.Status) {
		t.Helper()
		i := r.sample(rows[k].Data.Filename)
		r.until(fmt.Sprintf("task %d has status %d", k, want), func() bool { return r.status(i) == want })
	}

	// By webhook: the comparison is an hour away.
	r.until("there is a webhook", func() bool { return len(s.webhooks(t, project)) == 1 })
	first := s.label(t, rows[0].ID, "c1")
	skip := s.label(t, rows[1].ID, "")
	status(0, state.Labeled)
	status(1, state.Skipped)
	s.must(t, http.MethodPatch, fmt.Sprintf("/api/annotations/%d/", first), map[string]any{"was_cancelled": false, "result": []any{}}, nil)
	if a, b := r.counted("labels_total", "webhook"), r.counted("labels_total", "comparison"); a != 2 || b != 0 {
		t.Errorf("%v labels by webhook and %v by comparison, want 2 and 0", a, b)
	}
	// What is deleted is withdrawn; a task that is deleted takes nothing back.
	s.must(t, http.MethodDelete, fmt.Sprintf("/api/annotations/%d/", first), nil, nil)
	s.must(t, http.MethodDelete, fmt.Sprintf("/api/annotations/%d/", skip), nil, nil)
	status(0, state.Unlabeled)
	status(1, state.Unlabeled)
	s.label(t, rows[9].ID, "c9")
	status(9, state.Labeled)
	s.must(t, http.MethodDelete, fmt.Sprintf("/api/tasks/%d/", rows[9].ID), nil, nil)
	stop()
	r.deaf()

	// While nobody listens: labels, a skip, all annotations of a task deleted at
	// once, a task that somebody else made; and Label Studio gave the webhook up.
	s.label(t, rows[2].ID, "c2")
	s.label(t, rows[3].ID, "")
	gone := s.label(t, rows[4].ID, "c4")
	hook := s.webhooks(t, project)[0]
	hook.Active, hook.Headers = false, map[string]string{"X-Webhook-Token": "another secret"}
	s.must(t, http.MethodPatch, fmt.Sprintf("/api/webhooks/%d/", hook.ID), hook, nil)
	foreign := "/data/local-files/?d=clothing/images%2F" + strings.TrimPrefix(strings.ReplaceAll(r.unselected(), " ", "%20"), "images/")
	s.must(t, http.MethodPost, fmt.Sprintf("/api/projects/%d/import", project), []any{
		map[string]any{"data": map[string]any{"picture": foreign}}, map[string]any{"data": map[string]any{"picture": "s3://nobody/knows.jpg"}}}, nil)
	all := s.rows(t, project, 0)
	s.label(t, all[len(all)-2].ID, "c0")
	s.label(t, all[len(all)-1].ID, "c0")

	r.connect(s.config(project)) // at another address: it makes a webhook of its own
	stop = r.start()
	status(2, state.Labeled)
	status(3, state.Skipped)
	status(4, state.Labeled)
	status(9, state.Labeled)
	i := r.sample(r.unselected())
	r.until("a task of somebody else counts", func() bool { return r.status(i) == state.Labeled })
	if n := r.counted("tasks_ignored_total", "unknown"); n != 1 {
		t.Errorf("%v unknown tasks, want 1", n)
	}
	r.until("a webhook is made", func() bool { return r.counted("webhooks_rearmed_total") == 1 })

	// The webhook is set right whatever became of it.
	mine := func() webhook {
		for _, h := range s.webhooks(t, project) {
			if h.URL == r.hook {
				return h
			}
		}
		return webhook{}
	}
	broken := mine()
	broken.Active, broken.Actions, broken.Headers = false, []string{"PROJECT_UPDATED"}, map[string]string{}
	s.must(t, http.MethodPatch, fmt.Sprintf("/api/webhooks/%d/", broken.ID), broken, nil)
	s.must(t, http.MethodDelete, fmt.Sprintf("/api/annotations/%d/", gone), nil, nil)
	stop()
	r.deaf()
	before := len(r.sent())
	restart := s.config(project)
	restart.Every = time.Second
	restart.HookURL = strings.TrimSuffix(r.hook, labelstudio.HookPath)
	r.connect(restart)
	r.start()
	status(4, state.Unlabeled)
	r.until("the webhook is set right", func() bool {
		for _, h := range s.webhooks(t, project) {
			if h.ID == broken.ID && h.Active && h.Payload && len(h.Actions) == 5 && h.Headers["X-Webhook-Token"] == secret {
				return true
			}
		}
		return false
	})
	// Switched off while we run, it is found by the timer; that says nothing new.
	broken.Active = false
	s.must(t, http.MethodPatch, fmt.Sprintf("/api/webhooks/%d/", broken.ID), broken, nil)
	s.label(t, rows[5].ID, "c5")
	status(5, state.Labeled)
	r.until("it is on again", func() bool { return r.counted("webhooks_rearmed_total") >= 2 })
	if sent := r.sent()[before:]; len(sent) != 2 {
		t.Errorf("comparing says %+v, want one withdrawn and one labeled", sent)
	}
	if hooks := s.webhooks(t, other); len(hooks) > 0 {
		t.Errorf("another project has webhooks %+v", hooks)
	}
	if n := len(r.messages("AL", "al.v1.dlq.>")); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}

// unselected is a sample that no selection has picked.
func (r *rig) unselected() string {
	picked := map[string]bool{}
	for _, name := range r.added("round 1") {
		picked[name] = true
	}
	for i := range 40 {
		if !picked[file(i)] {
			return file(i)
		}
	}
	r.Fatal("all samples are selected")
	return ""
}

// Where Label Studio may send no webhooks labels come all the same.
func TestNoWebhook(t *testing.T) {
	s := newStudio(t)
	project := s.project(t, nil)
	proxy := s.behind(t)
	proxy.set(func(q *http.Request) string {
		if q.Method == http.MethodPost && strings.HasPrefix(q.URL.Path, "/api/webhooks") {
			return "private"
		}
		return ""
	})
	r := newRig(t, 20, offline)
	r.batch("round 1", 3)
	cfg := s.config(project)
	cfg.URL, cfg.Every = proxy.url, time.Second
	r.connect(cfg)
	r.start()
	rows := r.pushed(s, project, 3)
	first := s.label(t, rows[1].ID, "c1")
	i := r.sample(rows[1].Data.Filename)
	r.until("the label comes", func() bool { return r.status(i) == state.Labeled })
	s.must(t, http.MethodDelete, fmt.Sprintf("/api/annotations/%d/", first), nil, nil)
	r.until("it is withdrawn", func() bool { return r.status(i) == state.Unlabeled })
	if r.counted("problems_total", "webhook") == 0 {
		t.Error("nobody is told that there is no webhook")
	}
}
