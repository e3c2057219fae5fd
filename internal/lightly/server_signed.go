package lightly

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"nextbatch/internal/state"
)

// How long signed URLs are good for.
const (
	writeURLTime = time.Hour
	readURLTime  = 24 * time.Hour
)

// sign returns the URL by which whoever has it may call a path for a while.
func (c *call) sign(method, path string, life time.Duration) string {
	expires := strconv.FormatInt(time.Now().Add(life).Unix(), 10)
	base := strings.TrimSuffix(c.cfg.PublicURL, "/")
	if base == "" {
		scheme := "http"
		if c.r.TLS != nil {
			scheme = "https"
		}
		base = scheme + "://" + c.r.Host
	}
	escaped := (&url.URL{Path: path}).EscapedPath()
	return base + escaped + "?expires=" + expires + "&signature=" + c.signature(method, path, expires)
}

func (s *Server) signature(method, path, expires string) string {
	mac := hmac.New(sha256.New, s.key)
	io.WriteString(mac, method+"\n"+path+"\n"+expires)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// checkSignature refuses a request on a signed URL that we did not sign.
func (c *call) checkSignature() error {
	method, expires := c.r.Method, c.args.Get("expires")
	if method == http.MethodHead {
		method = http.MethodGet
	}
	want := c.signature(method, c.r.URL.Path, expires)
	if !hmac.Equal([]byte(want), []byte(c.args.Get("signature"))) {
		return refuse(http.StatusForbidden, "FORBIDDEN", "the signature of this URL is not ours")
	}
	until, err := strconv.ParseInt(expires, 10, 64)
	if err != nil || time.Now().After(time.Unix(until, 0)) {
		return refuse(http.StatusForbidden, "FORBIDDEN", "this URL has expired: ask for a new one")
	}
	return nil
}

// Kinds of images of a sample.
const (
	fullImage  = "full"
	thumbImage = "thumbnail"
)

func imagePath(d state.Dataset, row int, kind string) string {
	return "/v1/signed/datasets/" + d.ID + "/samples/" + sampleID(d, row) + "/" + kind
}

func (c *call) writeURL() error {
	thumb, _, err := c.flag("isThumbnail")
	if err != nil {
		return err
	}
	d, row, err := c.sample()
	if err != nil {
		return err
	}
	kind := fullImage
	if thumb {
		kind = thumbImage
	}
	return c.answer(c.sign(http.MethodPut, imagePath(d, row, kind), writeURLTime))
}

// writeURLs answers both at once.
func (c *call) writeURLs() error {
	d, row, err := c.sample()
	if err != nil {
		return err
	}
	return c.answer(map[string]string{"full": c.sign(http.MethodPut, imagePath(d, row, fullImage), writeURLTime),
		"thumb": c.sign(http.MethodPut, imagePath(d, row, thumbImage), writeURLTime)})
}

func (c *call) readURL() error {
	kind, err := c.oneOf("type", fullImage, thumbImage)
	if err != nil {
		return err
	}
	if kind == "" {
		kind = fullImage
	}
	d, row, err := c.sample()
	if err != nil {
		return err
	}
	return c.answer(c.sign(http.MethodGet, imagePath(d, row, kind), readURLTime))
}

// putImage stores an image. Clients send it again after a 5xx, but then with
// an empty body that counts as success: so there is none, and an empty body is
// refused.
func (c *call) putImage() error {
	if err := c.checkSignature(); err != nil {
		return err
	}
	d, row, err := c.signedSample()
	if err != nil {
		return notFive(err)
	}
	sha, err := c.keepBody()
	if err != nil {
		return notFive(err)
	}
	err = c.changeSample(d, row, func(s *state.Sample) {
		if c.r.PathValue("kind") == thumbImage {
			s.Thumb = sha
		} else {
			s.Full = sha
		}
	})
	if err != nil {
		return notFive(err)
	}
	return c.done()
}

// signedSample is sample without a user: the signature named the sample.
func (c *call) signedSample() (d state.Dataset, row int, err error) {
	if kind := c.r.PathValue("kind"); kind != fullImage && kind != thumbImage {
		return d, 0, refuse(http.StatusNotFound, "NOT_FOUND", "a sample has a full image and a thumbnail, no %.40q", kind)
	}
	if d, err = c.signedDataset(); err != nil {
		return d, 0, err
	}
	row, ok := rowOf(d, c.r.PathValue("s"))
	if !ok {
		err = refuse(http.StatusNotFound, "SAMPLE_UNKNOWN", "the dataset has no sample %.40q", c.r.PathValue("s"))
	}
	return d, row, err
}

func (c *call) signedDataset() (state.Dataset, error) {
	d, _, err := c.byID(c.r.Context(), c.r.PathValue("d"))
	if errors.Is(err, state.ErrNotFound) {
		err = refuse(http.StatusNotFound, "DATASET_UNKNOWN", "the dataset was deleted")
	}
	return d, err
}

// keepBody streams the body into a blob.
func (c *call) keepBody() (sha string, err error) {
	w, err := c.blobs.Create()
	if err != nil {
		return "", err
	}
	defer w.Close()
	n, err := io.CopyBuffer(w, struct{ io.Reader }{c.r.Body}, make([]byte, 256<<10))
	switch {
	case err != nil:
		return "", err
	case n == 0:
		return "", bad("the body is empty")
	case c.r.ContentLength >= 0 && n != c.r.ContentLength:
		return "", bad("the body has %d of %d bytes", n, c.r.ContentLength)
	}
	sha, _, err = w.Commit()
	return sha, err
}

// notFive turns what would be a 5xx into a refusal that clients do not retry.
func notFive(err error) error {
	if answer, ok := errors.AsType[*refusal](err); ok && answer.status < 500 {
		return err
	}
	if answer := outcome(err); answer.status < 500 {
		return answer
	}
	return &unstored{err}
}

// unstored is a failure of ours in an upload. It is logged like a 5xx.
type unstored struct{ error }

func (u *unstored) Unwrap() error { return u.error }

// getImage serves an image, as one only: nothing that a browser would run.
func (c *call) getImage() error {
	if err := c.checkSignature(); err != nil {
		return err
	}
	d, row, err := c.signedSample()
	if err != nil {
		return err
	}
	s, _, err := c.store.Sample(c.r.Context(), d, row)
	if err != nil {
		return err
	}
	sha := s.Full
	if c.r.PathValue("kind") == thumbImage {
		sha = s.Thumb
	}
	if sha == "" {
		return refuse(http.StatusNotFound, "SAMPLE_IMAGE_UNKNOWN", "no such image of the sample was uploaded")
	}
	f, err := c.blobs.Open(sha)
	if errors.Is(err, os.ErrNotExist) {
		return refuse(http.StatusNotFound, "SAMPLE_IMAGE_UNKNOWN", "the image is gone")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h := c.w.Header()
	h.Set("Content-Type", imageType(f))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", "private, max-age=3600")
	h.Set("ETag", `"`+sha[:32]+`"`)
	http.ServeContent(c.w, c.r, "", time.Time{}, f)
	return nil
}

var imageContent = []string{"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"}

// imageType is the content type of an image by its first bytes; of anything
// else it is only bytes.
func imageType(f io.ReaderAt) string {
	head := make([]byte, 512)
	n, _ := f.ReadAt(head, 0)
	if t := http.DetectContentType(head[:n]); slices.Contains(imageContent, t) {
		return t
	}
	return "application/octet-stream"
}
