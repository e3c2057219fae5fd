package bus

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"nextbatch/schemas"
)

func start(t *testing.T, dir string) *Embedded {
	t.Helper()
	e, err := StartEmbedded(EmbeddedConfig{Dir: dir}, zerolog.Nop())
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
	if e, err := StartEmbedded(EmbeddedConfig{Dir: dir}, zerolog.Nop()); err == nil {
		e.Stop()
		t.Fatal("two servers on one store")
	} else if !strings.Contains(err.Error(), "another worker has the store") {
		t.Errorf("error %q does not say what to do", err)
	}
}

func TestEmbeddedListensOnLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:4222", ":4222", "192.168.1.1:4222", "127.0.0.1:x", "127.0.0.1:70000"} {
		if e, err := StartEmbedded(EmbeddedConfig{Dir: t.TempDir(), Addr: addr}, zerolog.Nop()); err == nil {
			e.Stop()
			t.Errorf("%s: no error", addr)
		}
	}
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
	e, err := StartEmbedded(EmbeddedConfig{Dir: dir}, zerolog.Nop())
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
