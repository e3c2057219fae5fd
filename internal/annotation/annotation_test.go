package annotation_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"nextbatch/internal/annotation"
	"nextbatch/internal/events"
)

func TestTemplate(t *testing.T) {
	for _, c := range []struct{ template, filename, want string }{
		{"s3://bucket/data/{filename}", "a/b c#1?.jpg", "s3://bucket/data/a/b c#1?.jpg"},
		{"gs://bucket/{filename}", "ü.jpg", "gs://bucket/ü.jpg"},
		{"https://images.example/{filename}?size=large", "a/b c#1?%.jpg", "https://images.example/a/b%20c%231%3F%25.jpg?size=large"},
		{"/data/local-files/?d=photos/{filename}", "a/b c&d+e.jpg", "/data/local-files/?d=photos/a/b+c%26d%2Be.jpg"},
		{"{filename}", "a.jpg", "a.jpg"},
	} {
		p, err := annotation.ParseTemplate(c.template)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := p.URL(c.filename); got != c.want {
			t.Errorf("%s with %q is %q, want %q", c.template, c.filename, got, c.want)
		}
		rapid.Check(t, func(r *rapid.T) {
			name := rapid.StringN(1, -1, 1024).Draw(r, "filename")
			if got, ok := p.Filename(p.URL(name)); !ok || got != name {
				r.Errorf("%q comes back from %q as %q, %v", name, p.URL(name), got, ok)
			}
		})
	}
	for _, bad := range []string{"", "s3://bucket/data/", "s3://{filename}/{filename}"} {
		if _, err := annotation.ParseTemplate(bad); err == nil {
			t.Errorf("template %q is accepted", bad)
		}
	}
	p, err := annotation.ParseTemplate("/data/local-files/?d=photos/{filename}")
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{"/data/local-files/?d=photos/a%2Fb%20c.jpg": "a/b c.jpg", "/data/local-files/?d=photos/a.jpg": "a.jpg",
		"/data/upload/1/a.jpg": "", "/data/local-files/?d=photos/": "", "/data/local-files/?d=photos/%zz": ""} {
		if got, ok := p.Filename(address); got != want || ok != (want != "") {
			t.Errorf("%q is of %q, %v; want %q", address, got, ok, want)
		}
	}
}

func TestReason(t *testing.T) {
	score, one, covers := 0.98213, 1.0, 41
	combined := func(kinds ...string) *events.Created {
		c := &events.Created{Method: "COMBINED"}
		for _, kind := range kinds {
			rule, input, _ := strings.Cut(kind, " on ")
			c.Parameters.Strategies = append(c.Parameters.Strategies, events.Strategy{Input: events.Input{Type: input}, Rule: events.Rule{Type: rule}})
		}
		return c
	}
	coral := &events.Created{Method: "CORAL", Parameters: events.Parameters{Score: "uncertainty_margin"}}
	for _, c := range []struct {
		created *events.Created
		added   events.Added
		want    string
	}{
		{coral, events.Added{Score: &score, Nearest: "b.jpg"}, "uncertainty_margin 0.982; unlike what was picked before it; nearest is b.jpg"},
		{coral, events.Added{Score: &score}, "uncertainty_margin 0.982; the first pick"},
		{&events.Created{Method: "CORESET"}, events.Added{Nearest: "b.jpg"}, "unlike what was picked before it; nearest is b.jpg"},
		{&events.Created{Method: "ACTIVE_LEARNING"}, events.Added{Score: &score}, "score 0.982"},
		{&events.Created{Method: "RANDOM"}, events.Added{}, "picked at random"},
		{&events.Created{Method: "HERDING"}, events.Added{Covers: &covers, Nearest: "b.jpg"}, "covers 41 samples better than anything picked before it"},
		{&events.Created{Method: "HERDING"}, events.Added{Score: &score, Covers: &covers}, "covers 41 samples better than anything picked before it"},
		{&events.Created{Method: "UHERDING"}, events.Added{Score: &score, Covers: &covers}, "score 0.982; covers 41 samples better than anything picked before it"},
		{&events.Created{Method: "RANDOM"}, events.Added{Score: &score}, "picked at random"},
		{&events.Created{Method: "UHERDING"}, events.Added{Score: &score, Random: true}, "picked at random"},
		{&events.Created{Method: "CORESET"}, events.Added{Score: &score, Nearest: "b.jpg"}, "unlike what was picked before it; nearest is b.jpg"},
		{&events.Created{Method: "POWER"}, events.Added{Score: &score}, "drawn by score 0.982"},
		{&events.Created{Method: "FILTER_CLUSTER"}, events.Added{Score: &score}, "score 0.982; one of a group of samples of high score"},
		{&events.Created{Method: "TYPICLUST"}, events.Added{Score: &score}, "typical of its group"},
		{&events.Created{Method: "TYPICALITY"}, events.Added{Score: &score}, "where samples lie densest"},
		{&events.Created{Method: "BADGE"}, events.Added{Score: &score, Nearest: "b.jpg"}, "between classes; unlike what was picked before it; nearest is b.jpg"},
		{combined("DIVERSITY on EMBEDDINGS"), events.Added{Score: &one, Nearest: "b.jpg"}, "the best by DIVERSITY on EMBEDDINGS; unlike what was picked before it; nearest is b.jpg"},
		{combined("WEIGHTS on SCORES", "THRESHOLD on METADATA", "SIMILARITY on EMBEDDINGS"), events.Added{Score: &score, Nearest: "b.jpg"}, "the best by WEIGHTS on SCORES and SIMILARITY on EMBEDDINGS"},
		{combined(), events.Added{Score: &one}, "COMBINED"},
	} {
		if got := annotation.Reason(c.created, c.added); got != c.want {
			t.Errorf("%s: %q, want %q", c.created.Method, got, c.want)
		}
	}
}
