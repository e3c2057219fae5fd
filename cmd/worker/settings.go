package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/kelseyhightower/envconfig"
)

// byteSize is a number of bytes that may be set with one of Kubernetes' suffixes.
type byteSize int64

var byteUnits = []struct {
	suffix string
	bytes  int64
}{ // Ki before k: the longer one is looked for first
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12},
}

// Decode reads 4294967296, 4Gi or 4G.
func (b *byteSize) Decode(value string) error {
	digits, unit := value, int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(value, u.suffix); ok {
			digits, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 0, 64)
	if err != nil {
		return err
	}
	if n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return strconv.ErrRange
	}
	*b = byteSize(n * unit)
	return nil
}

// settingForms are what settings look like, by the type of their field.
var settingForms = map[string]string{
	"int":            "a whole number",
	"float64":        "a number such as 0.05",
	"bool":           "true or false",
	"time.Duration":  "a duration such as 30s",
	"main.byteSize":  "a number of bytes, such as 4294967296 or 4Gi",
	"map[string]int": "dataset:project, comma separated, where the project is a number",
}

// explainSetting says what a setting that cannot be read is to look like.
func explainSetting(err error) error {
	var p *envconfig.ParseError
	if !errors.As(err, &p) {
		return err
	}
	if form := settingForms[p.TypeName]; form != "" {
		return fmt.Errorf("%s is %q: want %s", p.KeyName, p.Value, form)
	}
	return fmt.Errorf("%s: %w", p.KeyName, p.Err)
}
