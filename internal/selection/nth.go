package selection

// nth puts the element that is number n in order into place n, those before it
// in front and the others behind (Hoare, Algorithm 65: find, 1961). No two
// elements compare equal.
func nth(list []int32, n int, compare func(a, b int32) int) {
	for lo, hi := 0, len(list)-1; lo < hi; {
		middle := list[lo+(hi-lo)/2]
		i, j := lo, hi
		for i <= j {
			for compare(list[i], middle) < 0 {
				i++
			}
			for compare(middle, list[j]) < 0 {
				j--
			}
			if i <= j {
				list[i], list[j] = list[j], list[i]
				i++
				j--
			}
		}
		switch {
		case n <= j:
			hi = j
		case n >= i:
			lo = i
		default:
			return
		}
	}
}
