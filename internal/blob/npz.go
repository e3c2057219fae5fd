package blob

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/flate"
)

const (
	maxMembers   = 1 << 17
	maxDirectory = 32 << 20 // bytes of the list of members
	// maxDeflate is how far deflate can pack: 258 bytes into two bits.
	maxDeflate = 1032
)

// archive is an npz: a zip of npy files, each named for its array. No member
// says more of its size than can be true, and all together not more than is
// allowed.
type archive struct {
	f       *File
	members []*zip.File
}

// npz reads the list of members.
func (f *File) npz() (archive, error) {
	z, err := f.openNPZ()
	return z, coded("bad_npz", "np.savez(out, …)", err)
}

func (f *File) openNPZ() (archive, error) {
	if err := f.checkZipEnd(); err != nil {
		return archive{}, err
	}
	limited := &directoryReader{f, maxDirectory}
	r, err := zip.NewReader(limited, f.size)
	if err != nil {
		return archive{}, err
	}
	limited.left = -1
	r.RegisterDecompressor(zip.Deflate, flate.NewReader)
	seen := make(map[string]bool, len(r.File))
	var total uint64
	for _, m := range r.File {
		name := m.Name
		switch {
		case strings.HasSuffix(name, ".pkl"):
			return archive{}, pickle("holds the pickle " + quote(name))
		case !strings.HasSuffix(name, ".npy"):
			return archive{}, fault("bad_npz", "np.savez(out, …)", "holds %s, which is no array", quote(name))
		case seen[name]:
			return archive{}, fault("bad_npz", "give each array one name", "holds %s twice", quote(name))
		case m.Flags&1 != 0:
			return archive{}, errors.New("is encrypted")
		case m.Method == zip.Store && m.UncompressedSize64 != m.CompressedSize64,
			m.CompressedSize64 > uint64(f.size),
			m.UncompressedSize64 > (m.CompressedSize64+8)*maxDeflate:
			return archive{}, fault("bad_npz", "", "says that %d bytes in it unpack to %d, which cannot be", m.CompressedSize64, m.UncompressedSize64)
		}
		seen[name] = true
		if total += m.UncompressedSize64; total > uint64(f.maxBytes) {
			return archive{}, fault("reference_too_large", "split the data into several events, or have the operator raise the limit",
				"unpacks to more than %d bytes", f.maxBytes)
		}
	}
	return archive{f, r.File}, nil
}

// checkZipEnd reads the end of the zip: archive/zip takes memory for as many
// members as it says there are.
func (f *File) checkZipEnd() error {
	const end, locator = 22, 20
	var tail [locator + end]byte
	n := min(int64(len(tail)), f.size)
	if _, err := f.ReadAt(tail[int64(len(tail))-n:], f.size-n); err != nil && err != io.EOF {
		return err
	}
	last := tail[locator:]
	if string(last[:4]) != "PK\x05\x06" || last[20] != 0 || last[21] != 0 {
		return errors.New("does not end as an npz does: it is no npz, or not complete")
	}
	records := uint64(binary.LittleEndian.Uint16(last[10:]))
	if string(tail[:4]) == "PK\x06\x07" { // zip64
		var end64 [56]byte
		at := binary.LittleEndian.Uint64(tail[8:])
		if at > uint64(f.size) {
			return errors.New("has no valid list of members")
		}
		if _, err := f.ReadAt(end64[:], int64(at)); err != nil && err != io.EOF {
			return err
		}
		records = max(records, binary.LittleEndian.Uint64(end64[32:]))
	}
	if records > maxMembers {
		return fault("reference_too_large", "split the data into several events", "holds %d arrays, at most %d are allowed", records, maxMembers)
	}
	return nil
}

// directoryReader lets only so much be read until left is negative.
type directoryReader struct {
	*File
	left int
}

func (d *directoryReader) ReadAt(p []byte, off int64) (int, error) {
	if d.left >= 0 {
		if d.left -= len(p); d.left < 0 {
			return 0, fault("reference_too_large", "split the data into several events", "has a list of arrays of more than %d bytes", maxDirectory)
		}
	}
	return d.File.ReadAt(p, off)
}

// read calls use with one array.
func (z archive) read(m *zip.File, use func(array) error) error {
	name := quote(strings.TrimSuffix(m.Name, ".npy"))
	r, err := m.Open()
	if err != nil {
		return fault("bad_npz", "", "array %s: %s", name, err)
	}
	defer r.Close()
	a, err := readHeader(r, int64(m.UncompressedSize64))
	if err == nil {
		err = use(a)
	}
	err = coded("bad_npz", "", err)
	if e, ok := err.(*Error); ok {
		e.Message = "array " + name + ": " + e.Message
	}
	return err
}

// named returns the member of an array, nil if there is none.
func (z archive) named(name string) *zip.File {
	i := slices.IndexFunc(z.members, func(m *zip.File) bool { return m.Name == name+".npy" })
	if i < 0 {
		return nil
	}
	return z.members[i]
}

// names reads the array filenames, if it is there.
func (z archive) names(n *nameList) error {
	m := z.named("filenames")
	if m == nil {
		return nil
	}
	return z.read(m, func(a array) error {
		if err := n.fromArray(a); err != nil {
			return err
		}
		return a.ends()
	})
}

// matrix finds the one array that has one of the names, or else the only one
// beside the filenames.
func (z archive) matrix(kind kind) (*zip.File, error) {
	var found, others []*zip.File
	for _, m := range z.members {
		switch name := strings.TrimSuffix(m.Name, ".npy"); {
		case slices.Contains(kind.arrays, name):
			found = append(found, m)
		case name != "filenames":
			others = append(others, m)
		}
	}
	if len(found) == 0 {
		found = others
	}
	want := strings.Join(kind.arrays, ", ")
	switch len(found) {
	case 0:
		return nil, fault("bad_npz", "name the array one of "+want, "holds no array of %s", kind.noun)
	case 1:
		return found[0], nil
	}
	return nil, fault("bad_npz", "leave exactly one of "+want, "holds several arrays that may be the %s: %s and %s", kind.noun, quote(found[0].Name), quote(found[1].Name))
}
