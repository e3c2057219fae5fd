package blob

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/score"
)

// text writes a file and opens it.
func text(t *testing.T, name, content string) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := OpenPath(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestBadRows(t *testing.T) {
	embeddings := func(f *File) error { _, err := ReadEmbeddings(f); return err }
	classes := func(f *File) error { _, err := gather(f); return err }
	names := func(f *File) error { _, err := ReadNames(f); return err }
	boxes := func(f *File) error {
		_, err := EachDetections(f, func(Detections) error { return nil })
		return err
	}
	pixels := func(f *File) error {
		_, err := EachPixels(f, func(p Pixels) error {
			s, err := score.NewSegmentation(score.Options{})
			if err != nil {
				return err
			}
			return p.Add(s)
		})
		return err
	}
	keypoints := func(f *File) error {
		_, err := EachKeypoints(f, func([][]float64) error { return nil })
		return err
	}
	const name1024 = "0123456789abcdef"
	for _, c := range []struct {
		name, file, content string
		read                func(*File) error
		code, says          string
	}{
		{"unknown field", "a.jsonl", `{"filename":"a","probabilties":[1]}`, classes, "bad_json", `unknown field "probabilties", known are "filename", "probabilities"`},
		{"class without score", "a.json", `[[{"label":"x"}]]`, classes, "bad_json", "label or score is missing"},
		{"score without class", "a.json", `[[{"score":1}]]`, classes, "bad_json", "label or score is missing"},
		{"class twice", "a.json", `[[{"label":"x","score":0.5},{"label":"x","score":0.5}]]`, classes, "bad_json", "a class is there twice"},
		{"fewer classes", "a.json", `[[{"label":"x","score":0.5},{"label":"y","score":0.5}],[{"label":"y","score":1}]]`, classes, "bad_json", "row 2: 1 of 2 classes"},
		{"new class", "a.json", `[[{"label":"x","score":1}],[{"label":"y","score":1}]]`, classes, "bad_json", `row 2: "y" is no class of the first row`},
		{"class and number", "a.json", `[[{"label":"x","score":0.5},0.5]]`, classes, "bad_json", "a row of numbers and classes"},
		{"numbers after classes", "a.json", `[[{"label":"x","score":1}],[1]]`, classes, "bad_json", "row 2: a row of numbers and classes"},
		{"classes after numbers", "a.json", `[[1],[{"label":"x","score":1}]]`, classes, "bad_json", "no class of the first row"},
		{"classes for embeddings", "a.json", `[[{"label":"x","score":1}]]`, embeddings, "bad_json", "want a number"},
		{"field in another case", "a.jsonl", `{"Filename":"a","probabilities":[1]}`, classes, "bad_json", `unknown field "Filename"`},
		{"field twice", "a.jsonl", `{"filename":"a","probabilities":[1],"filename":"b"}`, classes, "bad_json", `"filename" is given twice`},
		{"missing field", "a.jsonl", `{"filename":"a"}`, classes, "bad_json", `no field "probabilities"`},
		{"null for values", "a.jsonl", `{"filename":"a","probabilities":null}`, classes, "bad_json", `no field "probabilities"`},
		{"line number", "a.jsonl", "[1,0]\n\n[1,x]\n", classes, "bad_json", "line 3"},
		{"row number", "a.json", "[[1,0],[1,x]]", classes, "bad_json", "row 2"},
		{"NaN", "a.jsonl", `[NaN,1]`, classes, "bad_json", "JSON has no NaN"},
		{"infinity", "a.jsonl", `[-Infinity,1]`, classes, "bad_json", "JSON has no NaN and no infinity"},
		{"beyond float64", "a.jsonl", `[1e999,1]`, classes, "bad_json", "beyond the range of float64"},
		{"beyond float32", "a.jsonl", `[1e300,1]`, embeddings, "bad_json", "beyond the range of float32"},
		{"hexadecimal", "a.jsonl", `[0x10]`, classes, "bad_json", "want a number"},
		{"underscore", "a.jsonl", `[1_0]`, classes, "bad_json", ""},
		{"leading zero", "a.jsonl", `[01]`, classes, "bad_json", "want a number"},
		{"leading plus", "a.jsonl", `[+1]`, classes, "bad_json", "want a number"},
		{"no digits after the point", "a.jsonl", `[1.]`, classes, "bad_json", "want a number"},
		{"trailing comma", "a.jsonl", `[1,]`, classes, "bad_json", "want a number"},
		{"string for a number", "a.jsonl", `["1"]`, classes, "bad_json", "want a number"},
		{"true for a number", "a.jsonl", `[true]`, classes, "bad_json", "want a number"},
		{"nested rows", "a.jsonl", `[[1,0]]`, classes, "bad_json", "found an array"},
		{"two values in a line", "a.jsonl", `[1,0] [0,1]`, classes, "bad_json", "after the value"},
		{"after the array", "a.json", `[[1,0]] x`, classes, "bad_json", "after the value"},
		{"object for an array", "a.json", `{"rows":[]}`, classes, "bad_json", "want an array"},
		{"ragged", "a.jsonl", "[1,0]\n[1,0,0]\n", classes, "bad_shape", "row 2 has 3 values, the first has 2"},
		{"shorter", "a.jsonl", "[1,0]\n[1]\n", classes, "bad_shape", "row 2 has 1 values, the first has 2"},
		{"no values", "a.jsonl", "[]\n", classes, "bad_json", "without values"},
		{"some names", "a.jsonl", "{\"filename\":\"a\",\"probabilities\":[1]}\n[1]\n", classes, "bad_json", "line 2: some rows have a filename"},
		{"control character", "a.jsonl", "{\"filename\":\"a\tb\",\"probabilities\":[1]}", classes, "bad_json", "control character"},
		{"invalid UTF-8", "a.jsonl", "{\"filename\":\"a\xff\",\"probabilities\":[1]}", classes, "bad_json", "not valid UTF-8"},
		{"half a surrogate pair", "a.jsonl", `{"filename":"\ud83d","probabilities":[1]}`, classes, "bad_json", "surrogate"},
		{"unknown escape", "a.jsonl", `{"filename":"\x41","probabilities":[1]}`, classes, "bad_json", "escape"},
		{"open string", "a.jsonl", `{"filename":"a`, classes, "bad_json", "closing quote"},
		{"no rows", "a.jsonl", "\n\n", embeddings, "bad_shape", "no rows"},
		{"wrong field", "a.jsonl", `{"filename":"a","probabilities":[1]}`, embeddings, "bad_json", `known are "filename", "embedding"`},
		{"many unknown fields", "a.jsonl", `{"` + strings.Repeat("x", 5000) + `":1}`, embeddings, "bad_json", `…`},

		{"no header", "a.csv", "a.jpg,0.5,0.5\n", classes, "bad_csv", "line 1: is neither a header"},
		{"ragged CSV", "a.csv", "filename,a,b\nx,1,0\ny,1\n", classes, "bad_csv", "line 3: has 2 columns, the first line has 3"},
		{"word for a number", "a.csv", "filename,a,b\nx,1,cat\n", classes, "bad_csv", `column 3: want a number, found "cat"`},
		{"nothing for a number", "a.csv", "filename,a,b\nx,1,\n", classes, "bad_csv", `column 3: want a number, found ""`},
		{"hexadecimal CSV", "a.csv", "filename,a,b\nx,1,0x1p-2\n", classes, "bad_csv", "want a number"},
		{"decimal comma", "a.csv", "filename;a;b\nx;1,5;0\n", classes, "bad_csv", "separate the columns by commas"},
		{"open quote", "a.csv", "filename,a\n\"x,1\n", classes, "bad_csv", "quoted field"},
		{"after quotes", "a.csv", "filename,a\n\"x\"y,1\n", classes, "bad_csv", "after its quotes"},
		{"index of pandas", "a.csv", ",filename,a\n0,x,1\n", classes, "bad_csv", "index=False"},
		{"label column", "a.csv", "filename,label,a,b\nx,1,1,0\n", classes, "bad_csv", `column "label"`},
		{"embedding columns out of order", "a.csv", "filenames,embedding_0,embedding_2,labels\nx,1,1,0\n", embeddings, "bad_csv", `"embedding_2" follows embedding_0`},
		{"unknown column among embeddings", "a.csv", "filenames,embedding_0,x,labels\nx,1,1,0\n", embeddings, "bad_csv", `unknown column "x"`},
		{"only names", "a.csv", "filename\nx\n", classes, "bad_csv", "without values"},
		{"CSV not finite", "a.csv", "filename,a\nx,nan\ny,0\nz,-inf\nw,1e99\n", embeddings, "not_finite", `3 of 4 embeddings contain NaN, an infinity or a number beyond float32 (first "x", "z", "w")`},

		{"name twice", "a.txt", "a\nb\na\nb\nb\nc\nc\n", names, "duplicate_filenames", `4 of 7 filenames are there before (first "a", "b", "b", …)`},
		{"empty name", "a.json", `["a",""]`, names, "bad_filename", `1 of 2 filenames are not allowed (first "" is empty)`},
		{"absolute name", "a.txt", "/etc/passwd\n", names, "bad_filename", "absolute path"},
		{"traversing name", "a.txt", "a/../../b\n", names, "bad_filename", `segment ".."`},
		{"name with backslash", "a.txt", "a\\b\n", names, "bad_filename", "backslash"},
		{"name with NUL", "a.txt", "a\x00b\n", names, "bad_filename", "control character"},
		{"name with newline", "a.json", `["a\nb"]`, names, "bad_filename", "control character"},
		{"name not UTF-8", "a.txt", "a\xffb\n", names, "bad_filename", "UTF-8"},
		{"long name", "a.txt", strings.Repeat(name1024, 64) + "x\n", names, "bad_filename", "1025 bytes"},
		{"number for a name", "a.json", `[1]`, names, "bad_json", "want a string"},
		{"object without name", "a.json", `[{}]`, names, "bad_filename", "is empty"},
		{"no name column", "a.csv", "name,x\na,1\n", names, "bad_csv", "no column filename"},
		{"short line of names", "a.csv", "filename,x\na\n", names, "bad_csv", "has 1 columns"},

		{"detection without anything", "a.jsonl", `{"filename":"a"}`, boxes, "bad_json", "give object_probabilities and class_probabilities"},
		{"detection with both", "a.jsonl", `{"object_probabilities":[1],"class_probabilities":[[1]],"labels":[0],"scores":[1]}`, boxes, "bad_json", "give object_prob"},
		{"class without object probabilities", "a.jsonl", `{"class_probabilities":[[1]]}`, boxes, "bad_json", "give object_prob"},
		{"labels without scores", "a.jsonl", `{"labels":[1]}`, boxes, "bad_json", "give object_prob"},
		{"boxes without predictions", "a.jsonl", `{"boxes":[[0,0,1,1]]}`, boxes, "bad_json", "give object_prob"},
		{"box of three", "a.jsonl", `{"boxes":[[0,0,1]],"scores":[1],"labels":[1]}`, boxes, "bad_json", "box 0 has 3 numbers"},
		{"label 1.5", "a.jsonl", `{"scores":[1],"labels":[1.5]}`, boxes, "bad_json", "labels: want a whole number"},
		{"negative label", "a.jsonl", `{"scores":[1],"labels":[-1]}`, boxes, "bad_json", "labels: want a whole number"},
		{"label true", "a.jsonl", `{"scores":[1],"labels":[true]}`, boxes, "bad_json", "labels: want a number"},
		{"typo in detection", "a.jsonl", `{"boxs":[],"scores":[],"labels":[]}`, boxes, "bad_json", `unknown field "boxs"`},
		{"detection as CSV", "a.csv", "filename,x\na,1\n", boxes, "unsupported_format", "detections do not come as csv"},
		{"image twice", "a.jsonl", "{\"filename\":\"a\",\"boxes\":[]}\n{\"filename\":\"a\",\"boxes\":[]}\n", boxes, "duplicate_filenames", `1 of 2 filenames`},

		{"pixels short", "a.jsonl", `{"filename":"a","shape":[2,2,3],"data":[1]}`, pixels, "bad_json", "1 values do not fill shape [2 2 3]"},
		{"pixels of two axes", "a.jsonl", `{"filename":"a","shape":[2,2],"data":[1,1,1,1]}`, pixels, "bad_json", "height × width × classes"},
		{"huge pixels", "a.jsonl", `{"filename":"a","shape":[2147483648,2147483648,2147483648],"data":[]}`, pixels, "bad_json", "do not fill"},
		{"pixels without shape", "a.jsonl", `{"filename":"a","data":[]}`, pixels, "bad_json", "shape"},

		{"keypoints missing", "a.jsonl", `{"filename":"a","instances":[{"score":1}]}`, keypoints, "bad_json", "0: keypoints are missing"},
		{"instances missing", "a.jsonl", `{"filename":"a"}`, keypoints, "bad_json", "instances are missing"},
		{"keypoints NaN", "a.jsonl", `{"filename":"a","instances":[{"keypoints":[1,2,NaN]}]}`, keypoints, "bad_json", "no NaN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.read(text(t, c.file, c.content))
			wantCode(t, err, c.code)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want it to say %q", err, c.says)
			}
		})
	}
}

func TestNotFinite(t *testing.T) {
	_, err := ReadEmbeddings(open(t, "nan.npy", ""))
	wantCode(t, err, "not_finite")
	if want := "4 of 5 embeddings contain NaN, an infinity or a number beyond float32 (first row 1, row 2, row 3, …)"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want it to say %q", err, want)
	}
	_, err = ReadEmbeddings(open(t, "overflow.npy", ""))
	wantCode(t, err, "not_finite")
	if c, err := gather(open(t, "nan.npy", "")); err != nil || c.Float32.Rows != 5 {
		t.Errorf("classification keeps NaN for the scorer: %v, %v", c, err)
	}
}

func TestBadShapes(t *testing.T) {
	for name, code := range map[string]string{"scalar.npy": "bad_shape", "vector.npy": "bad_shape", "cube.npy": "bad_shape",
		"empty_rows.npy": "bad_shape", "structured.npy": "bad_npy", "complex.npy": "bad_npy", "object.npy": "pickle_refused", "names_u.npy": "bad_shape"} {
		_, err := ReadEmbeddings(open(t, name, ""))
		wantCode(t, err, code)
	}
}

func TestVector(t *testing.T) {
	v, err := ReadVector(open(t, "vector.npy", ""))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]float64{-0.5, -0.375, -0.25}, v); diff != "" {
		t.Error(diff)
	}
	if v, err := ReadVector(text(t, "a.npy", string(npyOf("<f8", "100000,", 800_000)))); err != nil || len(v) != 100_000 {
		t.Errorf("%d values, %v", len(v), err)
	}
	for name, code := range map[string]string{"scalar.npy": "bad_shape", "probs.npy": "bad_shape", "names_u.npy": "bad_npy", "object.npy": "pickle_refused", "probs.csv": "unsupported_format"} {
		_, err := ReadVector(open(t, name, ""))
		wantCode(t, err, code)
	}
}

func TestNamesOfAnyFile(t *testing.T) {
	for content, want := range map[string][]string{"": nil, "a\nb": {"a", "b"}, "a\r\n\nb\r\r\n": {"a", "b"}} {
		names, err := ReadNames(text(t, "labeled", content))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Error(diff)
		}
	}
}

func TestScannerText(t *testing.T) {
	for in, want := range map[string]string{
		`"plain"`: "plain", `""`: "", `"\"\\\/\b\f\n\r\t"`: "\"\\/\b\f\n\r\t", `"\u00e9\u20AC"`: "é€", `"a\ud83d\ude00b"`: "a😀b", `"Größe"`: "Größe",
	} {
		s := &scanner{b: []byte(in)}
		got, err := s.text()
		if err != nil || string(got) != want || s.end() != nil {
			t.Errorf("%s: %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestScannerSkip(t *testing.T) {
	for _, good := range []string{`{"a":[1,{"b":null}],"a":true}`, `"x"`, `-1.5e+3`, `[]`, `false`} {
		s := &scanner{b: []byte(good)}
		if err := errors.Join(s.skip(0), s.end()); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{`{a:1}`, `[1 2]`, `tru`, `{"a"}`, `{"a":1,}`, strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), strings.Repeat("[", 100) + strings.Repeat("]", 100), ``, `nul`} {
		s := &scanner{b: []byte(bad)}
		if errors.Join(s.skip(0), s.end()) == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

// Rows that make the matrix grow come out whole, whatever its size.
func TestGrowingTable(t *testing.T) {
	var b strings.Builder
	const rows = 50_000
	for i := range rows {
		b.WriteString("[" + strings.Repeat(string(rune('0'+i%10))+",", 6) + "7]\n")
	}
	e, err := ReadEmbeddings(text(t, "a.jsonl", b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if e.Rows != rows || e.Dim != 7 || len(e.Data) != rows*7 {
		t.Fatalf("%d × %d with %d values", e.Rows, e.Dim, len(e.Data))
	}
	for i := range rows {
		if e.Data[7*i] != float32(i%10) || e.Data[7*i+6] != 7 {
			t.Fatalf("row %d is %v", i, e.Data[7*i:7*i+7])
		}
	}
}

func TestWriteNPY(t *testing.T) {
	for _, shape := range [][2]int{{5, 3}, {0, 3}, {1, 1}, {1000, 200}} {
		data := make([]float32, shape[0]*shape[1])
		for i := range data {
			data[i] = float32(i) / 3
		}
		var b bytes.Buffer
		if err := WriteNPY(&b, shape[0], shape[1], data); err != nil {
			t.Fatal(err)
		}
		if (b.Len()-4*len(data))%64 != 0 {
			t.Errorf("%v: header of %d bytes", shape, b.Len()-4*len(data))
		}
		c, err := gather(text(t, "a.npy", b.String()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(score.Matrix[float32]{Rows: shape[0], Cols: shape[1], Data: data}, c.Float32); diff != "" {
			t.Errorf("%v: %s", shape, diff)
		}
	}
	if want, err := os.ReadFile("testdata/emb_le_f4.npy"); err != nil {
		t.Fatal(err)
	} else {
		var b bytes.Buffer
		WriteNPY(&b, 5, 3, wantEmbeddings())
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("differs from what numpy writes:\n%q\n%q", b.Bytes(), want)
		}
	}
}
