package selection

// bruteHerd is HERDING and UHERDING as they are defined: before every pick, the
// gain of every candidate from its kernel to every pool row, in herdOrder.
//
// It is the twin that the other engine is tested against, and it runs where
// there are too many dimensions for that.
func (p *problem) bruteHerd(radius float64, m *meter) (*herded, error) {
	h := &herded{report: HerdingReport{Landmarks: len(p.pool)}}
	k := newKernel(radius)
	covered := make([]uint16, len(p.pool))
	cover := func(row int32) (n int) {
		for x := range p.pool {
			if v := k.at(fastest.distance2(p.Embeddings.Row(int(p.pool[x])), p.Embeddings.Row(int(row)))); v > covered[x] {
				covered[x] = v
				n++
			}
		}
		return n
	}
	sum := func() (s uint64) {
		for x, v := range covered {
			s += uint64(p.mass(int32(x))) * uint64(v)
		}
		return s
	}
	for x := range p.pool {
		h.total += uint64(p.mass(int32(x)))
	}
	for _, c := range p.centers {
		if cover(c); !m.spend(len(p.pool) * p.Embeddings.Dim) {
			return nil, ErrCanceled
		}
	}
	h.before = sum()
	chosen, gone := append([]int32(nil), p.centers...), make([]bool, len(p.pool))
	for len(h.steps) < p.k {
		best, most := int32(-1), uint64(0)
		for c, row := range p.pool {
			if gone[c] {
				continue
			}
			gain := uint64(0)
			for x, v := range covered {
				d2 := fastest.distance2(p.Embeddings.Row(int(p.pool[x])), p.Embeddings.Row(int(row)))
				gain += uint64(p.mass(int32(x))) * uint64(max(k.at(d2), v)-v)
			}
			if best < 0 || p.herdOrder(int32(c), best, gain, most) {
				best, most = int32(c), gain
			}
			if !m.spend(len(p.pool) * p.Embeddings.Dim) {
				return nil, ErrCanceled
			}
		}
		if best < 0 {
			break
		}
		gone[best] = true
		row := p.pool[best]
		if p.min2 > 0 {
			if _, near := p.tooNear(int(row), chosen); near {
				continue
			}
		}
		chosen = append(chosen, row)
		h.steps = append(h.steps, herdStep{int(best), most, cover(row)})
		m.done = len(h.steps)
	}
	h.after = sum()
	h.report.Before, h.report.After = share(h.before, h.total), share(h.after, h.total)
	return h, nil
}
