package demo

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	fashionmnist "nextbatch/examples/fashion-mnist"
)

// maxIDX bounds the values of one IDX file: ten times what the demo reads.
const maxIDX = 100 << 20

// readIDX reads an IDX file of unsigned bytes with the given number of
// dimensions, compressed with gzip. Nothing is allocated before the header has
// been checked; values that are missing or left over are errors.
func readIDX(compressed []byte, dimensions int) (shape []int, values []byte, err error) {
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, nil, fmt.Errorf("idx: %w", err)
	}
	header := make([]byte, 4+4*dimensions)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, nil, fmt.Errorf("idx: header: %w", err)
	}
	if want := []byte{0, 0, 0x08, byte(dimensions)}; !bytes.Equal(header[:4], want) {
		return nil, nil, fmt.Errorf("idx: starts with % x, want % x: unsigned bytes in %d dimensions", header[:4], want, dimensions)
	}
	size := 1
	for i := range dimensions {
		n := binary.BigEndian.Uint32(header[4+4*i:])
		if n == 0 || uint64(n) > uint64(maxIDX/size) {
			return nil, nil, fmt.Errorf("idx: dimension %d is %d: 1 to %d values are allowed", i, n, maxIDX)
		}
		shape = append(shape, int(n))
		size *= int(n)
	}
	values, err = io.ReadAll(io.LimitReader(r, int64(size)+1))
	if err != nil {
		return nil, nil, fmt.Errorf("idx: %w", err)
	}
	if len(values) != size {
		return nil, nil, fmt.Errorf("idx: the header promises %d values, there are %s", size, atMost(len(values), size))
	}
	return shape, values, nil
}

func atMost(n, limit int) string {
	if n > limit {
		return "more"
	}
	return fmt.Sprint(n)
}

// photos are images of one size with their true classes.
type photos struct {
	width, height int
	names         []string // filenames as the events carry them; they tell nothing about the class
	pixels        [][]byte // height*width values each, row by row
	classes       []uint8
}

// poolSize of the images may be selected, the rest measure the accuracy.
const (
	poolSize  = 8000
	splitSeed = 2017 // of the fixed split
	fitted    = 2000 // photos that the components are fitted to; more make no difference
)

// collection is what every loop works on: photos, and the features by which the
// training job knows them, one row per photo.
type collection struct {
	pool     photos
	heldOut  photos
	row      map[string]int // of a filename in the pool
	features [][]float64    // of the pool
	unseen   [][]float64    // of the photos held out
}

// theCollection is made once; nobody changes it.
var theCollection = sync.OnceValues(func() (*collection, error) {
	pool, heldOut, err := loadPhotos()
	if err != nil {
		return nil, err
	}
	c := &collection{pool: pool, heldOut: heldOut, row: map[string]int{}}
	for row, name := range pool.names {
		c.row[name] = row
	}
	p := fitPCA(pool.pixels[:fitted], components)
	c.features, c.unseen = p.features(pool.pixels), p.features(heldOut.pixels)
	return c, nil
})

// loadPhotos reads the images that come with the program and splits them.
func loadPhotos() (pool, heldOut photos, err error) {
	shape, pixels, err := readIDX(fashionmnist.Images, 3)
	if err != nil {
		return pool, heldOut, fmt.Errorf("fashion-mnist images: %w", err)
	}
	labels, classes, err := readIDX(fashionmnist.Labels, 1)
	if err != nil {
		return pool, heldOut, fmt.Errorf("fashion-mnist labels: %w", err)
	}
	if shape[0] != labels[0] || shape[0] <= poolSize {
		return pool, heldOut, fmt.Errorf("fashion-mnist: %d images, %d labels, more than %d of both are needed", shape[0], labels[0], poolSize)
	}
	size := shape[1] * shape[2]
	for rank, i := range rand.New(rand.NewPCG(splitSeed, 0)).Perm(shape[0]) {
		part := &pool
		if rank >= poolSize {
			part = &heldOut
		}
		part.height, part.width = shape[1], shape[2]
		part.names = append(part.names, fmt.Sprintf("fashion/%05d.png", i))
		part.pixels = append(part.pixels, pixels[i*size:(i+1)*size])
		part.classes = append(part.classes, classes[i])
	}
	for i, c := range classes {
		if int(c) >= len(fashionmnist.Classes) {
			return pool, heldOut, fmt.Errorf("fashion-mnist: image %d has class %d, there are %d classes", i, c, len(fashionmnist.Classes))
		}
	}
	return pool, heldOut, nil
}
