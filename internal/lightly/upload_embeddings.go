package lightly

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"

	"nextbatch/internal/blob"
)

// checkEmbeddings compares the names of the embeddings with the samples that
// there are and those to come.
func (s *uploading) checkEmbeddings() error {
	if s.u.Embeddings == nil {
		return nil
	}
	missing := make(map[string]bool, len(s.ids)+len(s.u.Folder.Names))
	for name := range s.ids {
		missing[name] = true
	}
	for _, name := range s.u.Folder.Names {
		missing[name] = true
	}
	samples := len(missing)
	var unknown, without offenders
	for _, name := range s.u.Embeddings.Names {
		if !missing[name] {
			unknown.add(name)
		}
		delete(missing, name)
	}
	if unknown.n > 0 {
		return &Error{Code: "unknown_filenames", Message: fmt.Sprintf("embeddings: of %d filenames, these are neither in the folder nor in dataset %s: %v", len(s.u.Embeddings.Names), s.u.Dataset, unknown),
			Hint: "filenames are paths below the folder, with /"}
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		without.add(name)
	}
	if without.n > 0 {
		return &Error{Code: "missing_filenames", Message: fmt.Sprintf("embeddings: %d rows for %d samples of the folder and of dataset %s; these are missing: %v", len(s.u.Embeddings.Names), samples, s.u.Dataset, without),
			Hint: "the platform wants a vector for every sample; upload without embeddings first if they come later"}
	}
	return nil
}

// sendEmbeddings makes the set of embeddings, unless the platform has it. A
// set of the same name with other vectors is left as it is: then this one is
// named after its content as well.
func (s *uploading) sendEmbeddings(ctx context.Context) error {
	if s.u.Embeddings == nil {
		return nil
	}
	rows, err := s.rowsOfDataset(ctx)
	if err != nil {
		return err
	}
	file, sum, err := s.writeCSV(ctx, rows)
	if err != nil {
		return fmt.Errorf("embeddings file: %w", err)
	}
	defer file.Close()
	name := s.u.Embedding
	there, err := s.embeddingNamed(ctx, name)
	if err == nil && there != "" {
		same, err := s.sameVectors(ctx, there, rows)
		if err != nil {
			return err
		}
		if same {
			s.Embedding, s.Kept = name, true
			return nil
		}
		s.Warnings = append(s.Warnings, fmt.Sprintf("the dataset has other embeddings named %s", name))
		name = name[:min(len(name), 119)] + "-" + sum[:8]
		if there, err = s.embeddingNamed(ctx, name); err == nil && there != "" {
			s.Embedding, s.Kept = name, true
			return nil
		}
	}
	if err != nil {
		return err
	}
	var to struct{ SignedWriteURL string }
	if err := s.c.do(ctx, get(s.path("/embeddings/writeCSVUrl"), url.Values{"name": {name}}, smallAnswer, one(&to))); err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	body := func() io.Reader { return io.NewSectionReader(file, 0, info.Size()) }
	if err := s.c.put(ctx, to.SignedWriteURL, "embeddings "+name, body, info.Size()); err != nil {
		return err
	}
	s.Embedding = name
	return nil
}

// vectorOf is a sample of the dataset and its row in the embeddings.
type vectorOf struct {
	name string
	row  int
}

// rowsOfDataset joins the samples, in the order of the platform, with the
// embeddings. Rows of broken images are left over.
func (s *uploading) rowsOfDataset(ctx context.Context) ([]vectorOf, error) {
	index := make(map[string]int, len(s.u.Embeddings.Names))
	for row, name := range s.u.Embeddings.Names {
		index[name] = row
	}
	var rows []vectorOf
	var missing offenders
	err := s.c.do(ctx, get(s.path("/mappings"), url.Values{"field": {"fileName"}}, listAnswer, each(func() { rows, missing = nil, offenders{} }, func(name string) error {
		row, ok := index[name]
		if !ok {
			missing.add(name)
		}
		rows = append(rows, vectorOf{name, row})
		return nil
	})))
	if err != nil {
		return nil, err
	}
	if missing.n > 0 { // somebody else added samples meanwhile
		return nil, &Error{Code: "missing_filenames", Message: fmt.Sprintf("embeddings: there are none for %v of dataset %s", missing, s.u.Dataset)}
	}
	s.Left = len(index) - len(rows)
	return rows, nil
}

// writeCSV writes the embeddings file of Lightly to a file that is gone when
// it is closed, and returns its checksum.
func (s *uploading) writeCSV(ctx context.Context, rows []vectorOf) (_ *os.File, sum string, err error) {
	file, err := nameless()
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	hash := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(file, hash), 256<<10)
	e := s.u.Embeddings
	w.Write(blob.AppendCSVHeader(nil, e.Dim))
	var line []byte
	for _, r := range rows {
		line = blob.AppendCSVRow(line[:0], r.name, e.Data[r.row*e.Dim:(r.row+1)*e.Dim])
		if _, err := w.Write(line); err != nil {
			return nil, "", err
		}
		if ctx.Err() != nil {
			return nil, "", ended(ctx, "writing embeddings")
		}
	}
	err = w.Flush()
	return file, hex.EncodeToString(hash.Sum(nil)), err
}

// nameless makes a file for a while.
func nameless() (*os.File, error) {
	file, err := os.CreateTemp("", "nextbatch-*.csv")
	if err == nil {
		os.Remove(file.Name())
	}
	return file, err
}

// embeddingNamed returns the id of a set of embeddings, "" if there is none.
func (s *uploading) embeddingNamed(ctx context.Context, name string) (id string, err error) {
	err = s.c.do(ctx, get(s.path("/embeddings"), nil, smallAnswer, each(func() { id = "" }, func(e Embedding) error {
		if e.Name == name {
			id = e.ID
		}
		return checkID(e.ID)
	})))
	return id, err
}

// sameVectors compares a set of the platform with ours.
func (s *uploading) sameVectors(ctx context.Context, id string, rows []vectorOf) (bool, error) {
	var from string
	if err := s.c.do(ctx, get(s.path("/embeddings/"+id+"/readCSVUrl"), nil, smallAnswer, one(&from))); err != nil {
		return false, err
	}
	file, err := os.CreateTemp("", "nextbatch-*.csv")
	if err != nil {
		return false, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	e := s.u.Embeddings
	err = s.c.do(ctx, request{method: http.MethodGet, signed: &signedCall{url: from, what: "embeddings", size: int64(len(rows)) * int64(e.Dim) * 16, take: func(r *http.Response) error {
		if err := file.Truncate(0); err != nil {
			return err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(file, r.Body)
		return err
	}}})
	if err != nil {
		return false, err
	}
	open, err := blob.OpenPath(ctx, file.Name(), "csv")
	if err != nil {
		return false, err
	}
	defer open.Close()
	theirs, err := blob.ReadEmbeddings(open)
	if err != nil || theirs.Rows != len(rows) || theirs.Dim != e.Dim {
		return false, nil // not readable is not the same
	}
	ours := make(map[string]int, len(rows))
	for _, r := range rows {
		ours[r.name] = r.row
	}
	for i, name := range theirs.Names {
		row, ok := ours[name]
		if !ok || !slices.Equal(theirs.Data[i*e.Dim:(i+1)*e.Dim], e.Data[row*e.Dim:(row+1)*e.Dim]) {
			return false, nil
		}
	}
	return true, nil
}
