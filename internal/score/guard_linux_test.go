package score

import (
	"syscall"
	"testing"
	"unsafe"
)

// Rows may end where a memory-mapped file ends: the kernels must not touch the
// page behind it.
func TestKernelStaysInside(t *testing.T) {
	page := syscall.Getpagesize()
	pages, err := syscall.Mmap(-1, 0, 3*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(pages)
	for _, wall := range []int{0, 2 * page} {
		if err := syscall.Mprotect(pages[wall:wall+page], syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	checkInside[float32](t, pages[page:2*page])
	checkInside[float64](t, pages[page:2*page])
}

// checkInside scores rows at both ends of room.
func checkInside[F Float](t *testing.T, room []byte) {
	all := unsafe.Slice((*F)(unsafe.Pointer(&room[0])), len(room)/sizeof[F]())
	for i := range all {
		all[i] = F(i%7) / 8
	}
	for cols := 2; cols <= 40; cols++ {
		for _, rows := range []int{1, 8, 11} {
			checkKernel(t, all[:rows*cols], cols, false, false)
			checkKernel(t, all[len(all)-rows*cols:], cols, false, false)
		}
	}
}
