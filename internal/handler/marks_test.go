package handler

import "testing"

func TestDeadEntries(t *testing.T) {
	t.Parallel()
	var dead deadEntries
	want := func(keep int, from, to int64) {
		t.Helper()
		if f, u := dead.next(keep); f != from || u != to {
			t.Errorf("next(%d) = %d, %d; want %d, %d", keep, f, u, from, to)
		}
	}
	want(0, 0, 0)
	for _, end := range []int64{10, 10, 25, 40} { // a batch that had to stop short comes twice
		dead.add(end)
	}
	want(markDistance, 0, 10)
	want(markDistance, 0, 10) // nobody has marked them yet
	dead.done(10)
	want(markDistance, 10, 10)
	dead.done(10) // there was nothing to mark
	want(0, 10, 25)
	dead.done(25)
	want(0, 25, 40)
	dead.done(40)
	want(0, 40, 40)
	dead.add(30) // it starts over for what has appeared
	want(0, 40, 40)
}
