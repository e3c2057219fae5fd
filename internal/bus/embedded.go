// Package bus brings up JetStream: the embedded server, the connection to it
// or to an external cluster, and the streams and consumers that the project
// needs, created or verified flag by flag. It knows nothing of events.
package bus

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// EmbeddedConfig says where the embedded server keeps its store and listens.
type EmbeddedConfig struct {
	Dir      string // store directory; created if absent
	Addr     string // host:port, loopback only; port 0 or "" picks 127.0.0.1 and a free port
	MaxStore int64  // bytes of file storage; default 10 GiB
}

// Check says what is wrong with the address.
func (c EmbeddedConfig) Check() error {
	_, _, err := loopback(c.Addr)
	return err
}

const (
	defaultMaxStore = 10 << 30
	maxPayload      = 2 << 20 // inputs stay at 1 MiB: a dead letter is an input and its reason
)

// Embedded is a running nats-server with file-backed JetStream that fsyncs
// every write before it acknowledges it.
type Embedded struct {
	// URL with the access token, for clients on this machine. It is also in
	// the file nats.url, mode 0600, beside the store.
	URL  string
	srv  *server.Server
	lock *os.File
}

// StartEmbedded locks the store directory and starts a server on it. A second
// server on one store would silently lose data, so a directory that is locked
// is an error. The directory holds the store, the lock, the access token and
// nats.url. It waits for the store to recover, however long that takes, until
// ctx ends.
func StartEmbedded(ctx context.Context, cfg EmbeddedConfig, log zerolog.Logger) (*Embedded, error) {
	if cfg.MaxStore == 0 {
		cfg.MaxStore = defaultMaxStore
	}
	host, port, err := loopback(cfg.Addr)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("store directory: %w", err)
	}
	lock, err := flock(filepath.Join(cfg.Dir, "LOCK"))
	if err != nil {
		return nil, err
	}
	token, err := loadToken(filepath.Join(cfg.Dir, "token"))
	if err != nil {
		lock.Close()
		return nil, err
	}
	if err := free(host, port); err != nil { // now, not after the store has recovered
		lock.Close()
		return nil, err
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "nextbatch", Host: host, Port: port, Authorization: token,
		JetStream: true, StoreDir: cfg.Dir, JetStreamMaxStore: cfg.MaxStore, JetStreamMaxMemory: 64 << 20,
		SyncAlways: true, MaxPayload: maxPayload, NoSigs: true, DisableJetStreamBanner: true,
	})
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("embedded nats-server: %w", err)
	}
	e := &Embedded{srv: srv, lock: lock}
	if err := e.run(ctx, log); err != nil {
		if taken := free(host, port); taken != nil && ctx.Err() == nil { // since then
			err = taken
		}
		return nil, err
	}
	u := url.URL{Scheme: "nats", User: url.User(token), Host: srv.Addr().String()}
	e.URL = u.String()
	if err := os.WriteFile(filepath.Join(cfg.Dir, "nats.url"), []byte(e.URL+"\n"), 0o600); err != nil {
		e.Stop()
		return nil, err
	}
	return e, nil
}

// run starts the server and waits until it listens. A server that fails says
// why in its log only. One whose ctx ends first is stopped once its store has
// recovered, and has its lock until then: it cannot be stopped halfway.
func (e *Embedded) run(ctx context.Context, log zerolog.Logger) error {
	fatal, started := make(chan error, 1), make(chan struct{})
	e.srv.SetLoggerV2(natsLog{log, fatal}, false, false, false)
	go func() {
		e.srv.Start()
		close(started)
	}()
	select {
	case <-started:
	case <-ctx.Done():
		go func() {
			<-started
			e.Stop()
		}()
		return fmt.Errorf("embedded nats-server: %w", context.Cause(ctx))
	}
	if e.srv.Addr() != nil {
		return nil
	}
	e.Stop()
	select {
	case err := <-fatal:
		return fmt.Errorf("embedded nats-server: %w", err)
	default:
		return errors.New("embedded nats-server: it does not listen")
	}
}

// Stop shuts the server down, waits until its store is closed and releases the
// directory.
func (e *Embedded) Stop() {
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
	e.lock.Close()
}

// free says that a port is taken, or why nobody may listen there.
func free(host string, port int) error {
	if port == server.RANDOM_PORT {
		return nil
	}
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%q is taken by another program: stop it, or set AL_NATS_ADDR to another address", addr)
	case err != nil:
		return fmt.Errorf("AL_NATS_ADDR: %w", err)
	}
	return l.Close()
}

func loopback(addr string) (host string, port int, err error) {
	if addr == "" {
		return "127.0.0.1", server.RANDOM_PORT, nil
	}
	u, err := url.Parse("nats://" + addr)
	if err != nil {
		return "", 0, fmt.Errorf("AL_NATS_ADDR is %q: want host:port", addr)
	}
	switch host = u.Hostname(); host {
	case "127.0.0.1", "::1", "localhost":
	default:
		return "", 0, fmt.Errorf("AL_NATS_ADDR is %q: the embedded server listens on loopback only; for other machines run a nats-server and set AL_NATS_URL", addr)
	}
	if _, err := fmt.Sscan(u.Port(), &port); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("AL_NATS_ADDR is %q: want host:port", addr)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

func flock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another worker has the store %s open; stop it, or give this one its own AL_DATA_DIR: %w", filepath.Dir(path), err)
	}
	return f, nil
}

// loadToken reads the access token, or makes one at the first start.
func loadToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if token := strings.TrimSpace(string(b)); err == nil && token != "" {
		return token, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	raw := make([]byte, 16)
	rand.Read(raw)
	token := hex.EncodeToString(raw)
	return token, os.WriteFile(path, []byte(token+"\n"), 0o600)
}

// natsLog passes the server's warnings and errors on, and keeps the first that
// ends it.
type natsLog struct {
	zerolog.Logger
	fatal chan error
}

func (l natsLog) Noticef(f string, v ...any) { l.Logger.Debug().Msgf(f, v...) }
func (l natsLog) Warnf(f string, v ...any)   { l.Logger.Warn().Msgf(f, v...) }
func (l natsLog) Errorf(f string, v ...any)  { l.Logger.Error().Msgf(f, v...) }
func (l natsLog) Debugf(f string, v ...any)  {}
func (l natsLog) Tracef(f string, v ...any)  {}

func (l natsLog) Fatalf(f string, v ...any) {
	select {
	case l.fatal <- fmt.Errorf(f, v...):
	default:
	}
	l.Errorf(f, v...)
}
