package blob

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUltralyticsPoses(t *testing.T) {
	var got [][][]float64
	names, err := EachKeypoints(open(t, "ultralytics_pose", "ultralytics"), func(instances [][]float64) error {
		got = append(got, clonedRows(instances))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][][]float64{{}, {}, {{0.25, 0.5, 0.75}, {0.25, 0.5, 1, 0.5, 0.5, 0.5}}}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a.jpg", "sub/000007.jpg", "z.jpg"}, names); diff != "" {
		t.Error(diff)
	}
}

// Ultralytics writes class and confidence of a top five only, and without
// save_conf no confidence.
func TestUltralyticsWithoutConfidence(t *testing.T) {
	for name, says := range map[string]string{"ultralytics_classes": "want a number", "ultralytics_plain": "save_conf=True"} {
		_, err := EachDetections(open(t, name, "ultralytics"), func(Detections) error { return nil })
		wantCode(t, err, "bad_ultralytics")
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v does not say %q", name, err, says)
		}
	}
}

// hostileTXT are text files of an image.
func hostileTXT() []struct{ name, txt, says string } {
	const good = "0 0.5 0.5 1 1 0.5\n"
	return []struct{ name, txt, says string }{
		{"no confidence", "0 0.5 0.5 1 1\n", "line 1: has no confidence"},
		{"one number", good + "0\n", "line 2: has no confidence"},
		{"segment without confidence", good + "0 0.1 0.1 0.2 0.2 0.3 0.3\n", "line 2: has 7 numbers"},
		{"segment of four points without confidence", good + "0 0.1 0.1 0.2 0.2 0.3 0.3 0.4 0.4\n", "line 2: has 9 numbers, want class"},
		{"segment with a track", "0 0.1 0.1 0.2 0.2 0.3 0.3 0.4 0.4 0.5 7\n", "do not track"},
		{"track for the confidence", "0 0.5 0.5 1 1 7\n", "has no confidence"},
		{"confidence above one", "0 0.1 0.1 0.2 0.2 0.3 0.3 1.5\n", "has no confidence"},
		{"negative confidence", "0 0.5 0.5 1 1 -0.5\n", "has no confidence"},
		{"class top 5", "0.93 red fox\n", `want a number, found "red"`},
		{"half a class", "0.5 0.5 0.5 1 1 0.5\n", "0.5 is no class"},
		{"negative class", "-1 0.5 0.5 1 1 0.5\n", "-1 is no class"},
		{"huge class", "1e300 0.5 0.5 1 1 0.5\n", "is no class"},
		{"pixels", "0 320 240 100 100 0.5\n", "not relative"},
		{"NaN", "0 0.5 nan 1 1 0.5\n", "want a number"},
		{"infinity", "0 0.5 1e999 1 1 0.5\n", "want a number"},
		{"hexadecimal", "0 0.5 0x1p-1 1 1 0.5\n", "want a number"},
		{"appended to", good + good, "everything 2 times"},
		{"appended to twice", strings.Repeat(good+"1 0.5 0.5 1 1 0.25\n", 3), "everything 3 times"},
		{"a byte order mark", "\xef\xbb\xbf" + good, "want a number"},
		{"commas", "0,0.5,0.5,1,1,0.5\n", "want a number"},
		{"half a line", good + "1 0.5 0.5 1", "line 2: has no confidence"},
		{"bytes", "\x00\xff\xfe", "want a number"},
		{"endless line", strings.Repeat("0 ", 1<<17) + "1", "more than"},
	}
}

func TestHostileTXT(t *testing.T) {
	read := func(images string, files map[string]string) error {
		dir := t.TempDir()
		if images != "" {
			write(t, dir, "images.json", images)
		}
		for name, content := range files {
			write(t, dir, name, content)
		}
		f, err := OpenPath(t.Context(), dir, "ultralytics")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, err = EachDetections(f, func(Detections) error { return nil })
		return err
	}
	for _, c := range hostileTXT() {
		err := read(`["sub/a.jpg"]`, map[string]string{"a.txt": c.txt})
		wantCode(t, err, "bad_ultralytics")
		if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "a.txt: ") {
			t.Errorf("%s: error %v does not say %q of a.txt", c.name, err, c.says)
		}
	}
	for _, c := range []struct{ name, images, code, says string }{
		{"no list", "", "bad_ultralytics", "no images.json"},
		{"not a list", "{}", "bad_ultralytics", "want an array"},
		{"no text", "[1]", "bad_ultralytics", "want a string"},
		{"image that is not listed", `["b.jpg"]`, "bad_ultralytics", `1 text files of images that images.json does not name (first "a.txt")`},
		{"one stem for two", `["x/a.jpg","y/a.png"]`, "bad_ultralytics", "the same text file"},
		{"outside", `["../a.jpg"]`, "bad_filename", "segment"},
	} {
		err := read(c.images, map[string]string{"a.txt": "0 0.5 0.5 1 1 0.5\n"})
		wantCode(t, err, c.code)
		if !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v does not say %q", c.name, err, c.says)
		}
	}
	f, err := OpenPath(t.Context(), "testdata/probs.npy", "ultralytics")
	if err == nil {
		f.Close()
	}
	wantCode(t, err, "bad_ultralytics")
}

func BenchmarkUltralytics(b *testing.B) {
	const images, boxes = 5_000, 20
	dir := b.TempDir()
	var names []string
	for i := range images {
		names = append(names, fmt.Sprintf(`"%07d.jpg"`, i))
		text := ""
		for k := range boxes {
			text += fmt.Sprintf("3 0.104523 0.208%d 0.33125 0.415039 0.8125\n", k)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%07d.txt", i)), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "images.json"), []byte("["+strings.Join(names, ",")+"]"), 0o644); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	defer func() { b.ReportMetric(float64(images)*float64(b.N)/b.Elapsed().Seconds(), "images/s") }()
	for b.Loop() {
		f, err := OpenPath(b.Context(), dir, "ultralytics")
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		if _, err = EachDetections(f, func(d Detections) error { n += len(d.Labels); return nil }); err != nil || n != images*boxes {
			b.Fatal(n, err)
		}
		f.Close()
	}
}
