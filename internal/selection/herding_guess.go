package selection

import "math"

// guess tells most kernel values from the values of a tile, without the distance.
//
// With X = |x'|², |x'-c'|² is at least X·(1-γ) - 2v - tiny, see filter. Likewise, the
// bias of v being raised by γ·C and v off by at most γ·(X/2 + C), it is at most
// X·(1+γ) - 2v + 4γ·C + tiny, and X is x2 or above it by up to one part in 2²³. So
// it is X - 2v + 2γ·C, or off from that by at most γ·X + 2γ·C and a little. Copies
// of rows add copyError to the root, that is less than 3·R·copyError to the square
// of a distance below R. Where s = 1 - d²/R² is off by up to e, s² is off by up to
// (2s+e)·e. A border between two values has s ≥ 1/64: there this is far above what
// the float64 sums here lose.
type guess struct {
	scale float64 // from squared distances of copies to d²/R²
	rise  float64 // from the bias to 2γ·C
	gamma float64
	fixed float64 // error of d²/R² that all pairs have
}

func (h *herd) newGuess(p *panel) guess {
	f := &h.filter
	g := guess{scale: h.inverse / (f.scale * f.scale), rise: -4 * f.gamma * (1 + 4*f.gamma), gamma: f.gamma + 0x1p-22}
	most := 0.0 // 2γ·C
	for l := range p.rows {
		most = max(most, g.rise*float64(p.data[l]))
	}
	reach := math.Sqrt(h.reach2) * f.scale
	g.fixed = g.scale*(most*(1+0x1p-20)+2*f.tiny+3*(reach+f.copyError)*f.copyError) + 0x1p-28
	return g
}

// point returns what at needs of a point: its squared norm, and by how much s may
// be off.
func (g *guess) point(x2 float32) (x, off float64) {
	return float64(x2), g.fixed + g.scale*g.gamma*float64(x2)
}

// at returns the least and the most that the kernel of a pair can be.
func (g *guess) at(x, off float64, v, bias float32) (least, most uint16) {
	if !(off < 1) { // also where units overflow
		return 0, kernelOne
	}
	s := 1 - (x-2*float64(v)+g.rise*float64(bias))*g.scale
	if s < 0 { // without min and max, which take longer
		s = 0
	} else if s > 1 {
		s = 1
	}
	value, off := s*s*kernelOne+0.5, kernelOne*(2*s+off)*off
	return uint16(max(0, value-off)), uint16(min(value+off, kernelOne))
}
