package demo

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
)

// Colors of a drawing. It brings its own background: on a dark page it stays
// what it is.
const (
	paper = "#ffffff"
	ink   = "#1f2328"
	faint = "#59636e"
	grid  = "#e4e8ec"
)

// canvas collects the elements of an SVG document.
type canvas struct{ bytes.Buffer }

// newCanvas begins a drawing. Its title and description are for those who
// cannot see it.
func newCanvas(width, height int, title, description string) *canvas {
	c := &canvas{}
	c.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title description" `+
		`font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif">`, width, height, width, height)
	c.add(`<title id="title">%s</title>`, escape(title))
	c.add(`<desc id="description">%s</desc>`, escape(description))
	c.add(`<rect width="%d" height="%d" rx="10" fill="%s"/>`, width, height, paper)
	return c
}

// finish returns the document. The canvas must not be used afterwards.
func (c *canvas) finish() []byte {
	c.add("</svg>")
	return c.Bytes()
}

// add writes an element on a line of its own. Texts among the arguments must
// be escaped.
func (c *canvas) add(format string, args ...any) {
	fmt.Fprintf(c, format, args...)
	c.WriteByte('\n')
}

// text writes a line of text; attributes are those of the text element.
func (c *canvas) text(x, y float64, size int, color, attributes, s string) {
	if attributes != "" {
		attributes = " " + attributes
	}
	c.add(`<text x="%.1f" y="%.1f" font-size="%d" fill="%s"%s>%s</text>`, x, y, size, color, attributes, escape(s))
}

func (c *canvas) line(x1, y1, x2, y2 float64, color, attributes string) {
	if attributes != "" {
		attributes = " " + attributes
	}
	c.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"%s/>`, x1, y1, x2, y2, color, attributes)
}

func escape(s string) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic("demo: " + err.Error()) // a buffer does not fail
	}
	return b.String()
}

// niceStep is the smallest of 1, 2, 5, 10, 20, 50, … with which at most n steps
// cover the span.
func niceStep(span float64, n int) float64 {
	for decade := 1.0; ; decade *= 10 {
		for _, step := range []float64{1, 2, 5} {
			if step*decade*float64(n) >= span || math.IsNaN(span) || step*decade > 1e15 {
				return step * decade
			}
		}
	}
}
