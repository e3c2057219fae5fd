package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rs/zerolog"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// The fault tests run real processes: a NATS server, workers built with
// -tags failpoint, and a producer, which is this test. Faults are injected
// while events flow; afterwards everything is healed, the queue must drain,
// and a checker reads the whole log (check_test.go).

// TestMain lets the test binary be the NATS server that gets killed, and the
// command worker of the scripts.
func TestMain(m *testing.M) {
	if dir := os.Getenv("NEXTBATCH_TEST_SERVER"); dir != "" {
		e, err := bus.StartEmbedded(context.Background(), bus.EmbeddedConfig{Dir: dir, Addr: os.Getenv("NEXTBATCH_TEST_ADDR")}, zerolog.New(os.Stderr).Level(zerolog.ErrorLevel))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(e.URL)
		select {}
	}
	testscript.Main(m, map[string]func(){"worker": main})
}

// plant is a running installation.
type plant struct {
	t       *testing.T
	dir     string
	bin     string
	addr    string
	url     string
	ackWait time.Duration
	env     []string
	limit   int64 // KiB of address space for each worker; 0 = no limit

	mu     sync.Mutex // guards the processes
	server *exec.Cmd
	ws     []*exec.Cmd

	nc *nats.Conn
	js jetstream.JetStream
}

var buildWorker = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nextbatch-chaos")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "worker")
	out, err := exec.Command("go", "build", "-tags", "failpoint", "-o", bin, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

// newPlant starts a server and n workers. Environment settings go to each.
func newPlant(t *testing.T, n int, ackWait time.Duration, env ...string) *plant {
	t.Helper()
	bin, err := buildWorker()
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{t: t, dir: t.TempDir(), bin: bin, ackWait: ackWait, env: env, addr: freeAddr(t)}
	p.startServer()
	p.connect()
	t.Cleanup(func() {
		p.nc.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range append(p.ws, p.server) {
			if c != nil {
				c.Process.Signal(syscall.SIGCONT)
				c.Process.Kill()
				c.Wait()
			}
		}
		if t.Failed() {
			t.Logf("logs are in %s", keep(t, p.dir))
		}
	})
	for i := range n {
		p.ws = append(p.ws, nil)
		p.startWorker(i)
	}
	return p
}

func keep(t *testing.T, dir string) string {
	to, err := os.MkdirTemp("", "nextbatch-failed")
	if err == nil {
		logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
		for _, l := range logs {
			if b, err := os.ReadFile(l); err == nil {
				os.WriteFile(filepath.Join(to, filepath.Base(l)), b, 0o644)
			}
		}
	}
	return to
}

// startServer starts the NATS server process and waits until it answers.
func (p *plant) startServer() {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "NEXTBATCH_TEST_SERVER="+filepath.Join(p.dir, "nats"), "NEXTBATCH_TEST_ADDR="+p.addr)
	cmd.Stderr = p.log("server.log")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.t.Fatalf("server did not start: %v", err)
	}
	p.mu.Lock()
	p.server, p.url = cmd, strings.TrimSpace(url)
	p.mu.Unlock()
}

func (p *plant) killServer() {
	p.server.Process.Kill()
	p.server.Wait()
	p.startServer()
}

func (p *plant) startWorker(i int, env ...string) {
	cmd := exec.Command(p.bin)
	if p.limit > 0 {
		cmd = exec.Command("sh", "-c", fmt.Sprintf("ulimit -v %d; exec %s", p.limit, p.bin))
	}
	cmd.Env = append(os.Environ(), "AL_NATS_URL="+p.url, "AL_DATA_DIR="+filepath.Join(p.dir, "data"), "AL_HTTP_ADDR=",
		"AL_NAME=w"+strconv.Itoa(i), "AL_ACK_WAIT="+p.ackWait.String(), "AL_LOG_LEVEL=info", "GOMAXPROCS=1")
	cmd.Env = append(append(cmd.Env, p.env...), env...)
	cmd.Stderr = p.log(fmt.Sprintf("w%d.log", i))
	if err := cmd.Start(); err != nil {
		p.t.Error(err)
		return
	}
	p.mu.Lock()
	p.ws[i] = cmd
	p.mu.Unlock()
}

// respawn waits for a worker to die and starts it again, until ctx ends.
func (p *plant) respawn(ctx context.Context, i int, died func(), env ...string) {
	for ctx.Err() == nil {
		p.mu.Lock()
		cmd := p.ws[i]
		p.mu.Unlock()
		cmd.Wait()
		if ctx.Err() != nil {
			return
		}
		died()
		time.Sleep(20 * time.Millisecond)
		p.startWorker(i, env...)
		if ctx.Err() != nil { // whoever ended it may have killed the one before
			p.signal(i, syscall.SIGKILL)
		}
	}
}

func (p *plant) signal(i int, s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ws[i].Process.Signal(s)
}

func (p *plant) log(name string) *os.File {
	f, err := os.OpenFile(filepath.Join(p.dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { f.Close() })
	return f
}

func (p *plant) connect() {
	nc, err := bus.Connect(bus.Auth{URL: p.url, Name: "test"}, zerolog.Nop())
	if err != nil {
		p.t.Fatal(err)
	}
	if p.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(3*time.Second)); err != nil {
		p.t.Fatal(err)
	}
	p.nc = nc
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := bus.Provision(ctx, p.js, bus.Layout{AckWait: p.ackWait}, true); err != nil {
		p.t.Fatal(err)
	}
}

// send publishes an event once, with or without a message id, until it is
// stored.
func (p *plant) send(e event.Event, withID bool) {
	payload, err := events.Parse(e)
	if err != nil {
		p.t.Errorf("%s: %v", e.ID(), err)
		return
	}
	header, data, err := events.Encode(e, events.Mode(rand.IntN(2)))
	if err != nil {
		p.t.Error(err)
		return
	}
	msg := &nats.Msg{Subject: events.InSubject(e.Type(), events.DatasetOf(payload)), Header: header, Data: data}
	if withID {
		msg.Header.Set(jetstream.MsgIDHeader, events.MessageID(e.Source(), e.ID()))
	}
	for began := time.Now(); time.Since(began) < 2*time.Minute; time.Sleep(50 * time.Millisecond) {
		if _, err = p.js.PublishMsg(context.Background(), msg); err == nil {
			return
		}
	}
	p.t.Errorf("could not publish %s: %v", e.ID(), err)
}

// drained waits until no input is pending or unacknowledged.
func (p *plant) drained(limit time.Duration) {
	p.t.Helper()
	var left string
	quiet := 0 // times in a row: a message that moves between consumers' lists is not counted for a moment
	for began := time.Now(); time.Since(began) < limit; time.Sleep(100 * time.Millisecond) {
		left = ""
		for _, name := range []string{bus.WorkConsumer, bus.LabelsConsumer} {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			c, err := p.js.Consumer(ctx, bus.StreamIn, name)
			cancel()
			if err != nil {
				left = err.Error()
			} else if i := c.CachedInfo(); i.NumPending > 0 || i.NumAckPending > 0 {
				left += fmt.Sprintf("%s: %d waiting, %d unacknowledged; ", name, i.NumPending, i.NumAckPending)
			}
		}
		if quiet++; left != "" {
			quiet = 0
		} else if quiet == 5 {
			return
		}
	}
	p.t.Fatalf("not drained after %v: %s", limit, left)
}

func newEvent(typ, id string, data any) event.Event {
	e := event.New()
	e.SetType(typ)
	e.SetSource("/test/chaos")
	e.SetID(id)
	e.SetTime(time.Now())
	e.SetDataSchema(events.DataSchema(typ))
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		panic(err)
	}
	return e
}

// addDataset publishes rows × dim embeddings inline and waits for them.
func (p *plant) addDataset(name string, rows, dim int) []string {
	rng := rand.New(rand.NewPCG(1, uint64(rows)))
	var names []string
	var lines []map[string]any
	for i := range rows {
		v := make([]float64, dim)
		for j := range v {
			v[j] = float64(float32(rng.NormFloat64()))
		}
		names = append(names, fmt.Sprintf("%s/%05d.jpg", name, i))
		lines = append(lines, map[string]any{"filename": names[i], "embedding": v})
	}
	data, err := json.Marshal(lines)
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(newEvent(events.EmbeddingsReady, "embeddings-"+name, events.Embeddings{Dataset: name,
		Embeddings: events.Reference{URI: "inline:", Data: data}}), true)
	return names
}

// waitFor waits until the job of an event is done.
func (p *plant) waitFor(id string) {
	p.t.Helper()
	for began := time.Now(); time.Since(began) < 2*time.Minute; time.Sleep(50 * time.Millisecond) {
		s, err := p.js.Stream(context.Background(), bus.Stream)
		if err != nil {
			continue
		}
		m, err := s.GetLastMsgForSubject(context.Background(), "al.v1.job."+state.JobID("/test/chaos", id))
		if err == nil && strings.Contains(string(m.Data), `"state":"done"`) {
			return
		}
	}
	p.t.Fatalf("%s is not done", id)
}

// chaosLength is how long faults are injected: seconds in `make test`, minutes
// in `make chaos`.
func chaosLength() time.Duration {
	if m, err := strconv.Atoi(os.Getenv("CHAOS_MINUTES")); err == nil {
		return time.Duration(m) * time.Minute
	}
	return time.Minute
}

// TestChaos: 4 workers, one hot dataset and seven others, random kills of
// workers and of the server, zombies, every event sent one to three times.
func TestChaos(t *testing.T) {
	const workers = 4
	length := chaosLength()
	p := newPlant(t, workers, time.Second, "AL_SLOTS=2", "AL_MAX_ATTEMPTS=50", "AL_DRAIN=2s")
	led := newLedger()
	var sets []string
	for i := range 8 {
		name := fmt.Sprintf("set%d", i)
		sets = append(sets, name)
		led.names[name] = p.addDataset(name, 3000, 4)
		led.expect("embeddings-" + name)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 5*length)
	defer cancel()
	heal, healed := context.WithCancel(context.Background())
	defer healed()
	var kills, zombies, serverKills, sent atomic.Int64
	var wg, respawns sync.WaitGroup
	for i := range workers {
		respawns.Go(func() { p.respawn(heal, i, func() {}) })
	}
	began := time.Now()
	enough := func() bool {
		return sent.Load() >= 2000 && kills.Load() >= 150 && zombies.Load() >= 60 && serverKills.Load() >= 30
	}
	wg.Go(func() { // goes on for its length, and on a slow machine until it proves enough
		for ctx.Err() == nil && (time.Since(began) < length || !enough()) {
			time.Sleep(100 * time.Millisecond)
		}
		cancel()
	})
	wg.Go(func() { // kill workers
		for ctx.Err() == nil {
			time.Sleep(time.Duration(100+rand.IntN(200)) * time.Millisecond)
			p.signal(rand.IntN(workers), syscall.SIGKILL)
			kills.Add(1)
		}
	})
	for range 2 {
		wg.Go(func() { // stop them beyond their lease
			for ctx.Err() == nil {
				i := rand.IntN(workers)
				p.signal(i, syscall.SIGSTOP)
				time.Sleep(p.ackWait + p.ackWait/4)
				p.signal(i, syscall.SIGCONT)
				zombies.Add(1)
			}
		})
	}
	wg.Go(func() { // kill the server
		for ctx.Err() == nil {
			time.Sleep(time.Duration(900+rand.IntN(500)) * time.Millisecond)
			p.killServer()
			serverKills.Add(1)
		}
	})
	for k := range 6 { // producers
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(42, uint64(k)))
			for n := 0; ctx.Err() == nil; n++ {
				e := led.next(rng, sets, fmt.Sprintf("%d-%d", k, n))
				for range 1 + rng.IntN(3) {
					p.send(e, rng.IntN(2) == 0)
				}
				sent.Add(1)
				time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
	faults := time.Since(began)
	for i := range workers {
		p.signal(i, syscall.SIGCONT)
	}
	p.drained(2*time.Minute + length)
	healed()
	for i := range workers {
		p.signal(i, syscall.SIGKILL)
	}
	respawns.Wait()
	report := led.check(t, p)
	t.Logf("chaos: %d events in %v, %d worker kills, %d zombies, %d server kills: %s",
		sent.Load(), faults.Round(time.Second), kills.Load(), zombies.Load(), serverKills.Load(), report)
	if !enough() {
		t.Errorf("the run proves too little: want at least 2000 events, 150 worker kills, 60 zombies and 30 server kills")
	}
}

// TestFailpoints kills a worker at each named step of the protocol, 20 times
// each, while events of every type flow.
func TestFailpoints(t *testing.T) {
	const times = 20
	for _, step := range []string{"delivered", "before-claim", "after-claim", "work:set0", "before-blob", "before-commit", "after-commit", "before-ack", "before-fold", "after-fold"} {
		t.Run(strings.ReplaceAll(step, ":", "-"), func(t *testing.T) {
			t.Parallel()
			p := newPlant(t, 2, time.Second, "AL_MAX_ATTEMPTS=100")
			led := newLedger()
			led.names["set0"] = p.addDataset("set0", 500, 4)
			led.expect("embeddings-set0")
			p.drained(2 * time.Minute)
			p.waitFor("embeddings-set0")
			p.signal(0, syscall.SIGKILL)
			p.ws[0].Wait()
			p.startWorker(0, "NEXTBATCH_FAILPOINT="+step+"=kill")
			ctx, stop := context.WithCancel(context.Background())
			var died atomic.Int64
			var wg sync.WaitGroup
			wg.Go(func() {
				p.respawn(ctx, 0, func() { died.Add(1) }, "NEXTBATCH_FAILPOINT="+step+"=kill")
			})
			rng := rand.New(rand.NewPCG(7, 7))
			for n := 0; died.Load() < times && n < 4000; n++ {
				e := led.next(rng, []string{"set0"}, strconv.Itoa(n))
				for range 1 + rng.IntN(2) {
					p.send(e, false)
				}
				time.Sleep(10 * time.Millisecond)
			}
			stop()
			p.signal(0, syscall.SIGKILL)
			wg.Wait()
			p.startWorker(0)
			p.drained(2 * time.Minute)
			t.Logf("%s: died %d times: %s", step, died.Load(), led.check(t, p))
			if died.Load() < times {
				t.Errorf("the worker died only %d times at %s", died.Load(), step)
			}
		})
	}
}

// TestDrain stops workers with SIGTERM again and again while events flow, with
// almost no time to finish: no attempt is lost to it.
func TestDrain(t *testing.T) {
	t.Parallel()
	const stops = 20
	p := newPlant(t, 2, 3*time.Second, "AL_DRAIN=1ms", "NEXTBATCH_FAILPOINT=work:set0=sleep:*", "AL_LOG_LEVEL=warn")
	led := newLedger()
	led.names["set0"] = p.addDataset("set0", 200, 4)
	led.expect("embeddings-set0")
	ctx, stop := context.WithCancel(context.Background())
	var died atomic.Int64
	var wg sync.WaitGroup
	for i := range p.ws {
		wg.Go(func() { p.respawn(ctx, i, func() { died.Add(1) }) })
	}
	rng := rand.New(rand.NewPCG(3, 3))
	for n := 0; died.Load() < stops; n++ {
		if n < 40 {
			p.send(led.next(rng, []string{"set0"}, strconv.Itoa(n)), true)
		}
		time.Sleep(100 * time.Millisecond)
		if n%5 == 4 {
			p.signal(n%2, syscall.SIGTERM)
		}
	}
	p.drained(2 * time.Minute)
	stop()
	for i := range p.ws {
		p.signal(i, syscall.SIGKILL)
	}
	wg.Wait()
	t.Logf("%d stops: %s", died.Load(), led.check(t, p))
	for _, m := range readAll(t.Context(), t, p.js, bus.Stream, "al.v1.job.*") {
		var job state.Job
		if err := json.Unmarshal(m.Data(), &job); err != nil {
			t.Fatal(err)
		}
		if job.Attempt != 1 || job.Suspect {
			t.Errorf("job of %s: %d attempts, suspect %v", job.Event.ID, job.Attempt, job.Suspect)
		}
	}
}

// TestPoison: events that panic, loop, exhaust the memory or kill the process
// as soon as they are delivered become dead letters after exactly the
// configured attempts, while other work goes on.
func TestPoison(t *testing.T) {
	const attempts = 3
	for _, poison := range []string{"panic", "loop", "oom", "kill"} {
		t.Run(poison, func(t *testing.T) {
			t.Parallel()
			p := newPlant(t, 0, time.Second)
			p.limit = 3 << 20
			p.ws = make([]*exec.Cmd, 2)
			env := []string{"AL_MAX_ATTEMPTS=" + strconv.Itoa(attempts), "AL_DEADLINE=2s", "NEXTBATCH_FAILPOINT=work:poison=" + poison + ":*"}
			ctx, stop := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			var died atomic.Int64
			for i := range p.ws {
				p.startWorker(i, env...)
				wg.Go(func() { p.respawn(ctx, i, func() { died.Add(1) }, env...) })
			}
			led := newLedger()
			led.names["set0"] = p.addDataset("set0", 500, 4)
			led.expect("embeddings-set0")
			bad := newEvent(events.EmbeddingsReady, "poison", events.Embeddings{Dataset: "poison",
				Embeddings: events.Reference{URI: "inline:", Data: json.RawMessage(`[{"filename":"a.jpg","embedding":[1]}]`)}})
			p.send(bad, false)
			rng := rand.New(rand.NewPCG(9, 9))
			for n := range 100 {
				p.send(led.next(rng, []string{"set0"}, strconv.Itoa(n)), true)
				time.Sleep(20 * time.Millisecond)
			}
			led.expectDead("poison", attempts)
			p.drained(2 * time.Minute)
			stop()
			for i := range p.ws {
				p.signal(i, syscall.SIGKILL)
			}
			wg.Wait()
			t.Logf("%s: workers died %d times: %s", poison, died.Load(), led.check(t, p))
		})
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	e, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{Dir: t.TempDir()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	_, host, _ := strings.Cut(e.URL, "@")
	return host
}
