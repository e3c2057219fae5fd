package demo

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Report is what a demo found. In JSON, accuracies are shares between 0 and 1.
type Report struct {
	Pool      int     `json:"pool"`     // images that could be selected
	HeldOut   int     `json:"held_out"` // images that measured the accuracy
	Start     int     `json:"start"`    // labels of the random start
	Batch     int     `json:"batch"`    // labels per round
	Seeds     int     `json:"seeds"`
	Labels    []int   `json:"labels"` // labels at each point of the curves
	Curves    []Curve `json:"curves"` // one per method
	Events    int     `json:"events"` // sent by training jobs and annotators
	Selected  int     `json:"selected"`
	Seconds   float64 `json:"seconds"` // wall clock, all loops together
	Reference string  `json:"reference,omitempty"`
}

// Curve is the learning curve of one method.
type Curve struct {
	Method   string      `json:"method"`
	About    string      `json:"about"`
	Accuracy [][]float64 `json:"accuracy"` // per seed, at each point
	Mean     []float64   `json:"mean"`     // over the seeds
	SD       []float64   `json:"sd"`       // standard deviation over the seeds; 0 with one seed

	// LabelsToReference is the number of labels with which the mean reaches the
	// reference's final mean, interpolated; absent where it does not, or where
	// there is no reference.
	LabelsToReference *float64 `json:"labels_to_reference,omitempty"`
	// Lead is by how much the last accuracy is above the reference's with the
	// same seed, mean and standard deviation over the seeds; 0 without one.
	Lead   float64 `json:"lead"`
	LeadSD float64 `json:"lead_sd"`

	Events        int      `json:"events"`         // sent, over all seeds
	Seconds       float64  `json:"seconds"`        // of one loop, mean
	SelectSeconds float64  `json:"select_seconds"` // from asking to selection.created, median over all rounds
	FirstBatch    []string `json:"first_batch"`    // what the method selected first with seed 1, in order
}

// standard is the method of a worker that is not told one.
const standard = "uherding"

// reference is the method that the others are measured by.
const reference = "random"

// report sums up loops that have ended.
func (b *shared) report(loops []*loop) Report {
	r := Report{Pool: len(b.pool.names), HeldOut: len(b.heldOut.names), Start: b.Start, Batch: b.Batch, Seeds: b.Seeds,
		Seconds: time.Since(b.began).Seconds()}
	for round := range b.Rounds + 1 {
		r.Labels = append(r.Labels, b.Start+round*b.Batch)
	}
	for _, m := range methods {
		c := Curve{Method: m.name, About: m.about}
		var waits []time.Duration
		for _, l := range loops {
			if l.method.name != m.name {
				continue
			}
			c.Accuracy = append(c.Accuracy, l.accuracy)
			c.Events += int(l.sent.Load())
			c.Seconds += l.took.Seconds() / float64(b.Seeds)
			waits = append(waits, l.waits...)
			if l.seed == 1 {
				c.FirstBatch = l.first
			}
		}
		if c.Accuracy == nil {
			continue
		}
		slices.Sort(waits)
		c.SelectSeconds = waits[len(waits)/2].Seconds()
		r.Events += c.Events
		r.Selected += b.Seeds * r.Labels[b.Rounds]
		r.Curves = append(r.Curves, c)
	}
	r.summarize()
	return r
}

// summarize computes what follows from the accuracies.
func (r *Report) summarize() {
	var base [][]float64
	r.Reference = ""
	for i := range r.Curves {
		c := &r.Curves[i]
		c.Mean, c.SD = nil, nil
		for point := range r.Labels {
			mean, sd := meanSD(c.Accuracy, point)
			c.Mean, c.SD = append(c.Mean, mean), append(c.SD, sd)
		}
		if c.Method == reference {
			r.Reference, base = reference, c.Accuracy
		}
	}
	for i := range r.Curves {
		c := &r.Curves[i]
		c.LabelsToReference, c.Lead, c.LeadSD = nil, 0, 0
		if r.Reference == "" {
			continue
		}
		last, leads := len(r.Labels)-1, make([][]float64, len(base))
		for seed := range base {
			leads[seed] = []float64{c.Accuracy[seed][last] - base[seed][last]}
		}
		c.Lead, c.LeadSD = meanSD(leads, 0)
		if labels, ok := reach(r.Labels, c.Mean, r.target()); ok {
			c.LabelsToReference = &labels
		}
	}
}

// target is the reference's final accuracy, 0 without a reference.
func (r Report) target() float64 {
	for _, c := range r.Curves {
		if c.Method == r.Reference {
			return c.Mean[len(c.Mean)-1]
		}
	}
	return 0
}

// meanSD returns mean and sample standard deviation of one point over seeds.
func meanSD(rows [][]float64, point int) (mean, sd float64) {
	for _, row := range rows {
		mean += row[point] / float64(len(rows))
	}
	if len(rows) < 2 {
		return mean, 0
	}
	for _, row := range rows {
		sd += (row[point] - mean) * (row[point] - mean) / float64(len(rows)-1)
	}
	return mean, math.Sqrt(sd)
}

// reach returns where a curve first comes up to target, between two points in
// a straight line.
func reach(x []int, y []float64, target float64) (float64, bool) {
	for i := range y {
		if y[i] < target {
			continue
		}
		if i == 0 {
			return float64(x[0]), true
		}
		part := (target - y[i-1]) / (y[i] - y[i-1])
		return float64(x[i-1]) + part*float64(x[i]-x[i-1]), true
	}
	return 0, false
}

// WriteTable writes the report for a terminal.
func (r Report) WriteTable(w io.Writer) error {
	rows := [][]string{{"labels"}}
	for _, c := range r.Curves {
		rows[0] = append(rows[0], c.Method)
	}
	for point, labels := range r.Labels {
		row := []string{thousands(labels)}
		for _, c := range r.Curves {
			row = append(row, r.cell(c, point))
		}
		rows = append(rows, row)
	}
	rows = append(rows, nil)
	if r.Reference != "" {
		rows = append(rows, r.row("points above "+r.Reference+", seed by seed", func(c Curve) string {
			if c.Method == r.Reference {
				return ""
			}
			return plusMinus(c.Lead, c.LeadSD, r.Seeds, "%+.1f")
		}))
		rows = append(rows, r.row("labels to "+r.Reference+"'s final accuracy", func(c Curve) string {
			if c.LabelsToReference == nil {
				return "not reached"
			}
			return thousands(int(math.Round(*c.LabelsToReference)))
		}))
	}
	rows = append(rows,
		r.row("from request to selection", func(c Curve) string { return fmt.Sprintf("%.0f ms", 1000*c.SelectSeconds) }),
		r.row("time of a loop", func(c Curve) string { return fmt.Sprintf("%.1f s", c.Seconds) }),
		r.row("events sent", func(c Curve) string { return thousands(c.Events) }))

	_, err := fmt.Fprintf(w, "Accuracy in %% on %s images never selected, mean%s over %s.\n\n%s\n%s%s images selected, %s events sent, %.0f s.\n",
		thousands(r.HeldOut), map[bool]string{true: " ± standard deviation"}[r.Seeds > 1], plural(r.Seeds, "seed"),
		columns(rows), r.saved(), thousands(r.Selected), thousands(r.Events), r.Seconds)
	return err
}

// saved is a line on what the standard method saves, if it does.
func (r Report) saved() string {
	all := r.Labels[len(r.Labels)-1]
	for _, c := range r.Curves {
		if c.Method == standard && c.LabelsToReference != nil {
			enough := int(math.Round(*c.LabelsToReference))
			return fmt.Sprintf("%s reaches with %s labels what %s reaches with %s: %s labels saved.\n",
				c.Method, thousands(enough), r.Reference, thousands(all), thousands(all-enough))
		}
	}
	return ""
}

// cell is one accuracy in percent.
func (r Report) cell(c Curve, point int) string {
	return plusMinus(c.Mean[point], c.SD[point], r.Seeds, "%.1f")
}

// plusMinus writes shares in percent; one seed has no deviation.
func plusMinus(mean, sd float64, seeds int, format string) string {
	s := fmt.Sprintf(format, 100*mean)
	if seeds > 1 {
		s += fmt.Sprintf(" ± %.1f", 100*sd)
	}
	return s
}

func (r Report) row(head string, cell func(Curve) string) []string {
	row := []string{head}
	for _, c := range r.Curves {
		row = append(row, cell(c))
	}
	return row
}

// columns aligns cells: the first column to the left, the others to the right.
// A nil row is an empty line.
func columns(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i == 0 {
				b.WriteString(cell + pad)
			} else {
				b.WriteString("   " + pad + cell)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// thousands writes a number with commas: 12,345. It must not be negative.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + what + "s"
}
