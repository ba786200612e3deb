package conversation

// CommandIDAt is NewCommandID at a given time.
var CommandIDAt = commandIDAt

// AgeHints makes the live copies that f has heard as old as those that it
// tells without having found them in the stream.
func AgeHints(f *Feed) {
	f.inbox.mu.Lock()
	defer f.inbox.mu.Unlock()
	for i := range f.inbox.hints {
		f.inbox.hints[i].at = f.inbox.hints[i].at.Add(-hintWait)
	}
}
