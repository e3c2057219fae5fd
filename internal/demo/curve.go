package demo

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// styles of the curves: colors that stay apart for color-blind eyes (after Okabe
// and Ito), and marks that stay apart without color.
var styles = []struct{ color, mark string }{
	{"#59636e", "circle"},
	{"#a4558a", "square"},
	{"#c44e00", "triangle"},
	{"#0067a8", "diamond"},
	{"#00795a", "down"},
	{"#7a5c00", "cross"},
}

// frame maps labels and percent to the plane.
type frame struct {
	left, right, top, bottom float64
	minX, maxX, minY, maxY   float64
	stepX, stepY             float64 // between ticks
}

func (f frame) x(labels float64) float64 {
	return f.left + (f.right-f.left)*(labels-f.minX)/(f.maxX-f.minX)
}

func (f frame) y(percent float64) float64 {
	return f.bottom - (f.bottom-f.top)*(percent-f.minY)/(f.maxY-f.minY)
}

// LearningCurve draws mean accuracy against number of labels as an SVG
// document, with a band of one standard deviation around each mean. Equal
// reports give equal bytes.
func (r Report) LearningCurve() []byte {
	const width, height = 960, 600
	const title = "Accuracy against number of labeled images, by method of selection"
	c := newCanvas(width, height, title, r.inWords())
	c.text(32, 44, 21, ink, `font-weight="650"`, title)
	c.text(32, 69, 14, faint, "", fmt.Sprintf("Fashion-MNIST: %s images to choose from, accuracy on %s others. %s, then %s per round.",
		thousands(r.Pool), thousands(r.HeldOut), capital(plural(r.Start, "random label")), thousands(r.Batch)))
	c.text(32, 89, 14, faint, "", r.legend())
	if len(r.Curves) == 0 || len(r.Labels) < 2 {
		return c.finish()
	}
	f := r.frame(width, height)
	r.axes(c, f)
	r.crossings(c, f)
	order := make([]int, len(r.Curves)) // bands first: no band covers a curve
	for i, curve := range r.Curves {
		order[i] = i
		r.band(c, f, curve, styles[i%len(styles)].color)
	}
	for i, curve := range r.Curves {
		r.curve(c, f, curve, styles[i%len(styles)].color, styles[i%len(styles)].mark)
	}
	last := len(r.Labels) - 1
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(r.Curves[b].Mean[last], r.Curves[a].Mean[last])
	})
	var ys []float64
	for _, i := range order {
		ys = append(ys, f.y(100*r.Curves[i].Mean[last]))
	}
	spread(ys, 44, f.top+8, f.bottom-24)
	for k, i := range order {
		curve, color := r.Curves[i], styles[i%len(styles)].color
		end := f.y(100 * curve.Mean[last])
		c.add(`<path d="M%.1f %.1fL%.1f %.1fL%.1f %.1f" fill="none" stroke="%s" stroke-width="1" stroke-opacity="0.5"/>`,
			f.right+8, end, f.right+16, ys[k], f.right+20, ys[k], color)
		c.text(f.right+25, ys[k]+5, 16, color, `font-weight="650"`, fmt.Sprintf("%s  %.1f %%", curve.Method, 100*curve.Mean[last]))
		c.text(f.right+25, ys[k]+22, 12, faint, "", r.verdict(curve))
	}
	return c.finish()
}

// frame leaves room for title, axes and the names at the right end.
func (r Report) frame(width, height float64) frame {
	f := frame{left: 76, right: width - 206, top: 116, bottom: height - 68,
		minX: float64(r.Labels[0]), maxX: float64(r.Labels[len(r.Labels)-1]), minY: math.Inf(1), maxY: math.Inf(-1)}
	for _, curve := range r.Curves {
		for i, mean := range curve.Mean {
			f.minY, f.maxY = min(f.minY, 100*(mean-curve.SD[i])), max(f.maxY, 100*(mean+curve.SD[i]))
		}
	}
	f.stepX, f.stepY = niceStep(f.maxX-f.minX, 10), niceStep(f.maxY-f.minY, 6)
	f.minY, f.maxY = f.stepY*math.Floor(f.minY/f.stepY), f.stepY*math.Ceil(f.maxY/f.stepY)
	if f.minY == f.maxY {
		f.minY, f.maxY = f.minY-f.stepY, f.maxY+f.stepY
	}
	return f
}

func (r Report) axes(c *canvas, f frame) {
	for v := f.minY; v <= f.maxY; v += f.stepY { // whole numbers: exact
		c.line(f.left, f.y(v), f.right, f.y(v), grid, "")
		c.text(f.left-10, f.y(v)+4.5, 13, faint, `text-anchor="end"`, fmt.Sprintf("%g %%", v))
	}
	c.line(f.left, f.bottom, f.right, f.bottom, faint, "")
	for v := f.stepX * math.Ceil(f.minX/f.stepX); v <= f.maxX; v += f.stepX {
		c.line(f.x(v), f.bottom, f.x(v), f.bottom+5, faint, "")
		c.text(f.x(v), f.bottom+21, 13, faint, `text-anchor="middle"`, thousands(int(v)))
	}
	c.text((f.left+f.right)/2, f.bottom+48, 14, ink, `text-anchor="middle"`, "labeled images")
	c.text(0, 0, 14, ink, fmt.Sprintf(`text-anchor="middle" transform="translate(22 %.1f) rotate(-90)"`, (f.top+f.bottom)/2), "accuracy on images never selected")
}

// crossings shows where curves come up to the reference's final accuracy.
func (r Report) crossings(c *canvas, f frame) {
	if r.Reference == "" {
		return
	}
	y := f.y(100 * r.target())
	c.line(f.left, y, f.right, y, faint, `stroke-dasharray="2 4"`)
	c.text(f.left+8, y-7, 12, faint, "", r.Reference+"'s final accuracy")
	for i, curve := range r.Curves {
		if curve.Method == r.Reference || curve.LabelsToReference == nil {
			continue
		}
		labels, color := *curve.LabelsToReference, styles[i%len(styles)].color
		c.line(f.x(labels), y, f.x(labels), f.bottom, color, `stroke-dasharray="2 4"`)
		c.text(f.x(labels)+5, f.bottom-8-16*float64(i%2), 13, color, `font-weight="650"`, thousands(int(math.Round(labels))))
	}
}

func (r Report) band(c *canvas, f frame, curve Curve, color string) {
	var points []string
	for i, labels := range r.Labels {
		points = append(points, fmt.Sprintf("%.1f,%.1f", f.x(float64(labels)), f.y(100*(curve.Mean[i]+curve.SD[i]))))
	}
	for i := len(r.Labels) - 1; i >= 0; i-- {
		points = append(points, fmt.Sprintf("%.1f,%.1f", f.x(float64(r.Labels[i])), f.y(100*(curve.Mean[i]-curve.SD[i]))))
	}
	if r.Seeds > 1 {
		c.add(`<polygon points="%s" fill="%s" fill-opacity="0.13"/>`, strings.Join(points, " "), color)
	}
}

func (r Report) curve(c *canvas, f frame, curve Curve, color, mark string) {
	var d strings.Builder
	for i, labels := range r.Labels {
		fmt.Fprintf(&d, "%c%.1f %.1f", "ML"[min(i, 1)], f.x(float64(labels)), f.y(100*curve.Mean[i]))
	}
	c.add(`<g fill="%s" stroke="%s">`, color, color)
	c.add(`<path id="%s" d="%s" fill="none" stroke-width="2.4" stroke-linejoin="round"/>`, escape(curve.Method), d.String())
	for i, labels := range r.Labels {
		x, y := f.x(float64(labels)), f.y(100*curve.Mean[i])
		tip := fmt.Sprintf("%s, %s labels: %s %%", curve.Method, thousands(labels), r.cell(curve, i))
		c.add(`<g stroke="%s" stroke-width="1.2">%s<title>%s</title></g>`, paper, shape(mark, x, y), escape(tip))
	}
	c.add("</g>")
}

// shape is a mark of about 8 units around a point.
func shape(mark string, x, y float64) string {
	var corners string
	switch mark {
	case "circle":
		return fmt.Sprintf(`<circle cx="%.1f" cy="%.1f" r="4.2"/>`, x, y)
	case "square":
		return fmt.Sprintf(`<rect x="%.1f" y="%.1f" width="7.6" height="7.6"/>`, x-3.8, y-3.8)
	case "triangle":
		corners = "0,-5.2 4.9,3.6 -4.9,3.6"
	case "down":
		corners = "0,5.2 4.9,-3.6 -4.9,-3.6"
	case "diamond":
		corners = "0,-5.4 5.4,0 0,5.4 -5.4,0"
	case "cross":
		corners = "-4.6,-1.8 -1.8,-1.8 -1.8,-4.6 1.8,-4.6 1.8,-1.8 4.6,-1.8 4.6,1.8 1.8,1.8 1.8,4.6 -1.8,4.6 -1.8,1.8 -4.6,1.8"
	}
	return fmt.Sprintf(`<polygon points="%s" transform="translate(%.1f %.1f)"/>`, corners, x, y)
}

// spread moves positions, given in ascending order, as little as a simple pass
// can so that neighbors are gap apart and all lie between low and high, as far
// as there is room.
func spread(y []float64, gap, low, high float64) {
	for i := range y {
		y[i] = max(y[i], low)
		if i > 0 {
			y[i] = max(y[i], y[i-1]+gap)
		}
	}
	for i := len(y) - 1; i >= 0; i-- {
		limit := high
		if i < len(y)-1 {
			limit = y[i+1] - gap
		}
		y[i] = min(y[i], limit)
	}
}

// verdict compares a curve with the reference's final accuracy.
func (r Report) verdict(c Curve) string {
	if r.Reference == "" {
		return "with " + plural(r.Labels[len(r.Labels)-1], "label")
	}
	target := fmt.Sprintf("%.1f %%", 100*r.target())
	if c.LabelsToReference == nil {
		return "does not reach " + target
	}
	return fmt.Sprintf("reaches %s with %s", target, thousands(int(math.Round(*c.LabelsToReference))))
}

func (r Report) legend() string {
	const model = "Perceptron on 64 principal components, trained anew in each round."
	if r.Seeds < 2 {
		return "One seed: differences may be chance. " + model
	}
	return fmt.Sprintf("Mean of %s, bands ± 1 standard deviation. %s", plural(r.Seeds, "seed"), model)
}

// inWords says what the curves show.
func (r Report) inWords() string {
	var parts []string
	for _, c := range r.Curves {
		if n := len(c.Mean); n > 0 {
			parts = append(parts, fmt.Sprintf("%s %.1f %% with %s labels (%s)", c.Method, 100*c.Mean[n-1], thousands(r.Labels[n-1]), r.verdict(c)))
		}
	}
	return "Mean accuracy at the end: " + strings.Join(parts, "; ") + "."
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
