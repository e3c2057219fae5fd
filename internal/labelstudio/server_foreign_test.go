//go:build foreign

package labelstudio_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const legacyToken = "0123456789abcdef0123456789abcdef01234567"

// studio is the real Label Studio, on a copy of a migrated database. All tests
// share it; each has projects of its own.
type studio struct {
	url   string
	files string // document root of its local files
	pat   string // personal access token
}

var startStudio = sync.OnceValues(func() (*studio, error) {
	venv := os.Getenv("NEXTBATCH_LABELSTUDIO")
	if venv == "" {
		return nil, errors.New("NEXTBATCH_LABELSTUDIO is not set. It names a virtual environment with Label Studio:\n" +
			"  make deps\n  NEXTBATCH_LABELSTUDIO=$PWD/.venv-labelstudio go test -tags foreign ./internal/labelstudio")
	}
	dir, err := os.MkdirTemp("", "nextbatch-labelstudio")
	if err != nil {
		return nil, err
	}
	s := &studio{files: filepath.Join(dir, "files")}
	database, err := os.ReadFile(filepath.Join(venv, "template", "label_studio.sqlite3"))
	if err := errors.Join(err, os.MkdirAll(s.files, 0o755), os.WriteFile(filepath.Join(dir, "label_studio.sqlite3"), database, 0o600)); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	s.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(venv, "bin", "label-studio"), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", fmt.Sprint(port),
		"--username", "test@example.org", "--password", "a long password", "--user-token", legacyToken, "--enable-legacy-api-token")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "LABEL_STUDIO_BASE_DATA_DIR="+dir, "DJANGO_DB=sqlite", "SECRET_KEY=of the test", "LATEST_VERSION_CHECK=false", "COLLECT_ANALYTICS=false",
		"SENTRY_DSN=", "FRONTEND_SENTRY_DSN=", "FEATURE_FLAGS_OFFLINE=true", "SSRF_PROTECTION_ENABLED=false", "WEBHOOK_TIMEOUT=30", // the machine may be slow
		"LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true", "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="+s.files, "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	atEnd = func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-exited
		log.Close()
		os.RemoveAll(dir)
	}
	for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		resp, err := http.Get(s.url + "/health")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case err := <-exited:
			exited <- err
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("Label Studio ended: %v\n%s", err, text)
		default:
		}
		if time.Since(began) > 5*time.Minute {
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("Label Studio does not start\n%s", text)
		}
	}
	var made struct{ Token string }
	if err := s.call(http.MethodPost, "/api/token/", map[string]any{}, &made); err != nil {
		return nil, err
	}
	s.pat = made.Token
	return s, nil
})

func newStudio(t *testing.T) *studio {
	t.Helper()
	s, err := startStudio()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return s
}

// call is a request as a user would make it, with the legacy token.
func (s *studio) call(method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Token "+legacyToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %d %.1000s %v", method, path, resp.StatusCode, answer, err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// must tries again while the SQLite of Label Studio is locked, as a user
// would.
func (s *studio) must(t *testing.T, method, path string, in, out any) {
	t.Helper()
	err := s.call(method, path, in, out)
	for try := 0; err != nil && strings.Contains(err.Error(), "database is locked") && try < 50; try++ {
		time.Sleep(200 * time.Millisecond)
		err = s.call(method, path, in, out)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// project makes a project with an image and classes.
func (s *studio) project(t *testing.T, settings map[string]any) int {
	t.Helper()
	body := map[string]any{"title": "a test", "label_config": `<View><Image name="img" value="$picture"/><Choices name="class" toName="img">` +
		`<Choice value="c0"/><Choice value="c1"/><Choice value="c2"/><Choice value="c3"/><Choice value="c4"/>` +
		`<Choice value="c5"/><Choice value="c6"/><Choice value="c7"/><Choice value="c8"/><Choice value="c9"/></Choices></View>`}
	for key, value := range settings {
		body[key] = value
	}
	var made struct{ ID int }
	s.must(t, http.MethodPost, "/api/projects/", body, &made)
	return made.ID
}

// row is a task as the data manager lists it.
type row struct {
	ID   int
	Data struct {
		Filename string
		Picture  string
		Tag      string   `json:"al_selection"`
		Rank     int      `json:"al_rank"`
		Score    *float64 `json:"al_score"`
		Reason   string   `json:"al_reason"`
		Model    string   `json:"al_model"`
	}
	Labeled bool `json:"is_labeled"`
}

// rows are the tasks of a project, or of one of its views, in the order in
// which they are listed.
func (s *studio) rows(t *testing.T, project, view int) []row {
	t.Helper()
	path := fmt.Sprintf("/api/tasks?project=%d&page_size=1000", project)
	if view != 0 {
		path += fmt.Sprintf("&view=%d", view)
	} else {
		path += "&query=" + url.QueryEscape(`{"ordering":["tasks:id"]}`)
	}
	var list struct{ Tasks []row }
	s.must(t, http.MethodGet, path, nil, &list)
	return list.Tasks
}

type view struct {
	ID   int
	Data struct{ Title string }
}

func (s *studio) views(t *testing.T, project int) (all []view) {
	t.Helper()
	s.must(t, http.MethodGet, fmt.Sprintf("/api/dm/views/?project=%d", project), nil, &all)
	return all
}

type webhook struct {
	ID      int               `json:"id"`
	URL     string            `json:"url"`
	Project int               `json:"project"`
	Active  bool              `json:"is_active"`
	Actions []string          `json:"actions"`
	Headers map[string]string `json:"headers"`
	Payload bool              `json:"send_payload"`
}

func (s *studio) webhooks(t *testing.T, project int) (all []webhook) {
	t.Helper()
	s.must(t, http.MethodGet, fmt.Sprintf("/api/webhooks/?project=%d", project), nil, &all)
	return all
}

// label annotates a task, or skips it if there is no class; it returns the
// annotation.
func (s *studio) label(t *testing.T, task int, class string) int {
	t.Helper()
	result := []any{}
	if class != "" {
		result = append(result, map[string]any{"from_name": "class", "to_name": "img", "type": "choices", "value": map[string]any{"choices": []string{class}}})
	}
	var made struct{ ID int }
	s.must(t, http.MethodPost, fmt.Sprintf("/api/tasks/%d/annotations/", task), map[string]any{"result": result, "was_cancelled": class == ""}, &made)
	return made.ID
}

// faulty is Label Studio behind a proxy that can be told to misbehave.
type faulty struct {
	url   string
	fault atomic.Pointer[func(*http.Request) string] // how: "", "refuse", "lose" (the answer), "forget" (the predictions of an import, and lose the answer), "repeat" (the request), "private" (address)
}

func (f *faulty) set(fault func(*http.Request) string) { f.fault.Store(&fault) }

func (s *studio) behind(t *testing.T) *faulty {
	t.Helper()
	target, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{}
	f.set(func(*http.Request) string { return "" })
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch (*f.fault.Load())(r) {
		case "refuse":
			http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
		case "private": // what Label Studio says to a webhook to this machine without SSRF_PROTECTION_ENABLED=false
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"id":"91ce45fa-6b9f-49fe-9532-f265588086bb","status_code":403,"version":"1.23.2","detail":"URL resolves to a reserved network address (block: 127.0.0.0/8)","exc_info":null}`)
		case "repeat": // a proxy may, and so may an attempt that nobody heard of
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(err)
			}
			again := r.Clone(r.Context())
			again.Body, r.Body = io.NopCloser(bytes.NewReader(body)), io.NopCloser(bytes.NewReader(body))
			proxy.ServeHTTP(discard{http.Header{}}, again)
			proxy.ServeHTTP(w, r)
		case "forget": // as Label Studio does when its SQLite was locked
			var tasks []map[string]any
			if err := json.NewDecoder(r.Body).Decode(&tasks); err != nil {
				panic(err)
			}
			for _, t := range tasks {
				delete(t, "predictions")
			}
			body, err := json.Marshal(tasks)
			if err != nil {
				panic(err)
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			proxy.ServeHTTP(discard{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		case "lose":
			proxy.ServeHTTP(discard{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		default:
			proxy.ServeHTTP(w, r)
		}
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	f.url = "http://" + listener.Addr().String()
	return f
}

// discard takes an answer that never arrives.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func isImport(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/import")
}
