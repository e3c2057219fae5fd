package blob

import (
	"encoding/binary"
	"os"
	"strings"
)

// tensorFile is a safetensors file with a header and so many bytes of data.
func tensorFile(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func hostileSafetensors() []hostileFile {
	const file, code = "a.safetensors", "bad_safetensors"
	tensor := func(dtype, shape, offsets string) string {
		return `{"probs":{"dtype":"` + dtype + `","shape":[` + shape + `],"data_offsets":[` + offsets + `]}}`
	}
	two := `{"probs":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"x":{"dtype":"F32","shape":[2,2],"data_offsets":[%]}}`
	return []hostileFile{
		{"short safetensors", file, []byte("1234"), code},
		{"npy called safetensors", file, npyOf("<f4", "2, 2", 16), code},
		{"header larger than the file", file, binary.LittleEndian.AppendUint64(nil, 99_999_999), code},
		{"header of 2^63 bytes", file, binary.LittleEndian.AppendUint64(nil, 1<<63+5), code},
		{"header that is not JSON", file, tensorFile("hello", 0), code},
		{"more after the header", file, tensorFile("{} {}", 0), code},
		{"no tensors", file, tensorFile("{}", 0), code},
		{"truncated tensor", file, tensorFile(tensor("F32", "2,2", "0,16"), 15), code},
		{"more than the tensors", file, tensorFile(tensor("F32", "2,2", "0,16"), 17), code},
		{"tensor with other offsets", file, tensorFile(tensor("F32", "2,2", "0,12"), 12), code},
		{"tensor that ends before it begins", file, tensorFile(tensor("F32", "2,2", "16,0"), 16), code},
		{"negative offset", file, tensorFile(tensor("F32", "2,2", "-16,0"), 16), code},
		{"offset that is none", file, tensorFile(tensor("F32", "2,2", "0,1e300"), 16), code},
		{"huge tensor", file, tensorFile(tensor("F32", "1000000000,4096", "0,16"), 16), code},
		{"overflowing tensor", file, tensorFile(tensor("F64", "4294967296,4294967296", "0,0"), 0), code},
		{"negative axis", file, tensorFile(tensor("F32", "-2,-2", "0,16"), 16), code},
		{"33 axes of a tensor", file, tensorFile(tensor("F32", strings.Repeat("1,", 32)+"1", "0,4"), 4), code},
		{"unknown type of a tensor", file, tensorFile(tensor("F8_E4M3", "4,4", "0,16"), 16), code},
		{"no shape", file, tensorFile(`{"probs":{"dtype":"F32","data_offsets":[0,16]}}`, 16), code},
		{"overlapping tensors", file, tensorFile(strings.ReplaceAll(two, "%", "8,24"), 24), code},
		{"hole between tensors", file, tensorFile(strings.ReplaceAll(two, "%", "20,36"), 36), code},
		{"one name for two tensors", file, tensorFile(strings.ReplaceAll(strings.ReplaceAll(two, "%", "16,32"), "x", "probs"), 32), code},
		{"names that are no list", file, tensorFile(`{"__metadata__":{"filenames":"a.jpg"},`+tensor("F32", "2,2", "0,16")[1:], 16), code},
		{"fewer names than rows of a tensor", file, tensorFile(`{"__metadata__":{"filenames":"[\"a.jpg\"]"},`+tensor("F32", "2,2", "0,16")[1:], 16), "bad_shape"},
		{"names that are numbers", file, tensorFile(`{"__metadata__":{"filenames":"[1,2]"},`+tensor("F32", "2,2", "0,16")[1:], 16), code},
		{"names that do not end", file, tensorFile(`{"__metadata__":{"filenames":"[\"a.jpg\",\"b.jpg\""},`+tensor("F32", "2,2", "0,16")[1:], 16), code},
		{"names of tensors twice", file, tensorFile(`{"__metadata__":{"filenames":"[\"a.jpg\",\"a.jpg\"]"},`+tensor("F32", "2,2", "0,16")[1:], 16), "duplicate_filenames"},
		{"name that leads out of its folder", file, tensorFile(`{"__metadata__":{"filenames":"[\"a.jpg\",\"../b.jpg\"]"},`+tensor("F32", "2,2", "0,16")[1:], 16), "bad_filename"},
		{"metadata that is a list", file, tensorFile(`{"__metadata__":[],`+tensor("F32", "2,2", "0,16")[1:], 16), code},
		{"metadata that is a number", file, tensorFile(`{"__metadata__":{"step":7},`+tensor("F32", "2,2", "0,16")[1:], 16), code},
		{"metadata nested deeply", file, tensorFile(`{"__metadata__":{"x":`+strings.Repeat("[", 1<<20), 0), code},
		{"type that is a number", file, tensorFile(`{"probs":{"dtype":32,"shape":[2,2],"data_offsets":[0,16]}}`, 16), code},
		{"type twice", file, tensorFile(`{"probs":{"dtype":"F32","dtype":"F64","shape":[2,2],"data_offsets":[0,16]}}`, 16), code},
		{"unknown field of a tensor", file, tensorFile(`{"probs":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16],"stride":[2,1]}}`, 16), code},
		{"three offsets", file, tensorFile(tensor("F32", "2,2", "0,8,16"), 16), code},
		{"a million offsets", file, tensorFile(tensor("F32", "2,2", strings.Repeat("0,", 1<<20)+"16"), 16), code},
		{"half an offset", file, tensorFile(tensor("F32", "2,2", "0.5,16"), 16), code},
		{"half an axis", file, tensorFile(tensor("F32", "2.5,2", "0,16"), 16), code},
		{"tensor of 2^26 rows without columns", file, tensorFile(tensor("F32", "67108865,0", "0,0"), 0), "reference_too_large"},
		{"tensor of 2^40 columns without rows", file, tensorFile(tensor("F32", "0,1099511627776", "0,0"), 0), "reference_too_large"},
		{"rows of a tensor without columns", file, tensorFile(tensor("F32", "4,0", "0,0"), 0), "bad_shape"},
		{"header that is no UTF-8", file, tensorFile("{\"\xff\":"+tensor("F32", "2,2", "0,16")[9:], 16), code},
		{"tensor of one axis", file, tensorFile(tensor("F32", "4", "0,16"), 16), "bad_shape"},
		{"two tensors of predictions", file, must(os.ReadFile("testdata/both.safetensors")), code},
	}
}
