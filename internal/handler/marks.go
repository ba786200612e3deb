package handler

// markDistance is how many batches stay between the one that runs and those whose dead
// index entries may be marked: the log is flushed with the second megabyte after them, or
// 0.2 s later.
const markDistance = 2

// deadEntries are the index entries that batches of one long deletion have left behind
// and nobody has marked yet. Marking lets the proof that nothing is left pass them
// quickly. It helps, and is not a part of the proof. It keeps its distance: until a
// batch's commit is on the disk, which no batch waits for, Postgres marks nothing.
type deadEntries struct {
	marked int64   // how far entries are marked
	ends   []int64 // of the batches behind it, ascending
}

// add notes where a batch has ended.
func (e *deadEntries) add(low int64) {
	if n := len(e.ends); low > e.marked && (n == 0 || low > e.ends[n-1]) {
		e.ends = append(e.ends, low)
	}
}

// next returns the range above from and up to to that is to be marked now, one batch's;
// none (to is from) as long as no more than keep are behind it.
func (e *deadEntries) next(keep int) (from, to int64) {
	if len(e.ends) <= keep {
		return e.marked, e.marked
	}
	return e.marked, e.ends[0]
}

// done notes that entries are marked up to to.
func (e *deadEntries) done(to int64) {
	if len(e.ends) > 0 && e.ends[0] == to {
		e.marked, e.ends = to, e.ends[1:]
	}
}
