package main

import (
	"math"
	"slices"
	"time"
)

// maxPoints is how many points of a curve are kept: more than a plot shows.
const maxPoints = 200

// series is a curve: pairs of x and y.
type series [][2]float64

// thin leaves most of the points, and the ends.
func (c series) thin(most int) series {
	if len(c) <= most {
		return c
	}
	kept := make(series, most)
	for i := range kept {
		kept[i] = c[i*(len(c)-1)/(most-1)]
	}
	return kept
}

// note keeps a curve for the plots.
func (w *world) note(name string, points series) {
	if w.series == nil {
		w.series = map[string]series{}
	}
	w.series[name] = points
}

// curveLatency is how long the quickest share of all took: share, ms.
const curveLatency = "share, ms"

// distribution is the curve of some latencies, exact to single ones in its upper
// end: shares grow by ever smaller steps.
func distribution(times []time.Duration) series {
	if len(times) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(times))
	curve := series{{0, milliseconds(sorted[0])}}
	nines := math.Log10(float64(len(sorted)))
	for i := 1; i < maxPoints; i++ {
		share := 1 - math.Pow(10, -nines*float64(i)/(maxPoints-1))
		curve = append(curve, [2]float64{share, milliseconds(percentileSorted(sorted, share))})
	}
	return append(curve, [2]float64{1, milliseconds(sorted[len(sorted)-1])})
}
