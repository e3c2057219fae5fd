package score

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// bigExp is e^x for x ≤ 0 by its series, in 200 bits: (e^(x/1024))^1024.
func bigExp(x float64) *big.Float {
	float := func(x float64) *big.Float { return new(big.Float).SetPrec(200).SetFloat64(x) }
	small, sum, term := float(x/1024), float(1), float(1)
	for n := 1.0; n < 60; n++ {
		term.Mul(term, small).Quo(term, float(n))
		sum.Add(sum, term)
	}
	for range 10 {
		sum.Mul(sum, sum)
	}
	return sum
}

func TestExp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		x := -708 * r.Float64() * r.Float64()
		got := exp(x)
		if want, _ := bigExp(x).Float64(); math.Abs(got-want) > 0x1p-52*want {
			t.Fatalf("exp(%v) = %v, want %v", x, got, want)
		}
	}
	for x, want := range map[float64]float64{0: 1, math.Copysign(0, -1): 1, -708.5: 0, -1e300: 0, math.Inf(-1): 0} {
		if got := exp(x); got != want {
			t.Errorf("exp(%v) = %v, want %v", x, got, want)
		}
	}
}
