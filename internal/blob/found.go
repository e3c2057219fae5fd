package blob

import (
	"slices"

	"nextbatch/internal/score"
)

// found is a result: of which image, what and how sure.
type found struct {
	image, label int32
	score        float64
	first, last  int // in points
}

// addFound appends a result to those of all images.
func (f *File) addFound(all *[]found, r found) error {
	if len(*all) == cap(*all) {
		more := max(len(*all), 1024)
		if err := f.take(int64(more) * 32); err != nil {
			return err
		}
		*all = slices.Grow(*all, more)
	}
	*all = append(*all, r)
	return nil
}

// eachFound calls use with the results of each image, which come in the order
// of the files, whose names it adds to n.
func (n *nameList) eachFound(files []string, rest []found, use func([]found) error) error {
	for i, name := range files {
		if err := n.add([]byte(name), true); err != nil {
			return err
		}
		end := 0
		for end < len(rest) && rest[end].image == int32(i) {
			end++
		}
		if err := n.called(use(rest[:end])); err != nil {
			return err
		}
		rest = rest[end:]
	}
	return nil
}

// isBox reports whether these are x, y, width and height.
func isBox(v []float64) bool { return len(v) == 4 && finite(v) && v[2] >= 0 && v[3] >= 0 }

// eachScored calls use with the scores and labels of each image's boxes.
func (n *nameList) eachScored(files []string, all []found, use func(Detections) error) error {
	d := Detections{Boxes: score.Boxes{Scores: []float64{}}, Labels: []int{}}
	return n.eachFound(files, all, func(all []found) error {
		d.Boxes.Scores, d.Labels = d.Boxes.Scores[:0], d.Labels[:0]
		for _, r := range all {
			d.Boxes.Scores, d.Labels = append(d.Boxes.Scores, r.score), append(d.Labels, int(r.label))
		}
		return use(d)
	})
}
