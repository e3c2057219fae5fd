package blob

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"os"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// pqFile is a Parquet file with one column of float64 lists or values, whose
// parts lie about one another as the test wants.
type pqFile struct {
	rows, groupRows  int64 // of the file, of its row group
	values, size, at int64 // of the column; at 0: where it is
	codec            int64
	unpacked, packed int64 // of the page; 0: as many as there are
	pageValues       int64
	encoding         int64
	physical         int64 // type of the column; 0: float64
	page             []byte
	listed           bool
	schema, columns  int // how many there are said to be; 0: as many as there are
}

func (p pqFile) bytes() []byte {
	or := func(v, otherwise int64) int64 {
		if v == 0 {
			return otherwise
		}
		return v
	}
	h := &thriftOut{}
	h.open(0)
	h.int(1, thriftI32, 0)
	h.int(2, thriftI32, or(p.unpacked, int64(len(p.page))))
	h.int(3, thriftI32, or(p.packed, int64(len(p.page))))
	h.open(5)
	h.int(1, thriftI32, or(p.pageValues, p.values))
	h.int(2, thriftI32, p.encoding)
	h.close()
	h.close()
	file := append([]byte("PAR1"), h.b...)
	file = append(file, p.page...)
	t := &thriftOut{}
	t.open(0)
	t.list(2, thriftStruct, int(or(int64(p.schema), 2)))
	t.open(0)
	t.text(4, "schema")
	t.int(5, thriftI32, 1)
	t.close()
	t.open(0)
	t.int(1, thriftI32, or(p.physical, pqDouble))
	if p.listed {
		t.int(3, thriftI32, 2)
	}
	t.text(4, "probs")
	t.close()
	t.int(3, thriftI64, p.rows)
	t.list(4, thriftStruct, 1)
	t.open(0)
	t.list(1, thriftStruct, int(or(int64(p.columns), 1)))
	t.open(0)
	t.open(3)
	t.int(4, thriftI32, p.codec)
	t.int(5, thriftI64, p.values)
	t.int(7, thriftI64, or(p.size, int64(len(file)-4)))
	t.int(9, thriftI64, or(p.at, 4))
	t.close()
	t.close()
	t.int(3, thriftI64, or(p.groupRows, p.rows))
	t.close()
	t.close()
	return pqTail(file, t.b, len(t.b))
}

func pqTail(file, footer []byte, size int) []byte {
	file = binary.LittleEndian.AppendUint32(append(file, footer...), uint32(size))
	return append(file, "PAR1"...)
}

// The one page of two rows of two values, as repeated values have it.
func pqPage(rep, def byte, values ...float64) (page []byte) {
	for _, levels := range []byte{rep, def} {
		page = append(page, 2, 0, 0, 0, 3, levels) // a group of eight, of one bit each
	}
	for _, v := range values {
		page = binary.LittleEndian.AppendUint64(page, math.Float64bits(v))
	}
	return page
}

type hostileFile struct {
	name, file string
	data       []byte
	code       string
}

func hostileParquet() []hostileFile {
	good := pqFile{rows: 2, values: 4, listed: true, page: pqPage(0b1010, 0b1111, 0.5, 0.5, 0.25, 0.75)}
	with := func(change func(*pqFile)) []byte {
		p := good
		change(&p)
		return p.bytes()
	}
	run := func(n uint64, value byte) []byte { // n equal levels
		levels := append(binary.AppendUvarint(nil, n<<1), value)
		return append(binary.LittleEndian.AppendUint32(nil, uint32(len(levels))), levels...)
	}
	runs := func(n uint64) []byte { return append(run(n, 0), run(n, 1)...) }
	differences := func(b []byte) []byte { // after levels as those of good
		return with(func(p *pqFile) { p.encoding, p.physical, p.page = pqDelta, pqInt64, append(p.page[:12:12], b...) })
	}
	footer := func(b ...byte) []byte { return pqTail([]byte("PAR1"), b, len(b)) }
	nested := bytes.Repeat([]byte{0x1c}, 1000)
	hf := must(os.ReadFile("testdata/emb_list_f4.parquet"))
	damaged := bytes.Replace(must(os.ReadFile("testdata/emb_groups.parquet")), []byte("sub/b.jpg"), []byte("sub/c.jpg"), -1)
	return []hostileFile{
		{"npy called parquet", "a.parquet", npyOf("<f4", "2, 2", 16), "bad_parquet"},
		{"short parquet", "a.parquet", []byte("PAR1PAR1"), "bad_parquet"},
		{"truncated parquet", "a.parquet", hf[:len(hf)-20], "bad_parquet"},
		{"encrypted parquet", "a.parquet", append(bytes.Clone(hf[:len(hf)-1]), 'E'), "bad_parquet"},
		{"footer larger than the file", "a.parquet", pqTail([]byte("PAR1"), nil, 1<<31), "bad_parquet"},
		{"no metadata", "a.parquet", footer(0), "bad_parquet"},
		{"2^31 row groups", "a.parquet", footer(0x49, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0, 0), "bad_parquet"},
		{"2^31 bytes of text", "a.parquet", footer(0x68, 0xff, 0xff, 0xff, 0xff, 0x07, 0), "bad_parquet"},
		{"nested metadata", "a.parquet", footer(nested...), "bad_parquet"},
		{"a map in the metadata", "a.parquet", footer(0xfb, 1, 0), "bad_parquet"},
		{"schema larger than it is", "a.parquet", with(func(p *pqFile) { p.schema = 1 << 30 }), "bad_parquet"},
		{"fewer columns than the schema", "a.parquet", with(func(p *pqFile) { p.columns = 1 << 20 }), "bad_parquet"},
		{"2^40 rows", "a.parquet", with(func(p *pqFile) { p.rows = 1 << 40 }), "reference_too_large"},
		{"negative rows", "a.parquet", with(func(p *pqFile) { p.rows = -2 }), "bad_parquet"},
		{"more rows than its row groups", "a.parquet", with(func(p *pqFile) { p.groupRows = 1 }), "bad_parquet"},
		{"more rows than values", "a.parquet", with(func(p *pqFile) { p.rows = 8 }), "bad_shape"},
		{"column beyond the file", "a.parquet", with(func(p *pqFile) { p.at = 1 << 40 }), "bad_parquet"},
		{"column longer than the file", "a.parquet", with(func(p *pqFile) { p.size = 1 << 40 }), "bad_parquet"},
		{"page longer than its column", "a.parquet", with(func(p *pqFile) { p.packed = 1 << 30 }), "bad_parquet"},
		{"page that unpacks to 2 GiB", "a.parquet", with(func(p *pqFile) { p.codec, p.unpacked = 6, 1<<31-1 }), "reference_too_large"},
		{"page that cannot unpack so far", "a.parquet", with(func(p *pqFile) { p.codec, p.unpacked = 1, 32<<20 }), "bad_parquet"},
		{"page larger than it is", "a.parquet", with(func(p *pqFile) { p.unpacked = 1 << 10 }), "bad_parquet"},
		{"page that is not snappy", "a.parquet", with(func(p *pqFile) { p.codec = 1 }), "bad_parquet"},
		{"page that is not gzip", "a.parquet", with(func(p *pqFile) { p.codec = 2 }), "bad_parquet"},
		{"page that is not zstd", "a.parquet", with(func(p *pqFile) { p.codec = 6 }), "bad_parquet"},
		{"unknown compression", "a.parquet", with(func(p *pqFile) { p.codec = 3 }), "bad_parquet"},
		{"old lz4", "a.parquet", with(func(p *pqFile) { p.codec = 5 }), "bad_parquet"},
		{"page that is not brotli", "a.parquet", with(func(p *pqFile) { p.codec = 4 }), "bad_parquet"},
		{"page that is not lz4", "a.parquet", with(func(p *pqFile) { p.codec = 7 }), "bad_parquet"},
		{"lz4 that unpacks too far", "a.parquet", with(func(p *pqFile) { p.codec, p.unpacked = 7, 1<<16 }), "bad_parquet"},
		{"gzip bomb", "a.parquet", with(func(p *pqFile) { p.codec, p.page, p.unpacked = 2, packedZeros("gzip"), 44 }), "bad_parquet"},
		{"zstd bomb", "a.parquet", with(func(p *pqFile) { p.codec, p.page, p.unpacked = 6, packedZeros("zstd"), 44 }), "bad_parquet"},
		{"brotli bomb", "a.parquet", with(func(p *pqFile) { p.codec, p.page, p.unpacked = 4, packedZeros("brotli"), 44 }), "bad_parquet"},
		{"snappy bomb", "a.parquet", with(func(p *pqFile) { p.codec, p.page, p.unpacked = 1, binary.AppendUvarint(nil, 1<<32-1), 44 }), "bad_parquet"},
		{"lz4 bomb", "a.parquet", with(func(p *pqFile) {
			p.codec, p.page, p.unpacked = 7, append([]byte{0x1f, 0, 1, 0}, bytes.Repeat([]byte{255}, 1<<16)...), 44
		}), "bad_parquet"},
		{"differences of floats", "a.parquet", with(func(p *pqFile) { p.encoding = 5 }), "bad_parquet"},
		{"texts of floats", "a.parquet", with(func(p *pqFile) { p.encoding = 6 }), "bad_parquet"},
		{"texts with prefixes of floats", "a.parquet", with(func(p *pqFile) { p.encoding = 7 }), "bad_parquet"},
		{"no differences", "a.parquet", differences(nil), "bad_parquet"},
		{"2^62 differences", "a.parquet", differences(binary.AppendUvarint([]byte{128, 1, 4}, 1<<62)), "bad_parquet"},
		{"blocks without values", "a.parquet", differences([]byte{0, 4, 4, 0, 0, 0, 0, 0, 0}), "bad_parquet"},
		{"blocks without miniblocks", "a.parquet", differences([]byte{128, 1, 0, 4, 0, 0, 0, 0, 0, 0}), "bad_parquet"},
		{"blocks of 2^60", "a.parquet", differences(append(binary.AppendUvarint(nil, 1<<60), 4, 4, 0, 0, 0, 0, 0)), "bad_parquet"},
		{"2^60 miniblocks", "a.parquet", differences(append(binary.AppendUvarint([]byte{128, 1}, 1<<60), 4, 0, 0, 0, 0, 0)), "bad_parquet"},
		{"differences of 65 bits", "a.parquet", differences([]byte{128, 1, 4, 4, 0, 0, 65, 0, 0, 0}), "bad_parquet"},
		{"differences cut off", "a.parquet", differences([]byte{128, 1, 4, 4, 0, 0, 64, 0, 0, 0, 1}), "bad_parquet"},
		{"more after the differences", "a.parquet", differences([]byte{128, 1, 4, 4, 0, 0, 0, 0, 0, 0, 7}), "bad_parquet"},
		{"split bytes that are too few", "a.parquet", with(func(p *pqFile) { p.encoding = 9; p.page = p.page[:len(p.page)-1] }), "bad_parquet"},
		{"index of 33 bits", "a.parquet", with(func(p *pqFile) { p.encoding, p.page = pqRLEDict, append(p.page[:12:12], 33) }), "bad_parquet"},
		{"more values than rows", "a.parquet", with(func(p *pqFile) { p.listed = false }), "bad_parquet"},
		{"unknown encoding", "a.parquet", with(func(p *pqFile) { p.encoding = 5 }), "bad_parquet"},
		{"more values than are left", "a.parquet", with(func(p *pqFile) { p.pageValues = 5 }), "bad_parquet"},
		{"fewer values than it says", "a.parquet", with(func(p *pqFile) { p.pageValues = 2 }), "bad_parquet"},
		{"2^26 values in a run", "a.parquet", with(func(p *pqFile) { p.rows, p.values, p.page = 1<<26, 1<<26, runs(1<<26) }), "bad_parquet"},
		{"256 values of no dictionary", "a.parquet", with(func(p *pqFile) {
			p.rows, p.values, p.encoding, p.page = 1<<8, 1<<8, pqRLEDict, append(append(runs(1<<8), 1), run(1<<8, 0)[4:]...)
		}), "bad_parquet"},
		{"levels beyond the page", "a.parquet", with(func(p *pqFile) { p.page = []byte{255, 255, 255, 255, 0} }), "bad_parquet"},
		{"no page", "a.parquet", with(func(p *pqFile) { p.page = nil }), "bad_parquet"},
		{"rows of one and three", "a.parquet", with(func(p *pqFile) { p.page = pqPage(0b1100, 0b1111, 1, 2, 3, 4) }), "bad_shape"},
		{"row that begins within", "a.parquet", with(func(p *pqFile) { p.page = pqPage(0b1011, 0b1111, 1, 2, 3, 4) }), "bad_shape"},
		{"missing value", "a.parquet", with(func(p *pqFile) { p.page = pqPage(0b1010, 0b1011, 1, 2, 3, 4) }), "bad_parquet"},
		{"wrong checksum of a page", "a.parquet", damaged, "bad_parquet"},
		{"null rows", "a.parquet", must(os.ReadFile("testdata/null.parquet")), "bad_shape"},
		{"rows of unequal length", "a.parquet", must(os.ReadFile("testdata/ragged.parquet")), "bad_shape"},
		{"probabilities and logits in parquet", "a.parquet", must(os.ReadFile("testdata/both.parquet")), "bad_parquet"},
		{"a score among the classes", "a.parquet", must(os.ReadFile("testdata/score.parquet")), "bad_parquet"},
		{"no numbers", "a.parquet", must(os.ReadFile("testdata/names_dictionary.parquet")), "bad_parquet"},
	}
}

// packedZeros are four million zeros.
func packedZeros(codec string) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	switch codec {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "brotli":
		w = brotli.NewWriter(&b)
	default:
		z, err := zstd.NewWriter(&b)
		if err != nil {
			panic(err)
		}
		w = z
	}
	w.Write(make([]byte, 4<<20))
	w.Close()
	return b.Bytes()
}
