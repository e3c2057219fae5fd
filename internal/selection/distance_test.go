package selection

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// TestDistanceOrder: the order of additions shows in the last bits, and is
// the documented one.
func TestDistanceOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := 1; n < 70; n++ {
		x, y := make([]float32, n), make([]float32, n)
		exact := new(big.Float).SetPrec(600)
		var lane [16]float64
		for i := range n {
			x[i], y[i] = float32(r.NormFloat64()), float32(r.ExpFloat64())
			d := float64(x[i]) - float64(y[i])
			lane[i%16] += float64(d * d) // not fused
			b := new(big.Float).SetPrec(600).Sub(big.NewFloat(float64(x[i])), big.NewFloat(float64(y[i])))
			exact.Add(exact, b.Mul(b, b))
		}
		for _, half := range []int{8, 4, 2, 1} {
			for l := range half {
				lane[l] += lane[l+half]
			}
		}
		got := distance2(x, y)
		if got != lane[0] {
			t.Fatalf("n = %d: %x, want %x", n, got, lane[0])
		}
		if want, _ := exact.Float64(); math.Abs(got-want) > 1e-14*want {
			t.Fatalf("n = %d: %v, exactly %v", n, got, want)
		}
		if got != distance2(y, x) {
			t.Fatalf("n = %d: not symmetric", n)
		}
	}
}

func TestDistanceExtremes(t *testing.T) {
	big, small := float32(math.MaxFloat32), float32(math.SmallestNonzeroFloat32)
	if got := distance2([]float32{big, big}, []float32{-big, -big}); math.IsInf(got, 1) {
		t.Error("overflow")
	}
	if got := distance2([]float32{small}, []float32{0}); got == 0 {
		t.Error("underflow")
	}
}

func TestPow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		x, e := r.Float64(), 4*r.Float64()
		if got, want := pow(x, e), math.Pow(x, e); math.Abs(got-want) > 3e-14*want {
			t.Fatalf("pow(%v, %v) = %v, want %v", x, e, got, want)
		}
		if pow(x, e) > pow(math.Nextafter(x, 2), e) {
			t.Fatalf("pow(%v, %v) falls", x, e)
		}
		if pow(x, 1) != x || pow(x, 2) != x*x || pow(x, 0.5) != math.Sqrt(x) || pow(x, 0) != 1 {
			t.Fatalf("pow(%v, …) is not exact", x)
		}
	}
	if pow(0, 0) != 1 || pow(0, 0.7) != 0 || pow(0, 3) != 0 {
		t.Error("powers of 0")
	}
}
