//go:build failpoint

// Package failpoint lets tests stop the worker at a named step of the
// protocol.
package failpoint

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// NEXTBATCH_FAILPOINT is a comma-separated list of step=action[:n], where the
// action happens at the n-th hit (default 1), or with ~p in p of 1000 hits:
// kill (SIGKILL to this process), panic, loop, oom, sleep.
var points = parse(os.Getenv("NEXTBATCH_FAILPOINT"))

type point struct {
	action string
	at     int64
	rate   int
	hits   atomic.Int64
}

func parse(s string) map[string]*point {
	m := map[string]*point{}
	for _, f := range strings.Split(s, ",") {
		step, rest, ok := strings.Cut(f, "=")
		if !ok {
			continue
		}
		action, n, _ := strings.Cut(rest, ":")
		p := &point{action: action, at: 1}
		if rate, ok := strings.CutPrefix(n, "~"); ok {
			p.rate, _ = strconv.Atoi(rate)
		} else if n == "*" {
			p.rate = 1000
		} else if n != "" {
			p.at, _ = strconv.ParseInt(n, 10, 64)
		}
		m[step] = p
	}
	return m
}

// Hit does at a step what NEXTBATCH_FAILPOINT says.
func Hit(step string) {
	p := points[step]
	if p == nil || p.rate > 0 && rand.IntN(1000) >= p.rate || p.rate == 0 && p.hits.Add(1) != p.at {
		return
	}
	switch p.action {
	case "kill":
		syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {}
	case "panic":
		panic("failpoint " + step)
	case "loop":
		for x := 0; ; x++ {
			sink.Store(int64(x))
		}
	case "oom":
		var all [][]byte
		for {
			b := make([]byte, 64<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
			sink.Store(int64(len(all)))
		}
	case "sleep":
		time.Sleep(time.Second)
	}
}

var sink atomic.Int64
