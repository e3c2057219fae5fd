package bitmask

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The golden file was made by the reference implementation; SCORE_GOLDEN_DIR
// names another directory to read it from.
const goldenCases = 127

type goldenCase struct {
	Name  string
	Input struct {
		Op, Hex, Bin string
		OtherHex     string `json:"other_hex"`
		Length       int
		TotalSize    int `json:"total_size"`
		Bits         []int
		List         []any
	}
	Expected map[string][]any
	Error    string
}

func TestGolden(t *testing.T) {
	dir := os.Getenv("SCORE_GOLDEN_DIR")
	if dir == "" {
		dir = filepath.Join("testdata", "golden")
	}
	data, err := os.ReadFile(filepath.Join(dir, "bitmask.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []goldenCase }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got, err := run(c)
			if c.Error != "" || err != nil {
				if c.Error == "" || err == nil {
					t.Errorf("error = %v, the reference has %q", err, c.Error)
				}
			} else if diff := cmp.Diff(c.Expected, got); diff != "" {
				t.Errorf("results differ (-want +got):\n%s", diff)
			}
			ran++
		})
	}
	if ran != goldenCases {
		t.Errorf("ran %d golden cases, want %d", ran, goldenCases)
	}
}

// run carries out one operation of the golden file and returns the results
// under the names of the file, as JSON would have read them.
func run(c goldenCase) (map[string][]any, error) {
	in := c.Input
	var m *Mask
	var err error
	switch in.Op {
	case "from_bin":
		m, err = FromBin(in.Bin)
	case "from_length":
		m, err = FromLength(in.Length)
	default:
		m, err = FromHex(in.Hex)
	}
	if err != nil {
		return nil, err
	}
	other := new(Mask)
	if in.OtherHex != "" {
		if other, err = FromHex(in.OtherHex); err != nil {
			return nil, err
		}
	}
	one := func(v any) []any { return []any{v} }
	got := map[string][]any{}
	switch in.Op {
	case "from_hex":
		got["indices"] = list(m.Indices())
		if m.Len() < 300 {
			got["bin"] = one(m.Bin())
		}
	case "from_bin":
		got["indices"] = list(m.Indices())
	case "from_length":
		got["count"] = one(float64(m.Count()))
	case "set_bits":
		for _, i := range in.Bits {
			m.Set(i)
		}
		got["indices"] = list(m.Indices())
	case "unset_bits":
		for _, i := range in.Bits {
			m.Unset(i)
		}
		got["indices"] = list(m.Indices())
	case "get_bits":
		values := []any{}
		for _, i := range in.Bits {
			values = append(values, m.Has(i))
		}
		return map[string][]any{"values": values}, nil
	case "union":
		m.Union(other)
		got["other_hex_after"] = one(other.Hex())
	case "intersection":
		m.Intersect(other)
		got["other_hex_after"] = one(other.Hex())
	case "difference":
		m.Difference(other)
		got["other_hex_after"] = one(other.Hex())
	case "subtract":
		d := m.Subtract(other)
		got["left_hex_after"] = one(m.Hex())
		m = d
	case "invert":
		m.Invert(in.TotalSize)
	case "equal":
		return map[string][]any{"equal": one(m.Equal(other))}, nil
	case "masked_select":
		selected, err := Select(m, in.List)
		return map[string][]any{"selected": selected}, err
	default:
		panic(fmt.Sprintf("unknown operation %q", in.Op))
	}
	got["hex"] = one(m.Hex())
	return got, nil
}

func list(ints []int) []any {
	values := []any{}
	for _, i := range ints {
		values = append(values, float64(i))
	}
	return values
}
