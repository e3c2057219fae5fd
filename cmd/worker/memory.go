package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// budget returns the memory that jobs may take together, in bytes, and in words
// with where it comes from. Root is where the system's files are, "/" but for tests.
func (c config) budget(root string) (bytes int64, words string) {
	if c.MemoryBytes > 0 {
		return int64(c.MemoryBytes), mebibytes(int64(c.MemoryBytes)) + ", AL_MEMORY_BYTES"
	}
	limit, of := systemMemory(root)
	if limit == 0 {
		return math.MaxInt64, "no limit: this system does not tell its memory, set AL_MEMORY_BYTES"
	}
	bytes = limit / 5 * 4
	return bytes, fmt.Sprintf("%s, 80 %% of the %s of %s", mebibytes(bytes), mebibytes(limit), of)
}

// limitHeap has the runtime collect garbage sooner than it would: beside the
// large arrays of jobs it would let garbage take as much again. It tries harder
// before all that is not mapped goes beyond the budget by an eighth, and by
// 64 MiB for what is no job; or beyond nine tenths of what the system gives.
// GOGC and GOMEMLIMIT go before it.
func (c config) limitHeap(budget int64) {
	if budget == math.MaxInt64 {
		return
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	soft := budget + budget/8 + 64<<20
	if limit, _ := systemMemory("/"); limit > 0 {
		soft = min(soft, limit/10*9)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(soft)
	}
}

// systemMemory returns the smaller of the machine's memory and the limit of the
// cgroup, version 2 or 1, of this process; 0 if nothing tells.
func systemMemory(root string) (bytes int64, of string) {
	bytes, of = machineMemory(root), "this machine's memory"
	for _, file := range cgroupLimits(root) {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && limit > 0 && (bytes == 0 || limit < bytes) { // "max" is no number
			bytes, of = limit, "this cgroup's limit"
		}
	}
	return bytes, of
}

// machineMemory reads the line "MemTotal: 16315432 kB".
func machineMemory(root string) int64 {
	text, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0
	}
	var kibibytes int64
	if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kibibytes); err != nil {
		return 0
	}
	return kibibytes << 10
}

// cgroupLimits lists the files that may hold a limit: of the process's groups
// and of those around them, since the tightest holds.
func cgroupLimits(root string) (files []string) {
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3) // number, controllers, path
		if len(fields) < 3 {
			continue
		}
		dir, name := filepath.Join(root, "sys/fs/cgroup"), "memory.max"
		switch {
		case fields[1] == "memory":
			dir, name = filepath.Join(dir, "memory"), "memory.limit_in_bytes"
		case fields[1] != "":
			continue
		}
		for path := filepath.Join("/", fields[2]); ; path = filepath.Dir(path) {
			files = append(files, filepath.Join(dir, path, name))
			if path == "/" {
				break
			}
		}
	}
	return files
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
