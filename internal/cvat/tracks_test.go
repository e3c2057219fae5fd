package cvat

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
)

// Tags and shapes stand on their frame; a track is seen from a key frame to
// the next, unless it is outside there.
func TestAnnotatedFrames(t *testing.T) {
	var a annotations
	err := json.Unmarshal([]byte(`{"version":1,"tags":[{"frame":20,"label_id":1}],"shapes":[{"frame":22,"type":"rectangle"}],
		"tracks":[{"frame":24,"shapes":[{"frame":27,"outside":true},{"frame":24,"outside":false}]},{"frame":28,"shapes":[{"frame":28,"outside":false}]}]}`), &a)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(a.frames(30)))
	if want := []int{20, 22, 24, 25, 26, 28, 29}; !slices.Equal(got, want) {
		t.Errorf("frames %v, want %v", got, want)
	}
}
