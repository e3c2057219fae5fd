// Package internal holds no code; its test keeps the packages apart.
package internal

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// pure packages only compute: they see no network, file, clock, logger or
// global randomness, and of this project only each other.
var pure = map[string][]string{
	"nextbatch/internal/bitmask":   nil,
	"nextbatch/internal/score":     nil,
	"nextbatch/internal/selection": {"nextbatch/internal/bitmask"},
}

// effects are the standard packages with which code would not be pure.
// golang.org/x/sys/cpu, which asks the processor what it can do, is allowed.
var effects = map[string]string{
	"context":      "cancellation is a function the caller passes in",
	"net":          "the network belongs to the edges",
	"net/http":     "the network belongs to the edges",
	"os/exec":      "processes belong to the edges",
	"log":          "pure packages log nothing",
	"log/slog":     "pure packages log nothing",
	"math/rand":    "randomness is a seeded hash of the filename",
	"math/rand/v2": "randomness is a seeded hash of the filename",
	"crypto/rand":  "randomness is a seeded hash of the filename",
	"io/ioutil":    "files belong to the edges",
	"embed":        "files belong to the edges",
}

func TestPurePackagesStayPure(t *testing.T) {
	for pkg, friends := range pure {
		out, err := exec.Command("go", "list", "-deps", pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			if why, bad := effects[dep]; bad {
				t.Errorf("%s depends on %s: %s", pkg, dep, why)
			}
			first, _, _ := strings.Cut(dep, "/")
			ours := first == "nextbatch"
			if ours && dep != pkg && !slices.Contains(friends, dep) {
				t.Errorf("%s depends on %s: pure packages know only each other", pkg, dep)
			}
			if !ours && strings.Contains(first, ".") && dep != "golang.org/x/sys/cpu" {
				t.Errorf("%s depends on %s: pure packages need nothing from outside", pkg, dep)
			}
		}
		direct, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, direct)
		}
		for dep := range strings.FieldsSeq(string(direct)) {
			if dep == "os" || dep == "time" {
				t.Errorf("%s imports %s: files and clocks belong to the caller", pkg, dep)
			}
		}
	}
}

// Arrows point down: an edge does not know the shell, nor another edge that
// the table does not name.
func TestLayers(t *testing.T) {
	may := map[string][]string{
		"schemas":                nil,
		"internal/failpoint":     nil,
		"internal/hugepage":      nil,
		"internal/bus":           {"schemas"},
		"internal/events":        {"schemas"},
		"internal/blob":          {"internal/score"},
		"internal/cloud":         {"internal/blob", "internal/score"},
		"internal/state":         {"internal/bitmask", "internal/bus", "internal/events", "schemas"},
		"internal/webhook":       {"internal/failpoint", "internal/bus", "internal/events", "schemas"},
		"internal/images":        nil,
		"internal/annotation":    {"internal/bitmask", "internal/bus", "internal/events", "internal/state", "schemas"},
		"internal/labelstudio":   {"internal/annotation", "internal/bitmask", "internal/bus", "internal/events", "internal/failpoint", "internal/state", "schemas"},
		"internal/lightly":       {"internal/failpoint", "internal/bitmask", "internal/blob", "internal/bus", "internal/events", "internal/images", "internal/score", "internal/state", "schemas"},
		"internal/cvat":          {"internal/annotation", "internal/bitmask", "internal/bus", "internal/events", "internal/failpoint", "internal/state", "schemas"},
		"internal/cvat/cvatfake": nil,
		"internal/demo":          {"internal/bus", "internal/events", "schemas", "examples/fashion-mnist"},
		"examples/fashion-mnist": nil,
	}
	for pkg, allowed := range may {
		out, err := exec.Command("go", "list", "-deps", "nextbatch/"+pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			name, ours := strings.CutPrefix(dep, "nextbatch/")
			if ours && name != pkg && !slices.Contains(allowed, name) {
				t.Errorf("%s depends on %s", pkg, name)
			}
		}
	}
}
