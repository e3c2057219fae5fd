package blob

// ReadVector reads an npy of one number per sample, in the order of the file.
func ReadVector(f *File) (v []float64, err error) {
	defer f.finish(&err)
	if f.format != "npy" {
		return nil, f.wrongFormat("vectors", "npy")
	}
	err = f.npy(func(a array) error {
		if len(a.shape) != 1 {
			return fault("bad_shape", "save one number per sample", "has shape %v, want one axis", a.shape)
		}
		if err := f.take(int64(a.shape[0]) * 8); err != nil {
			return err
		}
		v = make([]float64, a.shape[0])
		return readFloats(v, a)
	})
	return v, err
}
