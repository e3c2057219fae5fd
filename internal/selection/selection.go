// Package selection decides which samples to label next. It is pure: it sees
// numbers and names, no clock, network, file or global randomness, and equal
// queries have equal answers whatever the machine, the number of its cores or
// the order of the rows.
//
// CORESET is greedy k-center (Gonzalez, Clustering to minimize the maximum
// intercluster distance, 1985; Sener and Savarese, Active learning for
// convolutional neural networks: a core-set approach, 2018): each pick is the
// pool row that is farthest from everything chosen so far. CORAL weighs the
// distance by the acquisition score. Both are exact: distances that decide are
// float64 sums in one fixed order (see distance2), and ties go to the lowest
// Key.
package selection

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"nextbatch/internal/bitmask"
)

// Method names a selection method as users write it.
type Method string

// The methods.
const (
	Random         Method = "RANDOM"          // uniform, by seeded hash of the filename
	Coreset        Method = "CORESET"         // exact greedy k-center on the embeddings
	Coral          Method = "CORAL"           // score^a × distance^b
	ActiveLearning Method = "ACTIVE_LEARNING" // highest score first
	TypiClust      Method = "TYPICLUST"       // the most typical row of each cluster
	Badge          Method = "BADGE"           // k-means++ on gradient embeddings
	Power          Method = "POWER"           // drawn in proportion to score^a
	FilterCluster  Method = "FILTER_CLUSTER"  // k-means among the highest scores
	Typicality     Method = "TYPICALITY"      // highest density first
	Herding        Method = "HERDING"         // largest part of the pool that nothing chosen is near to
	UHerding       Method = "UHERDING"        // the same, with every row weighted by its score
	Combined       Method = "COMBINED"        // the product of Factors, distance^DistanceExponent and Balances
)

// AutoCap as a Query.DistanceCap asks for one that suits the data.
const AutoCap = -1

// Errors of Select. What is wrong with single rows is a *RowsError.
var (
	ErrCanceled     = errors.New("selection canceled")
	ErrNoEmbeddings = errors.New("this selection needs embeddings, and there are none")
	ErrNoScores     = errors.New("this selection needs acquisition scores, and there are none")

	ErrNoProbabilities = errors.New("this selection needs class probabilities, and there are none")
)

// Matrix is a row-major matrix of Rows × Dim float32 values.
type Matrix struct {
	Rows, Dim int
	Data      []float32 // len = Rows*Dim
}

// Row returns row i without copying it.
func (m Matrix) Row(i int) []float32 { return m.Data[i*m.Dim : (i+1)*m.Dim : (i+1)*m.Dim] }

// Query is one selection. All row numbers are dataset rows.
type Query struct {
	Method      Method
	Filenames   func(row int) string // unique name of a row, asked from several goroutines; ties and the first pick go to the lowest Key
	Rows        int                  // rows of the dataset
	Pool        *bitmask.Mask        // rows that may be picked: query set minus preselected, skipped, …; nil = none
	Preselected *bitmask.Mask        // centers already chosen; disjoint from Pool; nil = none
	BatchSize   int                  // at most this many picks; < 0 means no limit
	MinDistance float64              // Euclidean; no pick is nearer than this to a center or an earlier pick; ≤ 0 means no limit
	Embeddings  Matrix               // Rows rows; rows outside Pool ∪ Preselected are never read
	Scores      []float64            // one per row, higher = more worth labeling; nil = none
	Seed        uint64

	// Probabilities are those of the classes, for BADGE: Rows rows, NaN for
	// preselected rows that have none. Data = nil means there are none.
	Probabilities Matrix

	// CORAL: gain = max(score, ScoreFloor, 0)^ScoreExponent × min(distance, cap)^DistanceExponent.
	// The exponents are ≥ 0 and meant literally: the caller fills in defaults. POWER
	// draws in proportion to score^ScoreExponent.
	ScoreExponent, DistanceExponent, ScoreFloor float64

	// DistanceCap, if > 0, makes distances above it count as it in CORAL: beyond
	// the cap only the score counts, and picks nearer than it to what is chosen are
	// worth less. 0 means no cap, AutoCap 0.7 of the fair-share radius, see
	// fairShareRadius.
	DistanceCap float64

	// HerdingRadius, if > 0, is the radius r of HERDING and UHERDING; else it is
	// each row's fair share of the data, which depends on the batch size. See
	// HerdingReport.
	HerdingRadius float64

	// Cosine makes HERDING and UHERDING compare directions: rows are brought to
	// length 1 first, and distances, HerdingRadius too, are those of the results,
	// √(2 - 2·cos). MinDistance is about the rows as they are. See directions.
	Cosine bool

	// COMBINED: see Factor, Balance and balanced. Scores are not used.
	Factors  []Factor
	Balances []Balance

	// State, if not nil, is what an earlier selection on the same embeddings
	// returned; it saves time and changes nothing, see Method.KeepsState. KeepState asks for
	// Selection.State.
	State     *State
	KeepState bool

	// Progress, if not nil, is called with the picks made and asked for at
	// least every 100 ms of work, from the calling goroutine. Returning false
	// cancels: Select returns ErrCanceled.
	Progress func(done, total int) bool
}

// Pick is one chosen row.
type Pick struct {
	Row int

	// Gain is what the pick was worth when it was made: for CORESET the
	// distance to the nearest center or earlier pick, for CORAL the product,
	// for ACTIVE_LEARNING and FILTER_CLUSTER the score, for HERDING and UHERDING the
	// share of the uncertain mass of the pool that it covered, for TYPICALITY and
	// TYPICLUST the typicality (+Inf among exact duplicates), for POWER score^a with
	// its noise, for BADGE the distance of gradient embeddings. It is NaN for RANDOM,
	// and where CORESET or CORAL make the first pick of all, whose distance is not
	// defined.
	Gain float64

	Score   float64 // NaN without scores
	Covers  int     // HERDING and UHERDING: pool rows that it covers better than anything before, about, where not all rows are landmarks
	Nearest int     // nearest center or earlier pick, the first by filename if several are; -1 where there was none or no distance was needed
}

// Selection is the outcome of a Query: Picks in selection order.
type Selection struct {
	Picks []Pick

	// Radius is the largest distance of a pool row to its nearest center or
	// pick after the last pick; picked rows count as 0. LowerBound is a proven
	// lower bound on the radius that any selection of the same size has beside
	// the same preselected centers. Both are NaN for methods without distances
	// and where nothing is selected.
	//
	// Proof, for k picks: let m be the smallest of Radius and of the distances
	// at which the picks were made. The picks and the farthest remaining row are
	// k+1 rows, at least m from each other and from every preselected center
	// (for CORESET m = Radius: its distances never rise). Cover the pool with
	// any k other centers at a radius below m/2: no preselected center is near
	// enough to any of the k+1 rows, so two of them share a new center and are
	// less than m apart, a contradiction. LowerBound is m/2.
	Radius, LowerBound float64

	// DistanceCap is the cap that CORAL used, 0 for none.
	DistanceCap float64

	Herding *HerdingReport // nil for other methods

	// State is for the next selection on the same embeddings. It is nil unless
	// asked for, and where starting anew takes no time.
	State *State
}

// Select answers the query.
//
// RANDOM takes rows by ascending Key, ACTIVE_LEARNING by descending score.
// CORESET repeatedly takes the row that is farthest from its nearest center or
// earlier pick, CORAL the one with the largest product. Without any center the
// first pick is the lowest Key for CORESET, and the highest score for CORAL.
// Ties always go to the lowest Key. CORESET picks are greedy, so a smaller
// batch is the beginning of a larger one; the same holds for every method here but
// HERDING and UHERDING without a radius of their own, CORAL with AutoCap, and
// TYPICLUST and FILTER_CLUSTER, which make as many clusters as there are picks.
// What the newer methods do stands at herd, typiclust, badge, power,
// filterCluster and typical.
//
// CORAL compares (w·w)·d², where w = max(score, ScoreFloor, 0)^(a/b), scaled by
// a power of two, is computed once per row and d² is the squared distance: the
// same order as score^a × d^b without a power per pair. Where the score is above 0,
// w is at least 2^-350: below that, only the distance orders. A cap bounds
// d² by its square. With b = 0 only the score counts, and the method is
// ACTIVE_LEARNING on floored scores.
//
// A selection ends when BatchSize rows are picked, the pool is empty, or every
// row left is nearer than MinDistance to what is chosen. Rows that are too near
// are passed over; for CORESET, whose next pick is the farthest row, the first
// such row is the end.
//
// The rows of the query are checked first: see RowsError, ErrNoEmbeddings and
// ErrNoScores. Of the vectors that a State knows, only those are that are compared.
// Rows of equal distance 0 (more picks than distinct points) are picked like others, by Key.
func Select(q Query) (Selection, error) {
	none := Selection{Radius: math.NaN(), LowerBound: math.NaN()}
	m := meter{report: q.Progress}
	if q.Method == Combined {
		if err := q.combine(); err != nil {
			return none, err
		}
	}
	p, err := newProblem(q, &m)
	if err != nil {
		return none, err
	}
	s, err := p.run(&m)
	if err != nil {
		return none, err
	}
	if q.Progress != nil && !q.Progress(len(s.Picks), p.k) {
		return none, ErrCanceled
	}
	return s, nil
}

// byDistance reports whether distances decide, beyond a minimum distance.
func (q *Query) byDistance() bool {
	if q.Method == Coral || q.Method == Combined {
		return q.DistanceExponent > 0
	}
	return q.Method.NeedsEmbeddings()
}

func (q *Query) byScore() bool { return q.Method.NeedsScores() }

// meter counts work and reports progress. It has no clock: reportEvery units of
// about a nanosecond each, or some twenty where rows are short, stay below 100 ms.
type meter struct {
	report      func(done, total int) bool
	done, total int
	work        int
	canceled    atomic.Bool // read by every goroutine
}

const reportEvery = 1 << 20

// spend counts units of work and reports false once the caller has canceled.
// Only the calling goroutine may spend.
func (m *meter) spend(units int) bool {
	if m.work += units; m.work >= reportEvery && m.report != nil && !m.canceled.Load() {
		m.work = 0
		m.canceled.Store(!m.report(m.done, m.total))
	}
	return !m.canceled.Load()
}

// RowsError says that rows of a query cannot be used.
type RowsError struct {
	Reason string // what is wrong with them, "have …" or "are …"
	Rows   []int  // the first few, ascending
	Count  int    // all of them
}

// add counts a row and remembers the first few.
func (e *RowsError) add(row int) {
	if e.Count++; len(e.Rows) < 5 {
		e.Rows = append(e.Rows, row)
	}
}

// orNil returns e as an error if it holds rows.
func (e *RowsError) orNil() error {
	if e.Count == 0 {
		return nil
	}
	return e
}

func (e *RowsError) Error() string {
	return fmt.Sprintf("%d rows %s (first %v)", e.Count, e.Reason, e.Rows)
}
