//go:build foreign

package labelstudio

import "testing"

// UseStale gives a client of the personal access token an access token that
// is over, as it is after some minutes.
func UseStale(t *testing.T, url, pat string) (before, after string, err error) {
	t.Helper()
	c := newClient(url, pat)
	c.bearer.token = "eyJhbGciOiJIUzI1NiJ9.e30.over"
	before = c.bearer.token
	var version struct{ Release string }
	err = c.call(t.Context(), "GET", "/api/projects?page_size=1", nil, &version)
	return before, c.bearer.token, err
}
