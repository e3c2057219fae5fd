package lightly_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if bin, err := buildWorker(); built.Load() && err == nil {
			os.RemoveAll(filepath.Dir(bin))
		}
		os.Exit(code)
	}))
}
