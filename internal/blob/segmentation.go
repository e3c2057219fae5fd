package blob

import (
	"archive/zip"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"nextbatch/internal/score"
)

// Pixels are the class probabilities of one image: of each pixel, or of
// regions. What is not given is the zero value.
type Pixels struct {
	Float32 score.Matrix[float32]
	Float64 score.Matrix[float64]
	Regions []score.Region
}

// Add scores the image.
func (p Pixels) Add(to *score.Segmentation) error {
	switch {
	case p.Regions != nil:
		return to.AddRegions(p.Regions)
	case p.Float32.Rows > 0:
		return score.AddPixels(to, p.Float32)
	}
	return score.AddPixels(to, p.Float64)
}

// EachPixels calls use with the pixels of each image, which are only valid
// during the call, as EachDetections does with boxes. It reads an npz with one
// array height × width × classes per image, named for it; or arr_0, arr_1, …
// and maybe filenames, as np.savez calls arrays without names; JSON rows
// {"filename", "shape": [height, width, classes], "data": […]}; or a Lightly
// prediction tree, whose masks become regions. There a prediction with a score
// alone has this probability for its category, and the rest in equal shares
// for the others.
func EachPixels(f *File, use func(Pixels) error) (names []string, err error) {
	if f.several != nil {
		return eachImage(f, EachPixels, use)
	}
	defer f.finish(&err)
	n := &nameList{f: f}
	var numbers numberLists
	switch f.format {
	case "json", "jsonl":
		err = f.rows(func(s *scanner, _ int64) error {
			m, name, err := readPixels(s, &numbers)
			if err == nil {
				err = n.add(name, name != nil)
			}
			if err != nil {
				return err
			}
			return n.called(use(Pixels{Float64: m}))
		})
	case "npz":
		n, err = f.eachArray(use)
	case "lightly":
		t, openErr := f.openTree(score.TaskSemanticSegmentation)
		if openErr != nil {
			return nil, openErr
		}
		regions := []score.Region{} // nil is absent
		err = t.each(n, func(all []prediction) (err error) {
			regions, err = treeRegions(regions[:0], all, len(t.categories), &numbers)
			if err != nil {
				return err
			}
			return n.called(use(Pixels{Regions: regions}))
		})
	default:
		err = f.wrongFormat("segmentations", "npz, jsonl or lightly")
	}
	if err != nil {
		return nil, err
	}
	return n.done()
}

func readPixels(s *scanner, numbers *numberLists) (m score.Matrix[float64], name []byte, err error) {
	var shape []int
	var data []float64
	numbers.reset()
	err = s.object([]string{"filename", "shape", "data"}, func(field int) (err error) {
		switch field {
		case 0:
			name, err = s.text()
		case 1:
			err = s.array(func() error {
				n, err := s.integer(0, 1<<31)
				shape = append(shape, n)
				return err
			})
		case 2:
			data, err = numbers.read(s)
		}
		return err
	})
	if err == nil {
		m, err = score.NewPixels(shape, data)
	}
	return m, name, err
}

// treeRegions appends the regions of one image to dst. Rows that have to be made
// are made in numbers.
func treeRegions(dst []score.Region, all []prediction, categories int, numbers *numberLists) ([]score.Region, error) {
	numbers.reset()
	for i, p := range all {
		row := p.probabilities
		switch {
		case p.pixels < 0:
			return nil, fmt.Errorf("predictions: %d: segmentation is missing", i)
		case row != nil:
		case !p.hasScore:
			return nil, fmt.Errorf("predictions: %d: neither probabilities nor score", i)
		default:
			start := len(numbers.all)
			share := (1 - p.score) / float64(max(categories-1, 1))
			for range categories {
				numbers.all = append(numbers.all, share)
			}
			row = numbers.all[start:]
			row[p.category] = p.score
		}
		dst = append(dst, score.Region{Pixels: p.pixels, Probabilities: row})
	}
	return dst, nil
}

// eachArray reads an npz with one array per image.
func (f *File) eachArray(use func(Pixels) error) (*nameList, error) {
	z, err := f.npz()
	if err != nil {
		return nil, err
	}
	given := &nameList{f: f} // the array filenames
	if err := z.names(given); err != nil {
		return nil, err
	}
	images := slices.DeleteFunc(slices.Clone(z.members), func(m *zip.File) bool { return m.Name == "filenames.npy" })
	numbered := sortNumbered(images)
	if given.rows > 0 && (!numbered || given.rows != len(images)) {
		return nil, fault("bad_npz", "np.savez(out, *arrays, filenames=np.array(names))", "holds %d filenames and %d images that are not arr_0, arr_1, …", given.rows, len(images))
	}
	n := &nameList{f: f} // of what was read so far
	var buf32 []float32
	var buf64 []float64
	for _, m := range images {
		name := strings.TrimSuffix(m.Name, ".npy")
		if err := n.add([]byte(name), !numbered); err != nil {
			return nil, err
		}
		err := z.read(m, func(a array) error {
			var p Pixels
			var err error
			if a.float32s() {
				p.Float32, err = arrayPixels(f, a, &buf32)
			} else {
				p.Float64, err = arrayPixels(f, a, &buf64)
			}
			if err != nil {
				return err
			}
			return n.called(use(p))
		})
		if err != nil {
			return nil, err
		}
	}
	if given.rows > 0 {
		return given, nil
	}
	return n, nil
}

// arrayPixels reads an array into buf, which grows where it must.
func arrayPixels[F score.Float](f *File, a array, buf *[]F) (score.Matrix[F], error) {
	if err := a.checkAxes(); err != nil {
		return score.Matrix[F]{}, err
	}
	count, _ := product(a.shape) // it has as many bytes at least, so it fits
	if grow := count - int64(cap(*buf)); grow > 0 {
		if err := f.take(grow * int64(unsafe.Sizeof(F(0)))); err != nil {
			return score.Matrix[F]{}, err
		}
		*buf = make([]F, count)
	}
	data := (*buf)[:count]
	m, err := score.NewPixels(a.shape, data)
	if err != nil {
		return m, fault("bad_shape", "save height × width × classes", "%s", err)
	}
	return m, readFloats(data, a)
}

// sortNumbered reports whether the arrays are arr_0, arr_1, … and sorts them.
func sortNumbered(images []*zip.File) bool {
	sorted := make([]*zip.File, len(images))
	for _, m := range images {
		i, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(m.Name, "arr_"), ".npy"))
		if err != nil || i < 0 || i >= len(images) || m.Name != "arr_"+strconv.Itoa(i)+".npy" {
			return false
		}
		sorted[i] = m
	}
	copy(images, sorted)
	return true
}
