package blob

import "context"

// GuessMemory returns about how much memory reading a reference takes, judging
// by its size and format alone. Limit holds it to that.
func (o *Opener) GuessMemory(ctx context.Context, ref Ref) (int64, error) {
	const least, ofTree = 1 << 20, 64 << 20
	loc, err := locateAll(ref)
	if err != nil {
		return 0, err
	}
	pieces, format, err := o.severalOf(ctx, ref, loc)
	if err != nil {
		return 0, err
	}
	size := int64(0)
	if pieces != nil {
		size, err = o.sizeOf(ctx, pieces)
	} else {
		if format, err = formatOf(ref.Format, loc.path); err != nil {
			return 0, err
		}
		size, err = o.size(ctx, ref, loc)
	}
	switch {
	case size == folderSize:
		return ofTree, err
	case err != nil:
		return 0, err
	case loc.scheme == "inline":
		format = "json"
	}
	switch format {
	case "json", "txt": // the text is kept meanwhile; a short name takes more than its bytes
		return least + 4*size, nil
	}
	return least + size + size/4, nil // numbers of four bytes each, and names
}

// folderSize is the size of a folder.
const folderSize = -1

// size returns how large the target of a reference is, 0 of what may not be
// read.
func (o *Opener) size(ctx context.Context, ref Ref, loc location) (size int64, err error) {
	switch loc.scheme {
	case "inline":
		return int64(len(ref.Data)), nil
	case "nats":
		return o.objectSize(ctx, loc)
	case "s3", "gs", "azblob":
		return o.cloudSize(ctx, loc)
	case "https":
		return o.webSize(ctx, loc, ref)
	case "blob":
		return 0, nil
	}
	dir, rel, ok := o.below(loc.path)
	if !ok {
		return 0, nil
	}
	info, err := dir.Stat(rel)
	switch {
	case err != nil:
		return 0, pathError(err)
	case info.IsDir():
		return folderSize, nil
	}
	return info.Size(), nil
}

// sizeOf returns about how large several files are together. Of those whose
// size is not known it asks for the first few.
func (o *Opener) sizeOf(ctx context.Context, pieces []piece) (sum int64, err error) {
	const asked = 32
	known, unknown := 0, 0
	for _, p := range pieces {
		size := p.ref.Size
		if size == 0 {
			if unknown++; unknown > asked {
				continue
			}
			if size, err = o.size(ctx, p.ref, p.loc); err != nil {
				return 0, err
			}
		}
		known++
		sum += max(size, 0)
	}
	return sum / int64(known) * int64(len(pieces)), nil
}

func (o *Opener) objectSize(ctx context.Context, loc location) (int64, error) {
	if !o.buckets[loc.bucket] {
		return 0, nil
	}
	slow := patient{ctx, o.cfg.Stall}
	bucket, err := o.cfg.JetStream.ObjectStore(slow, loc.bucket)
	if err != nil {
		return 0, objectError(err)
	}
	info, err := bucket.GetInfo(slow, loc.path)
	if err != nil {
		return 0, objectError(err)
	}
	return int64(info.Size), nil
}

// Limit makes reading fail where it takes more than so many bytes of memory,
// with an *Error of the code memory_short that says in Short how many more.
// Before that, more is asked for those, and returns how many it grants.
func (f *File) Limit(bytes int64, more func(short int64) int64) {
	f.memory, f.beyond, f.more = min(f.memory, max(bytes, 0)), f.memory-max(bytes, 0), more
}

// Taken returns how much memory reading the file has taken so far.
func (f *File) Taken() int64 { return f.taken }

// take asks for memory before it is used.
func (f *File) take(bytes int64) error {
	if f.parent != nil {
		err := f.parent.take(bytes)
		if err == nil {
			f.taken += bytes
		}
		return err
	}
	short := bytes - f.memory
	if bytes < 0 || short > max(f.beyond, 0) {
		return fault("reference_too_large", "split the data into several events, or have the operator raise the limit", "decoded, takes more memory than is allowed")
	}
	if short > 0 {
		granted := min(f.more(short), f.beyond)
		f.memory, f.beyond = f.memory+granted, f.beyond-granted
	}
	if short = bytes - f.memory; short > 0 {
		e := fault("memory_short", "", "decoded, takes more memory than it was given")
		e.Short, e.Transient = short, true
		return e
	}
	f.memory -= bytes
	f.taken += bytes
	return nil
}

// give gives memory back that is garbage by now.
func (f *File) give(bytes int64) {
	f.memory += bytes
	f.taken -= bytes
}

// room returns how much may still be taken without asking.
func (f *File) left() int64 {
	if f.parent != nil {
		return f.parent.left()
	}
	return f.memory
}
