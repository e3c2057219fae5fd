package lightly

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// ServerConfig of the Lightly API.
type ServerConfig struct {
	// Tokens are user:token. Without any, every token is the user "local", if
	// Loopback is set; else every request is refused.
	Tokens []string
	// Loopback says that only this machine can connect.
	Loopback bool
	// PublicURL is the base of signed URLs; default: the host that the request
	// was sent to.
	PublicURL string
	// DistanceCap is that of CORAL, which clients have no word for; default: none,
	// as with Lightly.
	DistanceCap events.DistanceCap
	// MaxCSV is the largest embeddings file, in bytes; default 16 GiB.
	MaxCSV int64
	// BodyTime is how long a body may take to come, besides a second for every
	// 16 KiB of it; default 30 s.
	BodyTime time.Duration
}

// Server answers the Lightly HTTP API on the worker's state. It stores and
// publishes; it neither scores nor selects. Any number of servers may share
// one state.
type Server struct {
	cfg    ServerConfig
	tokens []credential
	log    zerolog.Logger
	js     jetstream.JetStream
	in     jetstream.Stream
	store  *state.Store
	blobs  *blob.Store
	key    []byte // of signed URLs
	mux    *http.ServeMux
	routes map[string]map[string]*route // by path and method

	index   datasetIndex
	tagName sync.Map // id of dataset and tag → name of the tag, as last seen
	groups  sync.Map // id of dataset → *group
}

// ServerDeps are what a server works with.
type ServerDeps struct {
	NATS  *nats.Conn
	State *state.Store
	Blobs *blob.Store
	Log   zerolog.Logger
}

// NewServer returns a server on provisioned streams.
func NewServer(ctx context.Context, cfg ServerConfig, d ServerDeps) (*Server, error) {
	tokens, err := parseTokens(cfg.Tokens)
	if err != nil {
		return nil, err
	}
	if cfg.MaxCSV == 0 {
		cfg.MaxCSV = 16 << 30
	}
	if cfg.BodyTime == 0 {
		cfg.BodyTime = 30 * time.Second
	}
	s := &Server{cfg: cfg, tokens: tokens, log: d.Log, store: d.State, blobs: d.Blobs, mux: http.NewServeMux(), routes: map[string]map[string]*route{}}
	if s.js, err = jetstream.New(d.NATS); err != nil {
		return nil, err
	}
	if s.in, err = s.js.Stream(ctx, bus.StreamIn); err != nil {
		return nil, fmt.Errorf("stream %s: %w", bus.StreamIn, err)
	}
	if s.key, err = s.store.Secret(ctx); err != nil {
		return nil, err
	}
	for i := range routes {
		r := &routes[i]
		if s.routes[r.path] == nil {
			s.routes[r.path] = map[string]*route{}
			s.mux.HandleFunc(r.path, s.serve)
		}
		s.routes[r.path][r.method] = r
	}
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if clean := path.Clean(r.URL.Path); clean == r.URL.Path || clean+"/" == r.URL.Path { // others would be redirected
		if _, pattern := s.mux.Handler(r); pattern != "" {
			s.mux.ServeHTTP(w, r)
			return
		}
	}
	s.refuse(w, r, refuse(http.StatusNotFound, "NOT_FOUND", "this server has no such path; /schemas/lightly-openapi.yaml lists those it has"))
}

// call is one request on its way through a handler.
type call struct {
	*Server
	w    *steadyWriter
	r    *http.Request
	user string
	args url.Values
}

// Time limits of a request.
const (
	minRate   = 16 << 10        // bytes per second that an upload must keep
	writeTime = time.Minute     // to take the next part of an answer
	callTime  = 2 * time.Minute // to answer what is no upload, besides the time that its body may take
)

// serve hands a request that has a route to its handler.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	methods := s.routes[r.Pattern]
	route := methods[r.Method]
	if r.Method == http.MethodHead {
		route = methods[http.MethodGet]
	}
	if route == nil {
		allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		w.Header().Set("Allow", allowed)
		s.refuse(w, r, refuse(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "%s is not for this path; these are: %s", r.Method, allowed))
		return
	}
	control := http.NewResponseController(w)
	if r.ContentLength > route.body {
		w.Header().Set("Connection", "close")
		s.refuse(w, r, tooLarge(route.body))
		return
	}
	if r.Body != nil && r.Body != http.NoBody {
		until := time.Now().Add(s.cfg.BodyTime)
		control.SetReadDeadline(until) // also of a body that the handler does not read
		r.Body = http.MaxBytesReader(w, &steadyBody{ReadCloser: r.Body, control: control, until: until}, route.body)
	}
	if route.body <= largeBody {
		ctx, cancel := context.WithTimeout(r.Context(), callTime+time.Duration(max(0, r.ContentLength)/minRate)*time.Second)
		defer cancel()
		r = r.WithContext(ctx)
	}
	c := &call{Server: s, w: &steadyWriter{ResponseWriter: w, control: control}, r: r, args: r.URL.Query()}
	err := s.authorize(c, route.access)
	if err == nil {
		err = route.serve(c)
	}
	if err != nil {
		s.refuse(w, r, err)
	}
}

// steadyBody ends a body that comes too slowly.
type steadyBody struct {
	io.ReadCloser
	control *http.ResponseController
	until   time.Time // and minRate
	n       int64
}

func (b *steadyBody) Read(p []byte) (int, error) {
	b.control.SetReadDeadline(b.until.Add(time.Duration(b.n/minRate) * time.Second))
	n, err := b.ReadCloser.Read(p)
	if b.n += int64(n); err == io.EOF {
		// From here on the server reads to notice a client that goes away, and
		// the handler may take longer than the body.
		b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// steadyWriter ends an answer that is not taken.
type steadyWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	begun   bool // the client knows the status
}

func (w *steadyWriter) Write(p []byte) (int, error) {
	w.begun = true
	w.control.SetWriteDeadline(time.Now().Add(writeTime))
	return w.ResponseWriter.Write(p)
}

// commit writes a batch. What the caller must decide anew is ErrConflict.
func (c *call) commit(b *state.Batch) error {
	_, err := c.store.Commit(c.r.Context(), b)
	if errors.Is(err, nats.ErrMaxPayload) {
		return errRecordTooLarge
	}
	return err
}

var errRecordTooLarge = refuse(http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE", "this is more than one record can hold")
