package blob

import "io"

// source is a file to be read from its beginning.
type source struct {
	name string
	size int64
	open func() (io.ReadCloser, error)
}

// document calls use with the JSON of a source, and makes sure that it ends.
func (f *File) document(code string, from source, use func(*stream) error) error {
	r, err := from.open()
	if err != nil {
		return err
	}
	defer r.Close()
	s := newStream(&alive{f, r})
	err = use(s)
	if err == nil {
		err = s.end()
	}
	return from.blame(code, err)
}

// blame says which file an error is about.
func (from source) blame(code string, err error) error {
	err = coded(code, "", err)
	if e, ok := err.(*Error); ok && from.name != "" {
		e.Message = from.name + ": " + e.Message
	}
	return err
}

// alive reads until the context of Open is done.
type alive struct {
	f *File
	r io.Reader
}

func (a *alive) Read(p []byte) (int, error) {
	if err := a.f.ctx.Err(); err != nil {
		a.f.failed = err
		return 0, err
	}
	return a.r.Read(p)
}

// self is the file itself.
func (f *File) self() source {
	return source{"", f.size, func() (io.ReadCloser, error) { return io.NopCloser(f.reader()), nil }}
}

// source is a file in the folder.
func (f *File) source(name string) (source, error) {
	info, err := f.tree.Stat(name)
	if err != nil {
		return source{}, pathError(err)
	}
	if !info.Mode().IsRegular() {
		return source{}, notRegular(info)
	}
	return source{name, info.Size(), func() (io.ReadCloser, error) { return openRegular(f.tree, name, info) }}, nil
}
