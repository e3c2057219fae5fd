package score_test

import (
	"fmt"

	"nextbatch/internal/score"
)

func ExampleClassify() {
	m, err := score.NewMatrix([]int{2, 3}, []float32{
		0.7, 0.2, 0.1,
		0.4, 0.5, 0.1,
	})
	if err != nil {
		panic(err)
	}
	vectors, err := score.Classify(m, score.Options{Strict: true})
	if err != nil {
		panic(err)
	}
	for _, v := range vectors {
		fmt.Printf("%-28s %.3f\n", v.Name, v.Values)
	}
	// Output:
	// uncertainty_least_confidence [0.450 0.750]
	// uncertainty_margin           [0.500 0.900]
	// uncertainty_entropy          [0.730 0.859]
}

func ExampleClassify_bad() {
	logits, _ := score.NewMatrix([]int{2, 2}, []float64{0.5, 0.5, 3, -1})
	_, err := score.Classify(logits, score.Options{Strict: true})
	fmt.Println(err)
	_, err = score.Classify(logits, score.Options{Strict: true, Normalization: score.NormalizeSoftmax})
	fmt.Println(err)
	// Output:
	// 1 of 2 predictions are bad (row 1: entry 0 is 3, outside [0, 1])
	// <nil>
}

func ExampleDetection() {
	d, _ := score.NewDetection(score.DefaultDetection(), score.Options{Strict: true})
	images := []score.Boxes{
		{
			ObjectProbabilities: []float64{0.9, 0.5, 0.8},
			ClassProbabilities:  [][]float64{{0.7, 0.2, 0.1}, {0.4, 0.5, 0.1}, {0.6, 0.3, 0.1}},
		},
		{ObjectProbabilities: []float64{0.1}, ClassProbabilities: [][]float64{{0.5, 0.41, 0.09}}},
		{}, // nothing found
	}
	for _, boxes := range images {
		if err := d.Add(boxes); err != nil {
			panic(err)
		}
	}
	vectors, _ := d.Result()
	for _, v := range vectors {
		fmt.Printf("%-28s %.3f\n", v.Name, v.Values)
	}
	// Output:
	// object_frequency             [1.000 0.944 0.900]
	// objectness_least_confidence  [0.547 0.950 0.000]
	// uncertainty_least_confidence [0.750 0.750 0.000]
	// uncertainty_margin           [0.900 0.910 0.000]
	// uncertainty_entropy          [0.859 0.845 0.000]
}

func ExampleSegmentation_AddRegions() {
	s, _ := score.NewSegmentation(score.Options{Strict: true})
	if err := s.AddRegions([]score.Region{
		{Pixels: 300, Probabilities: []float64{1, 0}},
		{Pixels: 100, Probabilities: []float64{0.5, 0.5}},
	}); err != nil {
		panic(err)
	}
	vectors, _ := s.Result()
	fmt.Println(vectors[1])
	// Output: {uncertainty_margin [0.25]}
}

func ExampleKeypoints() {
	k, _ := score.NewKeypoints(score.Options{Strict: true})
	if err := k.Add([][]float64{
		{10, 20, 0.1},
		{10, 20, 0.9, 30, 40, 0.9, 50, 60, 0.9},
	}); err != nil {
		panic(err)
	}
	vectors, _ := k.Result()
	fmt.Println(vectors[0])
	// Output: {mean_uncertainty [0.5]}
}
