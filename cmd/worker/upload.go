package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"nextbatch/internal/blob"
	"nextbatch/internal/images"
	"nextbatch/internal/lightly"
)

const uploadHelp = `Uploads a folder of images to a dataset, as lightly-magic did. The dataset is
made if it is not there; filenames are the paths below the folder. What is
there already is not sent again: if an upload breaks off, the same command
goes on with it.

  worker upload input_dir=photos dataset=clothing
  worker upload input_dir=photos dataset=clothing upload=thumbnails
  worker upload --input-dir photos --dataset clothing --embeddings vectors.npz
  worker upload input_dir=photos dataset=clothing server=https://nextbatch.example token=…

Images are jpg, png, webp, bmp, gif and tiff, in subfolders too. Hidden files
and links that lead out of the folder are passed over. An image that cannot be
used is named at the end, and the exit status is then 1; the others are there.

Embeddings come from your model: npz with filenames, csv or jsonl, or the
embeddings.csv of lightly-embed, with a row for every image.

Server and token are those of the Lightly client: LIGHTLY_SERVER_LOCATION and
LIGHTLY_TOKEN. Every flag can be written as key=value.`

// uploadFlags are what the command line says.
type uploadFlags struct {
	dir, dataset, upload, embeddings, embedding, server, token string
	connections                                                int
	json                                                       bool
}

// imgTypeOf are the words of upload=, and of the API.
var imgTypeOf = map[string]string{"full": "full", "thumbnails": "thumbnail", "none": "meta"}

func parseUpload(a *app, args []string) (f uploadFlags, err error) {
	fs := a.flags("upload", "input_dir=DIR dataset=NAME [embeddings=FILE] [upload=full|thumbnails|none] [--json]", uploadHelp)
	fs.StringVar(&f.dir, "input-dir", "", "the folder of images")
	fs.StringVar(&f.dataset, "dataset", "", "name of the dataset; new_dataset_name= does as well")
	fs.StringVar(&f.upload, "upload", "full", "what to send of each image: full, thumbnails, or none, which is its size only")
	fs.StringVar(&f.embeddings, "embeddings", "", "file of embeddings: npz, csv or jsonl")
	fs.StringVar(&f.embedding, "embedding", "default", "name of the set of embeddings")
	fs.StringVar(&f.server, "server", cmp.Or(os.Getenv("LIGHTLY_SERVER_LOCATION"), "http://127.0.0.1:8080"), "address of the worker")
	// Not the default of the flag, which --help prints.
	fs.StringVar(&f.token, "token", "", "access token; without LIGHTLY_TOKEN and on a loopback address any will do")
	fs.IntVar(&f.connections, "connections", 16, "images that are sent at a time, 1 to 32")
	fs.BoolVar(&f.json, "json", false, "print a summary as JSON")
	for i, arg := range args { // key=value is --key=value
		key, value, ok := strings.Cut(arg, "=")
		if key = strings.ReplaceAll(key, "_", "-"); key == "new-dataset-name" {
			key = "dataset"
		}
		if ok && fs.Lookup(key) != nil {
			args[i] = "--" + key + "=" + value
		}
	}
	if err := fs.parse(args); err != nil {
		return f, err
	}
	f.token = cmp.Or(f.token, os.Getenv("LIGHTLY_TOKEN"), "local")
	switch {
	case fs.NArg() > 0:
		return f, wrongUsage("upload does not know %q; worker upload --help", fs.Arg(0))
	case f.dir == "" || f.dataset == "":
		return f, wrongUsage("upload needs input_dir=DIR and dataset=NAME; worker upload --help")
	case imgTypeOf[f.upload] == "":
		return f, wrongUsage("upload is %q: want full, thumbnails or none", f.upload)
	case f.connections < 1 || f.connections > 32:
		return f, wrongUsage("connections is %d: want 1 to 32", f.connections)
	}
	return f, nil
}

func runUpload(ctx context.Context, a *app, args []string) error {
	f, err := parseUpload(a, args)
	if err != nil {
		return err
	}
	client, err := lightly.New(lightly.Config{BaseURL: f.server, Token: f.token, Attempts: 8})
	if err != nil {
		return usageError{err}
	}
	folder, err := images.Open(f.dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	u := lightly.Upload{Dataset: f.dataset, Folder: folder, ImgType: imgTypeOf[f.upload], Embedding: f.embedding, Connections: f.connections}
	if f.embeddings != "" {
		if u.Embeddings, err = readEmbeddings(ctx, f.embeddings); err != nil {
			return tell(err)
		}
	}
	began := time.Now()
	line := newUploadLine(a.errOut)
	u.Progress = line.show
	result, err := client.Upload(ctx, u)
	line.end()
	return reportUpload(a, f, folder, result, time.Since(began), err)
}

func readEmbeddings(ctx context.Context, path string) (*blob.Embeddings, error) {
	f, err := blob.OpenPath(ctx, path, "")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, err := blob.ReadEmbeddings(f)
	return &e, err
}

// uploadSummary is what --json prints.
type uploadSummary struct {
	Dataset   string         `json:"dataset"`
	DatasetID string         `json:"dataset_id"`
	Server    string         `json:"server"`
	Upload    string         `json:"upload"`
	Images    int            `json:"images"` // in the folder, broken ones included
	Uploaded  int            `json:"uploaded"`
	There     int            `json:"already_there"`
	Broken    []images.Fault `json:"broken"`
	Skipped   images.Skipped `json:"skipped"`
	Tag       string         `json:"tag,omitempty"`
	Embedding string         `json:"embedding,omitempty"`
	Warnings  []string       `json:"warnings,omitempty"`
	Seconds   float64        `json:"seconds"`
	Error     string         `json:"error,omitempty"`
}

// shownFaults is how many broken images are named where the summary is text.
const shownFaults = 20

// reportUpload prints what became of an upload and returns its error.
func reportUpload(a *app, f uploadFlags, folder *images.Folder, r lightly.UploadResult, took time.Duration, err error) error {
	if fault, ok := errors.AsType[*lightly.Error](err); ok {
		text := fault.Message
		switch {
		case fault.Unwrap() != nil:
			text = fmt.Sprintf("stopped after %d of %d images", r.Uploaded+r.There+len(r.Faults), len(folder.Names)+len(folder.Faults))
			fault.Hint = "the same command goes on from there"
		case fault.Code == "remote_unavailable" && fault.Hint == "":
			fault.Hint = "does the worker run at " + f.server + "? The same command goes on from here"
		}
		err = errors.New(text)
		if fault.Hint != "" {
			err = fmt.Errorf("%s\nhint: %s", text, fault.Hint)
		}
	}
	if err == nil && len(r.Faults) > 0 {
		err = fmt.Errorf("%d of %d images could not be used", len(r.Faults), len(folder.Names)+len(folder.Faults))
	}
	s := uploadSummary{Dataset: f.dataset, DatasetID: r.DatasetID, Server: f.server, Upload: f.upload, Images: len(folder.Names) + len(folder.Faults), Uploaded: r.Uploaded, There: r.There,
		Broken: append([]images.Fault{}, r.Faults...), Skipped: folder.Skipped, Tag: r.Tag, Embedding: r.Embedding, Warnings: r.Warnings, Seconds: took.Seconds()}
	if err != nil {
		s.Error, _, _ = strings.Cut(err.Error(), "\n")
	}
	if f.json {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return errors.Join(err, enc.Encode(s))
	}
	for i, fault := range r.Faults {
		if i == shownFaults {
			fmt.Fprintf(a.errOut, "… and %d more; --json names all\n", len(r.Faults)-i)
			break
		}
		fmt.Fprintf(a.errOut, "%q: %s\n", fault.Name, fault.Why)
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(a.errOut, "warning:", w)
	}
	if r.DatasetID != "" {
		s.print(a.out, r)
	}
	return err
}

func (s *uploadSummary) print(w io.Writer, r lightly.UploadResult) {
	fmt.Fprintf(w, "dataset %s (%s): %d images uploaded, %d were there, in %v\n", s.Dataset, s.DatasetID, s.Uploaded, s.There, time.Duration(s.Seconds*float64(time.Second)).Round(time.Millisecond))
	if k := s.Skipped; k != (images.Skipped{}) {
		fmt.Fprintf(w, "passed over: %d hidden, %d links, %d other files\n", k.Hidden, k.Links, k.Other)
	}
	if s.Tag != "" {
		fmt.Fprintf(w, "tag %s\n", s.Tag)
	}
	switch {
	case s.Embedding != "" && r.Kept:
		fmt.Fprintf(w, "embeddings %s were there\n", s.Embedding)
	case s.Embedding != "":
		fmt.Fprintf(w, "embeddings %s uploaded\n", s.Embedding)
	}
	if r.Left > 0 {
		fmt.Fprintf(w, "%d embeddings of images that could not be used were left out\n", r.Left)
	}
}

// uploadLine shows how far an upload is: on a terminal a line that is
// rewritten, elsewhere a new one every ten seconds.
type uploadLine struct {
	w           io.Writer
	terminal    bool
	began, last time.Time
}

func newUploadLine(w io.Writer) *uploadLine {
	f, ok := w.(*os.File)
	now := time.Now()
	return &uploadLine{w: w, terminal: ok && term.IsTerminal(int(f.Fd())), began: now, last: now}
}

func (l *uploadLine) show(done, total int) {
	every := 10 * time.Second
	if l.terminal {
		every = 100 * time.Millisecond
	}
	now := time.Now()
	if now.Sub(l.last) < every {
		return
	}
	l.last = now
	rate := float64(done) / now.Sub(l.began).Seconds()
	left := time.Duration(float64(total-done) / rate * float64(time.Second)).Round(time.Second)
	text := fmt.Sprintf("%d of %d images, %.0f a second, %v left", done, total, rate, left)
	if !l.terminal {
		fmt.Fprintln(l.w, text)
		return
	}
	const width = 24
	full := width * done / max(1, total)
	fmt.Fprintf(l.w, "\r[%s%s] %s\x1b[K", strings.Repeat("#", full), strings.Repeat(".", width-full), text)
}

func (l *uploadLine) end() {
	if l.terminal {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}
