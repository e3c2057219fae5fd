package selection

import "math"

// filter decides in float32 which pairs of a point and a center need no
// distance2. It works on copies x' = (x - mean) · scale of the rows, for which
//
//	|x' - c'|² = |x'|² - 2·(x'·c' - |c'|²/2)
//
// and the bracket v is what kernel.tile computes. Points keep x2, which is
// |x'|² summed in float32, so that X = (1-γ)·x2 - tiny is not above |x'|²; a panel
// holds, as bias of v, -|c'|²/2 raised by γ·|c'|². A pair may be skipped where v is
// below threshold(B, x2), because then distance2 of the pair is above B. Proof:
//
//   - With u = 2⁻²⁴ and γ = n·u/(1-n·u), n = dim + 16, rounding moves v by at most
//     γ·(|c'|²/2 + Σ|x'_j·c'_j|) ≤ γ·(|x'|²/2 + |c'|²), in any order of additions, fused
//     or not. Of the 16 roundings beside dim, three are needed here, and the others
//     cover what x2 and |c'|² miss because they are computed from the rows and not
//     from the rounded copies. Products below the smallest normal float32 add at
//     most tiny.
//   - So |x' - c'|² ≥ X·(1-γ) - 2·v - tiny, and v below the threshold puts this
//     above (scale·√B + copyError)², where copyError is at least the distance by
//     which rounding moves x' and c' together. Hence |x - c|² is above B, by a
//     factor of at least 1 + 2⁻³⁰ more than distance2 can lose.
type filter struct {
	mean      []float32 // nil: the rows are their own copies
	scale     float64   // a power of two
	gamma     float64
	less      float64 // (1-γ)²
	tiny      float64
	copyError float64
}

// maxFilterDim keeps γ far below 1 and the copies of a chunk below 64 MB.
const maxFilterDim = 1 << 16

// newFilter chooses the filter for the candidates and centers. Where the rows
// lie well around the origin there is nothing to center and to scale.
func (p *problem) newFilter(k kernel) filter {
	dim := p.Embeddings.Dim
	n := float64(dim+16) * 0x1p-24
	f := filter{scale: 1, gamma: n / (1 - n), tiny: float64(dim+2) * 0x1p-147}
	f.less = (1 - f.gamma) * (1 - f.gamma)

	mean := make([]float64, dim)
	sampled := 0
	for i := 0; i < len(p.pool); i += 1 + len(p.pool)/1024 {
		for j, v := range p.Embeddings.Row(int(p.pool[i])) {
			mean[j] += float64(v)
		}
		sampled++
	}
	center, zero := make([]float32, dim), make([]float32, dim)
	for j, s := range mean {
		center[j] = float32(s / float64(max(1, sampled)))
	}
	spread := 0.0
	for i := 0; i < len(p.pool); i += 1 + len(p.pool)/1024 {
		spread += k.distance2(p.Embeddings.Row(int(p.pool[i])), center) / float64(sampled)
	}
	// No squared norm is above norm2; without a state, the largest is at least a ninth of it (seeFirst).
	if p.norm2 > 0x1p-56 && p.norm2 < 0x1p100 && k.distance2(center, zero) <= 2*spread {
		return f
	}
	// |x - mean| is at most |x| + |mean|, and each is at most the largest norm. Far from
	// the origin that is a lot more than the way by the middle.
	largest := 2 * math.Sqrt(p.norm2)
	if p.middle != nil {
		largest = min(largest, p.within+float64(math.Sqrt(k.distance2(p.middle, center))*(1+0x1p-40)))
	}
	_, exponent := math.Frexp(largest)
	f.mean, f.scale = center, math.Ldexp(1, -exponent)
	f.copyError = 0x1p-22 + 2*math.Sqrt(float64(dim))*0x1p-149
	return f
}

// copyRow returns x', in dst where x is not its own copy.
func (f *filter) copyRow(dst, x []float32) []float32 {
	if f.mean == nil {
		return x
	}
	for j, v := range x {
		dst[j] = float32((float64(v) - float64(f.mean[j])) * f.scale)
	}
	return dst
}

// slot returns place i of space for copies, nil where none are needed.
func slot(copies []float32, i, dim int) []float32 {
	if copies == nil {
		return nil
	}
	return copies[i*dim : (i+1)*dim]
}

// bias of a center whose squared norm is c2.
func (f *filter) bias(c2 float64) float32 {
	return -below(c2/2 - f.gamma*c2)
}

// threshold for a point whose pairs above d2 do not matter; x2 is its squared
// norm, or less: then fewer pairs are skipped. It is rounded down without a
// branch, which would wait for the norm.
func (f *filter) threshold(d2 float64, x2 float32) float32 {
	bound := d2
	if f.mean != nil {
		bound = f.scale*math.Sqrt(d2) + f.copyError
		bound *= bound
	}
	x := (float64(x2)*f.less - 2*f.tiny - bound*(1+0x1p-29)) / 2
	return max(float32(x-math.Abs(x)*0x1p-23-0x1p-149), -math.MaxFloat32)
}

// apart returns a distance that a point has at least from a center of a panel for
// which the tile has the value v: v is below the threshold for all that are
// nearer. What is rounded on the way to the threshold, a few times 2⁻²⁴ of it, is far
// less than what is added to v here.
func (f *filter) apart(v float32, x *point, p *panel) float64 {
	miss := float64(x.rest*p.size + x.size*p.rest)
	limit := float64(v) + miss + (math.Abs(float64(v))+miss)*0x1p-20 + 0x1p-140
	bound := (float64(x.x2)*f.less - 2*f.tiny - 2*limit) / (1 + 0x1p-28)
	if !(bound > 0) {
		return 0
	}
	return max(0, math.Sqrt(bound)-f.copyError) / f.scale
}
