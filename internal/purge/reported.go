package purge

// Reported is what a stored event reports, and a replay does again.
type Reported struct {
	Record
	Kind ReportedKind
}

// ReportedKind is what kind of thing an event reports.
type ReportedKind int

const (
	// ReportedDeleted is a deletion that was done: the record is the ledger's.
	ReportedDeleted ReportedKind = iota
	// ReportedErased is a shared log that was erased through ThroughSeq at ErasedAt, for the hidden deletion that the
	// key names; for none without a command.
	ReportedErased
	// ReportedAllDeleted is a command all of whose deletions were done at CompletedAt. The key has no conversation.
	ReportedAllDeleted
)
