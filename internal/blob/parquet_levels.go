package blob

import (
	"encoding/binary"
	"errors"
)

var errLevels = errors.New("has a page that ends within its levels or indices")

// hybrid reads Parquet's mixture of runs and bit-packed groups.
type hybrid struct {
	b     []byte
	width int // bits of a value, at most 32

	run    uint64 // values left of a run
	value  uint32 // of the run
	packed uint64 // values left of bit-packed groups
	bits   uint64 // read from b, not yet given out
	have   int
}

// next returns a value and how many times in a row it is there, at most limit.
func (h *hybrid) next(limit int) (value uint32, times int, err error) {
	for h.run == 0 && h.packed == 0 {
		head, n := binary.Uvarint(h.b)
		if n <= 0 {
			return 0, 0, errLevels
		}
		h.b = h.b[n:]
		if head&1 != 0 {
			if head>>1 > uint64(len(h.b)) && h.width > 0 { // 8 values take width bytes
				return 0, 0, errLevels
			}
			h.packed, h.have, h.bits = min(head>>1, 1<<32)*8, 0, 0
			continue
		}
		size := (h.width + 7) / 8
		if len(h.b) < size {
			return 0, 0, errLevels
		}
		h.run, h.value = head>>1, 0
		for i, c := range h.b[:size] {
			h.value |= uint32(c) << (8 * i)
		}
		h.b = h.b[size:]
	}
	if h.run > 0 {
		times = int(min(h.run, uint64(limit)))
		h.run -= uint64(times)
		return h.value, times, nil
	}
	for h.have < h.width {
		if len(h.b) == 0 {
			return 0, 0, errLevels
		}
		h.bits |= uint64(h.b[0]) << h.have
		h.b = h.b[1:]
		h.have += 8
	}
	value = uint32(h.bits & (1<<h.width - 1))
	h.bits >>= h.width
	h.have -= h.width
	h.packed--
	return value, 1, nil
}

// unpack gives out bit-packed values below n, as many as there are whole bytes
// for, and stops before one that is not.
func (h *hybrid) unpack(dst []uint32, n uint32) (count int) {
	if h.run > 0 || h.packed == 0 || h.have > 0 || h.width == 0 {
		return 0
	}
	mask := uint64(1)<<h.width - 1
	most := min(int(min(h.packed, 1<<20)), len(dst), 8*max(len(h.b)-8, 0)/h.width) &^ 7
	for bit := 0; count < most; count++ {
		v := uint32(binary.LittleEndian.Uint64(h.b[bit>>3:]) >> (bit & 7) & mask)
		if v >= n {
			break
		}
		dst[count] = v
		bit += h.width
	}
	count &^= 7
	h.packed -= uint64(count)
	h.b = h.b[count/8*h.width:]
	return count
}

// indices fills dst with indices below n.
func (h *hybrid) indices(dst []uint32, n int) error {
	for len(dst) > 0 {
		if k := h.unpack(dst, uint32(n)); k > 0 {
			dst = dst[k:]
			continue
		}
		v, times, err := h.next(len(dst))
		if err != nil {
			return err
		}
		if int64(v) >= int64(n) {
			return errors.New("has an index beyond its dictionary")
		}
		for i := range dst[:times] {
			dst[i] = v
		}
		dst = dst[times:]
	}
	return nil
}

// levelsV1 cuts levels off the front of a page, if the leaf has any.
func levelsV1(page []byte, most int) (levels, rest []byte, err error) {
	if most == 0 {
		return nil, page, nil
	}
	if len(page) < 4 {
		return nil, nil, errLevels
	}
	n := binary.LittleEndian.Uint32(page)
	if uint64(n) > uint64(len(page)-4) {
		return nil, nil, errLevels
	}
	return page[4 : 4+n], page[4+n:], nil
}

// levels checks that each of n values is there, and every row as long.
func (c *column) levels(rep, def []byte, n int) error {
	if c.leaf.def > 0 {
		missing := 0
		h := hybrid{b: def, width: bitWidth(c.leaf.def)}
		for at := 0; at < n; {
			v, times, err := h.next(n - at)
			if err != nil {
				return err
			}
			if int(v) != c.leaf.def {
				missing += times
			}
			at += times
		}
		if missing > 0 {
			return fault("bad_parquet", "leave these samples out, or fill them", "has %d values in a page of %d that are null, or lists that are empty", missing, n)
		}
	}
	if c.leaf.rep == 0 {
		return nil
	}
	h := hybrid{b: rep, width: bitWidth(c.leaf.rep)}
	for at := 0; at < n; {
		v, times, err := h.next(n - at)
		if err != nil {
			return err
		}
		at += times
		// Of a run of zeros each begins a row; of ones, none.
		if v == 0 && (c.in != 0 || times > 1 && c.perRow > 1) || v != 0 && (c.in == 0 || c.in+times > c.perRow) {
			return fault("bad_shape", "give every row as many", "has a row of other than %d values", c.perRow)
		}
		c.in = (c.in + times) % c.perRow
	}
	return nil
}

func bitWidth(most int) (bits int) {
	for ; most > 0; most >>= 1 {
		bits++
	}
	return bits
}
