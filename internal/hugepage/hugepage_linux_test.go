package hugepage

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"
)

// The kernel knows what was asked for by the flag hg of the mapping.
func TestAdviseReachesTheKernel(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage/enabled"); err != nil {
		t.Logf("this kernel has no large pages: %v", err)
		Advise(make([]float64, worthwhile))
		return
	}
	for _, n := range []int{worthwhile / 8, 3_000_001} {
		s := make([]float64, n)
		Advise(s)
		for _, at := range []*float64{&s[0], &s[n/2], &s[n-1]} {
			if flags := flagsOf(t, unsafe.Pointer(at)); !strings.Contains(flags+" ", " hg ") {
				t.Errorf("%d numbers: flags are%s, want hg among them", n, flags)
			}
		}
		for i, v := range s {
			if v != 0 {
				t.Fatalf("number %d is %v", i, v)
			}
		}
	}
	Advise[float64](nil)
	Advise(make([]byte, 100))
}

// flagsOf returns the flags of the mapping that holds p.
func flagsOf(t *testing.T, p unsafe.Pointer) string {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inside := false
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(sc.Text(), "%x-%x ", &from, &to); n == 2 {
			inside = from <= uintptr(p) && uintptr(p) < to
		}
		if flags, ok := strings.CutPrefix(sc.Text(), "VmFlags:"); ok && inside {
			return flags
		}
	}
	t.Fatalf("no mapping holds %p", p)
	return ""
}
