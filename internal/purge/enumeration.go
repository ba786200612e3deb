package purge

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Enumeration is what the ledger has of a command that names its deletions by a rule: all conversations of a user, or
// every owner of a conversation. The deletions are found along an index, page by page.
type Enumeration struct {
	// Reused says that the ledger knows the command's id with other content; then nothing
	// else is set.
	Reused bool
	// At is how far deletions have been found.
	At Place
	// Open are the ids of those up to there that may not be final, or whose events may not be
	// stored: conversations, or owners of the conversation that At is in.
	Open []string
	// Completed says that all were final once. The deletions are those in the ledger then.
	Completed bool
}

// Place is a place in the order in which an enumeration finds deletions. The zero value is its beginning.
type Place struct {
	// Target is the index of the command's conversation, of a command for everyone.
	Target int
	// List is the index of the table that lists ids, and After the last of them; "" for none yet.
	List  int
	After string
	// Done says that no table has more for the target.
	Done bool
}

// String is p as the ledger stores it; "" for the zero value.
func (p Place) String() string {
	switch {
	case p == Place{}:
		return ""
	case p.Done:
		return fmt.Sprintf("%d done", p.Target)
	}
	return fmt.Sprintf("%d %d %s", p.Target, p.List, p.After)
}

// ParsePlace reads what [Place.String] wrote.
func ParsePlace(s string) (p Place, err error) {
	if s == "" {
		return Place{}, nil
	}
	target, rest, _ := strings.Cut(s, " ")
	list, after, _ := strings.Cut(rest, " ")
	if p.Target, err = strconv.Atoi(target); err == nil && list != "done" {
		p.List, err = strconv.Atoi(list)
	}
	if err != nil {
		return Place{}, fmt.Errorf("lethe.enumerations has the cursor %q, which is none", s)
	}
	p.Done, p.After = list == "done", after
	return p, nil
}

// Totals are what has become of all deletions of a command, by the ledger.
type Totals struct {
	// Done and Failed count them, and MessagesDeleted is the sum over them.
	Done, Failed, MessagesDeleted int64
	// Reason and Message are those of the first that failed; "" for none.
	Reason, Message string
	// MultiClientSync is the app's switch when the last one was final, for the first time.
	MultiClientSync bool
	// CompletedAt is when the last one was final.
	CompletedAt time.Time
}
