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
