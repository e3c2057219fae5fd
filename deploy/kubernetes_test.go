package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestServices: each of the manifests with a worker has a Service, whose
// selector is the label of the pods and whose port is theirs.
func TestServices(t *testing.T) {
	for _, name := range []string{"embedded", "external"} {
		text, err := os.ReadFile(filepath.Join("kubernetes", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var service, pods string
		for part := range strings.SplitSeq(string(text), "\n---\n") {
			switch kind := regexp.MustCompile(`(?m)^kind: (\w+)$`).FindStringSubmatch(part); kind[1] {
			case "Service":
				service = part
			case "Deployment", "StatefulSet":
				_, pods, _ = strings.Cut(part, "\n  template:\n")
			}
		}
		selector := regexp.MustCompile(`(?m)^  selector: (\{.*\})$`).FindStringSubmatch(service)
		port := regexp.MustCompile(`targetPort: (\w+)\}`).FindStringSubmatch(service)
		if selector == nil || port == nil {
			t.Errorf("%s: no Service with a selector and a port", name)
			continue
		}
		for _, want := range []string{"labels: " + selector[1], "- {name: " + port[1] + ", containerPort: 8080}"} {
			if !strings.Contains(pods, want) {
				t.Errorf("%s: the pods have no %s", name, want)
			}
		}
	}
}
