package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"nextbatch/internal/blob"
	"nextbatch/internal/events"
	"nextbatch/internal/score"
	"nextbatch/internal/selection"
	"nextbatch/internal/state"
)

// refused turns what a reference can do wrong into what the sender is told.
// What may be better next time stays an ordinary error: another attempt.
func refused(err error) error {
	var e *blob.Error
	if errors.As(err, &e) && !e.Transient {
		return &events.Error{Code: e.Code, Message: e.Message, Hint: e.Hint}
	}
	return err
}

// badScores turns what the scorers refuse into what the sender is told; name
// gives the filename of an image by its index.
func badScores(err error, name func(int) string) error {
	var rows *score.RowsError
	if err == nil || errors.Is(err, context.Canceled) || isCause(err) {
		return err
	}
	if !errors.As(err, &rows) {
		return &events.Error{Code: "bad_predictions", Message: err.Error()}
	}
	var first []string
	for _, r := range rows.First[:min(3, len(rows.First))] {
		first = append(first, fmt.Sprintf("%.120q: %s", name(r.Row), r.Reason))
	}
	return &events.Error{Code: "bad_predictions",
		Message: fmt.Sprintf("%d of %d predictions are no probabilities (first %s)", rows.Bad, rows.Total, strings.Join(first, "; ")),
		Hint:    "each row must be probabilities that sum to 1; for logits set normalization to softmax, for weights to sum"}
}

// selectError turns what the engine refuses into what the sender is told.
func selectError(err error, names *state.Names) error {
	if rows := RowsError(err, names.At); rows != nil {
		return rows
	}
	var told *events.Error
	if errors.As(err, &told) || errors.Is(err, context.Canceled) || errors.Is(err, errTransient) || isCause(err) {
		return err
	}
	return &events.Error{Code: "bad_query", Message: err.Error(), Hint: "mend the selection block of the event"}
}

// RowsError names the samples that the engine refuses, nil if the error is another.
func RowsError(err error, filename func(row int) string) error {
	rows, ok := errors.AsType[*selection.RowsError](err)
	if !ok {
		return nil
	}
	var bad offenders
	for _, row := range rows.Rows {
		bad.add(filename(row))
	}
	return &events.Error{Code: "bad_data", Message: fmt.Sprintf("%d samples %s (first %s)", rows.Count, rows.Reason, join(bad.first))}
}

// isCause reports whether an error is why a context ended.
func isCause(err error) bool {
	return errors.Is(err, events.ErrFenced) || errors.Is(err, events.ErrDraining) || errors.Is(err, errDeadline)
}

// errTransient marks a failure of another platform that may pass.
var errTransient = errors.New("for now")

// byReference moves the lists of a result into a blob and returns the data
// that stays in the event. The object is JSON lines: the data, then each pick
// as {"added": …} in selection order, then each sample as {"filename": …}.
func (w *Worker) byReference(ctx context.Context, e *event.Event, c events.Created) ([]byte, error) {
	added, filenames := c.Added, c.Filenames
	c.Added, c.Filenames = nil, nil
	head, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var lines strings.Builder
	lines.Write(head)
	lines.WriteByte('\n')
	enc := json.NewEncoder(&lines)
	for _, a := range added {
		if err := enc.Encode(map[string]events.Added{"added": a}); err != nil {
			return nil, err
		}
	}
	for _, name := range filenames {
		if err := enc.Encode(map[string]string{"filename": name}); err != nil {
			return nil, err
		}
	}
	sha, err := w.blobs.Put(ctx, []byte(lines.String()))
	if err != nil {
		return nil, err
	}
	path, err := w.blobs.Path(sha)
	if err != nil {
		return nil, err
	}
	ref := (&url.URL{Scheme: "file", Path: path}).String()
	if w.cfg.PublicURL != "" {
		ref = strings.TrimSuffix(w.cfg.PublicURL, "/") + "/v1/blobs/" + sha
	}
	e.SetExtension("dataref", ref)
	e.SetExtension("datarefdigest", "sha-256:"+sha)
	e.SetExtension("datarefsize", fmt.Sprint(lines.Len()))
	return head, nil
}
