package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"nextbatch/schemas"
)

func start(t *testing.T, dir string) *Embedded {
	t.Helper()
	e, err := StartEmbedded(t.Context(), EmbeddedConfig{Dir: dir}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return e
}

func connect(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := Connect(Auth{URL: url}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestEmbeddedRefusesASecondServer(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	if e, err := StartEmbedded(t.Context(), EmbeddedConfig{Dir: dir}, zerolog.Nop()); err == nil {
		e.Stop()
		t.Fatal("two servers on one store")
	} else if !strings.Contains(err.Error(), "another worker has the store") {
		t.Errorf("error %q does not say what to do", err)
	}
}

func TestEmbeddedListensOnLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:4222", ":4222", "192.168.1.1:4222", "127.0.0.1:x", "127.0.0.1:70000"} {
		if e, err := StartEmbedded(t.Context(), EmbeddedConfig{Dir: t.TempDir(), Addr: addr}, zerolog.Nop()); err == nil {
			e.Stop()
			t.Errorf("%s: no error", addr)
		}
	}
}

func TestEmbeddedSaysThatItsPortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	want := fmt.Sprintf("%q is taken by another program: stop it, or set AL_NATS_ADDR to another address", addr)
	dir := t.TempDir()
	if _, err := StartEmbedded(t.Context(), EmbeddedConfig{Dir: dir, Addr: addr}, zerolog.Nop()); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	start(t, dir) // the store is free again
}

// TestEmbeddedNoticesThatItsServerFails: also where no look at the port came
// before it.
func TestEmbeddedNoticesThatItsServerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	lock, err := flock(filepath.Join(dir, "LOCK"))
	if err != nil {
		t.Fatal(err)
	}
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, StoreDir: dir, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Embedded{srv: srv, lock: lock}).run(t.Context(), zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v does not say why", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil { // where its folder should be
		t.Fatal(err)
	}
	if _, err := StartEmbedded(t.Context(), EmbeddedConfig{Dir: dir}, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("error %v does not say why", err)
	}
}

// gate holds up the server that logs to it.
type gate chan struct{}

func (g gate) Write(p []byte) (int, error) {
	<-g
	return len(p), nil
}

// TestEmbeddedStartCanBeStopped: nobody waits for a store that takes long to
// recover, and nobody else gets it before the server is done with it.
func TestEmbeddedStartCanBeStopped(t *testing.T) {
	dir, slow := t.TempDir(), make(gate)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := StartEmbedded(ctx, EmbeddedConfig{Dir: dir}, zerolog.New(slow)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if _, err := StartEmbedded(t.Context(), EmbeddedConfig{Dir: dir}, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "another worker has the store") {
		t.Errorf("error %v while the server has the store", err)
	}
	close(slow)
	for {
		if lock, err := flock(filepath.Join(dir, "LOCK")); err == nil {
			lock.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	start(t, dir)
}

func TestEmbeddedWantsItsToken(t *testing.T) {
	dir := t.TempDir()
	e := start(t, dir)
	_, host, _ := strings.Cut(e.URL, "@")
	if nc, err := nats.Connect("nats://" + host); err == nil {
		nc.Close()
		t.Error("connected without the token")
	}
	for _, name := range []string{"token", "nats.url"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info.Mode(), err)
		}
	}
}

func TestEmbeddedKeepsWhatItAcknowledged(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	e, err := StartEmbedded(t.Context(), EmbeddedConfig{Dir: dir}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	js := connect(t, e.URL)
	if err := Provision(ctx, js, Layout{}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "al.v1.in.labels.completed.x", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	e.Stop()
	s, err := connect(t, start(t, dir).URL).Stream(ctx, StreamIn)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.GetMsg(ctx, 1); err != nil || string(m.Data) != "kept" {
		t.Errorf("after a restart: %v, %v", m, err)
	}
}

func TestProvisionReportsEachDrift(t *testing.T) {
	ctx := context.Background()
	js := connect(t, start(t, t.TempDir()).URL)
	if err := Provision(ctx, js, Layout{}, false); err == nil {
		t.Fatal("verify only: no error where no stream exists")
	}
	if err := Provision(ctx, js, Layout{}, true); err != nil {
		t.Fatal(err)
	}
	if err := Provision(ctx, js, Layout{}, false); err != nil {
		t.Fatalf("fresh streams drift: %v", err)
	}
	stream := Layout{}.Streams()[1]
	stream.AllowRollup, stream.AllowAtomicPublish, stream.AllowMsgTTL, stream.AllowDirect = false, false, false, false
	stream.Subjects = append(stream.Subjects, "al.v1.else")
	if err := js.DeleteStream(ctx, Stream); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, stream); err != nil {
		t.Fatal(err)
	}
	work := Layout{}.Consumers()[0]
	work.AckWait, work.MaxDeliver = 5*time.Second, 7
	if _, err := js.UpdateConsumer(ctx, StreamIn, work); err != nil {
		t.Fatal(err)
	}
	err := Provision(ctx, js, Layout{}, true)
	for _, want := range []string{"allow_rollup_hdrs", "allow_atomic", "allow_msg_ttl", "allow_direct", "subjects", "ack_wait is 5s, must be 30s", "max_deliver"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("drift of %s is not reported in: %v", want, err)
		}
	}
}

// The AsyncAPI document names streams and consumers as they are provisioned.
func TestAsyncAPINamesTheStreams(t *testing.T) {
	text, err := schemas.FS.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{StreamIn, Stream, WorkConsumer, LabelsConsumer} {
		if !strings.Contains(string(text), name) {
			t.Errorf("asyncapi.yaml does not name %s", name)
		}
	}
}
