package score

import "math"

// groups tells a vector kernel what to do with groups of eight rows. The
// assembly knows the offsets of its fields.
//
// A vector kernel, called through scoreGroups, scores n ≥ 1 groups, one row in
// each lane. A row is plain if its entries are finite and have no sign bit, and
// if it keeps to the limits below. The kernel stops behind the first group with
// a row that is not plain; it returns how many groups it has scored, that one
// included, and a bit for each such row, whose scores it leaves wrong.
type groups struct {
	dst     [uncertainties]*float64 // where the scores of the first group go
	stride  int                     // bytes from one row to the next; 0 makes a group of one row
	cols    int
	maxLC   float64 // as in scale
	maxBits float64
	low     float64 // scores are moved to [low, high]
	high    float64
	sumLow  float64 // a plain row has its sum in [sumLow, sumHigh]
	sumHigh float64
	top     float64 // and no entry above top
	table   *logTable
}

// groupSize is the number of rows in a group.
const groupSize = 8

// instructions is the kind of kernel to use.
type instructions int

const (
	plainGo instructions = iota // byRows; no vector kernel
	avx2                        // with FMA
	avx512                      // F, DQ and VL
)

// callValues is about how many values one call of a vector kernel reads: the
// scheduler cannot stop it.
const callValues = 1 << 18

// byGroups is kernel with a vector kernel. Rows that are not plain are scored
// one by one. The last rows, too few for a group, fill a group each: a row
// scores the same bits wherever it stands.
func byGroups[F Float](with instructions, dst [uncertainties][]float64, data []F, cols int, s scale, strict bool) (bad int) {
	g := newGroups(cols, s, strict)
	rows := len(dst[0])
	oddRow := func(i int) {
		part := [uncertainties][]float64{dst[0][i : i+1], dst[1][i : i+1], dst[2][i : i+1]}
		bad += byRows(part, data[i*cols:(i+1)*cols], cols, s, strict)
	}

	g.stride = cols * sizeof[F]()
	atOnce := max(1, callValues/groupSize/cols)
	first := 0
	for rows-first >= groupSize {
		for k := range g.dst {
			g.dst[k] = &dst[k][first]
		}
		done, odd := scoreGroups(with, &g, &data[first*cols], min(atOnce, (rows-first)/groupSize))
		first += done * groupSize
		for i := first - groupSize; odd != 0; i++ {
			if odd&1 != 0 {
				oddRow(i)
			}
			odd >>= 1
		}
	}

	var lanes [uncertainties][groupSize]float64
	g.stride = 0
	for ; first < rows; first++ {
		for k := range g.dst {
			g.dst[k] = &lanes[k][0]
		}
		if _, odd := scoreGroups(with, &g, &data[first*cols], 1); odd != 0 {
			oddRow(first)
			continue
		}
		for k := range dst {
			dst[k][first] = lanes[k][0]
		}
	}
	return bad
}

// newGroups leaves dst and stride to the caller. With strict, a row that is
// bad, or so close to it that rounding could matter, is not plain.
func newGroups(cols int, s scale, strict bool) groups {
	g := groups{
		cols: cols, maxLC: s.maxLC, maxBits: s.maxBits,
		low: 0, high: 1,
		sumLow: 0, sumHigh: math.Inf(1), top: math.MaxFloat64,
		table: &table,
	}
	if s.raw {
		g.low, g.high = -math.MaxFloat64, math.MaxFloat64
	}
	if strict {
		const rounding = 1e-9
		g.sumLow, g.sumHigh, g.top = 1-sumTolerance+rounding, 1+sumTolerance-rounding, 1+entryTolerance
	}
	return g
}
