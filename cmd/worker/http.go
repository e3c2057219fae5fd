package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"nextbatch/internal/cvat"
	"nextbatch/internal/labelstudio"
	"nextbatch/schemas"
)

// health is what the probes tell.
type health struct {
	started atomic.Bool
	mu      sync.Mutex // guards the fields below
	probed  time.Time  // of the last probe write that went through
	problem string
}

const (
	probeEvery = 3 * time.Second
	probeFresh = 10 * time.Second
	minFree    = 64 << 20 // bytes of disk that readiness asks for
)

// probe writes to the stream again and again: JetStream can answer health
// checks while its store takes no writes.
func (s *service) probe(ctx context.Context) error {
	for {
		one, cancel := context.WithTimeout(ctx, probeFresh)
		err := s.worker.State().Probe(one, s.cfg.Name)
		cancel()
		var fs syscall.Statfs_t
		if err == nil && s.embedded != nil && syscall.Statfs(s.cfg.DataDir, &fs) == nil && fs.Bavail*uint64(fs.Bsize) < minFree {
			err = fmt.Errorf("less than %d MiB free in %s", minFree>>20, s.cfg.DataDir)
		}
		s.health.mu.Lock()
		if err == nil {
			s.health.probed, s.health.problem = time.Now(), ""
		} else {
			s.health.problem = err.Error()
		}
		s.health.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(probeEvery):
		}
	}
}

// ready says why the worker is not ready, or nothing.
func (h *health) ready() string {
	if !h.started.Load() {
		return "starting"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.problem != "":
		return h.problem
	case h.probed.IsZero():
		return "no probe write yet"
	case time.Since(h.probed) > probeFresh:
		return fmt.Sprintf("no probe write went through for %v", time.Since(h.probed).Round(time.Second))
	}
	return ""
}

// handler serves probes, metrics, schemas, blobs and the Lightly API.
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	mux.HandleFunc("GET /startupz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.health.started.Load() {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "started")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := s.health.ready(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	mux.Handle("GET /schemas/", http.StripPrefix("/schemas/", http.FileServerFS(schemas.FS)))
	mux.HandleFunc("GET /v1/blobs/{sha}", s.serveBlob)
	mux.HandleFunc("POST "+cvat.HookPath, s.serveCvat)
	mux.HandleFunc("POST "+labelstudio.HookPath, s.serveLabelStudio)
	mux.HandleFunc("/v1/", s.serveLightly)
	mux.HandleFunc("/users/", s.serveLightly)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Time{}) // one of the Lightly API's, on the same connection
		mux.ServeHTTP(w, r)
	})
}

// serveLightly hands a request to the Lightly API.
func (s *service) serveLightly(w http.ResponseWriter, r *http.Request) {
	if !s.health.started.Load() {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	s.lightly.ServeHTTP(w, r)
}

// loopbackOnly reports whether only this machine can connect to an address.
func loopbackOnly(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// serveBlob answers what a dataref points to. Knowing the digest is the right
// to read it.
func (s *service) serveBlob(w http.ResponseWriter, r *http.Request) {
	if !s.health.started.Load() {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	f, err := s.blobs.Open(r.PathValue("sha"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, f)
}
