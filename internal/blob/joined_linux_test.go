package blob

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

func TestJoined(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var shas []string
	var want []float32
	for at, n := range []int{3_000_001, 1, 0, 700} {
		part := make([]float32, n)
		for i := range part {
			part[i] = float32(1000*at + i)
		}
		sha, err := s.Put(t.Context(), unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(part))), 4*n))
		if err != nil {
			t.Fatal(err)
		}
		shas, want = append(shas, sha), append(want, part...)
	}
	const none = 600_000 // more than are written at a time
	data, release, err := s.Joined(t.Context(), shas, len(want)+none)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) != len(want)+none {
		t.Fatalf("%d values, want %d", len(data), len(want)+none)
	}
	for i, v := range data {
		if i < len(want) && v != want[i] || i >= len(want) && v == v {
			t.Fatalf("value %d is %v", i, v)
		}
	}
	if file := mappedFile(t, data); !strings.HasPrefix(file, s.dir) || !strings.HasSuffix(file, "(deleted)") {
		t.Errorf("the values lie in %q, want a nameless file of the store", file)
	}
	if left, err := os.ReadDir(s.dir + "/tmp"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	again, releaseAgain, err := s.Joined(t.Context(), shas, len(want)+none)
	if err != nil || &again[0] != &data[0] {
		t.Errorf("the second time another copy was made, %v", err)
	}
	release()
	release() // as harmless as with a blob
	if again[0] != want[0] {
		t.Error("released while in use")
	}
	releaseAgain()

	if _, _, err := s.Joined(t.Context(), shas, len(want)-1); err == nil || !strings.Contains(err.Error(), "1 values too many") {
		t.Errorf("more values than there is room for: %v", err)
	}
	if _, _, err := s.Joined(t.Context(), append(shas, strings.Repeat("0", 64)), len(want)+5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing blob: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Joined(ctx, shas, len(want)+1); err == nil {
		t.Error("joined although canceled")
	}
}

// Many users of many files: at most joinsKept stay when all are released.
func TestJoinedIsDropped(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	one := float32(1)
	sha, err := s.Put(t.Context(), unsafe.Slice((*byte)(unsafe.Pointer(&one)), 4))
	if err != nil {
		t.Fatal(err)
	}
	var users sync.WaitGroup
	for user := range 8 {
		users.Go(func() {
			for i := range 200 {
				n := 2 + (user+i)%5
				data, release, err := s.Joined(t.Context(), []string{sha}, n)
				if err != nil {
					t.Error(err)
					return
				}
				if len(data) != n || data[0] != 1 || !math.IsNaN(float64(data[n-1])) {
					t.Errorf("%d values: %v", n, data)
				}
				release()
			}
		})
	}
	users.Wait()
	if n := mappings(t, s.dir); len(s.joins.all) != joinsKept || n != joinsKept {
		t.Errorf("%d files are remembered and %d mapped, want %d", len(s.joins.all), n, joinsKept)
	}
}

// mappedFile returns the file that a slice is mapped from.
func mappedFile(t *testing.T, v []float32) (file string) {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(v)))
	eachMapping(t, func(from, to uintptr, name string) {
		if at >= from && at < to {
			file = name
		}
	})
	return file
}

// mappings counts those of files below a folder.
func mappings(t *testing.T, dir string) (n int) {
	eachMapping(t, func(_, _ uintptr, name string) {
		if strings.HasPrefix(name, dir) {
			n++
		}
	})
	return n
}

func eachMapping(t *testing.T, see func(from, to uintptr, name string)) {
	t.Helper()
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var from, to uintptr
		if _, err := fmt.Sscanf(sc.Text(), "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		name := ""
		if at := strings.IndexByte(sc.Text(), '/'); at >= 0 {
			name = sc.Text()[at:]
		}
		see(from, to, name)
	}
}
