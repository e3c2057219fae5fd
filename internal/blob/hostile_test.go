package blob

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// npyBytes returns an npy with any header and payload.
func npyBytes(header string, payload []byte) []byte {
	b := append([]byte(npyMagic), 1, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	return append(append(b, header...), payload...)
}

func npyOf(descr, shape string, payload int) []byte {
	return npyBytes(fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }\n", descr, shape), make([]byte, payload))
}

type member struct {
	name string
	data []byte
}

func zipBytes(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		f, err := w.Create(m.name)
		if err != nil {
			t.Fatal(err)
		}
		f.Write(m.data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// lyingZip holds one deflated member that says it has size bytes.
func lyingZip(t *testing.T, name string, data []byte, size uint64) []byte {
	t.Helper()
	var packed, b bytes.Buffer
	d, _ := flate.NewWriter(&packed, flate.BestCompression)
	d.Write(data)
	d.Close()
	w := zip.NewWriter(&b)
	f, err := w.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Deflate, CRC32: crc32.ChecksumIEEE(data), CompressedSize64: uint64(packed.Len()), UncompressedSize64: size})
	if err != nil {
		t.Fatal(err)
	}
	f.Write(packed.Bytes())
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

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

// allocated returns how many bytes of heap were ever taken.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestHostileFiles(t *testing.T) {
	names := npyOf("<U1", "2,", 8)
	overlapping := zipBytes(t, member{"probs.npy", npyOf("<f4", "2, 2", 16)}, member{"probs.npy", npyOf("<f4", "2, 2", 16)})
	manyMembers := zipBytes(t, member{"probs.npy", npyOf("<f4", "2, 2", 16)})
	zip64 := manyMembers[: len(manyMembers)-22 : len(manyMembers)-22]
	at := uint64(len(zip64))
	zip64 = append(zip64, "PK\x06\x06"...)
	zip64 = binary.LittleEndian.AppendUint64(zip64, 44)
	zip64 = append(zip64, make([]byte, 12)...)
	for range 2 {
		zip64 = binary.LittleEndian.AppendUint64(zip64, 1<<40) // members
	}
	zip64 = append(zip64, make([]byte, 16)...)
	zip64 = append(zip64, "PK\x06\x07\x00\x00\x00\x00"...)
	zip64 = binary.LittleEndian.AppendUint64(zip64, at)
	zip64 = append(zip64, 1, 0, 0, 0)
	zip64 = append(zip64, "PK\x05\x06\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00"...)
	damaged := zipBytes(t, member{"probs.npy", npyOf("<f4", "2, 2", 16)})
	damaged[bytes.Index(damaged, []byte("PK\x01\x02"))+16] ^= 1 // CRC-32
	truncated, _ := os.ReadFile("testdata/probs.npz")
	for _, c := range append([]hostileFile{
		{"truncated npy", "a.npy", npyOf("<f4", "4, 4", 63), "bad_npy"},
		{"more than the header says", "a.npy", npyOf("<f4", "4, 4", 65), "bad_npy"},
		{"huge shape", "a.npy", npyOf("<f4", "1000000000, 4096", 64), "bad_npy"},
		{"overflowing shape", "a.npy", npyOf("<f4", "4611686018427387904, 4", 64), "bad_npy"},
		{"overflowing shape to zero", "a.npy", npyOf("<f8", "4294967296, 4294967296", 0), "bad_npy"},
		{"shape beyond int64", "a.npy", npyOf("<f4", "99999999999999999999, 4", 64), "bad_npy"},
		{"negative shape", "a.npy", npyOf("<f4", "-4, -4", 64), "bad_npy"},
		{"rows without columns", "a.npy", npyOf("<f4", "1000000000000, 0", 0), "reference_too_large"},
		{"few rows without columns", "a.npy", npyOf("<f4", "4, 0", 0), "bad_shape"},
		{"columns without rows", "a.npy", npyOf("<f4", "0, 1000000000000", 0), "reference_too_large"},
		{"33 axes", "a.npy", npyOf("<f4", strings.Repeat("1, ", 33), 4), "bad_npy"},
		{"one axis", "a.npy", npyOf("<f4", "4,", 16), "bad_shape"},
		{"strings", "a.npy", npyOf("<U1", "2, 2", 16), "bad_npy"},
		{"strings without bytes", "a.npy", npyOf("<U0", "1000000000000,", 0), "bad_npy"},
		{"object array", "a.npy", npyOf("|O", "2, 2", 16), "pickle_refused"},
		{"object array in disguise", "a.npy", npyOf("<O8", "2, 2", 16), "pickle_refused"},
		{"structured type", "a.npy", npyBytes("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 2), }\n", make([]byte, 16)), "bad_npy"},
		{"unknown type", "a.npy", npyOf("<c8", "2, 2", 32), "bad_npy"},
		{"long double", "a.npy", npyOf("<f16", "2, 2", 64), "bad_npy"},
		{"Fortran order lies", "a.npy", npyBytes("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2, 2), }\n", make([]byte, 16)), "bad_npy"},
		{"key twice", "a.npy", npyBytes("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\n", make([]byte, 16)), "bad_npy"},
		{"key missing", "a.npy", npyBytes("{'descr': '<f4', 'shape': (2, 2), }\n", make([]byte, 16)), "bad_npy"},
		{"unknown key", "a.npy", npyBytes("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), 'x': 1}\n", make([]byte, 16)), "bad_npy"},
		{"code in the header", "a.npy", npyBytes("__import__('os').system('id')\n", make([]byte, 16)), "bad_npy"},
		{"huge header", "a.npy", append([]byte(npyMagic), 2, 0, 0xff, 0xff, 0xff, 0xff), "bad_npy"},
		{"unknown version", "a.npy", append([]byte(npyMagic), 9, 0, 0, 0), "bad_npy"},
		{"header cut off", "a.npy", npyOf("<f4", "4, 4", 0)[:40], "bad_npy"},
		{"text", "a.npy", []byte("<html>not found</html>"), "bad_npy"},
		{"pickled dictionary", "a.npy", []byte("\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00."), "pickle_refused"},
		{"npz called npy", "a.npy", zipBytes(t, member{"probs.npy", npyOf("<f4", "2, 2", 16)}), "bad_npy"},
		{"npy called npz", "a.npz", npyOf("<f4", "2, 2", 16), "bad_npz"},
		{"npy called csv", "a.csv", npyOf("<f4", "2, 2", 16), "bad_csv"},
		{"npz called jsonl", "a.jsonl", zipBytes(t, member{"probs.npy", npyOf("<f4", "2, 2", 16)}), "bad_json"},
		{"truncated npz", "a.npz", truncated[:len(truncated)-100], "bad_npz"},
		{"zip bomb", "a.npz", lyingZip(t, "probs.npy", npyOf("<f4", "2, 2", 16), 1<<40), "bad_npz"},
		{"zip bomb that can be", "a.npz", lyingZip(t, "probs.npy", make([]byte, 100<<20), 100<<20), "reference_too_large"},
		{"member larger than it says", "a.npz", lyingZip(t, "probs.npy", npyOf("<f4", "64, 64", 16384), 200), "bad_npz"},
		{"member smaller than it says", "a.npz", lyingZip(t, "probs.npy", npyOf("<f4", "64, 64", 16000), uint64(len(npyOf("<f4", "64, 64", 16384)))), "bad_npy"},
		{"wrong checksum", "a.npz", damaged, "bad_npz"},
		{"one name for two arrays", "a.npz", overlapping, "bad_npz"},
		{"2^40 members", "a.npz", zip64, "reference_too_large"},
		{"no arrays", "a.npz", zipBytes(t), "bad_npz"},
		{"something else in it", "a.npz", zipBytes(t, member{"run.sh", []byte("rm")}), "bad_npz"},
		{"names for nothing", "a.npz", zipBytes(t, member{"filenames.npy", names}), "bad_npz"},
		{"torch.save", "a.npz", must(os.ReadFile("testdata/torch.zip")), "pickle_refused"},
		{"object names", "a.npz", must(os.ReadFile("testdata/object.npz")), "pickle_refused"},
		{"numbers as names", "a.npz", must(os.ReadFile("testdata/number_names.npz")), "bad_npy"},
		{"fewer names than rows", "a.npz", must(os.ReadFile("testdata/fewer_names.npz")), "bad_shape"},
		{"names twice", "a.npz", must(os.ReadFile("testdata/twice.npz")), "duplicate_filenames"},
		{"probabilities and logits", "a.npz", must(os.ReadFile("testdata/both.npz")), "bad_npz"},
		{"NaN in JSON", "a.jsonl", must(os.ReadFile("testdata/nan.jsonl")), "bad_json"},
		{"endless line", "a.jsonl", append([]byte(`{"filename":"`), make([]byte, 70<<20)...), "bad_json"},
		{"sparse CSV", "a.csv", make([]byte, 70<<20), "bad_csv"},
		{"not JSON", "a.jsonl", []byte("hello\n"), "bad_json"},
		{"array file called jsonl", "a.jsonl", []byte("[\n[1,2]\n]\n"), "bad_json"},
		{"nothing but spaces", "a.json", []byte("   \n"), "bad_json"},
		{"deep nesting", "a.json", bytes.Repeat([]byte("["), 1<<20), "bad_json"},
		{"too many columns", "a.jsonl", []byte("[" + strings.Repeat("1,", maxCols) + "1]"), "reference_too_large"},
		{"unknown extension", "a.bin", []byte("x"), "unsupported_format"},
		{"names only format", "a.txt", []byte("x"), "unsupported_format"},
	}, append(hostileParquet(), hostileSafetensors()...)...) {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(path, c.data, 0o644); err != nil {
				t.Fatal(err)
			}
			size := uint64(len(c.data))
			c.data = nil
			f, err := OpenPath(t.Context(), path, "")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			f.maxBytes = 64 << 20
			before := allocated()
			_, err = gather(f)
			if grown := allocated() - before; grown > 8<<20+4*size {
				t.Errorf("took %d bytes for a file of %d", grown, size)
			}
			wantCode(t, err, c.code)
			if strings.HasPrefix(c.code, "pickle") && !strings.Contains(err.(*Error).Hint, "np.savez(") {
				t.Errorf("hint %q has no converter", err.(*Error).Hint)
			}
			if !strings.Contains(err.(*Error).Message, c.file) {
				t.Errorf("message %q does not name the file", err.(*Error).Message)
			}
		})
	}
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}
