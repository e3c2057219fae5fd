package selection_test

import (
	"fmt"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/selection"
)

// Two images are near duplicates. One of them is labeled already, so k-center
// takes the two that are unlike it and each other.
func ExampleSelect() {
	names := []string{"boot.png", "boot-copy.png", "shirt.png", "bag.png"}
	s, err := selection.Select(selection.Query{
		Method:      selection.Coreset,
		Rows:        4,
		Filenames:   func(row int) string { return names[row] },
		Pool:        bitmask.FromIndices(1, 2, 3),
		Preselected: bitmask.FromIndices(0),
		BatchSize:   2,
		Embeddings: selection.Matrix{Rows: 4, Dim: 2, Data: []float32{
			0, 0, // boot.png
			0, 1, // boot-copy.png
			6, 8, // shirt.png
			3, -4, // bag.png
		}},
	})
	if err != nil {
		panic(err)
	}
	for _, p := range s.Picks {
		fmt.Printf("%-9s %g from %s\n", names[p.Row], p.Gain, names[p.Nearest])
	}
	fmt.Printf("radius %g, and no two images give less than %g\n", s.Radius, s.LowerBound)
	// Output:
	// shirt.png 10 from boot.png
	// bag.png   5 from boot.png
	// radius 1, and no two images give less than 0.5
}
