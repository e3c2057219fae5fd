package lightly_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	fashionmnist "nextbatch/examples/fashion-mnist"
	"nextbatch/internal/blob"
	"nextbatch/internal/images"
	"nextbatch/internal/lightly"
)

// photo is a product photo as a PNG.
func photo(t testing.TB, i int) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(fashionmnist.Images))
	if err != nil {
		t.Fatal(err)
	}
	const side = 28
	pixels := make([]byte, side*side)
	if _, err := io.CopyN(io.Discard, r, int64(16+i*len(pixels))); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, pixels); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, &image.Gray{Pix: pixels, Stride: side, Rect: image.Rect(0, 0, side, side)}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// gallery is a folder on its way to a rig.
type gallery struct {
	*rig
	dir string
	c   *lightly.Client
}

func newGallery(t *testing.T, n int) *gallery {
	g := &gallery{rig: newRig(t, lightly.ServerConfig{Loopback: true}), dir: t.TempDir()}
	g.work()
	for i := range n {
		g.write(fmt.Sprintf("%d/%03d.png", i%3, i), photo(t, i))
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	var err error
	if g.c, err = lightly.New(lightly.Config{BaseURL: g.base, Token: g.token, HTTP: &http.Client{Transport: transport}}); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *gallery) write(name string, data []byte) {
	g.Helper()
	path := filepath.Join(g.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		g.Fatal(err)
	}
}

// upload sends the folder as a dataset photos.
func (g *gallery) upload(change ...func(*lightly.Upload)) (lightly.UploadResult, error) {
	g.Helper()
	f, err := images.Open(g.dir)
	if err != nil {
		g.Fatal(err)
	}
	defer f.Close()
	u := lightly.Upload{Dataset: "photos", Folder: f, ImgType: "full"}
	for _, c := range change {
		c(&u)
	}
	return g.c.Upload(g.Context(), u)
}

func (g *gallery) must(change ...func(*lightly.Upload)) lightly.UploadResult {
	g.Helper()
	r, err := g.upload(change...)
	if err != nil {
		g.Fatal(err)
	}
	return r
}

// samples are those of a dataset by filename.
func (g *gallery) samples(id string) map[string]lightly.Sample {
	all := map[string]lightly.Sample{}
	for _, s := range ok[[]lightly.Sample](g.rig, "GET", "/v1/datasets/"+id+"/samples", nil) {
		all[s.FileName] = s
	}
	return all
}

// picture reads an image of a sample.
func (g *gallery) picture(s lightly.Sample, kind string) []byte {
	g.Helper()
	status, data := g.send("GET", ok[string](g.rig, "GET", "/v1/datasets/"+s.DatasetID+"/samples/"+s.ID+"/readurl?type="+kind, nil), nil)
	if status != 200 {
		g.Errorf("%s of %s: %d %s", kind, s.FileName, status, data)
	}
	return data
}

func (g *gallery) tagNames(id string) (names []string) {
	for _, t := range ok[[]lightly.Tag](g.rig, "GET", "/v1/datasets/"+id+"/tags", nil) {
		names = append(names, t.Name)
	}
	return names
}

// TestUpload: what arrives is what is in the folder, once, and a second upload
// adds just what is new.
func TestUpload(t *testing.T) {
	g := newGallery(t, 30)
	var seen []int
	r := g.must(func(u *lightly.Upload) { u.Progress = func(done, total int) { seen = append(seen, done, total) } })
	if r.Uploaded != 30 || r.There != 0 || r.Tag != "initial-tag" || len(r.Faults) > 0 || len(seen) != 60 || seen[58] != 30 || seen[59] != 30 {
		t.Fatalf("%+v, progress %v", r, seen)
	}
	d := ok[lightly.Dataset](g.rig, "GET", "/v1/datasets/"+r.DatasetID, nil)
	if d.Name != "photos" || d.NSamples != 30 || d.ImgType != "full" || d.Type != "Images" {
		t.Errorf("dataset %+v", d)
	}
	samples := g.samples(r.DatasetID)
	for i := range 30 {
		s := samples[fmt.Sprintf("%d/%03d.png", i%3, i)]
		want := photo(t, i)
		if full := g.picture(s, "full"); !bytes.Equal(full, want) {
			t.Errorf("image %d is another", i)
		}
		thumb, err := jpeg.Decode(bytes.NewReader(g.picture(s, "thumbnail")))
		if err != nil || thumb.Bounds().Size() != image.Pt(28, 28) {
			t.Errorf("thumbnail %d: %v, %v", i, thumb, err)
		}
		if meta := fmt.Sprintf(`{"sizeInBytes":%d,"shape":[28,28,1]}`, len(want)); string(s.MetaData) != meta || s.ThumbName != fmt.Sprintf("%d/%03d_thumb.webp", i%3, i) {
			t.Errorf("sample %+v, want %s", s, meta)
		}
	}

	// Again: nothing is sent.
	if r = g.must(); r.Uploaded != 0 || r.There != 30 || r.Tag != "" {
		t.Errorf("the second time: %+v", r)
	}
	// Two more, and one that has changed.
	g.write("new/a.png", photo(t, 50))
	g.write("new/b.png", photo(t, 51))
	g.write("0/000.png", photo(t, 52))
	r = g.must()
	if r.Uploaded != 3 || r.There != 29 || !strings.HasPrefix(r.Tag, "upload_") || len(r.Warnings) > 0 {
		t.Errorf("with two more: %+v", r)
	}
	samples = g.samples(r.DatasetID)
	if changed := samples["0/000.png"]; len(samples) != 32 || !bytes.Equal(g.picture(changed, "full"), photo(t, 52)) || !strings.Contains(string(changed.MetaData), fmt.Sprint(len(photo(t, 52)))) {
		t.Errorf("%d samples, %+v", len(samples), changed)
	}
	if names := g.tagNames(r.DatasetID); !slices.Equal(names, []string{"initial-tag", r.Tag}) {
		t.Errorf("tags %v", names)
	}
}

// TestUploadKinds: thumbnails only, measures only, and more at a later time.
func TestUploadKinds(t *testing.T) {
	g := newGallery(t, 4)
	kind := func(k string) func(*lightly.Upload) { return func(u *lightly.Upload) { u.ImgType = k } }
	r := g.must(kind("meta"))
	s := g.samples(r.DatasetID)["0/000.png"]
	if r.Uploaded != 4 || s.ThumbName != "" || s.MetaData == nil || ok[lightly.Dataset](g.rig, "GET", "/v1/datasets/"+r.DatasetID, nil).ImgType != "meta" {
		t.Errorf("%+v, %+v", r, s)
	}
	if status, _ := g.send("GET", ok[string](g.rig, "GET", "/v1/datasets/"+r.DatasetID+"/samples/"+s.ID+"/readurl?type=thumbnail", nil), nil); status != 404 {
		t.Errorf("a thumbnail is there: %d", status)
	}
	if r = g.must(kind("meta")); r.Uploaded != 0 || r.There != 4 {
		t.Errorf("again: %+v", r)
	}
	if r = g.must(kind("thumbnail")); r.Uploaded != 4 || r.Tag != "" {
		t.Errorf("with thumbnails: %+v", r)
	}
	if r = g.must(kind("thumbnail")); r.Uploaded != 0 {
		t.Errorf("with thumbnails again: %+v", r)
	}
	r = g.must()
	if r.Uploaded != 4 || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], `"meta"`) {
		t.Errorf("with all: %+v", r)
	}
	s = g.samples(r.DatasetID)["0/000.png"]
	if !bytes.Equal(g.picture(s, "full"), photo(t, 0)) || len(g.picture(s, "thumbnail")) == 0 || s.ThumbName == "" {
		t.Errorf("%+v", s)
	}
}

// TestUploadBadImages: those that cannot be used are named, and all others
// arrive.
func TestUploadBadImages(t *testing.T) {
	g := newGallery(t, 5)
	g.write("broken/half.png", photo(t, 9)[:200])
	g.write("broken/text.jpg", []byte("text"))
	g.write("broken/empty.gif", nil)
	g.write("names/a,b.png", photo(t, 10))
	g.write("names/a\\b.png", photo(t, 10))
	g.write("names/new\nline.png", photo(t, 10))
	g.write("names/\xff\xfe.png", photo(t, 10))
	long := strings.Repeat(strings.Repeat("d", 200)+"/", 6) + "x.png"
	g.write(long, photo(t, 10))
	g.write("names/ü & \"quoted\" %2F ?#.png", photo(t, 11))
	g.write("names/..x.png", photo(t, 11)) // hidden
	r, err := g.upload()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range r.Faults {
		names = append(names, f.Name)
		if f.Why == "" {
			t.Errorf("%q has no reason", f.Name)
		}
	}
	want := []string{"broken/empty.gif", "broken/half.png", "broken/text.jpg", long, "names/a,b.png", "names/a\\b.png", "names/new\nline.png", "names/\xff\xfe.png"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	samples := g.samples(r.DatasetID)
	if r.Uploaded != 6 || len(samples) != 6 || r.Tag != "initial-tag" {
		t.Errorf("%d samples, %+v", len(samples), r)
	}
	odd := samples["names/ü & \"quoted\" %2F ?#.png"]
	if !bytes.Equal(g.picture(odd, "full"), photo(t, 11)) {
		t.Errorf("the odd name: %+v", odd)
	}
	if r, err = g.upload(); err != nil || r.Uploaded != 0 || r.There != 6 || len(r.Faults) != 8 {
		t.Errorf("again: %+v, %v", r, err)
	}
}

// TestUploadNothing: without a usable image no dataset is finished.
func TestUploadNothing(t *testing.T) {
	g := newGallery(t, 0)
	refused := func(code, text string, change ...func(*lightly.Upload)) {
		t.Helper()
		_, err := g.upload(change...)
		if e, ok := errors.AsType[*lightly.Error](err); !ok || e.Code != code || !strings.Contains(e.Message, text) {
			t.Errorf("error %v, want %s, %q", err, code, text)
		}
	}
	refused("bad_upload", "no images")
	refused("bad_upload", "3 to 128", func(u *lightly.Upload) { u.Dataset = "x/y" })
	refused("bad_upload", "image type", func(u *lightly.Upload) { u.ImgType = "tiny" })
	refused("bad_upload", "1 to 32", func(u *lightly.Upload) { u.Connections = 100 })
	g.write("a.png", []byte("text"))
	refused("bad_upload", "none of 1 images")
	refused("bad_upload", "no filenames", func(u *lightly.Upload) { u.Embeddings = &blob.Embeddings{Rows: 1, Dim: 1, Data: []float32{1}} })
	if tags := g.tagNames(ok[[]lightly.Dataset](g.rig, "GET", "/v1/datasets", nil)[0].ID); tags != nil {
		t.Errorf("tags %v", tags)
	}
}

// vectors are embeddings of names, each a little off.
func vectors(by float32, names ...string) func(*lightly.Upload) {
	e := &blob.Embeddings{Names: names, Rows: len(names), Dim: 2}
	for i := range names {
		e.Data = append(e.Data, float32(i)/3, by)
	}
	return func(u *lightly.Upload) { u.Embeddings = e }
}

func TestUploadEmbeddings(t *testing.T) {
	g := newGallery(t, 6)
	names := []string{"2/002.png", "0/000.png", "1/001.png", "0/003.png", "1/004.png", "2/005.png"}
	fails := func(code, text string, change ...func(*lightly.Upload)) {
		t.Helper()
		_, err := g.upload(change...)
		if e, ok := errors.AsType[*lightly.Error](err); !ok || e.Code != code || !strings.Contains(e.Message, text) {
			t.Errorf("error %v, want %s, %q", err, code, text)
		}
	}
	// What does not fit is refused before an image is sent.
	fails("unknown_filenames", `of 8 filenames, these are neither in the folder nor in dataset photos: 2 filenames ("x.png", "y.png")`, vectors(1, append(slices.Clone(names), "x.png", "y.png")...))
	fails("missing_filenames", `4 rows for 6 samples of the folder and of dataset photos; these are missing: 2 filenames ("1/004.png", "2/005.png")`, vectors(1, names[:4]...))
	id := ok[[]lightly.Dataset](g.rig, "GET", "/v1/datasets", nil)[0].ID
	if n := len(g.samples(id)); n != 0 {
		t.Errorf("%d samples were sent", n)
	}
	g.write("3/broken.png", []byte("x"))
	r := g.must(vectors(1, append(slices.Clone(names), "3/broken.png")...))
	if r.Embedding != "default" || r.Kept || r.Left != 1 || len(r.Faults) != 1 {
		t.Fatalf("%+v", r)
	}
	os.Remove(filepath.Join(g.dir, "3/broken.png"))
	list := ok[[]lightly.Embedding](g.rig, "GET", "/v1/datasets/"+id+"/embeddings", nil)
	status, csv := g.send("GET", ok[string](g.rig, "GET", "/v1/datasets/"+id+"/embeddings/"+list[0].ID+"/readCSVUrl", nil), nil)
	for i, name := range names {
		if line := fmt.Sprintf("%s,%v,1,0\r\n", name, float32(i)/3); status != 200 || !strings.Contains(string(csv), line) {
			t.Errorf("no line %q in\n%s", line, csv)
		}
	}
	// The same is kept. Others get a name of their own, once.
	if r = g.must(vectors(1, names...)); r.Embedding != "default" || !r.Kept {
		t.Errorf("the same embeddings: %+v", r)
	}
	r = g.must(vectors(2, names...))
	if !strings.HasPrefix(r.Embedding, "default-") || r.Kept || len(r.Warnings) != 1 {
		t.Errorf("other embeddings: %+v", r)
	}
	if again := g.must(vectors(2, names...)); again.Embedding != r.Embedding || !again.Kept {
		t.Errorf("other embeddings again: %+v", again)
	}
	if list = ok[[]lightly.Embedding](g.rig, "GET", "/v1/datasets/"+id+"/embeddings", nil); len(list) != 2 || list[0].Name != r.Embedding {
		t.Errorf("embeddings %+v", list)
	}
	// They are good for a selection.
	tag := g.sampling("/v1/datasets/"+id, list[0].ID, object{"newTagName": "first", "method": "CORESET", "config": stop(3, -1)})
	if tag.Name != "first" {
		t.Errorf("tag %+v", tag)
	}
	nan := vectors(float32(nanOf()), names...)
	fails("remote_refused", "NaN", nan, func(u *lightly.Upload) { u.Embedding = "other" })
}

func nanOf() float64 { var zero float64; return zero / zero }

// TestUploadOthersDataset: the name is taken by somebody whose datasets the
// user does not see.
func TestUploadOthersDataset(t *testing.T) {
	g := newGallery(t, 2)
	g.base = g.serve(lightly.ServerConfig{Tokens: []string{"alice:secret", "bob:secret-of-bob"}})
	g.token = "secret-of-bob"
	g.created("/v1/datasets", object{"name": "photos"})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for token, code := range map[string]string{"secret": "remote_refused", "wrong": "remote_unauthorized"} {
		var err error
		if g.c, err = lightly.New(lightly.Config{BaseURL: g.base, Token: token, HTTP: &http.Client{Transport: transport}}); err != nil {
			t.Fatal(err)
		}
		_, err = g.upload()
		if e, ok := errors.AsType[*lightly.Error](err); !ok || e.Code != code {
			t.Errorf("%s: error %#v", token, err)
		}
	}
}
