package lightly

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"nextbatch/internal/blob"
	"nextbatch/internal/images"
)

// maxConnections to the platform at a time.
const maxConnections = 32

// Upload is a folder of images on its way to a dataset.
type Upload struct {
	Dataset string // name on the platform; made if it is not there
	Folder  *images.Folder
	// ImgType says what is sent of each image: full (a thumbnail and the file
	// itself), thumbnail, or meta (its measures only).
	ImgType string
	// Embeddings, if not nil, have names, and a row for every sample that the
	// dataset then has. Rows of images that turn out to be broken are left out.
	Embeddings *blob.Embeddings
	Embedding  string // name of the set; default "default"
	// Connections at a time, 1 to 32; default 16.
	Connections int
	// Progress, if not nil, is called after every image, by one goroutine at a
	// time.
	Progress func(done, total int)
}

// UploadResult says what became of an upload.
type UploadResult struct {
	DatasetID string
	Uploaded  int            // images
	There     int            // images that the platform had before
	Faults    []images.Fault // images that cannot be used, by name
	Tag       string         // that the new samples are in; "" without any
	Embedding string         // name of the set of embeddings; "" without one
	Kept      bool           // the platform had just these embeddings
	Left      int            // rows of the embeddings that broken images have
	Warnings  []string
}

// uploading is one Upload under way.
type uploading struct {
	c       *Client
	u       *Upload
	dataset string            // id
	imgType string            // of the dataset, "" before its initial tag
	ids     map[string]string // of the samples that were there, by filename

	mu   sync.Mutex // guards what follows
	done int
	UploadResult
}

// Upload sends a folder of images. It may be called again after any failure,
// also in another process: samples, images and embeddings that are there are
// not sent again, unless the size of a file has changed. An image that cannot
// be used is reported and does not stop the others. The rows of new samples
// follow the order in which they arrive. The result tells how far it came also
// where there is an error, which is an *Error.
func (c *Client) Upload(ctx context.Context, u Upload) (UploadResult, error) {
	if u.Embedding == "" {
		u.Embedding = "default"
	}
	if u.Connections == 0 {
		u.Connections = 16
	}
	s := &uploading{c: c, u: &u}
	err := s.run(ctx)
	slices.SortFunc(s.Faults, func(a, b images.Fault) int { return strings.Compare(a.Name, b.Name) })
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			e = &Error{Code: "upload_failed", Message: err.Error()}
		}
		e.Message = c.redact(e.Message)
		return s.UploadResult, e
	}
	return s.UploadResult, nil
}

func (s *uploading) run(ctx context.Context) error {
	if err := s.u.check(); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	if err := s.list(ctx); err != nil {
		return err
	}
	if err := s.checkEmbeddings(); err != nil {
		return err
	}
	s.Faults = slices.Clone(s.u.Folder.Faults)
	if err := s.sendAll(ctx); err != nil {
		return err
	}
	if s.Uploaded+s.There == 0 {
		return &Error{Code: "bad_upload", Message: fmt.Sprintf("none of %d images could be used", len(s.Faults))}
	}
	if err := s.tag(ctx); err != nil {
		return err
	}
	return s.sendEmbeddings(ctx)
}

// check refuses what cannot be sent, before anything is.
func (u *Upload) check() error {
	bad := func(format string, args ...any) error {
		return &Error{Code: "bad_upload", Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case checkDatasetName(u.Dataset) != nil:
		return bad("dataset %q: a name has 3 to 128 letters, digits, spaces, _ and -, beginning with a letter or digit", u.Dataset)
	case !slices.Contains(imgTypes, u.ImgType):
		return bad("image type %q: want one of %s", u.ImgType, strings.Join(imgTypes, ", "))
	case !embeddingPattern.MatchString(u.Embedding):
		return bad("embedding %q: a name has up to 128 letters, digits, spaces and . _ -, beginning with a letter or digit", u.Embedding)
	case u.Connections < 1 || u.Connections > maxConnections:
		return bad("%d connections: 1 to %d are allowed", u.Connections, maxConnections)
	case len(u.Folder.Names) == 0 && len(u.Folder.Faults) == 0:
		return bad("the folder has no images")
	case u.Embeddings != nil && u.Embeddings.Names == nil:
		return bad("the embeddings have no filenames: use a format that has, npz with filenames, csv or jsonl")
	}
	return nil
}

func (s *uploading) path(rest string) string { return "/v1/datasets/" + s.dataset + rest }

// open finds the dataset, or makes it. Somebody else may do so meanwhile, and
// an answer may be lost: then it is there at the second look.
func (s *uploading) open(ctx context.Context) error {
	id, err := s.c.findDataset(ctx, s.u.Dataset)
	if e, ok := errors.AsType[*Error](err); ok && e.Code == "unknown_dataset" {
		err = s.c.do(ctx, post("/v1/datasets", newDataset{Name: s.u.Dataset, Type: "Images"}, nil))
		if e, ok := errors.AsType[*Error](err); err == nil || ok && e.status == http.StatusConflict {
			taken := err
			id, err = s.c.findDataset(ctx, s.u.Dataset)
			if e, ok := errors.AsType[*Error](err); taken != nil && ok && e.Code == "unknown_dataset" {
				return taken // by another user
			}
		}
	}
	if err != nil {
		return err
	}
	s.dataset, s.DatasetID = id, id
	var d Dataset
	err = s.c.do(ctx, get(s.path(""), nil, smallAnswer, one(&d)))
	s.imgType = d.ImgType
	return err
}

// list reads which samples there are, a page at a time.
func (s *uploading) list(ctx context.Context) error {
	s.ids = map[string]string{}
	for offset := 0; ; {
		var page []Sample
		err := s.c.do(ctx, get(s.path("/samples/partial"), url.Values{"mode": {"fileNames"}, "pageSize": {strconv.Itoa(pageSize)}, "pageOffset": {strconv.Itoa(offset)}},
			listAnswer, each(func() { page = nil }, func(x Sample) error { page = append(page, x); return checkID(x.ID) })))
		if err != nil {
			return err
		}
		before := len(s.ids)
		for _, x := range page {
			s.ids[x.FileName] = x.ID
		}
		if offset += len(page); len(page) < pageSize || len(s.ids) == before {
			return nil
		}
	}
}

// tag ends the upload: the first one of a dataset with its initial tag, others
// with a tag of what came since. Where nothing came that makes none.
func (s *uploading) tag(ctx context.Context) error {
	ours := "" // a name that was taken meanwhile: by us, and the answer was lost
	for attempt := 1; ; attempt++ {
		name, first, there := time.Now().UTC().Format("upload_20060102_15h04m05s"), true, false
		err := s.c.do(ctx, get(s.path("/tags"), nil, listAnswer, each(func() { first, there = true, false }, func(t Tag) error {
			first, there = false, there || t.Name == name
			return nil
		})))
		if err != nil {
			return err
		}
		made := true
		if first {
			name = initialTag
			err = s.c.do(ctx, post(s.path("/tags/initial"), map[string]string{"imgType": s.u.ImgType, "creator": "USER_PIP"}, nil))
		} else if !there {
			made, err = s.upsize(ctx, name)
		}
		if err == nil && !there {
			if s.Tag = ours; made {
				s.Tag = name
			}
			s.warnImgType(first)
			return nil
		}
		if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.status != http.StatusConflict || attempt == maxAttempts) {
			return err
		}
		if !there {
			ours = name
		}
		if err := sleep(ctx, time.Second, "making tag "+name); err != nil { // another upload has ended in this second
			return err
		}
	}
}

// upsize makes the tag of new samples and reports whether there are any: where
// there are none our server answers with the initial tag.
func (s *uploading) upsize(ctx context.Context, name string) (bool, error) {
	var made createdEntity
	err := s.c.do(ctx, post(s.path("/tags/upsize"), map[string]string{"upsizeTagName": name, "upsizeTagCreator": "USER_PIP"}, one(&made)))
	if err != nil {
		return false, err
	}
	if err := checkID(made.ID); err != nil {
		return false, err
	}
	var t Tag
	err = s.c.do(ctx, get(s.path("/tags/"+made.ID), nil, smallAnswer, one(&t)))
	return t.Name == name, err
}

// warnImgType tells of a kind that the dataset keeps from its first upload.
func (s *uploading) warnImgType(first bool) {
	if !first && s.u.ImgType == "full" && s.imgType != "full" {
		s.Warnings = append(s.Warnings, fmt.Sprintf("the dataset was first uploaded as %q and stays so for clients: download_dataset of the Python package refuses it", s.imgType))
	}
}
