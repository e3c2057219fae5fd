package hugepage

import "golang.org/x/sys/unix"

// advise asks for a range of whole pages. An error is the kernel's no. (The
// range leaves the slice, so it must not become a pointer.)
func advise(start, size uintptr) {
	unix.Syscall(unix.SYS_MADVISE, start, size, unix.MADV_HUGEPAGE)
}
