package handler

// distance is how many batches stay between the one under way and those that may
// be walked over: the log is flushed with the second megabyte after them, or
// 0.2 s later.
const distance = 2

// trail is what batches of one long deletion have left behind in the index, and
// nobody has walked over since. The walk marks it as gone for good, so that the
// proof that nothing is left passes it quickly. It is a help, not a part of the
// proof. It keeps its distance: until a batch's commit is on the disk, which no
// batch waits for, Postgres marks nothing, and a walk is for nothing.
type trail struct {
	swept int64   // where the walk is
	ends  []int64 // of the batches behind it, ascending
}

// add notes where a batch has ended.
func (t *trail) add(low int64) {
	if n := len(t.ends); low > t.swept && (n == 0 || low > t.ends[n-1]) {
		t.ends = append(t.ends, low)
	}
}

// next returns the piece above from and up to to that is to be walked over now,
// one batch's; none (to is from) as long as no more than keep are behind it.
func (t *trail) next(keep int) (from, to int64) {
	if len(t.ends) <= keep {
		return t.swept, t.swept
	}
	return t.swept, t.ends[0]
}

// done notes that somebody has walked up to to.
func (t *trail) done(to int64) {
	if len(t.ends) > 0 && t.ends[0] == to {
		t.swept, t.ends = to, t.ends[1:]
	}
}
