package score

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The golden files were made by the reference implementation. They are read
// from SCORE_GOLDEN_DIR where it is set.

type goldenFile struct{ Cases []goldenCase }

type goldenCase struct {
	Name     string
	Input    json.RawMessage
	Config   map[string]any
	Tol      float64
	Expected map[string][]num
	Error    string
}

// num reads the strings that stand for NaN and infinities.
type num float64

func (n *num) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case `"NaN"`:
		*n = num(math.NaN())
	case `"Infinity"`:
		*n = num(math.Inf(1))
	case `"-Infinity"`:
		*n = num(math.Inf(-1))
	default:
		return json.Unmarshal(data, (*float64)(n))
	}
	return nil
}

func floats[F Float](nums []num) []F {
	if nums == nil {
		return nil
	}
	out := make([]F, len(nums))
	for i, n := range nums {
		out[i] = F(n)
	}
	return out
}

// errDecode marks the golden errors that a typed reader makes, before this
// package sees anything.
var errDecode = errors.New("decode")

func decode(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w: %w", errDecode, err)
	}
	return nil
}

// golden runs all cases of a file and checks that there are so many.
// decodeErrors is how many errors may come from decoding: the others must be
// errors of this package.
func golden(t *testing.T, name string, cases, decodeErrors int, run func(goldenCase) ([]Vector, error)) {
	t.Helper()
	dir := os.Getenv("SCORE_GOLDEN_DIR")
	if dir == "" {
		dir = filepath.Join("testdata", "golden")
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	var file goldenFile
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	ran, decoded := 0, 0
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got, err := run(c)
			if errors.Is(err, errDecode) {
				decoded++
			}
			switch {
			case err != nil && c.Error == "":
				t.Errorf("error %v, want scores", err)
			case err == nil && c.Error != "":
				t.Errorf("no error, the reference has %q", c.Error)
			case err == nil:
				compareGolden(t, got, c.Expected, max(c.Tol, 1e-9))
			}
			ran++
		})
	}
	if ran != cases || decoded != decodeErrors {
		t.Errorf("ran %d golden cases, %d of them errors of decoding, want %d and %d", ran, decoded, cases, decodeErrors)
	}
}

func compareGolden(t *testing.T, got []Vector, want map[string][]num, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d vectors, want %d", len(got), len(want))
	}
	for _, v := range got {
		expected, ok := want[v.Name]
		if !ok || len(v.Values) != len(expected) {
			t.Errorf("%s has %d values, want %d", v.Name, len(v.Values), len(expected))
			continue
		}
		var offenders []string
		worst := 0.0
		for i, g := range v.Values {
			w := float64(expected[i])
			if same(g, w, tol) {
				continue
			}
			worst = max(worst, math.Abs(g-w))
			if len(offenders) < 5 {
				offenders = append(offenders, fmt.Sprintf("row %d: %v, want %v", i, g, w))
			}
		}
		if offenders != nil {
			t.Errorf("%s: largest difference %g (tolerance %g): %s", v.Name, worst, tol, strings.Join(offenders, "; "))
		}
	}
}

// same is for results: NaN equals NaN.
func same(a, b, tol float64) bool {
	return a == b || a != a && b != b || math.Abs(a-b) <= tol
}

func TestGoldenClassification(t *testing.T) {
	golden(t, "classification.json", 99, 0, func(c goldenCase) ([]Vector, error) {
		var in struct {
			ModelOutput json.RawMessage `json:"model_output"`
			Dtype       string
		}
		if err := decode(c.Input, &in); err != nil {
			return nil, err
		}
		normalize, ok := c.Config["normalize_to_0_1"].(bool)
		o := Options{Raw: ok && !normalize}
		var rows [][]num
		if json.Unmarshal(in.ModelOutput, &rows) != nil {
			// Not a list of rows: only the shape is of interest.
			var nested any
			if err := decode(in.ModelOutput, &nested); err != nil {
				return nil, err
			}
			m, err := NewMatrix[float64](shapeOf(nested), nil)
			if err != nil {
				return nil, err
			}
			return Classify(m, o)
		}
		streamed, err := streamClassification(rows, o)
		if err != nil || len(rows) == 0 {
			return streamed, err
		}
		var flat []num
		for _, row := range rows {
			flat = append(flat, row...)
		}
		shape := []int{len(rows), len(rows[0])}
		var bulk []Vector
		if in.Dtype == "float32" {
			bulk, err = classifyFlat(shape, floats[float32](flat), o)
		} else {
			bulk, err = classifyFlat(shape, floats[float64](flat), o)
		}
		if err == nil {
			err = differ(bulk, streamed)
		}
		return bulk, err
	})
}

func shapeOf(nested any) []int {
	list, ok := nested.([]any)
	if !ok {
		return nil
	}
	if len(list) == 0 {
		return []int{0}
	}
	return append([]int{len(list)}, shapeOf(list[0])...)
}

func classifyFlat[F Float](shape []int, data []F, o Options) ([]Vector, error) {
	m, err := NewMatrix(shape, data)
	if err != nil {
		return nil, err
	}
	return Classify(m, o)
}

func streamClassification(rows [][]num, o Options) ([]Vector, error) {
	s, err := NewClassification(o)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if err := s.Add(floats[float64](row)); err != nil {
			return nil, err
		}
	}
	return s.Result()
}

// differ says where two results are not bit by bit the same.
func differ(a, b []Vector) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d and %d vectors", len(a), len(b))
	}
	for k := range a {
		if a[k].Name != b[k].Name || len(a[k].Values) != len(b[k].Values) {
			return fmt.Errorf("%s of %d values and %s of %d", a[k].Name, len(a[k].Values), b[k].Name, len(b[k].Values))
		}
		for i, v := range a[k].Values {
			if !same(v, b[k].Values[i], 0) {
				return fmt.Errorf("%s of row %d: %v and %v", a[k].Name, i, v, b[k].Values[i])
			}
		}
	}
	return nil
}

func TestGoldenDetection(t *testing.T) {
	golden(t, "detection.json", 71, 2, func(c goldenCase) ([]Vector, error) {
		var in struct {
			Images []struct {
				Format              string
				Boxes               [][4]float64
				ObjectProbabilities []num   `json:"object_probabilities"`
				ClassProbabilities  [][]num `json:"class_probabilities"`
				Scores              []num
				Labels              []int
			}
		}
		if err := decode(c.Input, &in); err != nil {
			return nil, err
		}
		var config any
		if c.Config != nil {
			config = c.Config
		}
		parsed, err := ParseDetection(config)
		if err != nil {
			return nil, err
		}
		d, err := NewDetection(parsed, Options{})
		if err != nil {
			return nil, err
		}
		for _, image := range in.Images {
			boxes := make([]Box, len(image.Boxes))
			for i, b := range image.Boxes {
				boxes[i] = Box{b[0], b[1], b[2], b[3]}
			}
			if image.Format == "from_scores" {
				err = d.AddScored(boxes, floats[float64](image.Scores), image.Labels)
			} else {
				var rows [][]float64
				for _, row := range image.ClassProbabilities {
					rows = append(rows, floats[float64](row))
				}
				err = d.Add(Boxes{boxes, floats[float64](image.ObjectProbabilities), rows, floats[float64](image.Scores)})
			}
			if err != nil {
				return nil, err
			}
		}
		return d.Result()
	})
}

func TestGoldenSegmentation(t *testing.T) {
	golden(t, "segmentation.json", 38, 0, func(c goldenCase) ([]Vector, error) {
		var in struct {
			Predictions []struct {
				Shape []int
				Data  []num
			}
			Dtype string
		}
		if err := decode(c.Input, &in); err != nil {
			return nil, err
		}
		s, err := NewSegmentation(Options{})
		if err != nil {
			return nil, err
		}
		for _, p := range in.Predictions {
			if in.Dtype == "float32" {
				err = addPixels(s, p.Shape, floats[float32](p.Data))
			} else {
				err = addPixels(s, p.Shape, floats[float64](p.Data))
			}
			if err != nil {
				return nil, err
			}
		}
		return s.Result()
	})
}

func addPixels[F Float](s *Segmentation, shape []int, data []F) error {
	m, err := NewPixels(shape, data)
	if err != nil {
		return err
	}
	return AddPixels(s, m)
}

// The fields of an instance other than its keypoints are the reader's business:
// this one is as strict about them as the reference.
func TestGoldenKeypoints(t *testing.T) {
	golden(t, "keypoints.json", 32, 6, func(c goldenCase) ([]Vector, error) {
		var in struct {
			Images [][]struct {
				Keypoints  []num
				CategoryID *int `json:"category_id"`
				Score      *float64
			}
			Via string
		}
		if err := decode(c.Input, &in); err != nil {
			return nil, err
		}
		k, err := NewKeypoints(Options{})
		if err != nil {
			return nil, err
		}
		for _, image := range in.Images {
			var instances [][]float64
			for _, i := range image {
				if in.Via == "from_dicts" && (i.Keypoints == nil || i.CategoryID == nil || i.Score == nil) {
					return nil, fmt.Errorf("%w: keypoints, category_id and score are required", errDecode)
				}
				instances = append(instances, floats[float64](i.Keypoints))
			}
			if err := k.Add(instances); err != nil {
				return nil, err
			}
		}
		return k.Result()
	})
}
