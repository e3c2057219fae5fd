package blob

// several are the files behind a File that is more than one. They are opened,
// checked, decoded and closed one after another, so that one of them at a time
// takes room, and their rows follow one another.
type several struct {
	opener *Opener
	pieces []piece
	prefix bool // listed by the worker: their order means nothing
}

// each calls read with each file. Read returns the filenames of its rows, nil
// if they have none, and how many rows there are.
func (f *File) each(read func(part *File) (names []string, rows int, err error)) (names []string, err error) {
	j := joint{f: f}
	left := f.maxBytes
	for _, p := range f.several.pieces {
		part, err := f.several.opener.openPiece(f, p)
		if err != nil {
			return nil, err
		}
		if left -= part.size; left < 0 {
			part.Close()
			return nil, f.named(fault("reference_too_large", "split the data into several events, or have the operator raise the limit",
				"has more than %d bytes in its files", f.maxBytes))
		}
		names, rows, err := read(part)
		part.Close()
		if err != nil {
			return nil, err
		}
		f.size += part.size
		kept := int64(0)
		for _, name := range names {
			kept += int64(len(name)) + perName
		}
		f.give(part.taken - kept)
		if err := j.add(p, names, rows); err != nil {
			return nil, f.named(err)
		}
	}
	names, err = j.done()
	return names, f.named(err)
}

// eachImage is each for images of which use is called with one at a time.
func eachImage[T any](f *File, read func(*File, func(T) error) ([]string, error), use func(T) error) ([]string, error) {
	return f.each(func(part *File) ([]string, int, error) {
		rows := 0
		names, err := read(part, func(image T) error {
			rows++
			return use(image)
		})
		return names, rows, err
	})
}

// openPiece opens one file of several, which takes memory of the whole.
func (o *Opener) openPiece(whole *File, p piece) (*File, error) {
	p.ref.Format = whole.format
	part, err := o.openOne(whole.ctx, p.name(), p.ref, p.loc)
	if err == nil {
		part.parent = whole
	}
	return part, err
}

// joint joins the filenames of several files.
type joint struct {
	f       *File
	names   []string
	ends    []int // in names, of each file
	files   []piece
	rows    int
	unnamed offenders // files with rows without names
	named   int       // files with names
}

func (j *joint) add(p piece, names []string, rows int) error {
	if j.rows += rows; j.rows > maxRows {
		return fault("reference_too_large", "split the data into several events", "has more than %d rows", maxRows)
	}
	switch {
	case rows == 0:
		return nil
	case names == nil:
		j.unnamed.add("%s", p.name())
	default:
		j.named++
	}
	j.names = append(j.names, names...)
	j.files, j.ends = append(j.files, p), append(j.ends, len(j.names))
	return nil
}

func (j *joint) done() ([]string, error) {
	switch {
	case j.unnamed.count > 0 && j.named > 0:
		return nil, fault("bad_filename", "give all files filenames, or none", "%d of %d files have no filenames (%s)", j.unnamed.count, len(j.files), &j.unnamed)
	case j.unnamed.count > 1 && j.f.several.prefix:
		return nil, fault("bad_reference", "give the files filenames, or list them under files in the order of their rows",
			"has no filenames in its %d files, and their names may not follow the order of the rows", len(j.files))
	case j.named == 0:
		return nil, nil
	}
	seen := make(map[string]int32, len(j.names)) // in which file
	var twice offenders
	row := 0
	for i, end := range j.ends {
		for ; row < end; row++ {
			name := j.names[row]
			if first, known := seen[name]; known {
				twice.add("%s in %s and %s", quote(name), j.files[first].name(), j.files[i].name())
			} else {
				seen[name] = int32(i)
			}
		}
	}
	if twice.count > 0 {
		return nil, fault("duplicate_filenames", "give each filename once, in one file", "%d of %d filenames are in files before (%s)", twice.count, len(j.names), &twice)
	}
	return j.names, nil
}

// joinEmbeddings reads the embeddings of several files as one matrix.
func (f *File) joinEmbeddings() (all Embeddings, err error) {
	var others offenders
	first := ""
	total := int64(0)
	for _, p := range f.several.pieces {
		total += p.ref.Size
	}
	all.Names, err = f.each(func(part *File) ([]string, int, error) {
		e, err := ReadEmbeddings(part)
		if err != nil || e.Rows == 0 {
			return nil, 0, err
		}
		if all.Dim == 0 {
			all.Dim, first = e.Dim, part.name
		}
		if e.Dim != all.Dim {
			others.add("%s has %d", part.name, e.Dim)
		}
		if others.count > 0 {
			return e.Names, e.Rows, nil // only to count the others
		}
		all.Rows += e.Rows
		if short := len(all.Data) + len(e.Data) - cap(all.Data); short > 0 {
			// As much as all files need, judging by those read so far.
			room := max(short, len(all.Data)/4)
			if read := f.size + part.size; total > read {
				room = max(room, int(float64(len(all.Data)+len(e.Data))*min(float64(total)/float64(read)*1.02, 8))-cap(all.Data))
			}
			room = max(min(room, int(f.left()/4)), short)
			if err := f.take(4 * int64(room)); err != nil {
				return nil, 0, f.named(err)
			}
			grown := make([]float32, len(all.Data), cap(all.Data)+room)
			copy(grown, all.Data)
			all.Data = grown
		}
		all.Data = append(all.Data, e.Data...)
		return e.Names, e.Rows, nil
	})
	if err == nil && others.count > 0 {
		err = f.named(fault("bad_shape", "write all files with the same model", "%d of %d files have another number of dimensions than %s, which has %d (%s)",
			others.count, len(f.several.pieces), first, all.Dim, &others))
	}
	if err == nil && all.Rows == 0 {
		err = f.named(fault("bad_shape", "", "holds no rows"))
	}
	if err != nil {
		return Embeddings{}, err
	}
	return all, nil
}

// joinClassification hands the matrix of each file to use.
func (f *File) joinClassification(use func(*Classification) error) ([]string, error) {
	var others offenders
	first, cols := "", -1
	names, err := f.each(func(part *File) ([]string, int, error) {
		rows := 0
		names, err := ReadClassification(part, func(c *Classification) error {
			if rows = c.Rows; rows == 0 {
				return nil
			}
			if cols < 0 {
				cols, first = c.Cols, part.name
			}
			if c.Cols != cols {
				others.add("%s has %d", part.name, c.Cols)
			}
			if others.count > 0 {
				return nil // only to count the others
			}
			if err := f.take(int64(rows) * scoreBytes); err != nil {
				return err
			}
			return use(c)
		})
		return names, rows, err
	})
	if err == nil && others.count > 0 {
		err = f.named(fault("bad_shape", "write all files with the same model", "%d of %d files have another number of classes than %s, which has %d (%s)",
			others.count, len(f.several.pieces), first, cols, &others))
	}
	return names, err
}
