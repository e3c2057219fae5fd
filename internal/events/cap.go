package events

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// DistanceCap is a distance above which CORAL gains nothing, 0 for none, or
// AutoCap: one from the data. As JSON and as text it is a number or auto.
type DistanceCap float64

// AutoCap is the DistanceCap "auto".
const AutoCap DistanceCap = -1

// MarshalText writes auto or the number.
func (d DistanceCap) MarshalText() ([]byte, error) {
	if d == AutoCap {
		return []byte("auto"), nil
	}
	return strconv.AppendFloat(nil, float64(d), 'g', -1, 64), nil
}

// UnmarshalText reads auto or a number, which is not below 0.
func (d *DistanceCap) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*d = AutoCap
		return nil
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(v >= 0) || math.IsInf(v, 0) {
		return fmt.Errorf("distance cap %.40q: want a distance, 0 for none, or auto", text)
	}
	*d = DistanceCap(v)
	return nil
}

// MarshalJSON writes "auto" or the number.
func (d DistanceCap) MarshalJSON() ([]byte, error) {
	if d == AutoCap {
		return []byte(`"auto"`), nil
	}
	return json.Marshal(float64(d))
}

// UnmarshalJSON reads "auto" or a number, which is not below 0.
func (d *DistanceCap) UnmarshalJSON(data []byte) error {
	if string(data) == `"auto"` {
		data = []byte("auto")
	}
	return d.UnmarshalText(data)
}
