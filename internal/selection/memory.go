package selection

// MemoryBytes returns about how much memory Select takes at its peak beside
// the embeddings, which are only read, and the scores. Rows are those of the
// pool, centers those preselected; dim is 0 where no distance is needed.
//
// Of each row there are bounds, owner, key, weight, places in lists, and what
// KeepState asks for; of each center and pick its name and its place in the
// panels; of a pick also what is reported. Where the data lie far from the
// origin, centers have copies for a while. The factor is garbage that is not
// collected yet.
//
// Measured as growth of VmHWM with mapped embeddings of 20,000 × 768, 200,000 ×
// 64 and 256, 500,000 × 16 and 128, 500 to 20,000 picks, up to 50,000 centers,
// gaussian and power law: between two fifths of this and this; also with 100 added
// to every value, which is where it is nearest.
func MemoryBytes(rows, dim, centers, picks int) int64 {
	const least = 8 << 20
	chosen := centers + picks
	kept := min(chosen/lanes+1, max(panelsLast, rows/panelsShare))
	probes := probePanels * min(chosen/probeShare, rows/probePool, probeMost)
	active := 2 * activeMost * dim
	bytes := 64*rows + 160*centers + 640*picks + 4*(active+dim*(centers+2*picks)+lanes*(dim+1)*(kept+probes))
	return int64(bytes)*5/4 + least
}
