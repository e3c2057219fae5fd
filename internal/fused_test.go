package internal

import (
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayFuse are the files in which the compiler may contract x·y + z into one
// operation with one rounding, as it does on arm64, and on amd64 from GOAMD64=v3
// on, with the reason why no result shows it. math.FMA is the same everywhere.
var mayFuse = map[string]string{
	"selection/kernel.go":        "tiles are filters, whose error is allowed for",
	"selection/codes.go":         "its error is allowed for",
	"selection/filter.go":        "its error is allowed for",
	"selection/points.go":        "its error is allowed for",
	"selection/herding_guess.go": "its error is allowed for",
	"selection/radius.go":        "a bound with slack, above what decides",
	"selection/probe.go":         "guesses what saves time",
	"selection/chance.go":        "1 - u is exact; what decides is in ln",
}

var fusing = regexp.MustCompile(`/internal/(\w+/\w+\.go):(\d+)\)\tFN?M(?:ADD|SUB)[SD]\t`)

// TestNothingFused reads the arm64 code of what decides scores and picks. Where it
// fails, write float64(x*y) + z: a conversion forbids it.
func TestNothingFused(t *testing.T) {
	args := []string{"build", "-gcflags=-S"}
	for _, name := range []string{"blob", "score", "selection", "state", "worker"} {
		args = append(args, "nextbatch/internal/"+name)
	}
	build := exec.Command("go", args...)
	build.Env = append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := map[string]bool{}
	for _, m := range fusing.FindAllStringSubmatch(string(out), -1) {
		file := m[1]
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		line, _ := strconv.Atoi(m[2])
		if strings.Contains(strings.Split(string(source), "\n")[line-1], "math.FMA(") {
			found["math.FMA"] = true
		} else if found[file] = true; mayFuse[file] == "" {
			t.Errorf("internal/%s:%d is fused on arm64", file, line)
		}
	}
	for _, name := range append(slices.Sorted(maps.Keys(mayFuse)), "math.FMA") {
		if !found[name] {
			t.Errorf("nothing is fused by %s: is the code still read?", name)
		}
	}
}
