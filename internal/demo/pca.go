package demo

import (
	"math"
	"math/rand/v2"
)

// components of the principal component analysis: the embedding's dimension.
const components = 64

// pca is a linear map from pixels to features: the projection of the centered
// pixels on the directions in which the images differ most, all scaled alike so
// that the mean variance of a feature is 1.
type pca struct {
	mean  []float64   // of each pixel
	basis [][]float64 // components orthonormal directions, one per feature
	scale float64
}

// fitPCA finds the leading directions by orthogonal iteration: multiply a basis
// by the covariance matrix, make it orthonormal again, repeat. Distances, which
// is what selection looks at, depend only on the subspace that the basis spans.
// All images must have equally many pixels. Deterministic.
func fitPCA(images [][]byte, dim int) *pca {
	covariance, mean := covarianceOf(images)
	size := len(mean)
	rng := rand.New(rand.NewPCG(1, 0))
	basis := make([][]float64, dim)
	next := make([][]float64, dim)
	for k := range basis {
		basis[k], next[k] = make([]float64, size), make([]float64, size)
		for j := range basis[k] {
			basis[k][j] = rng.NormFloat64()
		}
	}
	const iterations = 10 // keep 88.1 % of the variance of Fashion-MNIST, as 40 do
	for range iterations {
		for k, v := range basis {
			for i, row := range covariance {
				next[k][i] = dot(row, v)
			}
		}
		basis, next = next, basis
		orthonormalize(basis)
	}
	p := &pca{mean: mean, basis: basis, scale: 1}
	var total float64 // of the variances that the basis keeps
	for _, v := range basis {
		for i, row := range covariance {
			total += v[i] * dot(row, v)
		}
	}
	if total > 0 {
		p.scale = math.Sqrt(float64(dim) / total)
	}
	return p
}

// project writes the features of one image into dst.
func (p *pca) project(dst []float64, image []byte) {
	centered := make([]float64, len(p.mean))
	for j, x := range image {
		centered[j] = float64(x) - p.mean[j]
	}
	for k, v := range p.basis {
		dst[k] = p.scale * dot(v, centered)
	}
}

// features of images, one row each.
func (p *pca) features(images [][]byte) [][]float64 {
	rows := make([][]float64, len(images))
	for i, image := range images {
		rows[i] = make([]float64, len(p.basis))
		p.project(rows[i], image)
	}
	return rows
}

// covarianceOf returns the covariance matrix of the pixels and their mean. The
// sums are of integers, hence exact; black pixels cost nothing.
func covarianceOf(images [][]byte) (covariance [][]float64, mean []float64) {
	size := len(images[0])
	sum := make([]int64, size)
	products := make([][]int64, size) // upper triangle: products[i][j-i] belongs to pixels i and j
	for i := range products {
		products[i] = make([]int64, size-i)
	}
	wide := make([]int64, size)
	for _, image := range images {
		for j, x := range image {
			wide[j] = int64(x)
		}
		for i, x := range wide {
			if x == 0 {
				continue
			}
			sum[i] += x
			row := products[i]
			for j, y := range wide[i:] {
				row[j] += x * y
			}
		}
	}
	n := float64(len(images))
	covariance, mean = make([][]float64, size), make([]float64, size)
	for i, s := range sum {
		mean[i] = float64(s) / n
		covariance[i] = make([]float64, size)
	}
	for i, row := range products {
		for j, p := range row {
			c := float64(p)/n - mean[i]*mean[i+j]
			covariance[i][i+j], covariance[i+j][i] = c, c
		}
	}
	return covariance, mean
}

// orthonormalize makes the vectors orthogonal and of length 1 by modified
// Gram-Schmidt. A vector that the ones before it span becomes zero.
func orthonormalize(vectors [][]float64) {
	for k, v := range vectors {
		before := math.Sqrt(dot(v, v))
		for range 2 { // twice is enough (Kahan, Parlett)
			for _, u := range vectors[:k] {
				c := dot(u, v)
				for j := range v {
					v[j] -= c * u[j]
				}
			}
		}
		length := math.Sqrt(dot(v, v))
		for j := range v {
			if length <= 1e-10*before {
				v[j] = 0
			} else {
				v[j] /= length
			}
		}
	}
}

// dot is the scalar product of a with as much of b, in four sums.
func dot(a, b []float64) float64 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float64
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}
