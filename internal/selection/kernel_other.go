//go:build !amd64

package selection

// kernels returns the kernels of this machine, the fastest first.
func kernels() []kernel { return []kernel{plainGo} }
