package selection

import "math"

// guess tells most kernel values from the values of a tile, without the distance.
//
// By the proof of filter, |x'-c'|² is at least X·(1-γ) - 2v - tiny. Likewise, the
// bias of v being raised by γ·C and v off by at most γ·(X/2 + C), it is at most
// X·(1+γ) - 2v + 4γ·C + tiny, and X is x2 or above it by up to one part in 2²³. So
// it is X - 2v + 2γ·C, or off from that by at most γ·X + 2γ·C and a little. Copies
// of rows add copyError to the root, that is less than 3·R·copyError to the square
// of a distance below R. The derivative of the kernel by d²/R² is at most 2.
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

// point returns what at needs of a point: its squared norm, and by how much the
// kernel may be off, in its units.
func (g *guess) point(x2 float32) (x, off float64) {
	e := g.fixed + g.scale*g.gamma*float64(x2)
	return float64(x2), kernelOne * (2 + e) * e
}

// at returns the kernel of a pair, and whether that is sure.
func (g *guess) at(x, off float64, v, bias float32) (uint16, bool) {
	s := 1 - (x-2*float64(v)+g.rise*float64(bias))*g.scale
	if s < 0 { // without min and max, which take longer
		s = 0
	} else if s > 1 {
		s = 1
	}
	value := s*s*kernelOne + 0.5
	k := uint16(value)
	part := value - float64(k)
	return k, part >= off && part <= 1-off
}
