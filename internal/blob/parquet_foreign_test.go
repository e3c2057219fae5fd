//go:build foreign

package blob

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pyarrow reads what is written here.
func TestWriteParquetForeign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scores.parquet")
	h, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	values := []float64{0.1, 1e-300, -3, 0, 2}
	if err := WriteParquet(h, wantNames, []Column{{"uncertainty_margin", values}}); err != nil {
		t.Fatal(err)
	}
	out := python(t, `
import json, sys
import pyarrow.parquet as pq
table = pq.read_table(sys.argv[1])
print(json.dumps([str(table.schema.types), table["filename"].to_pylist(), table["uncertainty_margin"].to_pylist()]))`, path)
	want, err := json.Marshal([]any{"[DataType(string), DataType(double)]", wantNames, values})
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := json.Unmarshal(want, &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Error(diff)
	}
}
