package selection

import "slices"

// MemoryBytes returns about how much memory Select takes at its peak beside
// the embeddings, which are only read, and the scores. Rows are those of the
// pool, centers those preselected; dim is 0 where no distance is needed. Where there
// are class probabilities, BADGE takes as much again as they do, and with Cosine
// HERDING and UHERDING as much again as the embeddings.
func MemoryBytes(m Method, rows, dim, centers, picks int) int64 {
	if m == Herding || m == UHerding {
		return herdingBytes(rows, dim, centers, picks)
	}
	bytes := greedyBytes(rows, dim, centers, picks)
	if slices.Contains([]Method{TypiClust, FilterCluster, Typicality, Badge}, m) {
		// Rows by key, their clusters and neighbors; centers and references in panels.
		n := rows + centers
		bytes += 72*int64(n) + 8*typicalNeighbors*int64(min(n, 1<<16)) + 4*int64(dim)*int64(3*min(centers+picks, n)+min(n, typicalSample))
	}
	return bytes
}

// greedyBytes is MemoryBytes for CORESET and CORAL, and enough for the others.
//
// Of each row there are bound, owner, key, weight, places in lists, and 12 bytes of
// the last state; of each center and pick its place in the panels; of a pick also
// what is reported. The factor is garbage that is not collected yet.
//
// Measured as growth of VmHWM with embeddings of 20,000 × 768, 200,000 × 64 and
// 256, 500,000 × 16 and 128, 500 to 20,000 picks, up to 50,000 centers, gaussian
// and power law, also with 100 added to every value: between a quarter and three
// fifths of this, and up to four fifths on processors without codes.
func greedyBytes(rows, dim, centers, picks int) int64 {
	const least = 8 << 20
	chosen := centers + picks
	kept := min(chosen/lanes+1, max(panelsLast, rows/panelsShare))
	probes := probePanels * min(chosen/probeShare, rows/homePool, probeMost)
	active := 2 * activeMost * dim
	bytes := 52*rows + 112*centers + 160*picks + 4*(active+lanes*(dim+1)*(kept+probes))
	return int64(bytes)*5/4 + least
}

// herdingBytes is MemoryBytes for HERDING and UHERDING: the lists, if all rows
// cover as many landmarks as lists may hold in the mean, which they rarely do, and of
// each row 64 bytes and what two States hold.
// Measured as growth of the heap without structure and with nothing preselected,
// where lists are as long as they get: 842 of 964 MB for 30,000 × 128, 859 of 986 MB
// for 300,000 × 16.
func herdingBytes(rows, dim, centers, picks int) int64 {
	const least = 8 << 20
	n := int64(rows)
	lists := min(kernelBytes*n*n, max(listsMost, n*listsEach))
	packed := min(n, max(1<<15, int64(processors())*max(wholeCells*pairsMost/max(1, n), n/128))) // landmarks whose vectors are copied, by each goroutine those around its cell
	space := 24 * min(blockRows*n, blockSpace) * int64(processors())                             // that lists are made in
	bytes := lists + space + 120*n + int64(160*centers+700*picks) + 4*int64(dim)*(packed+2*int64(centers+picks))
	return bytes*9/8 + least
}
