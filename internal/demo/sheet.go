package demo

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"slices"
	"strings"

	fashionmnist "nextbatch/examples/fashion-mnist"
)

// FirstPicks draws what each method selected first, all after the same random
// start: one row of photos per method, in an SVG document. Equal reports give
// equal bytes.
func (r Report) FirstPicks() ([]byte, error) {
	photos, err := theCollection()
	if err != nil {
		return nil, err
	}
	pool := photos.pool
	const (
		perRow = 14
		pitch  = 64
		size   = 56
		top    = 100
		height = 124
	)
	const title = "What each method asked for first"
	c := newCanvas(960, top+height*len(r.Curves)+10, title, "One row of product photos per method: "+strings.Join(r.methodNames(), ", ")+".")
	c.text(32, 44, 21, ink, `font-weight="650"`, title)
	c.text(32, 69, 14, faint, "", fmt.Sprintf("Fashion-MNIST, seed 1: the first images selected after the same %s, in the order of selection,",
		plural(r.Start, "random label")))
	c.text(32, 88, 14, faint, "", "with their true classes, which the methods do not see.")
	for i, curve := range r.Curves {
		y := float64(top + height*i)
		var batch []uint8
		for k, name := range curve.FirstBatch {
			p, ok := photos.row[name]
			if !ok {
				return nil, fmt.Errorf("%s selected %q, which is not in the pool", curve.Method, name)
			}
			batch = append(batch, pool.classes[p])
			if k >= perRow {
				continue
			}
			photo, err := photoURI(pool.pixels[p], pool.width, pool.height)
			if err != nil {
				return nil, err
			}
			x := float64(32 + pitch*k)
			c.add(`<image x="%.1f" y="%.1f" width="%d" height="%d" href="%s"><title>%s</title></image>`, x, y+32, size, size, photo, escape(name))
			c.text(x+size/2, y+102, 10, faint, `text-anchor="middle"`, fashionmnist.Classes[pool.classes[p]])
		}
		c.add(`<text x="32" y="%.1f" font-size="13" fill="%s"><tspan font-size="16" font-weight="650" fill="%s">%s</tspan>`+
			`<tspan dx="10">%s</tspan><tspan dx="10" fill="%s">%s</tspan></text>`,
			y+22, ink, styles[i%len(styles)].color, escape(curve.Method), escape(curve.About), faint, escape(composition(batch)))
	}
	return c.finish(), nil
}

func (r Report) methodNames() []string {
	var names []string
	for _, c := range r.Curves {
		names = append(names, c.Method)
	}
	return names
}

// photoURI is a photo as a PNG in a data URI: dark on white, as in a shop.
func photoURI(pixels []byte, width, height int) (string, error) {
	gray := image.NewGray(image.Rect(0, 0, width, height))
	for i, p := range pixels {
		gray.Pix[i] = 255 - p
	}
	var b bytes.Buffer
	if err := png.Encode(&b, gray); err != nil {
		return "", err
	}
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// composition names the most frequent classes of a batch.
func composition(batch []uint8) string {
	var counts [classes]int
	for _, class := range batch {
		counts[class]++
	}
	order := make([]int, classes)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(counts[b], counts[a]) })
	var parts []string
	for _, class := range order[:3] {
		if counts[class] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[class], fashionmnist.Classes[class]))
		}
	}
	return fmt.Sprintf("of %s: %s", plural(len(batch), "image"), strings.Join(parts, ", "))
}
