//go:build !amd64

package selection

// kernels returns the kernels of this machine, the fastest first.
func kernels() []kernel { return []kernel{plainGo} }

// prefetch is for the processor to find out.
func prefetch(*float32, int) {}
