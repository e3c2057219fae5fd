package lightly

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Error is the only type of error that Select returns. Neither its text nor
// anything it wraps contains the token.
//
// The codes: bad_query (the caller's), tag_exists, unknown_dataset,
// unknown_filenames, and of the platform remote_unauthorized, remote_refused
// (any other 4xx), remote_rate_limited, remote_unavailable (5xx, no
// connection), remote_timeout, remote_redirected, remote_bad_answer,
// remote_dataset_not_ready, remote_job_failed, remote_job_vanished,
// remote_outcome_unknown, remote_deadline, and canceled.
type Error struct {
	Code      string // stable, snake_case
	Message   string
	Hint      string // what the user can do; may be empty
	Transient bool   // a later attempt may succeed
	// RetryAfter is how long the platform asked to wait; 0 where it did not.
	RetryAfter time.Duration

	status  int   // HTTP status of the answer; 0 without one
	unsent  bool  // the platform did surely not act on the request
	context error // the context's error where that was the reason
}

func (e *Error) Error() string { return "lightly: " + e.Message }

// Unwrap returns context.Canceled or context.DeadlineExceeded where the
// caller's context ended the call, else nil.
func (e *Error) Unwrap() error { return e.context }

// errDeadline is the cause of the context that bounds one Select.
var errDeadline = errors.New("deadline of the sampling query")

// ended returns the error for a context that is done.
func ended(ctx context.Context, doing string) *Error {
	if context.Cause(ctx) == errDeadline {
		return &Error{Code: "remote_deadline", Transient: true,
			Message: doing + ": the platform was not done within the time for one query",
			Hint:    "look at the job on the platform; a later attempt takes its result if it finishes"}
	}
	return &Error{Code: "canceled", Transient: true, Message: fmt.Sprintf("%s: %v", doing, ctx.Err()), context: ctx.Err()}
}

func badQuery(format string, args ...any) *Error {
	return &Error{Code: "bad_query", Message: fmt.Sprintf(format, args...)}
}

func badAnswer(format string, args ...any) *Error {
	return &Error{Code: "remote_bad_answer", Message: fmt.Sprintf(format, args...),
		Hint: "is the address that of a Lightly-compatible API?"}
}
