package blob

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"

	"nextbatch/internal/score"
)

// eachTXT reads a folder of Ultralytics' text files: for each image a file of
// its name without folder and extension, with a line of numbers for each
// object. Where nothing was found there is no file, so the folder also holds
// images.json, a JSON array of the filenames that were predicted on. Each line
// is given to line, and use is called after those of an image.
func (f *File) eachTXT(n *nameList, line func(numbers []float64) error, use func() error) error {
	t := &tree{f: f, bytes: f.maxBytes}
	files, err := t.txtOf(n)
	if err != nil {
		return err
	}
	var numbers []float64
	for i, name := range files.images {
		if err := n.add([]byte(name), true); err != nil {
			return err
		}
		if files.txt[i] != "" {
			data, err := t.whole(files.txt[i])
			if err == nil {
				err = eachLine(data, func(l []byte) (err error) {
					if numbers, err = txtNumbers(numbers[:0], l); err == nil {
						err = line(numbers)
					}
					return err
				})
				err = coded("bad_ultralytics", "", err)
			}
			if e, ok := err.(*Error); ok {
				e.Message = files.txt[i] + ": " + e.Message
			}
			if err != nil {
				return err
			}
		}
		if err := n.called(use()); err != nil {
			return err
		}
	}
	return nil
}

// txtFiles are the images, and the text file of each or "".
type txtFiles struct{ images, txt []string }

func (t *tree) txtOf(n *nameList) (files txtFiles, err error) {
	const hint = `json.dump(names, open("labels/images.json", "w")): there is no text file for an image without objects`
	stems := map[string]int{}
	err = t.json("images.json", func(s *scanner) error {
		return s.array(func() error {
			name, err := s.text()
			if err != nil {
				return err
			}
			if err := t.f.take(int64(len(name)) + 128); err != nil {
				return err
			}
			key := stem(string(name))
			if other, twice := stems[key]; twice {
				return fmt.Errorf("%s and %s have the same text file", quote(files.images[other]), quote(name))
			}
			stems[key] = len(files.images)
			files.images = append(files.images, string(name))
			return nil
		})
	})
	if missing(err) {
		err = fault("bad_ultralytics", hint, "holds no images.json")
	}
	var e *Error
	if errors.As(err, &e) && e.Code == "bad_tree" {
		e.Code = "bad_ultralytics"
	}
	if err != nil {
		return files, err
	}
	files.txt = make([]string, len(files.images))
	entries, err := t.entries(".")
	if err != nil {
		return files, err
	}
	var unknown offenders
	for _, e := range entries {
		key, isTXT := strings.CutSuffix(e.name, ".txt")
		if !isTXT || e.folder {
			continue
		}
		if i, ok := stems[key]; ok {
			files.txt[i] = e.name
		} else {
			unknown.add("%s", quote(e.name))
		}
	}
	if unknown.count > 0 {
		return files, fault("bad_ultralytics", hint, "holds %d text files of images that images.json does not name (%s)", unknown.count, &unknown)
	}
	return files, nil
}

// eachLine calls read with each line that is not blank.
func eachLine(data []byte, read func([]byte) error) error {
	for runs := 2; runs < 10; runs++ {
		if once := len(data) / runs; once > 0 && once*runs == len(data) && bytes.Equal(data[once:], data[:len(data)-once]) {
			return fault("bad_ultralytics", "remove the folder before predicting again: text files are appended to", "holds everything %d times", runs)
		}
	}
	for number := 1; len(data) > 0; number++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := read(line); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return nil
}

// txtNumbers appends the numbers of a line to dst.
func txtNumbers(dst []float64, line []byte) ([]float64, error) {
	for {
		line = bytes.TrimLeft(line, " \t\r")
		if len(line) == 0 {
			return dst, nil
		}
		end := bytes.IndexAny(line, " \t\r")
		if end < 0 {
			end = len(line)
		}
		v, err := parseFloat(line[:end], 64)
		if err != nil || v-v != 0 || numberLen(line[:end]) != end {
			return dst, fmt.Errorf("want a number, found %s", quote(line[:end]))
		}
		if dst = append(dst, v); len(dst) > maxCols {
			return dst, fmt.Errorf("more than %d numbers", maxCols)
		}
		line = line[end:]
	}
}

// txtObject checks the class that a line begins with, and the confidence at
// its end or before the number of a track.
func txtObject(v []float64, at int) (label int, confidence float64, err error) {
	if label = int(v[0]); v[0] < 0 || v[0] > 1<<31-1 || float64(label) != v[0] {
		return 0, 0, fmt.Errorf("%v is no class", v[0])
	}
	if at >= len(v) || v[at] < 0 || v[at] > 1 {
		return 0, 0, errors.New("has no confidence: predict with save_conf=True")
	}
	return label, v[at], nil
}

// txtBox checks the center and the size of a box relative to the image, which
// follow the class.
func txtBox(v []float64) error {
	const rounded = 1e-3
	box := v[1:min(len(v), 5)]
	for _, x := range box {
		if x < -rounded || x > 1+rounded {
			return fmt.Errorf("box %v is not relative to the image", box)
		}
	}
	return nil
}

// eachTXTBoxes reads boxes: class, box, confidence, and maybe the number of a
// track; or segments and turned boxes: class, x and y of three points at least,
// confidence. A pose begins and ends as these do.
func (f *File) eachTXTBoxes(n *nameList, use func(Detections) error) error {
	d := Detections{Boxes: score.Boxes{Scores: []float64{}}, Labels: []int{}}
	return f.eachTXT(n, func(v []float64) error {
		at := 5
		if len(v) <= 6 || len(v) == 7 && v[6] == math.Trunc(v[6]) {
			if err := txtBox(v); err != nil {
				return err
			}
		} else if at = len(v) - 1; at%2 == 0 {
			return fmt.Errorf("has %d numbers, want class, points and confidence: predict with save_conf=True, and do not track", len(v))
		}
		label, confidence, err := txtObject(v, at)
		d.Boxes.Scores, d.Labels = append(d.Boxes.Scores, confidence), append(d.Labels, label)
		return err
	}, func() error {
		err := use(d)
		d.Boxes.Scores, d.Labels = d.Boxes.Scores[:0], d.Labels[:0]
		return err
	})
}

// eachTXTKeypoints reads poses: class, box, x, y and confidence of each point,
// confidence of the whole.
func (f *File) eachTXTKeypoints(n *nameList, use func([][]float64) error) error {
	instances := [][]float64{}
	var numbers numberLists
	return f.eachTXT(n, func(v []float64) error {
		points := len(v) - 6
		if points < 3 || points%3 != 0 {
			return fmt.Errorf("has %d numbers, want class, box, x, y and confidence of each keypoint, and confidence", len(v))
		}
		if err := txtBox(v); err != nil {
			return err
		}
		_, _, err := txtObject(v, 5+points)
		first := len(numbers.all)
		numbers.all = append(numbers.all, v[5:5+points]...)
		instances = append(instances, numbers.all[first:len(numbers.all):len(numbers.all)])
		return err
	}, func() error {
		err := use(instances)
		instances = instances[:0]
		numbers.reset()
		return err
	})
}
