package selection

import "unsafe"

// floats returns the n values that p points to. The kernels take pointers, as
// assembly does.
func floats(p *float32, n int) []float32 { return unsafe.Slice(p, n) }

// bytesOf returns the memory of x.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
