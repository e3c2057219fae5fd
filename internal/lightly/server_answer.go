package lightly

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"nextbatch/internal/state"
)

// refusal is an answer that is not 2xx.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

func refuse(status int, code, format string, args ...any) error {
	return &refusal{status, code, fmt.Sprintf(format, args...)}
}

// bad refuses what breaks a rule of the contract.
func bad(format string, args ...any) error {
	return refuse(http.StatusBadRequest, "BAD_REQUEST", format, args...)
}

// notServed refuses what other servers of this API do. It is no fault of
// ours, so no 5xx: clients and proxies take those for an outage.
func notServed(what string) error {
	return refuse(http.StatusNotFound, "NOT_IMPLEMENTED", "%s", what)
}

func tooLarge(limit int64) error {
	return refuse(http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE", "the body has more than the %d bytes that are allowed here", limit)
}

// refuse writes an error. What is not the client's fault is logged here, with
// the path only: the query holds the token.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	answer, ok := errors.AsType[*refusal](err)
	if !ok {
		answer = outcome(err)
	}
	id := hexID(8)
	if _, ours := errors.AsType[*unstored](err); ours || answer.status >= 500 {
		s.log.Error().Err(err).Str("method", r.Method).Str("path", r.URL.Path).Str("request", id).Msg("http")
	}
	body, _ := json.Marshal(errorBody{answer.code, answer.message, answer.message, id})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if answer.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(answer.status)
	w.Write(body)
}

// outcome is the answer to an error that nobody decided on.
func outcome(err error) *refusal {
	var large *http.MaxBytesError
	var kept *unstored
	switch {
	case errors.As(err, &kept):
		return &refusal{http.StatusConflict, "CONFLICT", "the store did not take it; send it again from its beginning"}
	case errors.As(err, &large):
		answer, _ := errors.AsType[*refusal](tooLarge(large.Limit))
		return answer
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &refusal{http.StatusRequestTimeout, "BAD_REQUEST", "the body came too slowly"}
	case errors.Is(err, context.Canceled), errors.Is(err, io.ErrUnexpectedEOF):
		return &refusal{http.StatusBadRequest, "BAD_REQUEST", "the request ended before its body"}
	case errors.Is(err, state.ErrConflict):
		return &refusal{http.StatusConflict, "CONFLICT", "somebody else changed this at the same time; send it again"}
	case errors.Is(err, state.ErrUnknown), errors.Is(err, state.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return &refusal{http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "the store did not answer; look before you send it again"}
	}
	return &refusal{http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "this should not happen; the server's log says more"}
}

// answer writes one JSON value.
func (c *call) answer(v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Write(body) // a client that went away is not told
	return nil
}

// done answers without a body.
func (c *call) done() error {
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// lines streams an answer. A failure after it has begun cannot be told: the
// connection is cut, so that nobody takes the part for the whole.
func (c *call) lines(contentType string, write func(*bufio.Writer) error) error {
	c.w.Header().Set("Content-Type", contentType)
	c.w.Header().Set("X-Content-Type-Options", "nosniff")
	w := bufio.NewWriterSize(c.w, 64<<10)
	err := write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil || !c.w.begun {
		return err
	}
	if c.r.Context().Err() == nil {
		c.log.Warn().Err(err).Str("path", c.r.URL.Path).Msg("an answer was cut short")
	}
	panic(http.ErrAbortHandler)
}

// list streams a JSON array; item writes one element and may be called any
// number of times by each.
func (c *call) list(each func(item func(v any) error) error) error {
	return c.lines("application/json", func(w *bufio.Writer) error {
		sep := byte('[')
		err := each(func(v any) error {
			w.WriteByte(sep)
			sep = ','
			if raw, ok := v.(rawJSON); ok {
				_, err := w.Write(raw)
				return err
			}
			body, err := json.Marshal(v)
			if err == nil {
				_, err = w.Write(body)
			}
			return err
		})
		if err != nil {
			return err
		}
		if sep == '[' {
			w.WriteByte('[')
		}
		return w.WriteByte(']')
	})
}

// rawJSON is an element that is JSON already.
type rawJSON []byte

// millis is a time on the wire.
func millis(t time.Time) int64 { return max(0, t.UnixMilli()) }

// hexID returns n random bytes in hexadecimal.
func hexID(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}
