package repo

import (
	"strings"
	"testing"
)

// In a log of so many members that the floor isn't found by reading all of them, and of negative positions, a watermark of 0 is none: that
// member, who came when a floor was pinned, sees what is above that.
func TestTheFloorOfManyMembersWithNegativePositions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		others string // watermarks of the first 120
		zeros  string // and of those who have 0, what the ledger has
		want   int64
	}{
		"all have deleted what is below 0":         {"-5", "", -8},
		"who has 0 has deleted more by the ledger": {"-5", "-3", -5},
		"and less": {"-5", "-7", -7},
		"some have 0, too, and have deleted more":    {"case when i % 3 = 0 then 0 else -5 end", "", -8},
		"others have deleted messages above 0":       {"case when i % 3 = 0 then 2 else -5 end", "", -8},
		"all others have deleted messages above 0":   {"4", "", -8},
		"all others have, and who has 0, the ledger": {"4", "3", 3},
		"nobody else has deleted anything":           {"0", "", -8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newLog(t, "numbers", "true")
			fillLog(t, r, 1, 0)
			say(t, r, 1, -10, 10)
			execSQL(t, r.pool, `insert into log.members (room, who, n) select 1, 'm' || i, `+c.others+` from generate_series(1, 120) i`)
			if strings.Contains(c.others, "0 else") {
				execSQL(t, r.pool, `insert into lethe.watermarks select 'demo', who, '1', 5 from log.members where n = 0`)
			}
			boundary := int64(-8)
			d := everyoneOf("c", 1, boundary)
			d.Boundary = &boundary
			if err := r.EraseEveryone(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			carryOutErasure(t, r, 1, 100)
			execSQL(t, r.pool, `insert into log.members (room, who, n) values (1, 'late', 0)`)
			if c.zeros != "" {
				execSQL(t, r.pool, `insert into lethe.watermarks select 'demo', 'late', '1', `+c.zeros)
			}
			say(t, r, 1, -9, -9) // whose position is below the floor
			if raised, err := r.RaiseFloor(t.Context(), "demo", "1"); err != nil || raised.Floor != c.want || !raised.Open {
				t.Errorf("raised = %+v, %v; want %d", raised, err, c.want)
			}
			carryOutErasure(t, r, 1, 100)
			if got := queryOne[int64](t, r.pool, `select min(n) from log.messages`); got != c.want+1 {
				t.Errorf("the first message is %d; want %d", got, c.want+1)
			}
		})
	}
}
