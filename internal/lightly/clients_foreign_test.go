//go:build foreign

package lightly_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"nextbatch/internal/events"
)

// TestPythonClients runs the code of users with each release: a dataset from
// images, the page, and what else the clients can do. What they are told and
// what is on the bus must be one and the same.
func TestPythonClients(t *testing.T) {
	eachRelease(t, func(t *testing.T, release string) {
		r := newRecorder(t)
		s := newSite(t, "AL_TOKENS=ada:"+token, "AL_PUBLIC_URL="+r.proxy.URL)
		r.target = s.url
		p := newPython(t, release, r.proxy.URL)
		dataset := p.upload("clothes", "full")
		p.page(s, dataset)
		p.methods(s, dataset)
		if release == "1.2.37" {
			p.exports(dataset)
		}
		p.images(dataset)
		var forRuns string
		if release == "1.2.37" {
			forRuns = p.upload("clothes for a run", "metadata")
			p.compute(s, forRuns)
		}
		r.finish("python-" + release)
		p.server = s.url // what follows is not for the record
		p.refused(dataset)
		if release == "1.2.37" {
			p.unserved(forRuns)
		}
	})
}

// eachRelease runs a test with all releases at once: the clients mostly sleep,
// more than one second at each query.
func eachRelease(t *testing.T, test func(*testing.T, string)) {
	var all sync.WaitGroup
	defer all.Wait()
	for _, release := range releases {
		all.Go(func() { t.Run(release, func(t *testing.T) { test(t, release) }) })
	}
}

func (p *python) upload(name, mode string) (dataset string) {
	p.t.Helper()
	var made struct{ Dataset string }
	p.run(&made, "upload.py", token, name, p.path("images"), p.path("embeddings.csv"), mode)
	if !anyID.MatchString(made.Dataset) {
		p.t.Fatalf("the dataset's id is %q", made.Dataset)
	}
	return made.Dataset
}

// page is Lightly's page on active learning, in two processes.
func (p *python) page(s *site, dataset string) {
	p.t.Helper()
	next := "page_next_query_set.py"
	if p.release == "1.1.5" {
		next = "page_next.py"
	}
	type sets struct{ Query, Unlabeled, Labeled, Added []string }
	var initial, after sets
	p.run(&initial, "page_first.py", dataset, token)
	first := s.selection("initial-selection")
	sameSet(p.t, "the initial selection", initial.Labeled, filenames(first.Added))

	p.run(&after, next, dataset, token, p.path("images"))
	second := s.selection("al-iteration-1")
	added := filenames(second.Added)
	sameSet(p.t, "the second selection", after.Labeled, slices.Concat(initial.Labeled, added))
	if second.PreselectedTag != "initial-selection" || second.Method != "CORAL" {
		p.t.Errorf("the event says %s on top of tag %q", second.Method, second.PreselectedTag)
	}
	for _, a := range second.Added {
		if a.Score == nil {
			p.t.Fatalf("%s was added without a score", a.Filename)
		}
	}
	if len(after.Unlabeled) != nImages-100 {
		p.t.Errorf("%d samples are unlabeled, want %d", len(after.Unlabeled), nImages-100)
	}
	if p.release != "1.1.5" {
		sameSet(p.t, "added_set", after.Added, added)
	}
}

// methods is everything else about queries; each tag that the client has seen
// was announced with the same samples.
func (p *python) methods(s *site, dataset string) {
	p.t.Helper()
	var said struct {
		Made []struct {
			Tag     string
			Labeled []string
		}
		Apart, Samples int
	}
	p.run(&said, "methods.py", dataset, token, p.path("images"))
	if len(said.Made) < 7 || said.Samples != nImages {
		p.t.Errorf("methods.py made %d tags of %d samples", len(said.Made), said.Samples)
	}
	for _, m := range said.Made {
		c := s.selection(m.Tag)
		if c.Counts.Selected != len(m.Labeled) {
			p.t.Errorf("tag %s: the client sees %d samples, the event says %d", m.Tag, len(m.Labeled), c.Counts.Selected)
		}
		sameSet(p.t, m.Tag, m.Labeled, c.Filenames)
	}
	if c := s.selection("apart"); c.Counts.Selected != said.Apart {
		p.t.Errorf("min_distance: the client sees %d samples, the event says %d", said.Apart, c.Counts.Selected)
	}
}

func (p *python) exports(dataset string) {
	p.t.Helper()
	var said struct{ Chosen []string }
	p.run(&said, "exports.py", dataset, token, p.path("images"))
	if len(said.Chosen) != 10 {
		p.t.Errorf("exports.py chose %d samples", len(said.Chosen))
	}
}

func (p *python) compute(s *site, dataset string) {
	p.t.Helper()
	before := len(s.results(events.SelectionCreated))
	var said struct{ Refused map[string]string }
	p.run(&said, "compute.py", dataset, token, p.path("images"))
	p.t.Logf("refused: %q", said.Refused)
	if n := len(s.results(events.SelectionCreated)) - before; n != 4 {
		p.t.Errorf("%d selections were announced for 4 runs", n)
	}
}

func (p *python) images(dataset string) {
	p.t.Helper()
	want := nImages + nMore
	if p.release == "1.1.5" {
		want = nImages
	}
	var said struct{ Samples int }
	p.run(&said, "images.py", dataset, token, p.path("images"), p.path("more"), p.path("more.csv"), p.path("out"))
	if said.Samples != want {
		p.t.Errorf("the dataset has %d samples, want %d", said.Samples, want)
	}
}

// refused is what a wrong token or dataset gets.
func (p *python) refused(dataset string) {
	p.t.Helper()
	var status map[string]int
	p.run(&status, "refused.py", dataset, token)
	want := map[string]int{"right": 200, "wrong token": 401, "no token": 401, "unknown dataset": 404, "path": 404}
	if !maps.Equal(status, want) {
		p.t.Errorf("the answers are %v, want %v", status, want)
	}
}

// unserved holds fast what does not work: the list in testdata/README.md.
func (p *python) unserved(dataset string) {
	p.t.Helper()
	var status map[string]string
	p.run(&status, "unserved.py", dataset, token, p.path("out"))
	list, err := os.ReadFile("testdata/README.md")
	if err != nil {
		p.t.Fatal(err)
	}
	for call, got := range status {
		if !strings.Contains(string(list), "`"+call+"`") {
			p.t.Errorf("testdata/README.md does not name %s", call)
		}
		if !slices.Contains([]string{"400", "404", "405", "no such artifact"}, got) {
			p.t.Errorf("%s: %s", call, got)
		}
	}
	if len(status) < 25 {
		p.t.Errorf("only %d calls were tried", len(status))
	}
}

// TestPythonCommandLine uploads a folder and fetches a tag with the commands
// that the package brings.
func TestPythonCommandLine(t *testing.T) {
	s := newSite(t)
	eachRelease(t, func(t *testing.T, release string) {
		p := newPython(t, release, s.url)
		var made struct{ ID string }
		s.post("/v1/datasets", map[string]string{"name": "by command " + strings.ReplaceAll(release, ".", "-")}, &made)
		p.command("lightly-upload", "input_dir="+p.path("images"), "embeddings="+p.path("embeddings.csv"), "token="+token, "dataset_id="+made.ID)
		p.command("lightly-download", "tag_name=initial-tag", "output_dir="+p.path("out"), "token="+token, "dataset_id="+made.ID)
		files, err := os.ReadDir(p.path("out"))
		if err != nil || len(files) != nImages {
			t.Errorf("%d images came back, want %d, %v", len(files), nImages, err)
		}
		var embeddings []struct{ IsProcessed bool }
		s.get("/v1/datasets/"+made.ID+"/embeddings", &embeddings)
		if len(embeddings) != 1 || !embeddings[0].IsProcessed {
			t.Errorf("the embeddings are %+v", embeddings)
		}
	})
}

// selection is the one that was announced by this tag name.
func (s *site) selection(tag string) events.Created {
	s.t.Helper()
	var found []events.Created
	for _, e := range s.results(events.SelectionCreated) {
		var c events.Created
		if err := json.Unmarshal(e.Data(), &c); err != nil {
			s.t.Fatal(err)
		}
		if c.Tag.Name == tag {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		s.t.Fatalf("selection.created has come %d times for tag %q, want once", len(found), tag)
	}
	return found[0]
}

func filenames(added []events.Added) (names []string) {
	for _, a := range added {
		names = append(names, a.Filename)
	}
	return names
}

// sameSet compares without order: the client sees rows, the bus ranks. Neither
// may name a sample twice.
func sameSet(t *testing.T, what string, client, bus []string) {
	t.Helper()
	lacks := func(of, among []string) (list []string) {
		for _, name := range of {
			if !slices.Contains(among, name) {
				list = append(list, name)
			}
		}
		return list
	}
	if a, b := lacks(client, bus), lacks(bus, client); len(a)+len(b) > 0 {
		t.Errorf("%s: the client has %d samples, the bus %d; only the client has %.5q, only the bus %.5q", what, len(client), len(bus), a, b)
	}
	for _, names := range [][]string{client, bus} {
		if n := len(slices.Compact(slices.Sorted(slices.Values(names)))); n != len(names) {
			t.Errorf("%s: %d of %d samples are distinct", what, n, len(names))
		}
	}
}
