package blob

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"nextbatch/internal/score"
)

// taskTypes are the types of a task in Lightly's schema.json.
var taskTypes = map[string][]string{
	score.TaskClassification:       {"classification"},
	score.TaskObjectDetection:      {"object-detection"},
	score.TaskSemanticSegmentation: {"semantic-segmentation", "instance-segmentation"},
	score.TaskKeypointDetection:    {"keypoint-detection"},
}

// tree is the folder of one task in a Lightly prediction tree:
//
//	tasks.json            ["task"]
//	task/schema.json      {"task_type": …, "categories": [{"id": 0, "name": …}]}
//	task/sub/image.json   {"file_name": "sub/image.png", "predictions": [ … ]}
type tree struct {
	f          *File
	task       string
	folder     string      // of the task
	categories map[int]int // id → index among the categories
	bytes      int64       // that may still be read
	files      int
	all        []prediction // of one image
	numbers    numberLists  // of these
}

// openTree finds the task in a folder, which is its own or that of several
// tasks, one of which fits.
func (f *File) openTree(task string) (*tree, error) {
	t := &tree{f: f, task: task, folder: ".", bytes: f.maxBytes}
	kind, err := t.schema()
	if err == nil && !slices.Contains(taskTypes[task], kind) {
		err = fault("bad_tree", "", "schema.json: task_type is %s, want %s", quote(kind), taskTypes[task][0])
	}
	if missing(err) {
		err = t.choose()
	}
	if missing(err) {
		err = fault("bad_tree", "point to the folder that holds schema.json", "holds neither schema.json nor tasks.json")
	}
	return t, err
}

func missing(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == "reference_missing"
}

// choose looks for the task in the folders that tasks.json names.
func (t *tree) choose() error {
	var folders, found []string
	err := t.json("tasks.json", func(s *scanner) error {
		return s.array(func() error {
			name, err := s.text()
			if err != nil {
				return err
			}
			if what := nameFault(string(name)); what != "" {
				return fmt.Errorf("task %s %s", quote(name), what)
			}
			folders = append(folders, string(name))
			return nil
		})
	})
	if err != nil {
		return err
	}
	var categories map[int]int
	for _, t.folder = range folders {
		kind, err := t.schema()
		if err != nil && !missing(err) {
			return err
		}
		if err == nil && slices.Contains(taskTypes[t.task], kind) {
			found = append(found, t.folder)
			categories = t.categories
		}
	}
	switch len(found) {
	case 0:
		return fault("bad_tree", "", "tasks.json: none of the %d tasks is of type %s", len(folders), taskTypes[t.task][0])
	case 1:
		t.folder, t.categories = found[0], categories
		return nil
	}
	return fault("bad_tree", "point to the folder of one task", "tasks.json: tasks %s and %s are both of type %s", quote(found[0]), quote(found[1]), taskTypes[t.task][0])
}

// schema reads the categories and returns the type of the task.
func (t *tree) schema() (kind string, err error) {
	t.categories = map[int]int{}
	err = t.json(path.Join(t.folder, "schema.json"), func(s *scanner) error {
		return s.lenient([]string{"task_type", "categories"}, func(field int) error {
			if field == 0 {
				text, err := s.text()
				kind = strings.ReplaceAll(strings.ToLower(string(text)), "_", "-")
				return err
			}
			return s.array(func() error { return readCategory(s, t.categories) })
		})
	})
	if err == nil && len(t.categories) == 0 {
		err = fault("bad_tree", "", "schema.json has no categories")
	}
	return kind, err
}

// readCategory adds the id of a category, which gets the next index.
func readCategory(s *scanner, all map[int]int) error {
	id := -1
	err := s.lenient([]string{"id"}, func(int) (err error) {
		id, err = s.integer(0, 1<<31)
		return err
	})
	if err != nil {
		return err
	}
	if _, twice := all[id]; twice || id < 0 {
		return fmt.Errorf("category %d has no id, or that of another one", len(all))
	}
	if len(all) == maxCols {
		return fmt.Errorf("more than %d categories", maxCols)
	}
	all[id] = len(all)
	return nil
}

// json reads one file.
func (t *tree) json(name string, read func(*scanner) error) error {
	data, err := t.whole(name)
	if err == nil {
		s := &scanner{b: data}
		if err = read(s); err == nil {
			err = s.end()
		}
		err = coded("bad_tree", "", err)
	}
	if e, ok := err.(*Error); ok {
		e.Message = name + ": " + e.Message
	}
	return err
}

func (t *tree) whole(name string) ([]byte, error) {
	if err := t.f.ctx.Err(); err != nil {
		return nil, err
	}
	info, err := t.f.tree.Stat(name)
	if err != nil {
		return nil, pathError(err)
	}
	h, err := openRegular(t.f.tree, name, info)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if t.bytes -= info.Size(); info.Size() > maxValue || t.bytes < 0 {
		return nil, fault("reference_too_large", "", "has %d bytes, more than is left of those allowed", info.Size())
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(h, data); err != nil {
		return nil, &Error{Code: "reference_changed", Message: "became shorter while it was read", Transient: true}
	}
	return data, nil
}

// walk calls visit with the path of each prediction file, sorted.
func (t *tree) walk(dir string, depth int, visit func(name string) error) error {
	if depth > maxDepth {
		return fault("bad_tree", "", "has folders nested deeper than %d levels", maxDepth)
	}
	entries, err := t.entries(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.name)
		folder := e.folder
		if e.link {
			info, err := t.f.tree.Stat(name)
			if err != nil {
				return fault("bad_tree", "", "%s is a symbolic link that cannot be followed", quote(name))
			}
			if info.IsDir() {
				return fault("bad_tree", "copy the folder", "%s is a symbolic link to a folder", quote(name))
			}
		}
		switch {
		case folder:
			err = t.walk(name, depth+1, visit)
		case depth == 0 && (e.name == "schema.json" || e.name == "tasks.json"):
		case strings.HasSuffix(e.name, ".json"):
			err = visit(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type entry struct {
	name         string
	folder, link bool
}

// entries lists a folder, sorted by name.
func (t *tree) entries(dir string) (list []entry, err error) {
	d, err := t.f.tree.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, pathError(err)
	}
	defer d.Close()
	for {
		if err := t.f.ctx.Err(); err != nil {
			return nil, err
		}
		found, err := d.ReadDir(1024)
		for _, e := range found {
			if t.files++; t.files > maxRows {
				return nil, fault("reference_too_large", "", "holds more than %d files", maxRows)
			}
			if err := t.f.take(int64(len(e.Name()) + 24)); err != nil {
				return nil, err
			}
			list = append(list, entry{e.Name(), e.IsDir(), e.Type()&fs.ModeSymlink != 0})
		}
		if err == io.EOF {
			slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.name, b.name) })
			return list, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
