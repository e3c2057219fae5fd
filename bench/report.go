package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
)

// Report is results.json.
type Report struct {
	Machine Machine  `json:"machine"`
	Results []Result `json:"results"`
}

// Result is one scenario against one rival. Times are seconds for the whole
// job, one for each repetition.
type Result struct {
	Name        string    `json:"name"`
	Rival       string    `json:"rival"`
	Rows        int       `json:"rows"`
	Dim         int       `json:"dim"`
	Preselected int       `json:"preselected,omitempty"`
	Picks       int       `json:"picks,omitempty"`
	Ours        []float64 `json:"ours_seconds,omitempty"`
	Theirs      []float64 `json:"rival_seconds,omitempty"`
	Note        string    `json:"note,omitempty"` // what was timed of the rival, if not the whole job
	NotRun      string    `json:"not_run,omitempty"`
	Goal        float64   `json:"goal,omitempty"` // the ratio to reach
	DataBytes   int64     `json:"data_bytes,omitempty"`
	PeakBytes   int64     `json:"peak_bytes,omitempty"`   // resident memory of our process, data included
	BeforeBytes int64     `json:"before_bytes,omitempty"` // the same before any contestant started
	Others      float64   `json:"cores_busy_for_others"`
	Load        string    `json:"load_average_before"`
	When        string    `json:"when"`
}

// ratio is how many times as long the rival takes, by medians; NaN if unknown.
func (r Result) ratio() float64 { return median(r.Theirs) / median(r.Ours) }

func median(x []float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

const tableHead = `| job | rival | ours | rival | ratio | goal | our peak memory | others busy | |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
`

// row is the result as a line of a table.
func (r Result) row() string {
	cells := []string{r.Name, r.Rival, "", "", "", "", "", "", r.Note}
	if len(r.Ours) > 0 {
		cells[2] = seconds(median(r.Ours))
		cells[6] = fmt.Sprintf("%.0f MB, %.2f of data", float64(r.PeakBytes)/1e6, float64(r.PeakBytes)/float64(r.DataBytes))
		cells[7] = fmt.Sprintf("%.2f cores", r.Others)
	}
	if len(r.Theirs) > 0 {
		cells[3] = seconds(median(r.Theirs))
		if r.Note != "" {
			cells[3] = "≈ " + cells[3]
		}
		cells[4] = fmt.Sprintf("%.3g×", r.ratio())
		if r.ratio() >= 1000 {
			cells[4] = fmt.Sprintf("%.0f×", r.ratio())
		}
	}
	if r.Goal > 0 {
		cells[5] = fmt.Sprintf("%g×", r.Goal)
		if r.ratio() < r.Goal {
			cells[5] += ", missed"
		}
	}
	if r.NotRun != "" {
		cells[8] = "not run: " + strings.Join(strings.Fields(r.NotRun), " ")
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

func seconds(s float64) string {
	switch {
	case s < 1:
		return fmt.Sprintf("%.3g ms", 1000*s)
	case s < 100:
		return fmt.Sprintf("%.3g s", s)
	}
	return fmt.Sprintf("%.0f s", s)
}

// save writes the report. Results of other rows that the file has from the
// same machine and versions stay; all are in the order of the table.
func (r Report) save(path string) error {
	old, err := load(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old.Machine == r.Machine {
		for _, o := range old.Results {
			if !slices.ContainsFunc(r.Results, func(n Result) bool { return n.Name == o.Name && n.Rival == o.Rival }) {
				r.Results = append(r.Results, o)
			}
		}
	}
	place := map[string]int{}
	for i, s := range scenarios(true) {
		place[s.name] = i
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int { return place[a.Name] - place[b.Name] })
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func load(path string) (r Report, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err = json.Unmarshal(data, &r); err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return r, err
}

// markdown is the part of the README that a run fills.
func (r Report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\n\n", r.Machine)
	if len(r.Results) > 0 {
		first, last := r.Results[0], r.Results[0]
		for _, x := range r.Results {
			if x.When < first.When {
				first = x
			}
			if x.When > last.When {
				last = x
			}
		}
		fmt.Fprintf(&b, "Measured from %s to %s UTC; load average %s before the first row.\n\n", first.When, last.When, first.Load)
	}
	b.WriteString(tableHead)
	for _, x := range r.Results {
		b.WriteString(x.row())
	}
	return b.String()
}

// The README holds the figures between these lines.
const begin, end = "<!-- figures: go run ./bench -markdown bench/results.json -->\n", "<!-- end of figures -->\n"

func fillReadme(readme, results string) error {
	r, err := load(results)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, found := strings.Cut(rest, end)
	if !ok || !found {
		return fmt.Errorf("%s: the lines %q and %q are missing", readme, begin, end)
	}
	return os.WriteFile(readme, []byte(before+begin+"\n"+r.markdown()+"\n"+end+after), 0o644)
}
