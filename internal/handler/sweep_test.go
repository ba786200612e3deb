package handler

import "testing"

func TestTrail(t *testing.T) {
	t.Parallel()
	var trail trail
	want := func(keep int, from, to int64) {
		t.Helper()
		if f, u := trail.next(keep); f != from || u != to {
			t.Errorf("next(%d) = %d, %d; want %d, %d", keep, f, u, from, to)
		}
	}
	want(0, 0, 0)
	for _, end := range []int64{10, 10, 25, 40} { // a batch that had to stop short comes twice
		trail.add(end)
	}
	want(distance, 0, 10)
	want(distance, 0, 10) // nobody has walked there yet
	trail.done(10)
	want(distance, 10, 10)
	trail.done(10) // there was nothing to walk over
	want(0, 10, 25)
	trail.done(25)
	want(0, 25, 40)
	trail.done(40)
	want(0, 40, 40)
	trail.add(30) // it starts over for what has appeared
	want(0, 40, 40)
}
