package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestBudget(t *testing.T) {
	const machine = "MemTotal:        8388608 kB\nMemFree:          100 kB\n"
	for _, test := range []struct {
		name  string
		set   byteSize
		files map[string]string
		want  int64
		from  string
	}{
		{"set", 7 << 20, map[string]string{"proc/meminfo": machine}, 7 << 20, "7 MiB, AL_MEMORY_BYTES"},
		{"machine", 0, map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/\n"}, 8 << 30 / 5 * 4, "6553 MiB, 80 % of the 8192 MiB of this machine's memory"},
		{"no limit in the group", 0, map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"},
			8 << 30 / 5 * 4, "6553 MiB, 80 % of the 8192 MiB of this machine's memory"},
		{"container", 0, map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n"},
			1 << 30 / 5 * 4, "819 MiB, 80 % of the 1024 MiB of this cgroup's limit"},
		{"a group around it is tighter", 0, map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/user.slice/x.service\n",
			"sys/fs/cgroup/user.slice/x.service/memory.max": "2147483648\n", "sys/fs/cgroup/user.slice/memory.max": "1073741824\n"},
			1 << 30 / 5 * 4, "819 MiB, 80 % of the 1024 MiB of this cgroup's limit"},
		{"version 1", 0, map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/1\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "536870912\n"},
			512 << 20 / 5 * 4, "409 MiB, 80 % of the 512 MiB of this cgroup's limit"},
		{"nothing tells", 0, nil, math.MaxInt64, "no limit: this system does not tell its memory, set AL_MEMORY_BYTES"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range test.files {
				if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, from := config{MemoryBytes: test.set}.budget(root)
			if got != test.want || from != test.from {
				t.Errorf("%d, %s; want %d, %s", got, from, test.want, test.from)
			}
		})
	}
}
