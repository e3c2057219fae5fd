package lightly

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"nextbatch/internal/bitmask"
)

// sampling is one Select under way. Masks are in rows of the platform.
type sampling struct {
	c       *Client
	q       *Query
	dataset string // id

	remote []int         // our row → row of the platform
	ours   []int         // row of the platform → our row, -1 for samples we do not know
	pool   *bitmask.Mask // q.Pool without q.Preselected
	chosen *bitmask.Mask // q.Preselected

	rowCount           int64 // of the dataset, as its initial tag states
	query, preselected tagOf
}

// tagOf is the tag that stands for a set; the zero value for no tag.
type tagOf struct {
	id   string
	mask *bitmask.Mask
}

func (s *sampling) path(rest string) string { return "/v1/datasets/" + s.dataset + rest }

// readTags returns the tags of the dataset that matter here, by name. The
// initial tag is there whatever its name.
func (s *sampling) readTags(ctx context.Context) (map[string]Tag, error) {
	wanted := map[string]bool{s.q.TagName: true, s.q.QueryTag: true, s.q.PreselectedTag: true, initialTag: true}
	for _, set := range []rowSet{s.querySet(), s.preselectedSet()} {
		wanted[setName(set.rows)] = true
	}
	tags := map[string]Tag{}
	var root *Tag
	err := s.c.do(ctx, get(s.path("/tags"), nil, listAnswer, each(func() { clear(tags); root = nil }, func(t Tag) error {
		if t.PrevTagID == nil && root == nil {
			root = &t
		}
		if _, twice := tags[t.Name]; wanted[t.Name] && !twice {
			tags[t.Name] = t
			return checkID(t.ID)
		}
		return nil
	})))
	if err != nil {
		return nil, err
	}
	if _, ok := tags[initialTag]; !ok && root != nil {
		tags[initialTag] = *root
	}
	initial, ok := tags[initialTag]
	if !ok {
		return nil, &Error{Code: "remote_dataset_not_ready", Message: fmt.Sprintf("the platform's dataset %s has no initial tag", s.q.Dataset),
			Hint: "finish the upload of the samples"}
	}
	mask, err := s.maskOf(initial)
	if err != nil {
		return nil, err
	}
	var outside offenders
	for _, row := range s.remote {
		if !mask.Has(row) {
			outside.add(s.q.Filenames[s.ours[row]])
		}
	}
	if outside.n > 0 {
		return nil, &Error{Code: "remote_dataset_not_ready", Message: fmt.Sprintf("%v are not in the initial tag of the platform's dataset %s", outside, s.q.Dataset),
			Hint: "finish the upload of the samples there (tags/upsize)"}
	}
	s.rowCount = initial.TotSize
	return tags, nil
}

// maskOf decodes a tag's rows.
func (s *sampling) maskOf(t Tag) (*bitmask.Mask, error) {
	m, err := bitmask.FromHex(t.BitMaskData)
	if err != nil {
		return nil, badAnswer("mask of tag %s: %s", s.c.clean(t.Name), s.c.clean(err.Error()))
	}
	if m.Len() > len(s.ours) {
		return nil, badAnswer("mask of tag %s has rows beyond the %d samples of the dataset", s.c.clean(t.Name), len(s.ours))
	}
	return m, nil
}

// rowSet is a set that needs a tag on the platform.
type rowSet struct {
	named string        // the caller's tag, may be empty
	rows  *bitmask.Mask // of the tag to make where none agrees
	same  func(*bitmask.Mask) bool
}

// preselectedSet needs no tag when it is empty.
func (s *sampling) preselectedSet() rowSet {
	return rowSet{s.q.PreselectedTag, s.chosen, s.chosen.Equal}
}

// querySet is the pool; whether preselected rows are in it makes no difference
// to the platform.
func (s *sampling) querySet() rowSet {
	rows := s.pool.Clone()
	rows.Union(s.chosen)
	return rowSet{s.q.QueryTag, rows, func(m *bitmask.Mask) bool { return m.Subtract(s.chosen).Equal(s.pool) }}
}

// setName is the name of a tag that a Client makes for a set: the same for
// every attempt.
func setName(rows *bitmask.Mask) string {
	sum := sha256.Sum256([]byte(rows.Hex()))
	return "nextbatch-set-" + hex.EncodeToString(sum[:12])
}

// find returns the tag for a set, or none.
func (s *sampling) find(tags map[string]Tag, set rowSet) (tagOf, error) {
	own := setName(set.rows)
	for _, name := range []string{set.named, initialTag, own} {
		t, ok := tags[name]
		if !ok {
			continue
		}
		m, err := s.maskOf(t)
		if err != nil {
			return tagOf{}, err
		}
		if set.same(m) {
			return tagOf{t.ID, m}, nil
		}
		if name == own {
			return tagOf{}, &Error{Code: "tag_exists", Message: fmt.Sprintf("tag %s of the platform's dataset %s has other rows than its name says", own, s.q.Dataset),
				Hint: "delete or rename it on the platform"}
		}
	}
	return tagOf{}, nil
}

// ensure returns the tag for a set and makes it if there is none. Two replicas
// may make it at once, and an answer may be lost: the name tells.
func (s *sampling) ensure(ctx context.Context, tags map[string]Tag, set rowSet) (tagOf, error) {
	if set.rows.Count() == 0 {
		return tagOf{}, nil
	}
	for attempt := 1; ; attempt++ {
		found, err := s.find(tags, set)
		if err != nil || found.id != "" {
			return found, err
		}
		var made createdEntity
		body := newTag{Name: setName(set.rows), PrevTagID: tags[initialTag].ID, BitMaskData: set.rows.Hex(), TotSize: s.rowCount, Creator: "USER_PIP"}
		failed := s.c.once(ctx, post(s.path("/tags"), body, one(&made)))
		if failed == nil {
			// The other set may be the same one.
			tags[body.Name] = Tag{ID: made.ID, Name: body.Name, BitMaskData: body.BitMaskData}
			return tagOf{made.ID, set.rows}, checkID(made.ID)
		}
		e, _ := errors.AsType[*Error](failed)
		if !e.Transient && e.status != http.StatusConflict || e.context != nil || attempt == maxAttempts || e.RetryAfter > maxRetryAfter {
			return tagOf{}, failed
		}
		if err := s.c.pause(ctx, e, attempt); err != nil {
			return tagOf{}, err
		}
		if tags, err = s.readTags(ctx); err != nil {
			return tagOf{}, err
		}
	}
}

// embedding returns the id of the one the query names, else of the newest that
// is ready.
func (s *sampling) embedding(ctx context.Context) (string, error) {
	var all []Embedding
	err := s.c.do(ctx, get(s.path("/embeddings"), nil, smallAnswer, each(func() { all = nil }, func(e Embedding) error {
		if !e.Is2D && (s.q.Embedding == "" || e.Name == s.q.Embedding) {
			all = append(all, e)
		}
		return checkID(e.ID)
	})))
	if err != nil {
		return "", err
	}
	if len(all) == 0 {
		return "", &Error{Code: "remote_dataset_not_ready", Message: strings.TrimSpace(fmt.Sprintf("the platform's dataset %s has no embedding %s", s.q.Dataset, s.q.Embedding)),
			Hint: "upload embeddings to the platform; every method needs them there, RANDOM too"}
	}
	// Newest first is the platform's order, which decides between equals.
	return slices.MaxFunc(all, func(a, b Embedding) int {
		if a.IsProcessed != b.IsProcessed {
			if a.IsProcessed {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.CreatedAt, b.CreatedAt)
	}).ID, nil
}

// uploadScores sends every score for the rows of the query tag, ascending. A
// second upload replaces the first, so it may be repeated. The platform
// ignores scores of preselected rows: they are sent as zero.
func (s *sampling) uploadScores(ctx context.Context) error {
	for _, v := range s.q.Scores {
		scores := make([]float64, 0, s.query.mask.Count())
		for row := range s.query.mask.All() {
			x := 0.0
			if s.pool.Has(row) {
				x = v.Values[s.ours[row]]
			}
			scores = append(scores, x)
		}
		err := s.c.do(ctx, post(s.path("/tags/"+s.query.id+"/scores"), newScores{v.Name, scores}, nil))
		if err != nil {
			return err
		}
	}
	return nil
}

// result checks the rows of the new tag and returns them in our order.
func (s *sampling) result(t Tag) (Result, error) {
	m, err := s.maskOf(t)
	if err != nil {
		return Result{}, err
	}
	added := m.Subtract(s.chosen)
	lost, foreign := s.chosen.Subtract(m).Count(), added.Subtract(s.pool).Count()
	if n := m.Count(); lost > 0 || foreign > 0 || s.q.NSamples >= 0 && n > s.q.NSamples {
		return Result{}, badAnswer("tag %s has %d rows for n_samples %d, lacks %d preselected ones and has %d from outside the pool",
			s.c.clean(t.Name), n, s.q.NSamples, lost, foreign)
	}
	rows := make([]int, 0, added.Count())
	for row := range added.All() {
		rows = append(rows, s.ours[row])
	}
	slices.Sort(rows)
	return Result{TagID: t.ID, TagName: t.Name, Rows: rows}, nil
}
