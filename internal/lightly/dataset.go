package lightly

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"nextbatch/internal/bitmask"
)

// Size of the pages of a list, and how many are read at most.
const (
	pageSize = 5000
	maxPages = 1000
)

// findDataset returns the id of the dataset with this name. Servers before 1.2.36
// know the list only.
func (c *Client) findDataset(ctx context.Context, name string) (string, error) {
	ids := map[string]bool{}
	match := func(d Dataset) error {
		if d.Name != name {
			return nil // a server may take the name for a prefix
		}
		ids[d.ID] = true
		return checkID(d.ID)
	}
	err := c.do(ctx, get("/v1/datasets/query/name/"+url.PathEscape(name),
		url.Values{"exact": {"True"}, "shared": {"False"}}, listAnswer, each(func() { clear(ids) }, match)))
	if e, ok := errors.AsType[*Error](err); ok && slices.Contains([]int{400, 404, 405, 501}, e.status) {
		err = c.listDatasets(ctx, match)
	}
	if err != nil {
		return "", err
	}
	switch len(ids) {
	case 0:
		return "", &Error{Code: "unknown_dataset", Message: fmt.Sprintf("the platform has no dataset %q", name),
			Hint: "create it there under the same name and upload the samples, or check whose token is used"}
	case 1:
		for id := range ids {
			return id, nil
		}
	}
	return "", badAnswer("the platform has %d datasets named %q", len(ids), name)
}

// listDatasets goes through the pages until one is empty or, on a server that
// ignores the offset, brings nothing new.
func (c *Client) listDatasets(ctx context.Context, match func(Dataset) error) error {
	known := map[string]bool{}
	for offset, page := 0, 0; page < maxPages; page++ {
		var got []Dataset
		err := c.do(ctx, get("/v1/datasets", url.Values{
			"shared": {"False"}, "pageSize": {strconv.Itoa(pageSize)}, "pageOffset": {strconv.Itoa(offset)},
		}, listAnswer, each(func() { got = nil }, func(d Dataset) error { got = append(got, d); return nil })))
		if err != nil {
			return err
		}
		before := len(known)
		for _, d := range got {
			known[d.ID] = true
			if err := match(d); err != nil {
				return err
			}
		}
		if len(known) == before {
			return nil
		}
		offset += len(got)
	}
	return badAnswer("GET /v1/datasets: more than %d pages", maxPages)
}

// readRows reads the filenames of the platform in its order and translates the
// sets of the query.
func (s *sampling) readRows(ctx context.Context) error {
	index := make(map[string]int, len(s.q.Filenames))
	for row, name := range s.q.Filenames {
		if _, twice := index[name]; twice {
			return badQuery("filename %q is there twice", name)
		}
		index[name] = row
	}
	s.remote = make([]int, len(s.q.Filenames))
	var twice offenders
	begin := func() {
		for i := range s.remote {
			s.remote[i] = -1
		}
		s.ours, twice = s.ours[:0], offenders{}
	}
	err := s.c.do(ctx, get(s.path("/mappings"), url.Values{"field": {"fileName"}}, listAnswer, each(begin, func(name string) error {
		row, known := index[name]
		if !known {
			row = -1
		} else if s.remote[row] >= 0 {
			twice.add(name)
		} else {
			s.remote[row] = len(s.ours)
		}
		s.ours = append(s.ours, row)
		return nil
	})))
	if err != nil {
		return err
	}
	if twice.n > 0 {
		return badAnswer("the platform lists %v more than once", twice)
	}
	var missing offenders
	for row, r := range s.remote {
		if r < 0 {
			missing.add(s.q.Filenames[row])
		}
	}
	if missing.n > 0 {
		return &Error{Code: "unknown_filenames", Message: fmt.Sprintf("the platform's dataset %s does not have %v of %d", s.q.Dataset, missing, len(s.remote)),
			Hint: "upload the samples to the platform under the same filenames"}
	}
	s.chosen, s.pool = s.translate(s.q.Preselected), s.translate(s.q.Pool)
	s.pool.Difference(s.chosen)
	return nil
}

// translate returns a set of our rows in rows of the platform.
func (s *sampling) translate(m *bitmask.Mask) *bitmask.Mask {
	out := bitmask.New(len(s.ours))
	for row := range m.All() {
		out.Set(s.remote[row])
	}
	return out
}

// offenders counts names and keeps the first few.
type offenders struct {
	n     int
	first []string
}

func (o *offenders) add(name string) {
	if o.n++; len(o.first) < 3 {
		o.first = append(o.first, strconv.Quote(name))
	}
}

func (o offenders) String() string {
	more := ""
	if o.n > len(o.first) {
		more = ", …"
	}
	return fmt.Sprintf("%d filenames (%s%s)", o.n, strings.Join(o.first, ", "), more)
}
