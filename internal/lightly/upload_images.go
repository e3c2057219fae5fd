package lightly

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"nextbatch/internal/images"
)

// sendAll sends every image of the folder that is not there.
func (s *uploading) sendAll(ctx context.Context) error {
	g, inner := errgroup.WithContext(ctx)
	names := make(chan string)
	g.Go(func() error {
		defer close(names)
		for _, name := range s.u.Folder.Names {
			select {
			case names <- name:
			case <-inner.Done():
				return nil
			}
		}
		return nil
	})
	for range s.u.Connections {
		g.Go(func() error {
			for name := range names {
				sent, err := s.image(inner, name)
				if why, ok := unusable(err); ok {
					s.count(name, sent, why)
				} else if err != nil {
					return err
				} else {
					s.count(name, sent, "")
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ended(ctx, "sending images")
	}
	return nil
}

// count takes note of an image, of which why says why it cannot be used.
func (s *uploading) count(name string, sent bool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case why != "":
		s.Faults = append(s.Faults, images.Fault{Name: name, Why: why})
	case sent:
		s.Uploaded++
	default:
		s.There++
	}
	if s.done++; s.u.Progress != nil {
		s.u.Progress(s.done, len(s.u.Folder.Names))
	}
}

// unusable tells an image that cannot be used from a fault that ends the
// upload.
func unusable(err error) (why string, ok bool) {
	if errors.Is(err, images.ErrBroken) {
		return err.Error(), true
	}
	e, ok := errors.AsType[*Error](err)
	if ok && slices.Contains([]int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity}, e.status) {
		return e.Message, true
	}
	return "", false
}

// imageMeta is what the platform is told of an image.
type imageMeta struct {
	SizeInBytes int64  `json:"sizeInBytes"`
	Shape       [3]int `json:"shape"` // height, width, channels
}

// newSample is the body of POST and PUT of a sample.
type newSample struct {
	FileName  string    `json:"fileName"`
	ThumbName string    `json:"thumbName,omitempty"`
	MetaData  imageMeta `json:"metaData"`
}

// thumbName is the name of an image's thumbnail, whatever its format.
func thumbName(name string) string {
	return name[:max(0, strings.LastIndexByte(name, '.'))] + "_thumb.webp"
}

// image sends one image and reports whether it was to be sent. The thumbnail
// goes first: where the file itself is there, the thumbnail is too.
func (s *uploading) image(ctx context.Context, name string) (sent bool, err error) {
	if err := checkFilename("name", name); err != nil {
		r, _ := errors.AsType[*refusal](err)
		return false, fmt.Errorf("%w: %s", images.ErrBroken, r.message)
	}
	id, known := s.ids[name]
	if known {
		if there, err := s.there(ctx, id, name); there || err != nil {
			return false, err
		}
	}
	picture, err := s.u.Folder.Image(ctx, name)
	if err != nil {
		if ctx.Err() != nil {
			err = ended(ctx, "reading "+name)
		}
		return false, err
	}
	defer picture.Close()
	body := newSample{FileName: name, MetaData: imageMeta{picture.Size, [3]int{picture.Height, picture.Width, picture.Channels}}}
	if s.u.ImgType != "meta" {
		body.ThumbName = thumbName(name)
	}
	if id, err = s.register(ctx, id, body); err == nil && s.u.ImgType != "meta" {
		err = s.sendPictures(ctx, id, name, picture)
	}
	if err != nil && !picture.Whole() {
		err = fmt.Errorf("%w: the file became shorter while it was sent", images.ErrBroken)
	}
	return true, err
}

// register makes the sample, or changes what is known of it, and returns its
// id. A repeated call finds the name and keeps its row.
func (s *uploading) register(ctx context.Context, id string, body newSample) (string, error) {
	if id != "" {
		return id, s.c.do(ctx, request{method: http.MethodPut, path: s.path("/samples/" + id), body: body})
	}
	var made createdEntity
	if err := s.c.do(ctx, post(s.path("/samples"), body, one(&made))); err != nil {
		return "", err
	}
	return made.ID, checkID(made.ID)
}

func (s *uploading) sendPictures(ctx context.Context, id, name string, picture *images.Image) error {
	var to struct{ Full, Thumb string }
	if err := s.c.do(ctx, get(s.path("/samples/"+id+"/writeurls"), nil, smallAnswer, one(&to))); err != nil {
		return err
	}
	small := picture.Thumbnail
	err := s.c.put(ctx, to.Thumb, "thumbnail of "+name, func() io.Reader { return bytes.NewReader(small) }, int64(len(small)))
	if err == nil && s.u.ImgType == "full" {
		err = s.c.put(ctx, to.Full, "image "+name, picture.Bytes, picture.Size)
	}
	return err
}

// there reports whether the platform has what would be sent of a sample: a
// file of another size is not it.
func (s *uploading) there(ctx context.Context, id, name string) (bool, error) {
	if s.u.ImgType == "meta" {
		return true, nil
	}
	var from string
	if err := s.c.do(ctx, get(s.path("/samples/"+id+"/readurl"), url.Values{"type": {s.u.ImgType}}, smallAnswer, one(&from))); err != nil {
		return false, err
	}
	size := int64(-1)
	err := s.c.do(ctx, request{method: http.MethodGet, signed: &signedCall{url: from, what: "image " + name, head: "bytes=0-0", take: func(r *http.Response) error {
		_, total, _ := strings.Cut(r.Header.Get("Content-Range"), "/")
		if n, err := strconv.ParseInt(total, 10, 64); err == nil {
			size = n
		}
		return nil
	}}})
	if e, ok := errors.AsType[*Error](err); ok && e.status == http.StatusNotFound {
		return false, nil
	}
	if err != nil || s.u.ImgType != "full" || size < 0 {
		return err == nil, err
	}
	local, err := s.u.Folder.Size(name)
	return err == nil && local == size, err
}
