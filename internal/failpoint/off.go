//go:build !failpoint

// Package failpoint lets tests stop the worker at a named step of the
// protocol. In an ordinary build it does nothing; the fault tests build with
// -tags failpoint.
package failpoint

// Hit does nothing in this build.
func Hit(string) {}
