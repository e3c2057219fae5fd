package lightly_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A conversation is what a real Python client and the server have said to each
// other, in testdata/conversations/NAME.jsonl.gz, one exchange per line. What
// differs from run to run stands there by a name: ids as ‹id 1›, signed URLs
// as ‹url 1›, tags that nobody named as ‹tag 1›, numbered as they first came,
// times as ‹time›. The token
// is left out, and bytes of images, of which the length is kept.
//
// The tests with build tag foreign hold these conversations anew at each run
// and compare the calls; with -update they write them.
type exchange struct {
	Method string          `json:"method"`
	URL    string          `json:"url"` // path and query, or the name of a signed URL
	Body   json.RawMessage `json:"body,omitempty"`
	Status int             `json:"status"`
	Answer json.RawMessage `json:"answer,omitempty"`
}

// A body that is no JSON.
type plain struct {
	Text  string `json:"‹text›,omitempty"`
	Bytes int    `json:"‹bytes›,omitempty"`
}

const (
	anyTime    = "‹time›"
	anyRequest = "‹request›"
)

var (
	anyID   = regexp.MustCompile(`\b(?:[0-9a-f]{32}-[0-9]+|[0-9a-f]{24})\b`) // the first is that of a job
	anyTag  = regexp.MustCompile(`\b(?:random|coreset|coral|active_learning|combined|herding|uherding)-[0-9a-f]{12}\b`)
	anyName = regexp.MustCompile(`‹(?:id|url|tag) \d+›`)
	stamp   = regexp.MustCompile(`\d{8}_\d\dh\d\dm\d\ds`) // in names that the clients make
	timeKey = []string{"createdAt", "lastModifiedAt", "finishedAt"}
)

func conversationFile(name string) string {
	return filepath.Join("testdata", "conversations", name+".jsonl.gz")
}

func readConversation(t *testing.T, name string) (all []exchange) {
	t.Helper()
	f, err := os.Open(conversationFile(name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(z)
	for d.More() {
		var x exchange
		if err := d.Decode(&x); err != nil {
			t.Fatalf("%s, exchange %d: %v", name, len(all), err)
		}
		all = append(all, x)
	}
	return all
}

func writeConversation(t *testing.T, name string, all []exchange) {
	t.Helper()
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	for _, x := range all {
		z.Write(append(encode(t, x), '\n'))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conversationFile(name), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// encode is json.Marshal, but leaves & and < as they are.
func encode(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(b.Bytes())
}

// decode keeps numbers as they are written.
func decode(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err = d.Decode(&v); err == nil && d.More() {
		err = fmt.Errorf("more than one value")
	}
	return v, err
}

// untokened takes the token out of a request URI.
func untokened(uri string) string {
	path, query, _ := strings.Cut(uri, "?")
	params := slices.DeleteFunc(strings.Split(query, "&"), func(p string) bool { return p == "" || strings.HasPrefix(p, "token=") })
	if len(params) == 0 {
		return path
	}
	return path + "?" + strings.Join(params, "&")
}

// polled tells whether a client asks this again and again until it hears of an
// end, and whether the answer is one.
func polled(x exchange) (yes, end bool) {
	var answer struct{ Status, State string }
	json.Unmarshal(x.Answer, &answer)
	switch {
	case x.Method == "GET" && strings.HasPrefix(x.URL, "/v1/jobs/"):
		return true, answer.Status == "FINISHED" || answer.Status == "FAILED"
	case x.Method == "GET" && strings.HasPrefix(x.URL, "/v1/docker/runs/schedule/"):
		return true, slices.Contains([]string{"COMPLETED", "FAILED", "CRASHED", "ABORTED"}, answer.State)
	case x.Method == "GET" && strings.HasSuffix(x.URL, "/docker/worker/schedule"):
		return true, false // asked for while there is no run yet
	}
	return false, false
}

// calls counts the exchanges by kind.
func calls(all []exchange) map[string]int {
	n := map[string]int{}
	for _, x := range all {
		where := anyName.ReplaceAllStringFunc(x.URL, func(s string) string { return strings.Fields(s)[0] + "›" })
		n[fmt.Sprintf("%s %s %d", x.Method, stamp.ReplaceAllString(where, anyTime), x.Status)]++
	}
	return n
}

// bindings are the ids and URLs of one run by their names in the conversation.
type bindings map[string]string

// fill puts ids and URLs into a text.
func (n bindings) fill(text string) (string, error) {
	var unknown error
	text = anyName.ReplaceAllStringFunc(text, func(name string) string {
		if value, ok := n[name]; ok {
			return value
		}
		unknown = fmt.Errorf("%s has not come yet", name)
		return name
	})
	return text, unknown
}

// match compares an answer with the one on file, and learns what new names
// stand for. It returns the first difference, "" if there is none.
func (n bindings) match(want, got any, at string) string {
	differ := fmt.Sprintf("%s is %.300s, want %.300s", at, show(got), show(want))
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			return differ
		}
		keys := slices.Sorted(maps.Keys(want))
		if more := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, more) {
			return fmt.Sprintf("%s has the fields %v, want %v", at, more, keys)
		}
		for _, k := range keys {
			if d := n.match(want[k], got[k], at+"."+k); d != "" {
				return d
			}
		}
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			return differ
		}
		for i := range want {
			if d := n.match(want[i], got[i], fmt.Sprintf("%s[%d]", at, i)); d != "" {
				return d
			}
		}
	case string:
		if want == anyTime {
			if ms, ok := got.(json.Number); !ok || len(ms) != 13 {
				return differ
			}
			return ""
		}
		text, ok := got.(string)
		if !ok {
			return differ
		}
		if want == anyRequest {
			return ""
		}
		if !n.read(want, text) {
			return differ
		}
	default:
		if want != got {
			return differ
		}
	}
	return ""
}

// read compares a text with the one on file, and learns the names in it.
func (n bindings) read(want, text string) bool {
	pattern, rest := "", want
	var fresh []string
	for _, name := range anyName.FindAllString(want, -1) {
		before, after, _ := strings.Cut(rest, name)
		pattern, rest = pattern+regexp.QuoteMeta(before), after
		value, known := n[name]
		switch path, _, signed := strings.Cut(value, "?expires="); {
		case known && signed: // the same place; a second later it is signed anew
			pattern += "(" + regexp.QuoteMeta(path) + `\?expires=\S+)`
			fresh = append(fresh, name)
			continue
		case known:
			pattern += regexp.QuoteMeta(value)
			continue
		}
		fresh = append(fresh, name)
		pattern += map[string]string{"‹id": "(" + anyID.String() + ")", "‹tag": "(" + anyTag.String() + ")", "‹url": `(http\S+)`}[strings.Fields(name)[0]]
	}
	found := regexp.MustCompile("(?s)^" + pattern + regexp.QuoteMeta(rest) + "$").FindStringSubmatch(text)
	if found == nil {
		return false
	}
	for i, name := range fresh {
		n[name] = found[i+1]
	}
	return true
}

func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
