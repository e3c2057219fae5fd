package state

import (
	"slices"
	"sync"
)

// cache keeps what was decoded from blobs, the most recently used, up to a
// total cost in rows. Values are shared: nobody changes them.
type cache[V any] struct {
	mu      sync.Mutex // guards all
	limit   int
	total   int
	entries []entry[V] // least recently used first
}

type entry[V any] struct {
	key   string
	cost  int
	value V
}

func newCache[V any](limit int) *cache[V] { return &cache[V]{limit: limit} }

func (c *cache[V]) get(key string) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, e := range c.entries {
		if e.key == key {
			copy(c.entries[i:], c.entries[i+1:])
			c.entries[len(c.entries)-1] = e
			return e.value, true
		}
	}
	return v, false
}

func (c *cache[V]) put(key string, cost int, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, e := range c.entries {
		if e.key == key {
			c.total -= e.cost
			c.entries = slices.Delete(c.entries, i, i+1)
			break
		}
	}
	c.entries = append(c.entries, entry[V]{key, cost, v})
	for c.total += cost; c.total > c.limit && len(c.entries) > 1; {
		c.total -= c.entries[0].cost
		c.entries = slices.Delete(c.entries, 0, 1)
	}
	for len(c.entries) > 256 {
		c.total -= c.entries[0].cost
		c.entries = slices.Delete(c.entries, 0, 1)
	}
}
