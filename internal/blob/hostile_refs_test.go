package blob

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Reference tests share one layout: an allowed folder with files, and a secret
// beside it.
func hostileRoot(t *testing.T) (root string) {
	t.Helper()
	dir := t.TempDir()
	root = filepath.Join(dir, "allowed")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "sub"), 0o755))
	must(os.MkdirAll(filepath.Join(dir, "secrets"), 0o755))
	must(os.MkdirAll(filepath.Join(dir, "allowed-not"), 0o755))
	good, err := os.ReadFile("testdata/emb_le_f4.npy")
	must(err)
	for _, p := range []string{"allowed/good.npy", "allowed/sub/100% #1.npy", "allowed/good.pt", "secrets/secret.npy", "allowed-not/x.npy"} {
		must(os.WriteFile(filepath.Join(dir, p), good, 0o644))
	}
	must(os.WriteFile(filepath.Join(root, "empty.npy"), nil, 0o644))
	must(os.Symlink("../secrets/secret.npy", filepath.Join(root, "link.npy")))
	must(os.Symlink(filepath.Join(dir, "secrets", "secret.npy"), filepath.Join(root, "absolute.npy")))
	must(os.Symlink("../secrets", filepath.Join(root, "linkdir")))
	must(os.Symlink("loop.npy", filepath.Join(root, "loop.npy")))
	must(os.Symlink("nowhere.npy", filepath.Join(root, "dangling.npy")))
	must(os.Symlink("good.npy", filepath.Join(root, "inside.npy")))
	must(syscall.Mkfifo(filepath.Join(root, "fifo.npy"), 0o644))
	return root
}

func TestHostileReferences(t *testing.T) {
	root := hostileRoot(t)
	o, err := NewOpener(Config{Roots: []string{root, "/dev"}, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	big := filepath.Join(root, "big.npy")
	if err := os.WriteFile(big, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 1<<40); err != nil { // sparse
		t.Fatal(err)
	}
	good := "file://" + root + "/good.npy"
	const zeros = "0000000000000000000000000000000000000000000000000000000000000000"
	for _, c := range []struct {
		name string
		ref  Ref
		code string // "" means it opens
	}{
		{"good", Ref{URI: good}, ""},
		{"symlink within the folder", Ref{URI: "file://" + root + "/inside.npy"}, ""},
		{"encoded name", Ref{URI: "file://" + root + "/sub/100%25%20%231.npy"}, ""},
		{"no uri", Ref{}, "bad_reference"},
		{"relative path", Ref{URI: "good.npy"}, "bad_reference"},
		{"relative file uri", Ref{URI: "file:good.npy"}, "bad_reference"},
		{"relative with slashes", Ref{URI: "file://./../etc/passwd"}, "bad_reference"},
		{"host", Ref{URI: "file://localhost" + root + "/good.npy"}, "bad_reference"},
		{"traversal", Ref{URI: "file://" + root + "/../secrets/secret.npy"}, "bad_reference"},
		{"traversal to the folder", Ref{URI: "file://" + root + "/sub/../good.npy"}, "bad_reference"},
		{"dot segment", Ref{URI: "file://" + root + "/./good.npy"}, "bad_reference"},
		{"empty segment", Ref{URI: "file://" + root + "//good.npy"}, "bad_reference"},
		{"encoded traversal", Ref{URI: "file://" + root + "/%2e%2e/secrets/secret.npy"}, "bad_reference"},
		{"half encoded traversal", Ref{URI: "file://" + root + "/.%2E/secrets/secret.npy"}, "bad_reference"},
		{"encoded slash", Ref{URI: "file://" + root + "/..%2fsecrets/secret.npy"}, "bad_reference"},
		{"doubly encoded traversal", Ref{URI: "file://" + root + "/%252e%252e/secrets/secret.npy"}, "bad_reference"},
		{"encoded backslash", Ref{URI: "file://" + root + "/..%5csecrets"}, "bad_reference"},
		{"backslash", Ref{URI: "file://" + root + `\good.npy`}, "bad_reference"},
		{"NUL", Ref{URI: good + "\x00.txt"}, "bad_reference"},
		{"encoded NUL", Ref{URI: good + "%00.txt"}, "bad_reference"},
		{"encoded newline", Ref{URI: good + "%0a"}, "bad_reference"},
		{"newline", Ref{URI: good + "\n"}, "bad_reference"},
		{"invalid UTF-8", Ref{URI: good + "\xff"}, "bad_reference"},
		{"encoded invalid UTF-8", Ref{URI: good + "%ff"}, "bad_reference"},
		{"broken encoding", Ref{URI: good + "%zz"}, "bad_reference"},
		{"query", Ref{URI: good + "?create_dir=1"}, "bad_reference"},
		{"fragment", Ref{URI: good + "#x"}, "bad_reference"},
		{"user name", Ref{URI: "file://user:secret@" + root + "/good.npy"}, "bad_reference"},
		{"port", Ref{URI: "file://:80" + root + "/good.npy"}, "bad_reference"},
		{"bucket with user name", Ref{URI: "nats://user@bucket/key"}, "bad_reference"},
		{"bucket with port", Ref{URI: "nats://bucket:4222/key"}, "bad_reference"},
		{"bucket with wildcard", Ref{URI: "nats://buck*et/key"}, "bad_reference"},
		{"no bucket", Ref{URI: "nats:///key"}, "bad_reference"},
		{"no key", Ref{URI: "nats://bucket/"}, "bad_reference"},
		{"absolute key", Ref{URI: "nats://bucket//key"}, "bad_reference"},
		{"traversal in a key", Ref{URI: "nats://bucket/a/../../b"}, "bad_reference"},
		{"long key", Ref{URI: "nats://bucket/" + strings.Repeat("k", 1025)}, "bad_reference"},
		{"bucket not allowed", Ref{URI: "nats://bucket/key"}, "reference_not_allowed"},
		{"long path", Ref{URI: "file://" + root + "/" + strings.Repeat("a/", 600) + "b"}, "bad_reference"},
		{"long name", Ref{URI: "file://" + root + "/" + strings.Repeat("a", 300)}, "bad_reference"},
		{"long uri", Ref{URI: "file:///" + strings.Repeat("a", 5000)}, "bad_reference"},
		{"scheme", Ref{URI: "ftp://host/file.npy"}, "unsupported_scheme"},
		{"web", Ref{URI: "http://169.254.169.254/latest/meta-data"}, "unsupported_scheme"},
		{"object store of a cloud", Ref{URI: "s3://bucket/key?endpoint=evil"}, "bad_reference"},
		{"upper case scheme", Ref{URI: "FILE://" + root + "/good.npy"}, "unsupported_scheme"},
		{"outside", Ref{URI: "file:///etc/passwd"}, "reference_not_allowed"},
		{"folder with the same beginning", Ref{URI: "file://" + root + "-not/x.npy"}, "reference_not_allowed"},
		{"symlink out", Ref{URI: "file://" + root + "/link.npy"}, "reference_not_allowed"},
		{"absolute symlink out", Ref{URI: "file://" + root + "/absolute.npy"}, "reference_not_allowed"},
		{"symlinked folder", Ref{URI: "file://" + root + "/linkdir/secret.npy"}, "reference_not_allowed"},
		{"symlink loop", Ref{URI: "file://" + root + "/loop.npy"}, "reference_not_allowed"},
		{"FIFO", Ref{URI: "file://" + root + "/fifo.npy"}, "reference_not_allowed"},
		{"device", Ref{URI: "file:///dev/zero"}, "reference_not_allowed"},
		{"folder with symlinks out", Ref{URI: "file://" + root + "/", Format: "npy"}, "bad_reference"},
		{"file for a tree", Ref{URI: good, Format: "lightly"}, "bad_tree"},
		{"missing", Ref{URI: "file://" + root + "/none.npy"}, "reference_missing"},
		{"file as folder", Ref{URI: good + "/x.npy"}, "reference_missing"},
		{"dangling symlink", Ref{URI: "file://" + root + "/dangling.npy"}, "reference_missing"},
		{"empty", Ref{URI: "file://" + root + "/empty.npy"}, "empty_file"},
		{"too large", Ref{URI: "file://" + big}, "reference_too_large"},
		{"wrong digest", Ref{URI: good, SHA256: zeros}, "digest_mismatch"},
		{"upper case digest", Ref{URI: good, SHA256: strings.Repeat("A", 64)}, "bad_reference"},
		{"short digest", Ref{URI: good, SHA256: "00"}, "bad_reference"},
		{"wrong size", Ref{URI: good, Size: 7}, "size_mismatch"},
		{"negative size", Ref{URI: good, Size: -1}, "bad_reference"},
		{"pickle", Ref{URI: "file://" + root + "/good.pt"}, "pickle_refused"},
		{"pickle by another name", Ref{URI: "file://" + root + "/good.pt", Format: "npy"}, "pickle_refused"},
		{"pickle by format", Ref{URI: good, Format: "pkl"}, "pickle_refused"},
		{"unknown format", Ref{URI: good, Format: "xls"}, "unsupported_format"},
		{"data with a location", Ref{URI: good, Data: []byte("[]")}, "bad_reference"},
		{"inline without data", Ref{URI: "inline:"}, "bad_reference"},
		{"inline with digest", Ref{URI: "inline:", Data: []byte("[]"), SHA256: zeros}, "bad_reference"},
		{"inline with size", Ref{URI: "inline:", Data: []byte("[]"), Size: 2}, "bad_reference"},
		{"inline npy", Ref{URI: "inline:", Data: []byte("[]"), Format: "npy"}, "unsupported_format"},
		{"inline with more", Ref{URI: "inline:x", Data: []byte("[]")}, "bad_reference"},
		{"digest of a folder", Ref{URI: "file://" + root + "/sub/", SHA256: zeros}, "bad_reference"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := allocated()
			f, err := o.Open(t.Context(), c.ref)
			if err == nil {
				f.Close()
			}
			if grown := allocated() - before; grown > 4<<20 {
				t.Errorf("took %d bytes", grown)
			}
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantCode(t, err, c.code)
			if e := err.(*Error); e.Transient != (c.code == "reference_missing") {
				t.Errorf("transient: %v", e.Transient)
			}
			if strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "evil") || strings.Contains(err.Error(), "\x00") {
				t.Errorf("message gives away a secret: %s", err)
			}
		})
	}
}
