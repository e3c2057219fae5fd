package lightly_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nextbatch/internal/lightly"
)

// TestSamplesFromEverywhere adds samples to one dataset through two servers,
// from eight threads each: no row and no name twice, and no gap.
func TestSamplesFromEverywhere(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	bases := []string{r.base, r.serve(lightly.ServerConfig{Loopback: true})}
	d := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "many"})
	const threads, each = 8, 12
	var mu sync.Mutex
	rows := map[string]string{} // id → name
	var all sync.WaitGroup
	for s, base := range bases {
		for i := range threads {
			all.Go(func() {
				own := *r
				own.base = base
				for j := range each {
					name := fmt.Sprintf("%d/%d/%d.jpg", s, i, j)
					if j%4 == 0 { // a name that everybody sends
						name = fmt.Sprintf("shared/%d.jpg", j)
					}
					status, answer := own.send("POST", d+"/samples", object{"fileName": name, "metaData": object{"from": name}})
					if status != 200 {
						t.Errorf("%s: %d %s", name, status, answer)
						return
					}
					id := string(answer[7:31])
					mu.Lock()
					if other, ok := rows[id]; ok && other != name {
						t.Errorf("row %s is both %s and %s", id, other, name)
					}
					rows[id] = name
					mu.Unlock()
				}
			})
		}
	}
	all.Wait()
	names, ids := ok[[]string](r, "GET", d+"/mappings?field=fileName", nil), ok[[]string](r, "GET", d+"/mappings?field=_id", nil)
	want := 2*threads*each*3/4 + each/4
	if len(names) != want || len(ids) != want || len(rows) != want {
		t.Fatalf("%d names, %d ids, %d answers, want %d", len(names), len(ids), len(rows), want)
	}
	for i, id := range ids {
		if rows[id] != names[i] || !strings.HasSuffix(id, fmt.Sprintf("%08x", i)) {
			t.Errorf("row %d: id %s, name %s, answered as %s", i, id, names[i], rows[id])
		}
	}
	for i, s := range ok[[]lightly.Sample](r, "GET", d+"/samples", nil) {
		if s.Index != i || s.FileName != names[i] || string(s.MetaData) != fmt.Sprintf(`{"from":%q}`, names[i]) {
			t.Errorf("sample %d: %+v", i, s)
		}
	}
}

// TestSamples is the life of one sample: details, images, lists.
func TestSamples(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	d := "/v1/datasets/" + r.created("/v1/datasets/", object{"name": "photos", "type": "Images"})
	if list := ok[[]object](r, "GET", d+"/samples", nil); len(list) != 0 {
		t.Errorf("samples of a new dataset: %v", list)
	}
	a := d + "/samples/" + r.created(d+"/samples", object{"fileName": "a é.png", "thumbName": "a é_thumb.webp", "exif": object{}, "metaData": object{"shape": 3}, "videoFrameData": nil})
	r.created(d+"/samples", object{"fileName": "b.png"})
	ok[nothing](r, "PUT", a, object{"customMetaData": object{"image_id": 7}})
	ok[nothing](r, "PUT", a, object{"fileName": "a é.png"})
	r.refused(400, "BAD_REQUEST", "PUT", a, object{"fileName": "c.png"})
	s := ok[lightly.Sample](r, "GET", a, nil)
	if s.FileName != "a é.png" || s.ThumbName != "a é_thumb.webp" || s.Type != "IMAGE" || string(s.CustomMetaData) != `{"image_id":7}` || string(s.MetaData) != `{"shape":3}` {
		t.Errorf("sample %+v", s)
	}
	partial := ok[[]object](r, "GET", d+"/samples/partial?mode=fileNames", nil)
	if len(partial) != 2 || partial[0]["fileName"] != "a é.png" || len(partial[0]) != 2 {
		t.Errorf("partial samples %v", partial)
	}
	for query, want := range map[string]int{"mode=ids": 2, "mode=full": 2, "pageSize=1": 1, "pageSize=5&pageOffset=1": 1, "pageOffset=2": 0, "pageSize=1&pageOffset=9": 0, "fileName=b.png": 1, "fileName=x": 0} {
		for _, list := range []string{"/samples?", "/samples/partial?"} {
			if got := ok[[]object](r, "GET", d+list+query, nil); len(got) != want {
				t.Errorf("%s%s: %d, want %d", list, query, len(got), want)
			}
		}
	}
	for _, query := range []string{"mode=all", "pageSize=0", "pageSize=x", "pageOffset=-1", "sortBy=name"} {
		r.refused(400, "BAD_REQUEST", "GET", d+"/samples?"+query, nil)
	}
	r.refused(404, "SAMPLE_UNKNOWN", "GET", d+"/samples/"+strings.Repeat("0", 24), nil)
	r.refused(404, "SAMPLE_UNKNOWN", "GET", a[:len(a)-8]+"00000002", nil)

	// Images: what was put comes back, and only as an image.
	png := append([]byte("\x89PNG\r\n\x1a\n"), bytes.Repeat([]byte{0}, 3000)...)
	urls := ok[struct{ Full, Thumb string }](r, "GET", a+"/writeurls", nil)
	ok[nothing](r, "PUT", urls.Full, png)
	ok[nothing](r, "PUT", ok[string](r, "GET", a+"/writeurl?isThumbnail=True", nil), "<html><script>alert(1)</script>")
	for kind, want := range map[string]struct {
		body []byte
		typ  string
	}{"full": {png, "image/png"}, "thumbnail": {[]byte("<html><script>alert(1)</script>"), "application/octet-stream"}} {
		link := ok[string](r, "GET", a+"/readurl?type="+kind, nil)
		resp, err := http.Get(link)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(body, want.body) || resp.Header.Get("Content-Type") != want.typ || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d bytes, %v, %v", kind, len(body), resp.Header, err)
		}
	}
	if _, body := r.send("GET", ok[string](r, "GET", d+"/samples/"+ok[[]string](r, "GET", d+"/mappings?field=_id", nil)[1]+"/readurl?type=full", nil), nil); !strings.Contains(string(body), "SAMPLE_IMAGE_UNKNOWN") {
		t.Errorf("image that was not uploaded: %s", body)
	}

	// What must not go through.
	r.refused(400, "BAD_REQUEST", "PUT", urls.Full, "")
	r.refused(403, "FORBIDDEN", "GET", urls.Full, nil)
	r.refused(403, "FORBIDDEN", "PUT", strings.Replace(urls.Full, "/full", "/thumbnail", 1), png)
	r.refused(403, "FORBIDDEN", "PUT", strings.Replace(urls.Full, "expires=", "expires=9", 1), png)
	r.refused(403, "FORBIDDEN", "PUT", urls.Full[:len(urls.Full)-4], png)
	if again := r.serve(lightly.ServerConfig{Loopback: true}); true { // any replica takes it
		ok[nothing](r, "PUT", strings.Replace(urls.Full, r.base, again, 1), png)
	}
}

// TestHostileNames: nothing is written.
func TestHostileNames(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	d := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "hostile"})
	for _, name := range []string{"", "/etc/passwd", "../x", "a/../b", "..", "a\x00b", "a\nb", "a\tb", "a\x7fb", `a\b`, "a,b", strings.Repeat("x", 10<<10), strings.Repeat("x", 1025)} {
		for _, body := range []object{{"fileName": name}, {"fileName": "good.png", "thumbName": name}} {
			if body["thumbName"] == "" {
				continue
			}
			r.refused(400, "BAD_REQUEST", "POST", d+"/samples", body)
		}
	}
	r.refused(400, "BAD_REQUEST", "POST", d+"/samples", object{})
	r.refused(400, "BAD_REQUEST", "POST", d+"/samples", object{"fileName": nil})
	r.refused(400, "BAD_REQUEST", "POST", d+"/samples", object{"fileName": "a.png", "metaData": 3})
	for _, body := range []string{"", "null", "[]", "{", `{"fileName":3}`, `{"fileName":"a.png"}x`, `{"fileName":"a.png","metaData":{"snr":NaN}}`, `{"fileName":"a.png","metaData":{"snr":-Infinity}}`} {
		r.refused(400, "MALFORMED_REQUEST", "POST", d+"/samples", body)
	}
	if m := r.refused(400, "MALFORMED_REQUEST", "POST", d+"/samples", `{"fileName":"a.png","metaData":{"snr":NaN}}`); !strings.Contains(m, "NaN") {
		t.Errorf("the message does not name NaN: %s", m)
	}
	r.refused(413, "CUSTOM_METADATA_AT_MAX_SIZE", "POST", d+"/samples", object{"fileName": "a.png", "customMetaData": object{"x": strings.Repeat("x", 300<<10)}})
	r.refused(413, "PAYLOAD_TOO_LARGE", "POST", d+"/samples", object{"fileName": "a.png", "metaData": object{"x": strings.Repeat("x", 600<<10)}})
	r.refused(413, "PAYLOAD_TOO_LARGE", "POST", "/v1/datasets", object{"name": strings.Repeat("x", 100<<10)})
	for _, name := range []string{"", "ab", "../etc", "-abc", "a\nb", strings.Repeat("x", 129), "abc/def"} {
		r.refused(400, "BAD_REQUEST", "POST", "/v1/datasets", object{"name": name})
	}
	if names := ok[[]string](r, "GET", d+"/mappings?field=fileName", nil); len(names) != 0 {
		t.Errorf("written: %q", names)
	}
	if all := ok[[]object](r, "GET", "/v1/datasets", nil); len(all) != 1 {
		t.Errorf("datasets %v", all)
	}
}

// TestBodyWithoutLength is cut where it grows too large.
func TestBodyWithoutLength(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	d := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "chunked"})
	body := io.MultiReader(strings.NewReader(`{"fileName":"`), strings.NewReader(strings.Repeat("x", 2<<20)))
	resp, err := http.Post(r.base+d+"/samples?token=x", "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Errorf("status %d, want 413", resp.StatusCode)
	}
}

// TestUploadThatBreaksOff leaves nothing.
func TestUploadThatBreaksOff(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	d := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "broken"})
	s := d + "/samples/" + r.created(d+"/samples", object{"fileName": "a.png"})
	link := ok[string](r, "GET", s+"/writeurl", nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf", strings.TrimPrefix(link, r.base))
	conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	conn.Close()
	if err != nil || !bytes.Contains(answer, []byte(" 400 ")) {
		t.Errorf("answer %q, %v", answer, err)
	}
	if _, body := r.send("GET", ok[string](r, "GET", s+"/readurl", nil), nil); !strings.Contains(string(body), "SAMPLE_IMAGE_UNKNOWN") {
		t.Errorf("half an image is there: %.100q", body)
	}
}

// TestEmbeddingsFiles sends what section 4.5 of the contract tolerates, and
// what is wrong.
func TestEmbeddingsFiles(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	r.work()
	d := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "vectors"})
	for _, name := range []string{"a.jpg", "b.jpg", "c.jpg"} {
		r.created(d+"/samples", object{"fileName": name})
	}
	r.created(d+"/tags/initial", object{"imgType": "meta"})
	for _, c := range []struct{ name, csv, code string }{
		{"empty", "", "BAD_REQUEST"},
		{"header only", "filenames,embedding_0,labels\r\n", "EMBEDDING_ROW_COUNT_INVALID"},
		{"missing", "filenames,embedding_0,labels\r\na.jpg,1,0\r\nb.jpg,2,0\r\n", "EMBEDDING_ROW_COUNT_INVALID"},
		{"unknown", "filenames,embedding_0,labels\na.jpg,1,0\nb.jpg,2,0\nx.jpg,2,0\n", "EMBEDDING_INVALID"},
		{"twice", "filenames,embedding_0,labels\na.jpg,1,0\na.jpg,2,0\nc.jpg,2,0\n", "EMBEDDING_INVALID"},
		{"width", "filenames,embedding_0,labels\na.jpg,1,0\nb.jpg,2,3,0\nc.jpg,2,0\n", "EMBEDDING_INVALID"},
		{"NaN", "filenames,embedding_0,labels\na.jpg,1,0\nb.jpg,nan,0\nc.jpg,2,0\n", "EMBEDDING_INVALID"},
		{"text", "filenames,embedding_0,labels\na.jpg,1,0\nb.jpg,x,0\nc.jpg,2,0\n", "EMBEDDING_INVALID"},
		{"no names", "embedding_0,labels\n1,0\n", "EMBEDDING_INVALID"},
		{"zip", "PK\x03\x04", "EMBEDDING_INVALID"},
	} {
		where := ok[struct{ SignedWriteURL, EmbeddingID string }](r, "GET", d+"/embeddings/writeCSVUrl?name=default", nil)
		if m := r.refused(400, c.code, "PUT", where.SignedWriteURL, c.csv); c.name == "NaN" && !strings.Contains(m, "b.jpg") {
			t.Errorf("%s: the message names no offender: %s", c.name, m)
		}
	}
	many := []byte("filenames,embedding_0,labels\n")
	for i := range 400_000 {
		many = fmt.Appendf(many, "%d.jpg,1,0\n", i)
	}
	where := ok[struct{ SignedWriteURL string }](r, "GET", d+"/embeddings/writeCSVUrl?name=default", nil)
	if m := r.refused(400, "EMBEDDING_INVALID", "PUT", where.SignedWriteURL, many); !strings.Contains(m, "memory") {
		t.Errorf("a file with more names than three samples have is read to its end: %s", m)
	}
	if list := ok[[]lightly.Embedding](r, "GET", d+"/embeddings", nil); len(list) != 0 {
		t.Fatalf("embeddings after nothing but bad files: %v", list)
	}
	var names []string
	for name, csv := range map[string]string{
		"plain":  "filenames,embedding_0,embedding_1,labels\r\nc.jpg,1,2.5,0\r\na.jpg,-1e-05,0.1,0\r\nb.jpg,3,4,0\r\n",
		"lines":  "filenames,embedding_0,embedding_1,labels\nc.jpg,1,2.5,0\na.jpg,-1e-05,0.1,0\n\nb.jpg,3,4,0",
		"extra":  "filenames,embedding_0,embedding_1,labels,masked,selected,more\r\r\nc.jpg,1,2.5,0,0,1,x\r\r\na.jpg,-1e-05,0.1,0,1,1,y\r\r\nb.jpg,3,4,0,0,0,z\r\r\n",
		"plural": "filenames,embeddings_0,embeddings_1,labels\nc.jpg,1,2.5,0\na.jpg,-1e-05,0.1,0\nb.jpg,3,4,0\n",
	} {
		where := ok[struct{ SignedWriteURL, EmbeddingID string }](r, "GET", d+"/embeddings/writeCSVUrl?name="+name, nil)
		ok[nothing](r, "PUT", where.SignedWriteURL, csv)
		names = append(names, name)
		list := ok[[]lightly.Embedding](r, "GET", d+"/embeddings", nil)
		if len(list) != len(names) || list[0].Name != name || list[0].ID != where.EmbeddingID || !list[0].IsProcessed {
			t.Errorf("%s: newest of %d is %+v", name, len(list), list[0])
		}
		e := d + "/embeddings/" + where.EmbeddingID
		_, got := r.send("GET", ok[string](r, "GET", e+"/readCSVUrl", nil), nil)
		if want := "filenames,embedding_0,embedding_1,labels\r\na.jpg,-1e-05,0.1,0\r\nb.jpg,3,4,0\r\nc.jpg,1,2.5,0\r\n"; string(got) != want {
			t.Errorf("%s comes back as %q, want %q", name, got, want)
		}
		r.refused(409, "EMBEDDING_NAME_EXISTS", "GET", d+"/embeddings/writeCSVUrl?name="+name, nil)
		ok[nothing](r, "PUT", e+"/isProcessed", object{"rowCount": 3})
		r.refused(400, "EMBEDDING_ROW_COUNT_INVALID", "PUT", e+"/isProcessed", object{"rowCount": 4})
		ok[nothing](r, "POST", e+"/trigger2dEmbeddingsJob", object{"dimensionalityReductionMethod": "PCA"})
		r.refused(400, "BAD_REQUEST", "POST", e+"/trigger2dEmbeddingsJob", object{"dimensionalityReductionMethod": "MDS"})
		flat := object{"name": "map", "dimensionalityReductionMethod": "UMAP", "coordinatesDimension1": []float64{1, 2, 3}, "coordinatesDimension2": []float64{-1, 0, 1e-5}}
		id := r.created(e+"/2d", flat)
		if again := r.created(e+"/2d", flat); again != id {
			t.Errorf("the same projection again is %s, was %s", again, id)
		}
		flats := ok[[]object](r, "GET", e+"/2d", nil)
		if len(flats) != 1 || flats[0]["id"] != id || flats[0]["name"] != "map" || flats[0]["coordinatesDimension1"] != nil {
			t.Errorf("projections: %v", flats)
		}
		one := ok[object](r, "GET", e+"/2d/"+id, nil)
		if fmt.Sprint(one["coordinatesDimension1"], one["coordinatesDimension2"]) != "[1 2 3] [-1 0 1e-05]" {
			t.Errorf("projection: %v", one)
		}
		flat["coordinatesDimension2"] = []float64{1}
		r.refused(400, "EMBEDDING_ROW_COUNT_INVALID", "POST", e+"/2d", flat)
		r.refused(400, "BAD_REQUEST", "POST", e+"/2d", object{})
		r.refused(404, "EMBEDDING_2D_UNKNOWN", "GET", e+"/2d/"+strings.Repeat("0", 24), nil)
	}
	list := ok[[]lightly.Embedding](r, "GET", d+"/embeddings", nil)
	ok[nothing](r, "DELETE", d+"/embeddings/"+list[0].ID, object{})
	if left := ok[[]lightly.Embedding](r, "GET", d+"/embeddings", nil); len(left) != 3 || slices.ContainsFunc(left, func(e lightly.Embedding) bool { return e.ID == list[0].ID }) {
		t.Errorf("after a deletion: %v", left)
	}
	r.refused(404, "EMBEDDING_UNKNOWN", "DELETE", d+"/embeddings/"+list[0].ID, object{})
	r.refused(400, "BAD_REQUEST", "GET", d+"/embeddings/writeCSVUrl?name=../x", nil)
}

// TestSlowClient: a body that does not come is not waited for, and one that
// comes in drops neither.
func TestSlowClient(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true, BodyTime: 300 * time.Millisecond})
	for _, drops := range []bool{false, true} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /v1/datasets?token=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for drops {
				if _, err := conn.Write([]byte(" ")); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		answer, _ := io.ReadAll(conn)
		if !bytes.Contains(answer, []byte(" 408 ")) {
			t.Errorf("in drops %v: %.200q", drops, answer)
		}
		conn.Close()
		<-stopped
	}
	if all := ok[[]object](r, "GET", "/v1/datasets", nil); len(all) != 0 {
		t.Errorf("written: %v", all)
	}
}

// TestUploadThatIsWaitedFor: the time for a body is not that for its answer.
func TestUploadThatIsWaitedFor(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true, BodyTime: 2 * time.Second})
	d := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "waited"})
	r.created(d+"/samples", object{"fileName": "a.jpg"})
	late := time.AfterFunc(3*time.Second, func() { r.work() })
	defer late.Stop()
	r.embed(d, "default")
	if list := ok[[]lightly.Embedding](r, "GET", d+"/embeddings", nil); len(list) != 1 {
		t.Errorf("embeddings %v", list)
	}
}

// TestSampleLargerThanARecord is refused at once, alone among those that come
// with it. Characters that HTML has a meaning for take no more room than others.
func TestSampleLargerThanARecord(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	d := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "shoes"})
	tags := `{"text":"` + strings.Repeat("<", 200<<10) + `"}`
	sample := d + "/samples/" + r.created(d+"/samples", `{"fileName":"large.jpg","customMetaData":`+tags+`}`)
	if got := ok[lightly.Sample](r, "GET", sample, nil); len(got.CustomMetaData) < len(tags) {
		t.Errorf("%d bytes of metadata came back, %d were sent", len(got.CustomMetaData), len(tags))
	}
	part := `{"x":"` + strings.Repeat("x", 500<<10) + `"}`
	for _, field := range []string{"exif", "videoFrameData", "cropData"} {
		ok[nothing](r, "PUT", sample, `{"`+field+`":`+part+`}`)
	}
	began := time.Now()
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if i%10 == 5 {
				r.refused(413, "PAYLOAD_TOO_LARGE", "POST", d+"/samples", `{"fileName":"large.jpg","metaData":`+part+`}`)
			} else if status, body := r.send("POST", d+"/samples", object{"fileName": fmt.Sprint(i, ".jpg"), "metaData": object{"i": i}}); status != 200 {
				t.Errorf("one of the others: %d %s", status, body)
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("took %v", took)
	}
	if n := ok[lightly.Dataset](r, "GET", d, nil).NSamples; n != 37 {
		t.Errorf("%d samples, want 37", n)
	}
}

// TestLongSamples lists more metadata than is held at a time.
func TestLongSamples(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	d := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "shoes"})
	long := strings.Repeat("x", 450<<10)
	const n = 160 // 70 MiB
	for i := range n {
		r.created(d+"/samples", fmt.Sprintf(`{"fileName":"%03d.jpg","metaData":{"i":%d,"x":"%s"}}`, i, i, long))
	}
	list := ok[[]lightly.Sample](r, "GET", d+"/samples", nil)
	if len(list) != n {
		t.Fatalf("%d samples, want %d", len(list), n)
	}
	for i, s := range list {
		if want := fmt.Sprintf(`{"i":%d,"x":"`, i); s.Index != i || !strings.HasPrefix(string(s.MetaData), want) || len(s.MetaData) != len(want)+len(long)+2 {
			t.Errorf("sample %d: index %d, %d bytes that begin %.20s", i, s.Index, len(s.MetaData), s.MetaData)
		}
	}
}
