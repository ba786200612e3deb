package conversation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

func TestNewCommandIDsAreUniqueULIDs(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 10_000 {
		id := conversation.NewCommandID()
		if seen[id] || len(id) != 26 || id[0] > '7' || strings.Trim(id, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") != "" {
			t.Fatalf("NewCommandID = %q", id)
		}
		seen[id] = true
	}
}

func TestCommandIDsSortByTheirMillisecond(t *testing.T) {
	t.Parallel()
	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	last := conversation.CommandIDAt(at)
	if want := "00VHNCZB00"; last[:10] != want { // 946684800000 ms
		t.Errorf("the id of %v is %s; want it to begin with %s", at, last, want)
	}
	for range 1000 {
		at = at.Add(time.Millisecond)
		id := conversation.CommandIDAt(at)
		if id <= last {
			t.Fatalf("the id of %v is %s, after %s", at, id, last)
		}
		last = id
	}
}
