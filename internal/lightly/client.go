// Package lightly is the edge to the Lightly HTTP API. Its Client sends the
// sampling queries of a worker to another Lightly-compatible platform: it
// uploads the scores, starts a sampling job, waits for it and reads the rows
// of the new tag. It selects nothing and stores nothing itself. It also
// uploads folders of images.
package lightly

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"nextbatch/internal/bitmask"
)

// Config says where the platform is and how long to wait for it.
type Config struct {
	// BaseURL is what a Python client has in LIGHTLY_SERVER_LOCATION: scheme,
	// host and perhaps a path, without /v1.
	BaseURL string
	// Token is sent as a query parameter, because that is the contract. Over
	// http:// everyone on the way can read it.
	Token string
	// HTTP is used in a copy that follows no redirects; default: a client of
	// its own with the proxy settings of the environment.
	HTTP *http.Client
	// Timeout bounds one call, answer included; default 3 min.
	Timeout time.Duration
	// Attempts at a call that may be repeated, while its fault is one that
	// passes; default 4, which takes a few seconds.
	Attempts int
	// PollMin and PollMax bound what the platform says about when to ask for
	// a job again; default 1 s and 30 s.
	PollMin, PollMax time.Duration
	// Deadline bounds one Select; default 30 min.
	Deadline time.Duration
}

// Client may be used by many goroutines at once.
type Client struct {
	base, token      string
	http             *http.Client
	timeout          time.Duration
	attempts         int
	pollMin, pollMax time.Duration
	deadline         time.Duration
	retryWait        time.Duration // the first wait between repeated calls is below twice this
}

// New checks the configuration and returns a client. It does not connect.
func New(cfg Config) (*Client, error) {
	var faults []error
	u, err := url.Parse(cfg.BaseURL)
	switch {
	case err != nil:
		faults = append(faults, errors.New("address of the platform: not a URL"))
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		faults = append(faults, errors.New("address of the platform: want http(s)://host[:port][/path]"))
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		faults = append(faults, errors.New("address of the platform: user, query and fragment are not allowed in it; the token is a setting of its own"))
	}
	if cfg.Token == "" {
		faults = append(faults, errors.New("token of the platform: missing"))
	}
	if cfg.Timeout < 0 || cfg.PollMin < 0 || cfg.PollMax < 0 || cfg.Deadline < 0 {
		faults = append(faults, errors.New("times must not be negative"))
	}
	if cfg.Attempts < 0 {
		faults = append(faults, errors.New("attempts must not be negative"))
	}
	c := &Client{
		base: strings.TrimRight(cfg.BaseURL, "/"), token: cfg.Token,
		timeout: cfg.Timeout, attempts: cfg.Attempts, pollMin: cfg.PollMin, pollMax: cfg.PollMax, deadline: cfg.Deadline,
		retryWait: 250 * time.Millisecond,
	}
	if c.attempts == 0 {
		c.attempts = maxAttempts
	}
	setDefault(&c.timeout, 3*time.Minute)
	setDefault(&c.pollMin, time.Second)
	setDefault(&c.pollMax, max(30*time.Second, c.pollMin))
	setDefault(&c.deadline, 30*time.Minute)
	if c.pollMax < c.pollMin {
		faults = append(faults, fmt.Errorf("longest wait between polls %v is below the shortest %v", c.pollMax, c.pollMin))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = maxConnections // all are for one host
	c.http = &http.Client{Transport: transport}
	if cfg.HTTP != nil {
		own := *cfg.HTTP
		c.http = &own
	}
	// A followed redirect would carry the URL, and with it the token, to its
	// target as Referer, and turn a POST into a GET.
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Query is one sampling query. Row numbers are our own: the platform may hold
// the same samples in another order, and more of them.
type Query struct {
	Dataset     string        // name on the platform
	Filenames   []string      // of our rows; unique
	Pool        *bitmask.Mask // rows that may be picked; preselected ones in it are ignored
	Preselected *bitmask.Mask // rows already selected or labeled
	// QueryTag and PreselectedTag are the names of the tags that Pool and
	// Preselected come from, or empty. A tag of that name on the platform is
	// used if its rows agree; otherwise a tag named after the mask is made.
	QueryTag, PreselectedTag string
	Method                   string
	NSamples                 int     // size of the result, preselected rows included; -1 is no limit
	MinDistance              float64 // ≤ 0 means no limit
	Scores                   []NamedScores
	Score                    string // which of Scores to use; empty leaves it to the platform
	Embedding                string // name on the platform; empty takes the newest
	TagName                  string // of the result; unique in the dataset, the same for every attempt of one job
	// Progress, if not nil, is called from the calling goroutine when the
	// platform reports progress.
	Progress func(done, total int)
}

// NamedScores is one acquisition score of our rows. Values outside the pool
// are not looked at and may be NaN.
type NamedScores struct {
	Name   string
	Values []float64
}

// Result is the new tag and its rows.
type Result struct {
	TagID   string
	TagName string
	// Rows are our rows of the tag without the preselected ones, ascending.
	// The platform says nothing about the order of its choice: ranking is the
	// caller's.
	Rows []int
}

// Select has the platform answer q and returns its choice: preselected rows
// stay, all new rows are from the pool, and there are no more than NSamples in
// all. It may be called again with the same q after any failure, also in
// another process: a tag TagName that was made for the same query tag and
// preselected tag is taken as the result, any other is the error tag_exists.
// One Select starts at most one job: a sampling request whose answer is lost
// is not repeated, its traces are looked for.
//
// Scores belong to the query tag on the platform, so of two concurrent queries
// with different scores on one query tag either may use the other's. Every
// error is an *Error.
func (c *Client) Select(ctx context.Context, q Query) (Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.deadline, errDeadline)
	defer cancel()
	s := &sampling{c: c, q: &q}
	tag, err := s.run(ctx)
	if err == nil {
		var r Result
		if r, err = s.result(tag); err == nil {
			return r, nil
		}
	}
	// Foreign text was cleaned where it came in. This is for what was not
	// taken for text: a platform may name a job after the token.
	e, _ := errors.AsType[*Error](err)
	e.Message = c.redact(e.Message)
	return Result{}, e
}

// run returns the tag that answers the query: of an earlier attempt, or new.
func (s *sampling) run(ctx context.Context) (_ Tag, err error) {
	if err := s.q.check(); err != nil {
		return Tag{}, err
	}
	if s.dataset, err = s.c.findDataset(ctx, s.q.Dataset); err != nil {
		return Tag{}, err
	}
	if err := s.readRows(ctx); err != nil {
		return Tag{}, err
	}
	tags, err := s.readTags(ctx)
	if err != nil {
		return Tag{}, err
	}
	if taken, found := tags[s.q.TagName]; found {
		return s.adopt(tags, taken)
	}
	embedding, err := s.embedding(ctx)
	if err != nil {
		return Tag{}, err
	}
	if s.preselected, err = s.ensure(ctx, tags, s.preselectedSet()); err != nil {
		return Tag{}, err
	}
	if s.query, err = s.ensure(ctx, tags, s.querySet()); err != nil {
		return Tag{}, err
	}
	if err := s.uploadScores(ctx); err != nil {
		return Tag{}, err
	}
	job, err := s.start(ctx, embedding)
	if err != nil {
		return s.settle(ctx, err)
	}
	return s.wait(ctx, job)
}

// check refuses a query that cannot be sent.
func (q *Query) check() error {
	rows := len(q.Filenames)
	if q.Dataset == "" || q.TagName == "" || q.Method == "" || q.Pool == nil || q.Preselected == nil {
		return badQuery("dataset, tag name, method, pool and preselected set must be given")
	}
	for _, name := range []string{q.QueryTag, q.PreselectedTag, initialTag} {
		if q.TagName == name {
			return badQuery("the name of the new tag, %s, is that of a tag of the query", q.TagName)
		}
	}
	if q.Pool.Len() > rows || q.Preselected.Len() > rows {
		return badQuery("the pool or the preselected set has rows beyond the %d filenames", rows)
	}
	if q.Pool.Len() == 0 && q.Preselected.Len() == 0 {
		return badQuery("the pool and the preselected set are empty")
	}
	selected := q.Preselected.Count()
	if q.NSamples != -1 && q.NSamples < max(1, selected) {
		return badQuery("n_samples is %d: must be -1, or at least 1 and not below the %d preselected samples", q.NSamples, selected)
	}
	if math.IsNaN(q.MinDistance) || math.IsInf(q.MinDistance, 0) {
		return badQuery("min_distance is not finite")
	}
	seen := make(map[string]bool, len(q.Scores))
	for _, s := range q.Scores {
		if s.Name == "" || seen[s.Name] {
			return badQuery("score %q is named twice or not at all", s.Name)
		}
		seen[s.Name] = true
		if len(s.Values) != rows {
			return badQuery("score %s has %d values for %d rows", s.Name, len(s.Values), rows)
		}
	}
	if q.Score != "" && !seen[q.Score] {
		return badQuery("score %s is not among those given", q.Score)
	}
	return q.checkScores()
}

// checkScores refuses scores that the platform could not use: JSON has no NaN,
// and a made-up value would be a decision.
func (q *Query) checkScores() error {
	pool := q.Pool.Subtract(q.Preselected)
	for _, s := range q.Scores {
		var missing offenders
		for row := range pool.All() {
			if x := s.Values[row]; math.IsNaN(x) || math.IsInf(x, 0) {
				missing.add(q.Filenames[row])
			}
		}
		if missing.n > 0 {
			return &Error{Code: "bad_query", Message: fmt.Sprintf("score %s is missing or not finite for %v of %d in the pool", s.Name, missing, pool.Count()),
				Hint: "send predictions for every sample of the pool, or restrict the query tag to those that have them"}
		}
	}
	return nil
}
