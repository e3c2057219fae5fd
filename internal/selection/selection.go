// Package selection decides which samples to label next. It is pure: it sees
// numbers and names, no clock, network, file or global randomness.
package selection

import "nextbatch/internal/bitmask"

// Method names a selection method as users write it.
type Method string

// The methods.
const (
	Random         Method = "RANDOM"          // uniform, by seeded hash of the filename
	Coreset        Method = "CORESET"         // exact greedy k-center on the embeddings
	Coral          Method = "CORAL"           // score^a × distance^b
	ActiveLearning Method = "ACTIVE_LEARNING" // highest score first
)

// Matrix is a row-major matrix of Rows × Dim float32 values.
type Matrix struct {
	Rows, Dim int
	Data      []float32 // len = Rows*Dim
}

// Query is one selection. All row numbers are dataset rows.
type Query struct {
	Method      Method
	Filenames   func(row int) string // unique name of a row; ties and the first pick go to the lowest Key
	Rows        int                  // rows of the dataset
	Pool        *bitmask.Mask        // rows that may be picked: query set minus preselected, skipped, …
	Preselected *bitmask.Mask        // centers already chosen; disjoint from Pool
	BatchSize   int                  // at most this many picks; < 0 means no limit
	MinDistance float64              // Euclidean; stop before a pick nearer than this; ≤ 0 means no limit
	Embeddings  Matrix               // Rows rows; rows outside Pool ∪ Preselected are never read
	Scores      []float64            // one per row, higher = more worth labeling; nil = none
	Seed        uint64

	// CORAL: gain = max(score, ScoreFloor)^ScoreExponent × distance^DistanceExponent.
	ScoreExponent, DistanceExponent, ScoreFloor float64

	// Progress, if not nil, is called with the picks made and asked for at
	// least every 100 ms of work, from the calling goroutine. Returning false
	// cancels: Select returns ErrCanceled.
	Progress func(done, total int) bool
}

// Pick is one chosen row.
type Pick struct {
	Row     int
	Gain    float64 // what the pick was worth: distance, score or product
	Score   float64 // NaN without scores
	Nearest int     // nearest center or earlier pick, -1 where there was none
}

// Selection is the outcome of a Query: Picks in selection order.
type Selection struct {
	Picks []Pick
	// Radius is the largest distance of a pool row to its nearest center after
	// the last pick, LowerBound a proven lower bound on the radius of any
	// selection of the same size; both NaN for methods without distances.
	Radius, LowerBound float64
}
