package selection

import (
	"slices"
	"unsafe"
)

// floats returns the n values that p points to. The kernels take pointers, as
// assembly does.
func floats(p *float32, n int) []float32 { return unsafe.Slice(p, n) }

// bytesOf returns the memory of x. The machine must be little-endian where
// others are to understand it.
func bytesOf[T float32 | int32 | uint32](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// valuesOf is the inverse of bytesOf. It copies data that is not aligned.
func valuesOf[T float32 | int32 | uint32](data []byte) []T {
	if uintptr(unsafe.Pointer(unsafe.SliceData(data)))%4 != 0 {
		data = slices.Clone(data)
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/4)
}
