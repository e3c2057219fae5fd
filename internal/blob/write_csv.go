package blob

import (
	"strconv"
	"strings"
)

// AppendCSVHeader appends the first line of Lightly's embeddings file, for so
// many dimensions: filenames,embedding_0,…,labels.
func AppendCSVHeader(dst []byte, dim int) []byte {
	dst = append(dst, "filenames"...)
	for i := range dim {
		dst = strconv.AppendInt(append(dst, ",embedding_"...), int64(i), 10)
	}
	return append(dst, ",labels\r\n"...)
}

// AppendCSVRow appends a line of it, of a sample that has no label: 0. Numbers
// are the shortest that are read as the same float32.
func AppendCSVRow(dst []byte, name string, v []float32) []byte {
	if strings.ContainsAny(name, `,"`) || strings.TrimSpace(name) != name {
		name = `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	dst = append(dst, name...)
	for _, x := range v {
		dst = strconv.AppendFloat(append(dst, ','), float64(x), 'g', -1, 32)
	}
	return append(dst, ",0\r\n"...)
}
