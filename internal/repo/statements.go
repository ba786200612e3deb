package repo

import (
	"embed"
	"strings"
	"text/template"

	"github.com/lethe-im/lethe/internal/plan"
)

//go:embed sql/*.sql
var sqlFiles embed.FS

// statements is the SQL of one plan, made once at start-up.
type statements struct {
	claim, reclaim, lockLedger                                                  string
	lockConversations                                                           string
	take, takeFinish, takeOne, takeOneFinish                                    string
	expressMessages, expressMessagesSkip                                        string
	lockedMessages, lockedExpressMessages                                       string
	expressChildren, expressChildrenSkip                                        string
	lockedExpressChildren                                                       []string
	finish, finishProven, outcome                                               string
	longClaim, longStart, longMessages, longCorrect, longProve                  string
	lockedLongMessages                                                          string
	longChildren, lockedLongChildren                                            []string
	turn, held, hold                                                            string
	sweep, claimCommands, failClaim, fail, failPinned, release, blocked, reopen string
	adopt, tables, keptRow                                                      string
	kept                                                                        []string // in the order of [plan.Checked.Emptied]
}

// sqlArgs is what a template sees: the plan and the variant that is wanted.
type sqlArgs struct {
	*plan.Checked
	Child      plan.Child
	SkipLocked bool // skip what others have locked, instead of waiting
	Proven     bool // an earlier statement has proved that nothing is left
	Pin        bool // decide the boundary too
	One        bool // for a single deletion, whose values aren't arrays
}

// makeStatements fills the templates in. They are ours and the plan has been
// checked, so that an error here is a programming error.
func makeStatements(s *plan.Checked) statements {
	all := template.Must(template.New("sql").ParseFS(sqlFiles, "sql/*.sql"))
	make1 := func(name string, a sqlArgs) string {
		a.Checked = s
		var b strings.Builder
		if err := all.ExecuteTemplate(&b, name+".sql", a); err != nil {
			panic("BUG: " + name + ".sql: " + err.Error())
		}
		return b.String()
	}
	plain := func(name string) string { return make1(name, sqlArgs{}) }
	perChild := func(name string, skipLocked bool) []string {
		out := make([]string, len(s.Children))
		for i, c := range s.Children {
			out[i] = make1(name, sqlArgs{Child: c, SkipLocked: skipLocked})
		}
		return out
	}
	st := statements{
		claim: plain("claim"), claimCommands: plain("claim_commands"), reclaim: plain("reclaim"), lockLedger: plain("lock_ledger"),
		lockConversations: plain("lock_conversations"),
		finish:            plain("finish"), finishProven: make1("finish", sqlArgs{Proven: true}), outcome: plain("outcome"),
		longClaim: plain("long_claim"), longStart: plain("long_start"), longCorrect: plain("long_correct"), longProve: plain("long_prove"),
		turn: plain("turn"), held: plain("held"), hold: plain("hold"),
		sweep: plain("sweep"), failClaim: plain("fail_claim"), fail: plain("fail"), failPinned: make1("fail", sqlArgs{Pin: true}), release: plain("release"), blocked: plain("blocked"), reopen: plain("reopen"),
		adopt: plain("adopt"), tables: plain("tables"), keptRow: plain("kept_row"),
	}
	st.kept = append([]string{plain("kept")}, perChild("kept", false)...)
	if s.Locked {
		st.kept = append(st.kept[1:], st.kept[0])
		st.lockedMessages, st.lockedExpressMessages = plain("locked_messages"), plain("locked_express_messages")
		st.lockedLongMessages = plain("locked_long_messages")
		st.lockedExpressChildren, st.lockedLongChildren = perChild("locked_express_child", true), perChild("locked_long_child", false)
		return st
	}
	st.take, st.takeFinish = plain("take"), plain("take_finish")
	st.takeOne, st.takeOneFinish = plain("take_one"), make1("take_finish", sqlArgs{One: true})
	st.expressMessages = plain("express_messages")
	st.expressMessagesSkip = make1("express_messages", sqlArgs{SkipLocked: true})
	st.longMessages = plain("long_messages")
	if len(s.Children) > 0 {
		st.expressChildren, st.expressChildrenSkip = plain("express_children"), make1("express_children", sqlArgs{SkipLocked: true})
	}
	st.longChildren = perChild("long_child", false)
	return st
}
