package lightly

import (
	"bufio"
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nextbatch/schemas"
)

// TestRoutesAreTheDocument compares the table of routes with the OpenAPI
// document: every route is in it, with its limits of access, and nothing else.
func TestRoutesAreTheDocument(t *testing.T) {
	text, err := schemas.FS.ReadFile("lightly-openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pathLine, methodLine := regexp.MustCompile(`^  (/\S*):$`), regexp.MustCompile(`^    (get|put|post|delete|patch|head|options):$`)
	documented := map[string]access{}
	path, op := "", ""
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if m := pathLine.FindStringSubmatch(line); m != nil {
			path = m[1]
		}
		if m := methodLine.FindStringSubmatch(line); m != nil && path != "" {
			op = strings.ToUpper(m[1]) + " " + path
			documented[op] = byToken
		}
		if line == "components:" {
			break
		}
		if line == "      security: []" {
			documented[op] = open
			if strings.Contains(op, "/signed/") {
				documented[op] = signed
			}
		}
	}
	served := map[string]access{}
	for _, r := range routes {
		op := r.method + " " + strings.TrimSuffix(r.path, "{$}")
		if _, twice := served[op]; twice {
			t.Errorf("%s is in the table twice", op)
		}
		served[op] = r.access
		if r.body < smallBody || r.serve == nil {
			t.Errorf("%s: body limit %d", op, r.body)
		}
	}
	if len(served) < 50 {
		t.Errorf("only %d routes: %v", len(served), slices.Sorted(maps.Keys(served)))
	}
	if diff := cmp.Diff(documented, served); diff != "" {
		t.Errorf("lightly-openapi.yaml and routes.go differ (-document +table):\n%s", diff)
	}
}
