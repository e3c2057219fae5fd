package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"nextbatch/internal/blob"
	"nextbatch/internal/events"
	"nextbatch/internal/score"
	"nextbatch/internal/selection"
	"nextbatch/internal/state"
)

// budget is the memory that attempts share. Each is admitted once, for all that
// it will need, first come, first served: so nobody waits for somebody who
// waits, and a large attempt is not overtaken for ever. Mapped embeddings count
// as if they were the attempt's own; attempts on one dataset run one after the
// other, so few ever share them.
type budget struct {
	total int64 // bytes
	free  *semaphore.Weighted
}

func newBudget(bytes int64) budget { return budget{bytes, semaphore.NewWeighted(bytes)} }

// admitted is the memory of one attempt.
type admitted struct {
	bytes   int64
	decode  int64 // of these, what reading references may take
	decoded int64 // and has taken
	classes int   // whose probabilities are kept
}

// admit waits for the memory of the next attempt. An attempt that is sure to
// need more than there is at all gets none: the reason becomes the message's
// error. The caller releases what c.memory says.
//
// It looks at the state of the dataset, which may change until the attempt
// begins, and guesses what references decode to. So it refuses nothing by
// guesses, errors are left to the attempt, and fits looks again.
func (w *Worker) admit(ctx context.Context, c *claim) error {
	c.memory = admitted{}
	if c.m.Err != nil || expired(c.m.Event) {
		return nil
	}
	known, guess := need{}, int64(0)
	if v, err := w.view(ctx, change{dataset: datasetOf(c.m), creates: true}, c); err == nil {
		known = w.need(ctx, v, c.m, load{})
		guess = w.guess(ctx, v, c.m)
	}
	if known.total() > w.budget.total {
		c.m.Err = w.tooLarge(known)
		return nil
	}
	bytes := min(max(known.total()+guess, c.job.Memory), w.budget.total)
	w.metrics.memoryWaiting.Inc()
	err := w.budget.free.Acquire(ctx, bytes)
	w.metrics.memoryWaiting.Dec()
	if err != nil {
		return &events.Retry{Err: fmt.Errorf("waiting for memory: %w", context.Cause(ctx))}
	}
	w.metrics.memoryAdmitted.Add(float64(bytes))
	c.memory = admitted{bytes: bytes, decode: bytes - known.total()}
	return nil
}

// dismiss gives the memory of an attempt back. What a large one leaves behind
// goes to the system first: else the next is admitted to memory that garbage
// has.
func (w *Worker) dismiss(c *claim) {
	if c.memory.bytes > min(w.budget.total/16, tidyFrom) {
		debug.FreeOSMemory()
	}
	w.budget.free.Release(c.memory.bytes)
	w.metrics.memoryAdmitted.Sub(float64(c.memory.bytes))
}

// grow admits a running attempt with more bytes, if those are free and nobody
// waits for them. It does not wait itself: two that wait for one another would
// do so for ever.
func (c *claim) grow(bytes int64) bool {
	if bytes > 0 {
		if !c.w.budget.free.TryAcquire(bytes) {
			return false
		}
		c.memory.bytes += bytes
		c.w.metrics.memoryAdmitted.Add(float64(bytes))
	}
	return true
}

// more is grow for references that do not decode to what was guessed: to twice
// as much, since it may be the beginning only, or else to what is asked for.
func (c *claim) more(short int64) (granted int64) {
	for _, bytes := range []int64{max(short, c.memory.decode), max(short, c.memory.decode/8)} {
		if c.grow(bytes) {
			c.memory.decode += bytes
			return bytes
		}
	}
	return 0
}

// short ends an attempt that got no more.
func (c *claim) short(bytes int64) error {
	wants := max(bytes, min(c.memory.decode, c.w.budget.total-c.memory.bytes))
	return c.fits(need{{"data of the event, or more", c.memory.decode + wants}, {"what it is added to", c.memory.bytes - c.memory.decode}})
}

// fits reports an error if an attempt needs more memory than it was admitted
// with: all is given back and asked for anew, or there can never be enough.
func (c *claim) fits(n need) error {
	if n.total() > c.w.budget.total {
		return c.w.tooLarge(n)
	}
	if c.grow(n.total() - c.memory.bytes) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.job.Memory = n.total()
	return &events.Retry{After: jitter(100 * time.Millisecond), Err: fmt.Errorf("needs %s of memory, was admitted with %s", size(n.total()), size(c.memory.bytes))}
}

func (w *Worker) tooLarge(n need) *events.Error {
	less := "use embeddings of fewer dimensions, a smaller dataset or less data in one event"
	if slices.ContainsFunc(n, func(p part) bool { return p.what == herdingLists && p.bytes > n.total()/2 }) {
		less = "choose a method that takes less: CORESET, CORAL or ACTIVE_LEARNING"
	}
	return &events.Error{Code: "memory_budget",
		Message: fmt.Sprintf("needs %s of memory, and all jobs of this worker together may take %s: %s", size(n.total()), size(w.budget.total), n),
		Hint:    "raise AL_MEMORY_BYTES and the limit of the container, or " + less}
}

const (
	herdingLists = "selecting by herding" // a part of a need that another method has not
	tidyFrom     = 256 << 20              // bytes of an attempt whose memory returns to the system at once
)

// need is the memory that an attempt takes at its peak, by what takes it.
type need []part

type part struct {
	what  string
	bytes int64
}

func (n need) total() (bytes int64) {
	for _, p := range n {
		bytes += p.bytes
	}
	return bytes
}

func (n need) String() string {
	var s []string
	for _, p := range n {
		if p.bytes > 0 {
			s = append(s, size(p.bytes)+" "+p.what)
		}
	}
	return strings.Join(s, ", ")
}

// load is what an event adds to its dataset. The zero value is nothing, or
// nothing that is known yet.
type load struct {
	bytes  int64    // that its references decoded to
	names  []string // of new rows
	dim    int      // of the vectors
	copied int64    // bytes of vectors that are brought into order

	classes int // whose probabilities are kept
}

// need is what an attempt at an event takes, as far as the state of its dataset
// and the load tell. The factors are those of the code: what state.Names and
// state.Labels hold of a row and take to decode and encode, a score vector and
// its bytes, and a name in a result as a string, in JSON, and in the blob.
func (w *Worker) need(ctx context.Context, v *view, m *events.Message, l load) need {
	d := v.dataset
	rows := int64(d.Rows + len(l.names))
	text := w.textBytes(d)
	for _, name := range l.names {
		text += int64(len(name))
	}
	n := need{
		{"filenames and labels", 2*text + 64*rows},
		{"data of the event", l.bytes},
		{"putting vectors into order", l.copied},
	}
	if p, ok := m.Payload.(*events.Predictions); ok {
		n = append(n, part{"scoring", 8 * rows * int64(2*len(score.NewVectors(p.Task, 0))+2)})
	}
	if l.classes > 0 {
		n = append(n, probabilityBytes(int(rows), l.classes))
	}
	spec := specOf(m)
	if occasion(d.Policy, m) {
		spec = new(events.Spec)
	}
	queryTag, preselectedTag := tagsOf(m)
	if spec == nil {
		return n
	}
	s := w.fill(inherit(*spec, d.Policy))
	centers := w.centers(ctx, v, preselectedTag)
	picks := *s.BatchSize
	if s.NSamples != nil {
		picks = *s.NSamples - centers
	}
	picks = min(max(picks, 0), int(rows))
	selected := int64(centers + picks)
	dim := 0
	if w.selector.Vectors() && w.needsVectors(s) {
		dim = d.Embeddings[s.Embedding].Dim
		if e, ok := m.Payload.(*events.Embeddings); ok && cmp.Or(e.Embedding, "default") == s.Embedding {
			dim = cmp.Or(l.dim, dim)
		}
	}
	if s.Metric == events.Cosine && slices.Contains(herding, selection.Method(s.Method)) {
		n = append(n, part{"their directions", 4 * rows * int64(dim)})
	}
	selecting := "selecting"
	if slices.Contains(herding, selection.Method(s.Method)) {
		selecting = herdingLists
	}
	return append(n,
		part{fmt.Sprintf("embeddings %q of %d × %d", s.Embedding, rows, dim), 4 * rows * int64(dim)},
		part{selecting, selection.MemoryBytes(selection.Method(s.Method), int(rows), dim, centers, picks)},
		part{"values of strategies", strategyBytes(s.Strategies, rows)},
		part{"scores", 8 * rows * int64(w.scoreVectors(d, queryTag)+1)},
		part{"the result", 1024*int64(picks) + selected*(16+6*text/max(rows, 1))})
}

// scoreVectors is how many score vectors a query holds in memory: the one that
// decides, or for another platform all of them.
func (w *Worker) scoreVectors(d state.Dataset, queryTag string) int {
	if w.selector.Vectors() {
		return 1
	}
	return len(d.Scores[queryName(queryTag)].Scores)
}

// tagsOf returns the query tag and the preselected tag that an event names.
func tagsOf(m *events.Message) (query, preselected string) {
	switch p := m.Payload.(type) {
	case *events.Predictions:
		return p.QueryTag, p.PreselectedTag
	case *events.Request:
		return p.QueryTag, p.PreselectedTag
	}
	return "", ""
}

// needsVectors reports whether a query of the embedded engine has to do with
// distances.
func (w *Worker) needsVectors(s events.Spec) bool {
	return selection.Method(s.Method).NeedsEmbeddings() || *s.MinDistance > 0 || onEmbeddings(s.Strategies)
}

// strategyBytes is about what the values of strategies take: two vectors each,
// a record per sample while metadata are read, and the shares of a balance.
func strategyBytes(list []events.Strategy, rows int64) (bytes int64) {
	for _, s := range list {
		bytes += 16 * rows
		if s.Input.Type == "METADATA" {
			bytes += 32 * rows
		}
		if s.Rule.Type == "BALANCE" {
			classes := 64 // if nobody says how many
			if n := len(s.Rule.Target); n > 0 {
				classes = n + 1
			}
			bytes += 4 * rows * int64(classes)
		}
	}
	return bytes
}

// centers is how many samples are selected or labeled already, or in the tag
// that stands for them.
func (w *Worker) centers(ctx context.Context, v *view, tag string) int {
	if tag != "" {
		t, _, err := w.store.Tag(ctx, v.dataset.Name, tag)
		if err == nil {
			return t.Count
		}
	}
	c := v.labels.Count(nil)
	return c.Labeled + c.Pending
}

// textBytes is the length of all filenames.
func (w *Worker) textBytes(d state.Dataset) (bytes int64) {
	for _, c := range d.Filenames {
		n, err := w.blobs.Size(c.SHA256)
		if err == nil { // else the attempt will tell
			bytes += n
		}
	}
	return bytes
}

// guess is what the references of an event probably take, with what they add
// to the dataset.
func (w *Worker) guess(ctx context.Context, v *view, m *events.Message) int64 {
	of := func(ref *events.Reference) int64 {
		if ref == nil {
			return 0
		}
		bytes, err := w.open.GuessMemory(ctx, blobRef(*ref))
		if err != nil {
			return 0 // the attempt will tell
		}
		return bytes
	}
	switch p := m.Payload.(type) {
	case *events.Predictions:
		return of(&p.Predictions)
	case *events.Embeddings:
		vectors := of(&p.Embeddings)
		bytes := vectors + vectors/2 // filenames and their index
		if p.Filenames != nil {
			bytes += of(p.Filenames.Ref)
		}
		if v.dataset.Rows > 0 {
			bytes += vectors + 4*int64(v.dataset.Rows*v.dataset.Embeddings[cmp.Or(p.Embedding, "default")].Dim)
		}
		if p.Selection != nil {
			bytes += vectors + vectors/2 // mapped, and the engine
		}
		return bytes
	}
	return 0
}

// shortOf returns by how much a reference missed its limit, 0 if that is not
// what happened.
func shortOf(err error) int64 {
	var e *blob.Error
	if errors.As(err, &e) {
		return e.Short
	}
	return 0
}

func size(bytes int64) string {
	switch b := float64(bytes); {
	case b >= 1<<30:
		return fmt.Sprintf("%.1f GiB", b/(1<<30))
	case b >= 1<<20:
		return fmt.Sprintf("%.1f MiB", b/(1<<20))
	}
	return fmt.Sprintf("%.0f KiB", math.Ceil(float64(bytes)/1024))
}
