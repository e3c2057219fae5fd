package lightly_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/lightly"
)

// TestDatasets is the life of datasets in lists.
func TestDatasets(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	if status, body := r.send("GET", "/v1/datasets", nil); status != 200 || string(body) != "[]" {
		t.Errorf("no datasets: %d %s", status, body)
	}
	var ids []string
	for _, name := range []string{"cats", "cats and dogs", "dogs"} {
		ids = append(ids, r.created("/v1/datasets", object{"name": name, "type": "Crops", "imgType": "full"}))
	}
	r.refused(409, "DATASET_NAME_EXISTS", "POST", "/v1/datasets", object{"name": "cats"})
	r.refused(400, "BAD_REQUEST", "POST", "/v1/datasets", object{"name": "birds", "type": "Sounds"})
	for query, want := range map[string][]string{
		"?shared=False": ids, "?shared=True": nil, "?shared=False&pageSize=2&pageOffset=0": ids[:2], "?pageSize=2&pageOffset=2": ids[2:], "?pageSize=5000&pageOffset=3": nil,
		"/query/name/cats?exact=True": ids[:1], "/query/name/cats?exact=False&shared=False": ids[:2], "/query/name/cats%20and%20dogs?exact=True": ids[1:2], "/query/name/x?exact=False": nil,
	} {
		var got []string
		for _, d := range ok[[]lightly.Dataset](r, "GET", "/v1/datasets"+query, nil) {
			got = append(got, d.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	r.refused(400, "BAD_REQUEST", "GET", "/v1/datasets?shared=maybe", nil)
	d := "/v1/datasets/" + ids[0]
	before := ok[lightly.Dataset](r, "GET", d, nil)
	r.created(d+"/samples", object{"fileName": "a.jpg"})
	after := ok[lightly.Dataset](r, "GET", d, nil)
	if after.LastModifiedAt <= before.LastModifiedAt || after.NSamples != 1 || after.Type != "Crops" || after.ImgType != "full" || after.UserID != "local" {
		t.Errorf("after a sample: %+v, before: %+v", after, before)
	}
	ok[nothing](r, "PUT", d, object{"name": "cats"})
	r.refused(400, "BAD_REQUEST", "PUT", d, object{"name": "lions"})
	ok[nothing](r, "PUT", d+"/registerDatasetUpload", object{"total": 5, "processed": 0, "uploadMethod": "USER_PIP", "isRegistered": true})
	r.refused(400, "BAD_REQUEST", "PUT", d+"/registerDatasetUpload", object{"total": 5})
	r.refused(404, "DATASET_DATASOURCE_UNKNOWN", "GET", d+"/datasource", nil)
	if q := ok[string](r, "GET", "/v1/quota", nil); q != "10000000" {
		t.Errorf("quota %q", q)
	}
	if q := ok[object](r, "GET", "/users/quota", nil); q["maxDatasetSize"] != 1e7 {
		t.Errorf("quota of the first releases %v", q)
	}
}

// TestTags makes, combines, exports and deletes tags.
func TestTags(t *testing.T) {
	r := newRig(t, lightly.ServerConfig{Loopback: true})
	d := "/v1/datasets/" + r.created("/v1/datasets", object{"name": "tagged"})
	for i := range 12 {
		r.created(d+"/samples", object{"fileName": fmt.Sprintf("%02d.jpg", i)})
	}
	if tags := ok[[]lightly.Tag](r, "GET", d+"/tags", nil); len(tags) != 0 {
		t.Errorf("tags before the initial one: %v", tags)
	}
	r.refused(400, "TAG_NO_TAG_IN_DATASET", "POST", d+"/tags/upsize", object{"upsizeTagName": "more"})
	r.refused(400, "BAD_REQUEST", "POST", d+"/tags/initial", object{})
	r.refused(400, "BAD_REQUEST", "POST", d+"/tags/initial", object{"imgType": "tiny"})
	initial := r.created(d+"/tags/initial", object{"imgType": "thumbnail", "creator": "USER_PIP"})
	r.refused(409, "TAG_INITIAL_EXISTS", "POST", d+"/tags/initial", object{"imgType": "full"})
	if got := ok[lightly.Dataset](r, "GET", d, nil).ImgType; got != "thumbnail" {
		t.Errorf("imgType %q", got)
	}
	make := func(name, mask, prev string) string {
		return r.created(d+"/tags", object{"name": name, "prevTagId": prev, "bitMaskData": mask, "totSize": 12, "creator": "USER_PIP"})
	}
	a, b := make("some tag", "0x59", initial), make("B.2:x", "FFF", initial)
	c := make("below", "0x0", a)
	tag := ok[lightly.Tag](r, "GET", d+"/tags/"+a, nil)
	if tag.BitMaskData != "0x59" || *tag.PrevTagID != initial || tag.TotSize != 12 || tag.DatasetID != d[len("/v1/datasets/"):] {
		t.Errorf("tag %+v", tag)
	}
	if got := ok[lightly.Tag](r, "GET", d+"/tags/"+c, nil); got.BitMaskData != "0x0" || *got.PrevTagID != a {
		t.Errorf("tag below it %+v", got)
	}
	for _, bad := range []struct {
		status int
		code   string
		body   object
	}{
		{409, "TAG_NAME_EXISTS", object{"name": "some tag", "prevTagId": initial, "bitMaskData": "0x1", "totSize": 12}},
		{409, "TAG_NAME_EXISTS", object{"name": "initial-tag", "prevTagId": initial, "bitMaskData": "0x1", "totSize": 12}},
		{400, "TAG_PREVTAG_NOT_IN_DATASET", object{"name": "new", "prevTagId": strings.Repeat("0", 24), "bitMaskData": "0x1", "totSize": 12}},
		{400, "TAG_QUERYTAG_NOT_IN_DATASET", object{"name": "new", "prevTagId": initial, "bitMaskData": "0x1", "totSize": 12, "queryTagId": "x"}},
		{400, "BAD_REQUEST", object{"name": "new", "prevTagId": initial, "bitMaskData": "0x1000", "totSize": 12}},
		{400, "BAD_REQUEST", object{"name": "new", "prevTagId": initial, "bitMaskData": "0xg", "totSize": 12}},
		{400, "BAD_REQUEST", object{"name": "a/b", "prevTagId": initial, "bitMaskData": "0x1", "totSize": 12}},
		{400, "BAD_REQUEST", object{"name": "new", "bitMaskData": "0x1", "totSize": 12}},
	} {
		r.refused(bad.status, bad.code, "POST", d+"/tags", bad.body)
	}

	for op, want := range map[string]string{"UNION": "0xfff", "INTERSECTION": "0x59", "DIFFERENCE": "0xfa6"} {
		body := object{"tagId1": b, "tagId2": a, "operation": op}
		for _, path := range []string{"/tags/arithmetics", "/tags/arithmetics/bitmask"} {
			if got := ok[struct{ BitMaskData string }](r, "POST", d+path, body); got.BitMaskData != want {
				t.Errorf("%s %s: %s, want %s", path, op, got.BitMaskData, want)
			}
		}
	}
	rest := r.created(d+"/tags/arithmetics", object{"tagId1": initial, "tagId2": a, "operation": "DIFFERENCE", "newTagName": "rest", "creator": "USER_PIP"})
	if got := ok[lightly.Tag](r, "GET", d+"/tags/"+rest, nil); got.BitMaskData != "0xfa6" || got.Name != "rest" {
		t.Errorf("rest %+v", got)
	}
	r.refused(404, "TAG_UNKNOWN", "POST", d+"/tags/arithmetics", object{"tagId1": a, "tagId2": "x", "operation": "UNION"})
	r.refused(400, "BAD_REQUEST", "POST", d+"/tags/arithmetics", object{"tagId1": a, "tagId2": a, "operation": "XOR"})

	// Exports.
	names := []string{"00.jpg", "03.jpg", "04.jpg", "06.jpg"}
	if status, body := r.send("GET", d+"/tags/"+a+"/export/basic/filenames", nil); status != 200 || string(body) != strings.Join(names, "\n") {
		t.Errorf("filenames: %d %q", status, body)
	}
	if got := ok[[]string](r, "GET", d+"/tags/"+a+"/filenames", nil); !slices.Equal(got, names) {
		t.Errorf("filenames %q", got)
	}
	if got := ok[[]string](r, "GET", d+"/tags/"+a+"/filenames?pageSize=2&pageOffset=3", nil); !slices.Equal(got, names[3:]) {
		t.Errorf("a page of filenames %q", got)
	}
	sample := d + "/samples/" + ok[[]string](r, "GET", d+"/mappings?field=_id", nil)[3]
	ok[nothing](r, "PUT", sample, object{"metaData": object{"snr": 1.5}})
	ok[nothing](r, "PUT", ok[string](r, "GET", sample+"/writeurl?isThumbnail=False", nil), "GIF89a three")
	studio := ok[[]struct {
		ID   int
		Data struct {
			Image           string
			LightlyFileName string
			LightlyMetaInfo lightly.Sample
		}
	}](r, "GET", d+"/tags/"+a+"/export/LabelStudio/tasks?pageSize=20000&pageOffset=0&expiresIn=60", nil)
	if len(studio) != 4 || studio[1].ID != 3 || studio[1].Data.LightlyFileName != "03.jpg" || string(studio[1].Data.LightlyMetaInfo.MetaData) != `{"snr":1.5}` {
		t.Fatalf("Label Studio: %+v", studio)
	}
	resp, err := http.Get(studio[1].Data.Image)
	if err != nil {
		t.Fatal(err)
	}
	image, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(image) != "GIF89a three" {
		t.Errorf("image of the export: %q, %v", image, err)
	}
	if got := ok[[]object](r, "GET", d+"/tags/"+a+"/export/LabelStudio/tasks?pageSize=20000&pageOffset=4", nil); len(got) != 0 {
		t.Errorf("the page behind the last: %v", got)
	}
	if got := ok[[]struct{ ExternalID, ImageURL string }](r, "GET", d+"/tags/"+a+"/export/LabelBox/datarows", nil); len(got) != 4 || got[3].ExternalID != "06.jpg" || !strings.HasPrefix(got[3].ImageURL, "http") {
		t.Errorf("Labelbox: %+v", got)
	}
	if got := ok[[]struct{ FileName, ReadURL string }](r, "GET", d+"/tags/"+a+"/export/basic/filenamesAndReadUrls?pageSize=1", nil); len(got) != 1 || got[0].FileName != "00.jpg" || !strings.HasPrefix(got[0].ReadURL, "http") {
		t.Errorf("names and URLs: %+v", got)
	}
	r.refused(404, "NOT_IMPLEMENTED", "GET", d+"/tags/"+a+"/export/zip", nil)
	r.refused(404, "NOT_IMPLEMENTED", "GET", d+"/tags/"+a+"/export/Sama/tasks", nil)

	// Scores.
	first := r.created(d+"/tags/"+a+"/scores", object{"scoreType": "prediction-margin", "scores": []float64{1, 2.5}})
	second := r.created(d+"/tags/"+a+"/scores", object{"scoreType": "uncertainty_margin", "scores": []float64{0.25}})
	if again := r.created(d+"/tags/"+a+"/scores", object{"scoreType": "prediction-margin", "scores": []float64{3, -4, 5}}); again != first {
		t.Errorf("the same score type again has the id %s, had %s", again, first)
	}
	type list struct {
		ID, TagID, ScoreType string
		Scores               []float64
	}
	if diff := cmp.Diff([]list{{second, a, "uncertainty_margin", nil}, {first, a, "prediction-margin", nil}}, ok[[]list](r, "GET", d+"/tags/"+a+"/scores", nil)); diff != "" {
		t.Errorf("scores, - want + got:\n%s", diff)
	}
	if diff := cmp.Diff(list{first, a, "prediction-margin", []float64{3, -4, 5}}, ok[list](r, "GET", d+"/tags/"+a+"/scores/"+first, nil)); diff != "" {
		t.Errorf("score list, - want + got:\n%s", diff)
	}
	r.refused(404, "SCORE_UNKNOWN", "GET", d+"/tags/"+b+"/scores/"+first, nil)
	for _, body := range []any{`{"scoreType":"x","scores":[NaN]}`, object{"scoreType": "x"}, object{"scoreType": "x", "scores": []int{}}, object{"scoreType": "", "scores": []int{1}}, object{"scoreType": "a b", "scores": []int{1}},
		object{"scoreType": "x", "scores": []any{nil}}, object{"scoreType": "x", "scores": []any{"1"}}, object{"scoreType": "x", "scores": ramp(13)}} {
		if status, answer := r.send("POST", d+"/tags/"+a+"/scores", body); status != 400 {
			t.Errorf("%v: %d %s", body, status, answer)
		}
	}

	r.refused(413, "PAYLOAD_TOO_LARGE", "POST", d+"/tags/"+a+"/scores", object{"scoreType": "x", "scores": slices.Repeat([]int{0}, 50_000)})

	// Deletion.
	r.refused(400, "TAG_UNDELETABLE_IS_INITIAL", "DELETE", d+"/tags/"+initial, object{})
	r.refused(400, "TAG_UNDELETABLE_NOT_A_LEAF", "DELETE", d+"/tags/"+a, object{})
	ok[nothing](r, "DELETE", d+"/tags/"+c, object{})
	ok[nothing](r, "DELETE", d+"/tags/"+a, object{})
	r.refused(404, "TAG_UNKNOWN", "GET", d+"/tags/"+a, nil)
	r.refused(404, "TAG_UNKNOWN", "DELETE", d+"/tags/"+a, object{})
	if reborn := make("some tag", "0x1", initial); reborn == a || len(ok[[]object](r, "GET", d+"/tags/"+reborn+"/scores", nil)) != 0 {
		t.Error("a tag of a deleted one's name has its id or scores")
	}
	ok[nothing](r, "PUT", d+"/tags/"+b, object{"name": "B.2:x"})
	r.refused(400, "BAD_REQUEST", "PUT", d+"/tags/"+b, object{"name": "other"})

	// Upsize.
	r.created(d+"/samples", object{"fileName": "12.jpg"})
	r.created(d+"/samples", object{"fileName": "13.jpg"})
	up := r.created(d+"/tags/upsize", object{"upsizeTagName": "20211124_10h00m00s", "upsizeTagCreator": "USER_PIP"})
	tags := ok[[]lightly.Tag](r, "GET", d+"/tags", nil)
	if tags[0].ID != initial || tags[0].BitMaskData != "0x3fff" || tags[len(tags)-1].ID != up || tags[len(tags)-1].BitMaskData != "0x3000" {
		t.Errorf("after an upsize: %+v", tags)
	}
	for _, tag := range tags {
		if tag.TotSize != 14 {
			t.Errorf("totSize of %s is %d", tag.Name, tag.TotSize)
		}
	}
	r.refused(409, "TAG_NAME_EXISTS", "POST", d+"/tags/upsize", object{"upsizeTagName": "20211124_10h00m00s"})
	if got := r.created(d+"/tags/upsize", object{"upsizeTagName": "nothing-new"}); got != initial {
		t.Errorf("an upsize without new samples answers with %s", got)
	}
	if again := ok[[]lightly.Tag](r, "GET", d+"/tags", nil); len(again) != len(tags) {
		t.Errorf("an upsize without new samples made a tag: %+v", again)
	}
	if status, body := r.send("GET", d+"/mappings?field=size", nil); status != 400 {
		t.Errorf("mapping of another field: %d %s", status, body)
	}
}
