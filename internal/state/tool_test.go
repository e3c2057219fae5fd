package state_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"nextbatch/internal/state"
)

type counter struct {
	N int `json:"n"`
}

// A record is created once and changed only by who saw its last state; other
// tools and datasets have records of their own.
func TestToolRecords(t *testing.T) {
	s, _ := open(t)
	ctx := t.Context()
	d := state.Dataset{ID: fmt.Sprintf("%024x", 1), Name: "d"}
	other := state.Dataset{ID: fmt.Sprintf("%024x", 2), Name: "other"}
	const id = "a selection / 1.*>" // any text

	var c counter
	if rev, err := s.Tool(ctx, "labelstudio", d, id, &c); !errors.Is(err, state.ErrNotFound) || rev != 0 {
		t.Errorf("no record yet: revision %d, %v", rev, err)
	}
	rev, err := s.PutTool(ctx, "labelstudio", d, id, counter{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutTool(ctx, "labelstudio", d, id, counter{2}, 0); !errors.Is(err, state.ErrConflict) {
		t.Errorf("created twice: %v", err)
	}
	if got, err := s.Tool(ctx, "labelstudio", d, id, &c); err != nil || got != rev || c.N != 1 {
		t.Errorf("revision %d, value %d, %v; want %d, 1", got, c.N, err, rev)
	}
	for _, where := range []struct {
		tool string
		d    state.Dataset
	}{{"cvat", d}, {"labelstudio", other}} {
		if _, err := s.Tool(ctx, where.tool, where.d, id, &c); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("%s, %s: %v", where.tool, where.d.Name, err)
		}
		if _, err := s.PutTool(ctx, where.tool, where.d, id, counter{9}, 0); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.PutTool(ctx, "labelstudio", d, "another", counter{3}, 0); err != nil {
		t.Fatal(err)
	}
	list := func() map[string]string {
		found := map[string]string{}
		err := s.Tools(ctx, "labelstudio", d, func(r state.ToolRecord, rev uint64) error {
			if r.Tool != "labelstudio" || r.Dataset != d.ID || rev == 0 {
				t.Errorf("listed %+v at revision %d", r, rev)
			}
			found[r.ID] = string(r.Value)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if got := fmt.Sprint(list()); got != fmt.Sprint(map[string]string{id: `{"n":1}`, "another": `{"n":3}`}) {
		t.Error(got)
	}

	// What was removed is not there, and can be made again.
	if err := s.RemoveTool(ctx, "labelstudio", d, id, rev); err != nil {
		t.Fatal(err)
	}
	rev, err = s.Tool(ctx, "labelstudio", d, id, &c)
	if !errors.Is(err, state.ErrNotFound) || len(list()) != 1 {
		t.Errorf("removed: %v, listed %v", err, list())
	}
	if _, err := s.PutTool(ctx, "labelstudio", d, id, counter{4}, rev); err != nil {
		t.Error(err)
	}
}

// Of many writers at once each adds its one.
func TestToolCompareAndSet(t *testing.T) {
	s, _ := open(t)
	ctx := t.Context()
	d := state.Dataset{ID: fmt.Sprintf("%024x", 1), Name: "d"}
	const writers, each = 8, 10
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for done := 0; done < each; {
				var c counter
				rev, err := s.Tool(ctx, "cvat", d, "n", &c)
				if err != nil && !errors.Is(err, state.ErrNotFound) {
					t.Error(err)
					return
				}
				switch _, err := s.PutTool(ctx, "cvat", d, "n", counter{c.N + 1}, rev); {
				case err == nil:
					done++
				case !errors.Is(err, state.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	var c counter
	if _, err := s.Tool(ctx, "cvat", d, "n", &c); err != nil || c.N != writers*each {
		t.Errorf("%d, %v; want %d", c.N, err, writers*each)
	}
}
