package deploy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/bus"
)

// role is a connection with the permissions of one program.
type role struct {
	name string
	nc   *nats.Conn
	js   jetstream.JetStream
	errs chan error // what the server refused
}

// roles starts a server with nats/permissions.conf and connects everyone.
func roles(t *testing.T, ackV2 bool) map[string]*role {
	t.Helper()
	names := []string{"producer", "annotation", "worker", "provisioner"}
	for _, n := range names {
		t.Setenv("NATS_"+strings.ToUpper(n)+"_PASSWORD", "secret-of-"+n)
	}
	opts, err := server.ProcessConfigFile("nats/permissions.conf")
	if err != nil {
		t.Fatal(err)
	}
	if len(opts.Users) != len(names) || opts.NoAuthUser != "" {
		t.Fatalf("%d users, and %q for those without a name; want %v only", len(opts.Users), opts.NoAuthUser, names)
	}
	opts.JetStream, opts.StoreDir, opts.DontListen = true, t.TempDir(), true
	opts.NoSigs, opts.NoLog = true, true
	opts.FeatureFlags = map[string]bool{"js_ack_fc_v2": ackV2}
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("server does not start")
	}
	all := map[string]*role{}
	for _, n := range names {
		r := &role{name: n, errs: make(chan error, 64)}
		r.nc, err = nats.Connect("", nats.InProcessServer(srv), nats.UserInfo(n, "secret-of-"+n),
			nats.CustomInboxPrefix("_INBOX_"+n),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { r.errs <- err }))
		if err != nil {
			t.Fatalf("%s: %v", n, err)
		}
		t.Cleanup(r.nc.Close)
		if r.js, err = jetstream.New(r.nc); err != nil {
			t.Fatal(err)
		}
		all[n] = r
	}
	return all
}

// provision creates everything from the files, as the operator would.
func provision(t *testing.T, ctx context.Context, js jetstream.JetStream) {
	t.Helper()
	for _, name := range []string{bus.StreamIn, bus.Stream} {
		cfg := readJSON[jetstream.StreamConfig](t, name)
		if cfg.Replicas != clusterReplicas {
			t.Errorf("%s.json: %d replicas, want %d", name, cfg.Replicas, clusterReplicas)
		}
		cfg.Replicas = 1 // there is one server here
		if _, err := js.CreateStream(ctx, cfg); err != nil {
			t.Fatalf("provisioner creates stream %s: %v", name, err)
		}
	}
	if _, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: bucket}); err != nil {
		t.Fatalf("provisioner creates the bucket %s: %v", bucket, err)
	}
	for name, stream := range map[string]string{bus.WorkConsumer: bus.StreamIn, bus.LabelsConsumer: bus.StreamIn, "al-annotation": bus.Stream, "al-training": bus.Stream} {
		if _, err := js.CreateConsumer(ctx, stream, readJSON[jetstream.ConsumerConfig](t, name)); err != nil {
			t.Fatalf("provisioner creates consumer %s: %v", name, err)
		}
	}
}

// bucket is where arrays go by default. Its operator makes it.
const bucket = "al-data"

// put stores an array of several messages, twice, as a job that is retried.
func (r *role) put(t *testing.T, ctx context.Context) {
	t.Helper()
	b, err := r.js.ObjectStore(ctx, bucket)
	if err != nil {
		t.Fatalf("%s binds the bucket: %v", r.name, err)
	}
	for range 2 {
		if _, err := b.PutBytes(ctx, "a.npz", make([]byte, 1<<20)); err != nil {
			t.Fatalf("%s puts an array: %v", r.name, err)
		}
	}
}

// look reads it without a consumer: one that a producer makes could write
// into any stream.
func (r *role) look(t *testing.T, ctx context.Context) {
	t.Helper()
	s, err := r.js.Stream(ctx, "OBJ_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.GetLastMsgForSubject(ctx, "$O."+bucket+".M.>"); err != nil {
		t.Errorf("%s looks for an array: %v", r.name, err)
	}
	if m, err := s.GetMsg(ctx, 1, jetstream.WithGetMsgSubject("$O."+bucket+".C.>")); err != nil || len(m.Data) == 0 {
		t.Errorf("%s reads an array: %v", r.name, err)
	}
}

// get reads it.
func (r *role) get(t *testing.T, ctx context.Context) {
	t.Helper()
	b, err := r.js.ObjectStore(ctx, bucket)
	if err != nil {
		t.Fatalf("%s binds the bucket: %v", r.name, err)
	}
	if _, err := b.GetInfo(ctx, "a.npz"); err != nil {
		t.Fatalf("%s looks for an array: %v", r.name, err)
	}
	if array, err := b.GetBytes(ctx, "a.npz"); err != nil || len(array) != 1<<20 {
		t.Fatalf("%s gets %d bytes of an array: %v", r.name, len(array), err)
	}
}

// TestRolesCanWork takes one event through the whole loop with the permissions
// of each program, in both forms of acknowledgement subjects.
func TestRolesCanWork(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("js_ack_fc_v2=%v", v2), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			all := roles(t, v2)
			producer, annotation, worker := all["producer"], all["annotation"], all["worker"]
			provision(t, ctx, all["provisioner"].js)

			for _, typ := range []string{"embeddings.ready", "predictions.ready", "selection.requested"} {
				producer.publish(t, ctx, "al.v1.in."+typ+".d")
			}
			producer.put(t, ctx)
			worker.get(t, ctx)
			producer.look(t, ctx) // rank 0, which joins the shards of the others
			if err := bus.Provision(ctx, worker.js, bus.Layout{}, false); err != nil {
				t.Errorf("worker verifies the streams: %v", err)
			}
			for range 3 {
				worker.take(t, ctx, v2, bus.StreamIn, bus.WorkConsumer)
			}
			if _, err := bus.ResultsConsumer(ctx, worker.js, "al-webhook-tool", "", time.Minute, false, true, "al.v1.out.selection.created.*", "al.v1.out.labelset.updated.*"); err != nil {
				t.Errorf("worker makes the consumer of a webhook: %v", err)
			}
			worker.commit(t, ctx, "al.v1.dataset.d", "al.v1.job.j", "al.v1.tag.d.t", "al.v1.labels.d",
				"al.v1.scores.d.t", "al.v1.sample.d.0.0", "al.v1.gone.i", "al.v1.secret",
				"al.v1.task.d.-1.t", "al.v1.prediction.d.-1.0.0", "al.v1.metadata.d.m", "al.v1.compute.u.run.r", "al.v1.tool.t.d.x",
				"al.v1.out.selection.created.d", "al.v1.out.labelset.updated.d", "al.v1.dlq.d")
			worker.publish(t, ctx, "al.v1.probe")
			worker.publish(t, ctx, "al.v1.in.predictions.ready.d") // replayed from the dead letters
			worker.read(t, ctx)
			worker.purge(t, ctx)
			worker.take(t, ctx, v2, bus.Stream, "al-webhook-tool")

			annotation.take(t, ctx, v2, bus.Stream, "al-annotation")
			annotation.publish(t, ctx, "al.v1.in.labels.completed.d")
			worker.take(t, ctx, v2, bus.StreamIn, bus.LabelsConsumer)
			for range 2 {
				producer.take(t, ctx, v2, bus.Stream, "al-training")
			}
			for _, r := range all {
				select {
				case err := <-r.errs:
					t.Errorf("%s: %v", r.name, err)
				default:
				}
			}
		})
	}
}

func (r *role) publish(t *testing.T, ctx context.Context, subject string) {
	t.Helper()
	if _, err := r.js.Publish(ctx, subject, []byte("{}")); err != nil {
		t.Errorf("%s publishes %s: %v", r.name, subject, err)
	}
}

// take binds a durable, pulls one message, extends its lease and acknowledges.
func (r *role) take(t *testing.T, ctx context.Context, v2 bool, stream, durable string) {
	t.Helper()
	c, err := r.js.Consumer(ctx, stream, durable)
	if err != nil {
		t.Fatalf("%s binds %s: %v", r.name, durable, err)
	}
	msg, err := c.Next(jetstream.FetchMaxWait(2 * time.Minute))
	if err != nil {
		t.Fatalf("%s pulls from %s: %v", r.name, durable, err)
	}
	if isV1 := strings.HasPrefix(msg.Reply(), "$JS.ACK."+stream+"."+durable+"."); isV1 == v2 {
		t.Fatalf("reply subject %s is not in the form that is tested", msg.Reply())
	}
	if err := msg.InProgress(); err != nil {
		t.Errorf("%s: in progress: %v", r.name, err)
	}
	if err := msg.DoubleAck(ctx); err != nil {
		t.Errorf("%s acknowledges on %s: %v", r.name, durable, err)
	}
}

// commit writes one atomic batch.
func (r *role) commit(t *testing.T, ctx context.Context, subjects ...string) {
	t.Helper()
	for i, subject := range subjects {
		m := nats.NewMsg(subject)
		m.Header.Set("Nats-Batch-Id", "batch")
		m.Header.Set("Nats-Batch-Sequence", fmt.Sprint(i+1))
		m.Header.Set("Nats-TTL", "never")
		m.Header.Set("Nats-Expected-Last-Subject-Sequence", "0")
		if i == len(subjects)-1 {
			m.Header.Set("Nats-Batch-Commit", "1")
		}
		reply, err := r.nc.RequestMsgWithContext(ctx, m)
		if err != nil || strings.Contains(string(reply.Data), "error") {
			t.Fatalf("%s commits %s: %v %s", r.name, subject, err, reply.Data)
		}
	}
}

// purge removes what a deleted dataset left.
func (r *role) purge(t *testing.T, ctx context.Context) {
	t.Helper()
	s, err := r.js.Stream(ctx, bus.Stream)
	if err == nil {
		err = s.Purge(ctx, jetstream.WithPurgeSubject("al.v1.sample.d.>"))
	}
	if err != nil {
		t.Errorf("%s purges: %v", r.name, err)
	}
}

// read looks back at an input, gets a record and lists all of a kind.
func (r *role) read(t *testing.T, ctx context.Context) {
	t.Helper()
	in, err := r.js.Stream(ctx, bus.StreamIn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.GetMsg(ctx, 1, jetstream.WithGetMsgSubject("al.v1.in.>")); err != nil {
		t.Errorf("%s reads an input: %v", r.name, err)
	}
	s, err := r.js.Stream(ctx, bus.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.GetLastMsgForSubject(ctx, "al.v1.job.j"); err != nil {
		t.Errorf("%s reads a record: %v", r.name, err)
	}
	list, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"al.v1.tag.>"}})
	if err != nil {
		t.Fatalf("%s lists: %v", r.name, err)
	}
	for range 2 { // the second replaces the consumer of the first
		batch, err := list.Fetch(1, jetstream.FetchMaxWait(200*time.Millisecond))
		if err != nil {
			t.Fatalf("%s lists: %v", r.name, err)
		}
		for range batch.Messages() {
		}
	}
}

// TestRolesAreKeptApart tries what each program must not do.
func TestRolesAreKeptApart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	all := roles(t, false)
	provision(t, ctx, all["provisioner"].js)

	forge := []string{"al.v1.dataset.d", "al.v1.tag.d.t", "al.v1.labels.d", "al.v1.job.j", "al.v1.scores.d.t", "al.v1.sample.d.0.0", "al.v1.gone.i", "al.v1.secret",
		"al.v1.task.d.-1.t", "al.v1.prediction.d.-1.0.0", "al.v1.metadata.d.m", "al.v1.compute.u.run.r", "al.v1.tool.t.d.x", "al.v1.out.selection.created.d", "al.v1.dlq.d", "al.v1.probe"}
	administer := []string{
		"$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.UPDATE.AL", "$JS.API.STREAM.DELETE.AL", "$JS.API.STREAM.PURGE.AL_IN", "$JS.API.STREAM.MSG.DELETE.AL",
		"$JS.API.CONSUMER.CREATE.AL_IN.x", "$JS.API.CONSUMER.DURABLE.CREATE.AL_IN.x", "$JS.API.CONSUMER.DELETE.AL_IN.al-workers",
		"$JS.API.CONSUMER.PAUSE.AL_IN.al-workers", "$JS.API.STREAM.DELETE.OBJ_al-data", "$JS.API.STREAM.UPDATE.OBJ_al-data",
	}
	steal := []string{
		"$JS.API.CONSUMER.MSG.NEXT.AL_IN.al-workers", "$JS.API.CONSUMER.MSG.NEXT.AL_IN.al-labels",
		"$JS.ACK.AL_IN.al-workers.1.1.1.1.0", "$JS.ACK._.hash.AL_IN.al-workers.1.1.1.1.0",
		"$JS.API.STREAM.MSG.GET.AL_IN", "$JS.API.DIRECT.GET.AL_IN", "$JS.API.DIRECT.GET.AL_IN.al.v1.in.predictions.ready.d",
		"$JS.API.DIRECT.GET.AL.al.v1.job.j", "$JS.API.STREAM.MSG.GET.AL", "$JS.API.CONSUMER.CREATE.AL.x", "$JS.API.CONSUMER.DELETE.AL.al-training", "$JS.API.STREAM.PURGE.AL",
	}
	publish := map[string][]string{
		"producer": concat(forge, administer, steal, []string{"al.v1.in.labels.completed.d", "$JS.API.CONSUMER.CREATE.OBJ_al-data.x",
			"$JS.API.CONSUMER.MSG.NEXT.AL.al-annotation", "$JS.ACK.AL.al-annotation.1.1.1.1.0", "_INBOX_worker.x"}),
		"annotation": concat(forge, administer, steal, []string{"al.v1.in.predictions.ready.d", "al.v1.in.embeddings.ready.d", "al.v1.in.selection.requested.d",
			"$O.al-data.M.x", "$O.al-data.C.x", "$JS.API.STREAM.PURGE.OBJ_al-data", "$JS.API.CONSUMER.CREATE.OBJ_al-data.x", "$JS.API.CONSUMER.MSG.NEXT.AL.al-training", "$JS.ACK._.hash.AL.al-training.1.1.1.1.0", "_INBOX_worker.x"}),
		"worker":      concat(administer, []string{"$O.al-data.M.x", "$O.al-data.C.x", "$JS.API.STREAM.PURGE.OBJ_al-data"}),
		"provisioner": concat(forge, []string{"al.v1.in.predictions.ready.d", "$JS.ACK.AL_IN.al-workers.1.1.1.1.0"}),
	}
	for name, subjects := range publish {
		for _, subject := range subjects {
			all[name].refused(t, "Publish", subject, func() error { return all[name].nc.Publish(subject, []byte("{}")) })
		}
	}
	for name, r := range all {
		for _, subject := range []string{">", "_INBOX.>", "al.v1.>", "al.v1.in.>", "$JS.ACK.>", "$JS.API.>"} {
			r.refused(t, "Subscription", subject, func() error { _, err := r.nc.SubscribeSync(subject); return err })
		}
		for other := range all {
			if other != name {
				inbox := "_INBOX_" + other + ".>"
				r.refused(t, "Subscription", inbox, func() error { _, err := r.nc.SubscribeSync(inbox); return err })
			}
		}
	}

	for _, name := range []string{bus.StreamIn, bus.Stream} {
		s, err := all["provisioner"].js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.CachedInfo().State.Msgs; n != 0 {
			t.Errorf("stream %s holds %d messages after refused publishes", name, n)
		}
	}
}

// refused does something and waits for the server's complaint about it.
func (r *role) refused(t *testing.T, what, subject string, try func() error) {
	t.Helper()
	if err := try(); err != nil {
		t.Fatal(err)
	}
	if err := r.nc.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.errs:
		if want := fmt.Sprintf("permissions violation for %s to %q", strings.ToLower(what), strings.ToLower(subject)); !strings.Contains(strings.ToLower(err.Error()), want) {
			t.Errorf("%s: %v, want %s", r.name, err, want)
		}
	case <-time.After(time.Minute):
		t.Errorf("%s: %s to %s was allowed", r.name, what, subject)
	}
}

func concat(lists ...[]string) (all []string) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// TestComposeServer loads the configuration of compose.yaml's NATS.
func TestComposeServer(t *testing.T) {
	t.Setenv("NATS_PASSWORD", "a0b1c2")
	opts, err := server.ProcessConfigFile("nats/compose.conf")
	if err != nil {
		t.Fatal(err)
	}
	if !opts.JetStream || !opts.SyncAlways || opts.StoreDir != "/data" || opts.JetStreamMaxStore != 10<<30 || opts.MaxPayload != 2<<20 ||
		opts.Username != "nextbatch" || opts.Password != "a0b1c2" {
		t.Errorf("options %+v", opts)
	}
}
