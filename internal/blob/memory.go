package blob

import "context"

// GuessMemory returns about how much memory reading a reference takes, judging
// by its size and format alone. Limit holds it to that.
func (o *Opener) GuessMemory(ctx context.Context, ref Ref) (int64, error) {
	const least, ofTree = 1 << 20, 64 << 20
	loc, err := locate(ref.URI)
	if err != nil {
		return 0, err
	}
	format, err := formatOf(ref.Format, loc.path)
	if err != nil {
		return 0, err
	}
	size := int64(len(ref.Data))
	switch loc.scheme {
	case "inline":
		format = "json"
	case "nats":
		size, err = o.objectSize(ctx, loc)
	default:
		dir, rel, ok := o.below(loc.path)
		if !ok {
			return 0, nil
		}
		info, statErr := dir.Stat(rel)
		if statErr != nil {
			return 0, pathError(statErr)
		}
		if size = info.Size(); info.IsDir() {
			return ofTree, nil
		}
	}
	switch format {
	case "json", "txt": // the text is kept meanwhile; a short name takes more than its bytes
		return least + 4*size, err
	}
	return least + size + size/4, err // numbers of four bytes each, and names
}

func (o *Opener) objectSize(ctx context.Context, loc location) (int64, error) {
	if !o.buckets[loc.bucket] {
		return 0, nil
	}
	slow := patient{ctx, o.stall}
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
