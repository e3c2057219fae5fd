// Package images reads a folder of images: which there are, what they measure,
// and small copies to look at. It changes nothing in the folder and reads
// nothing outside of it.
package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Folder is a directory of images. It may be used by many goroutines at once.
type Folder struct {
	root *os.Root
	// Names are the paths of the images below the folder, with /, folder by
	// folder in the order of their bytes.
	Names []string
	// Faults are folders that cannot be listed and names that no list of
	// filenames can hold, in the same order.
	Faults  []Fault
	Skipped Skipped
}

// Fault is a file that is no image to use.
type Fault struct {
	Name string `json:"filename"`
	Why  string `json:"reason"`
}

// Skipped counts what was passed over.
type Skipped struct {
	Hidden int `json:"hidden"` // files and folders whose names begin with a dot; of such a folder only itself
	Links  int `json:"links"`  // links out of the folder, to folders, and to nothing
	Other  int `json:"other"`  // without the extension of an image, or no regular file
}

// extensions of the formats that are decoded, in lower case.
var extensions = map[string]bool{".jpg": true, ".jpeg": true, ".png": true, ".webp": true, ".bmp": true, ".gif": true, ".tif": true, ".tiff": true}

// Open lists the images below a directory. Links to files inside of it count
// as files; no other link is followed.
func Open(dir string) (*Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of images: %w", err)
	}
	f := &Folder{root: root}
	if err := fs.WalkDir(root.FS(), ".", f.visit); err != nil {
		root.Close()
		return nil, fmt.Errorf("folder of images: %w", err)
	}
	return f, nil
}

// Close releases the directory.
func (f *Folder) Close() error { return f.root.Close() }

// Size returns the size of a file in bytes. Its errors are ErrBroken.
func (f *Folder) Size(name string) (int64, error) {
	info, err := f.root.Stat(name)
	if err != nil {
		return 0, brokenf("%s", reason(err))
	}
	return info.Size(), nil
}

func (f *Folder) visit(name string, d fs.DirEntry, err error) error {
	if name == "." {
		return err
	}
	hidden := strings.HasPrefix(path.Base(name), ".")
	switch {
	case hidden:
		f.Skipped.Hidden++
		if d != nil && d.IsDir() {
			return fs.SkipDir
		}
	case err != nil: // of listing a folder, which is passed over then
		f.Faults = append(f.Faults, Fault{name, reason(err)})
	case d.IsDir():
	case !extensions[strings.ToLower(path.Ext(name))]:
		f.Skipped.Other++
	case d.Type().IsRegular():
		f.Names = append(f.Names, name)
	case d.Type()&fs.ModeSymlink == 0:
		f.Skipped.Other++
	default: // Stat refuses to leave the root
		if info, err := f.root.Stat(name); err != nil || !info.Mode().IsRegular() {
			f.Skipped.Links++
		} else {
			f.Names = append(f.Names, name)
		}
	}
	return nil
}

// reason is an error without the path, which stands beside it.
func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return err.Error()
}
