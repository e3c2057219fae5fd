package fashionmnist

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestFiles: the files are those that README.md names, with their license.
func TestFiles(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"t10k-images-idx3-ubyte.gz": Images, "t10k-labels-idx1-ubyte.gz": Labels} {
		if sum := fmt.Sprintf("%x", sha256.Sum256(data)); !strings.Contains(string(readme), sum) {
			t.Errorf("%s has SHA-256 %s, README.md says otherwise", name, sum)
		}
	}
	if license, err := os.ReadFile("LICENSE"); err != nil || !strings.Contains(string(license), "Zalando SE") {
		t.Errorf("LICENSE: %v", err)
	}
}
