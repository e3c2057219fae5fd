package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Machine is what a run ran on.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Flags  string `json:"flags"` // vector instruction sets that matter
	Memory int64  `json:"memory_bytes"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Rivals string `json:"rivals"` // versions
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, %.0f GiB, Linux %s, %s; %s",
		m.CPU, m.Cores, m.Flags, float64(m.Memory)/(1<<30), m.Kernel, m.Go, m.Rivals)
}

// thisMachine reads /proc; what it cannot find out stays empty.
func thisMachine(interpreter string) Machine {
	m := Machine{Cores: runtime.GOMAXPROCS(0), Go: runtime.Version(), Rivals: "no rivals installed"}
	info, _ := os.ReadFile("/proc/cpuinfo")
	m.CPU = field(string(info), "model name")
	flags := " " + field(string(info), "flags") + " "
	for _, f := range []string{"avx2", "avx512f", "avx512_vnni", "asimd"} {
		if strings.Contains(flags, " "+f+" ") {
			m.Flags = strings.TrimSpace(m.Flags + " " + f)
		}
	}
	memory, _ := os.ReadFile("/proc/meminfo")
	kib, _, _ := strings.Cut(field(string(memory), "MemTotal"), " ")
	n, _ := strconv.ParseInt(kib, 10, 64)
	m.Memory = n << 10
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = strings.TrimSpace(string(release))
	const versions = `import sys, importlib.metadata as m
print("Python " + sys.version.split()[0], *("%s %s" % (p, m.version(p)) for p in ("numpy", "lightly-mundig", "scikit-activeml")), sep=", ")`
	if out, err := exec.Command(interpreter, "-c", versions).Output(); err == nil {
		m.Rivals = strings.TrimSpace(string(out))
	}
	return m
}

// field returns the value of the first line "name : value".
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(text))[:min(3, len(strings.Fields(string(text))))], " ")
}

// resetPeak starts a new measurement of peak resident memory, and returns the
// memory resident now.
func resetPeak() int64 {
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	return peak()
}

// peak returns the largest resident memory since resetPeak, in bytes.
func peak() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	kib, _, _ := strings.Cut(field(string(status), "VmHWM"), " ")
	n, _ := strconv.ParseInt(kib, 10, 64)
	return n << 10
}

// foreign measures how many cores are busy for others than this process and
// the rivals it started: the noise in the figures.
type foreign struct {
	start        time.Time
	machine, own time.Duration
}

func startForeign(child int) foreign {
	return foreign{time.Now(), machineBusy(), ownBusy(child)}
}

func (f foreign) cores(child int) float64 {
	others := (machineBusy() - f.machine) - (ownBusy(child) - f.own)
	return max(0, others.Seconds()/time.Since(f.start).Seconds())
}

// tick is the unit of time in /proc, fixed for user space on Linux.
const tick = 10 * time.Millisecond

// machineBusy is the time that all cores have spent on anything, stolen time included.
func machineBusy() (busy time.Duration) {
	stat, _ := os.ReadFile("/proc/stat")
	first, _, _ := strings.Cut(string(stat), "\n")
	for i, f := range strings.Fields(first) {
		n, _ := strconv.ParseInt(f, 10, 64)
		if i != 0 && i != 4 && i != 5 && i < 9 { // not the name, idle, waiting for disks, guests
			busy += time.Duration(n) * tick
		}
	}
	return busy
}

// ownBusy is the time of this process, its children that have ended, and one
// that runs.
func ownBusy(child int) (busy time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		syscall.Getrusage(who, &u)
		busy += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
	_, rest, _ := strings.Cut(string(stat), ") ")
	if fields := strings.Fields(rest); len(fields) > 12 {
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		busy += time.Duration(user+system) * tick
	}
	return busy
}
