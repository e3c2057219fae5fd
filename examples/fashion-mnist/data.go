// Package fashionmnist carries the test part of Fashion-MNIST, the images that
// the demo runs on: 10,000 product photos of 28 x 28 gray pixels in 10 classes
// of equal size. See README.md for source and license.
package fashionmnist

import _ "embed"

// Images and Labels are the files as published: gzip over IDX.
var (
	//go:embed t10k-images-idx3-ubyte.gz
	Images []byte
	//go:embed t10k-labels-idx1-ubyte.gz
	Labels []byte
)

// Classes are the names of the labels 0 to 9.
var Classes = [10]string{
	"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
	"Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
}
