package state

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// TestNamesGrow drives lists that share memory against plain slices: each is
// grown from another one, whole or cut, so that most of them fork.
func TestNamesGrow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	n, err := newNames(nil)
	if err != nil {
		t.Fatal(err)
	}
	type pair struct {
		names *Names
		want  []string
	}
	all := []pair{{n, nil}}
	for round := range 400 {
		from := all[rng.IntN(len(all))]
		if rng.IntN(3) > 0 {
			from = all[len(all)-1]
		}
		rows := len(from.want)
		if rng.IntN(4) == 0 {
			rows = rng.IntN(rows + 1)
		}
		want := append([]string(nil), from.want[:rows]...)
		for i := range rng.IntN(40) {
			want = append(want, fmt.Sprintf("%d/%d.jpg", round, i))
		}
		text := ""
		if len(want) > rows {
			text = strings.Join(want[rows:], "\n") + "\n"
		}
		g, err := from.names.grow(rows, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pair{g, want})
	}
	for i, p := range all {
		if p.names.Len() != len(p.want) {
			t.Fatalf("list %d has %d rows, want %d", i, p.names.Len(), len(p.want))
		}
		for row, name := range p.want {
			if got, ok := p.names.Row(name); p.names.At(row) != name || !ok || got != row {
				t.Fatalf("list %d: row %d is %q, Row(%q) = %d, %v", i, row, p.names.At(row), name, got, ok)
			}
		}
		if last := all[len(all)-1]; len(last.want) > len(p.want) {
			name := last.want[len(p.want)]
			if row, ok := p.names.Row(name); ok && p.want[row] != name {
				t.Fatalf("list %d knows %q of a longer one, in row %d", i, name, row)
			}
		}
	}
	if _, err := n.grow(0, []byte("a\nb\na\n")); err == nil || !strings.Contains(err.Error(), `"a" twice, in rows 0 and 2`) {
		t.Errorf("a name twice: %v", err)
	}
}

// TestNamesAreReadWhileTheyGrow is for the race detector.
func TestNamesAreReadWhileTheyGrow(t *testing.T) {
	n, err := newNames([]byte("0\n"))
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for i := 1; i < 2000; i++ {
		old := n
		if n, err = n.grow(i, fmt.Appendf(nil, "%d\n", i)); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			readers.Go(func() {
				for j := range 4000 {
					if row, ok := old.Row(fmt.Sprint(j)); ok != (j < old.Len()) || ok && row != j {
						t.Errorf("Row(%d) of %d = %d, %v", j, old.Len(), row, ok)
					}
				}
			})
		}
	}
	readers.Wait()
}

// BenchmarkNamesOneByOne appends names one at a time to a list of b.N: the
// time of one must not depend on how many there are.
func BenchmarkNamesOneByOne(b *testing.B) {
	n, err := newNames(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := range b.N {
		if n, err = n.grow(i, fmt.Appendf(nil, "images/%08d.jpg\n", i)); err != nil {
			b.Fatal(err)
		}
	}
}
