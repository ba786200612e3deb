package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// Bare names of columns of members: lefts of those that say that one has left, as a time or true, stays the opposite;
// clears of watermarks, reads of what somebody has read, starts of the first position that a member sees.
var (
	lefts  = regexp.MustCompile(`^(is)?(left|deleted|removed|kicked|banned|deactivated|revoked|exited|departed|discarded)(at|on|time)?$`)
	stays  = regexp.MustCompile(`^(is)?(following|active|activated|joined|subscribed|enabled|member|current)$`)
	clears = regexp.MustCompile(`^(history|messages?|chat|conversation)?(cleared|deleted|hidden|purged|clear)(through|before|until|upto|to|seq|messages?|history)(id|seq|seqid|at)?$|^(clearedat|clearid|clearedid)$`)
	reads  = regexp.MustCompile(`^(last)?(read|seen|viewed|view|delivered|received|recv|ack|acked)(seq|message|msg|post|at|time|upto|through|until)?(id|seq|at|seqid)?$`)
	starts = regexp.MustCompile(`^(visiblefrom|historyfrom|historystart|firstvisible|joinedseq|minseq|startseq|fromseq|seefrom|joinedmessage)(id|seq|at)?$`)
	before = regexp.MustCompile(`before|until`)
)

// doubtMembers asks about columns of the members' table that the plan doesn't name, or takes for something else.
func (k *checker) doubtMembers(e Placed, rel *relation) {
	watermark, _ := parseColumn(or(e.Watermark.Column, "x")) // validated
	switch name := bare(watermark); {
	case e.Watermark.Column == "":
		for _, c := range rel.columnNames() {
			if k.mayBePosition(rel.columns[c]) && clears.MatchString(bare(c)) && !e.names(c) {
				k.warn("members: by its name, column %s of %s says through which message the member has deleted the conversation; if the app reads history through it, add watermark: %s; without it, Lethe writes lethe.watermarks alone",
					quote(c), rel, scalar(c))
			}
		}
	case reads.MatchString(name):
		k.refuse("members.watermark: by its name, column %s of %s says what the member has read: what all have read would be erased, though nobody has deleted it; name the column through which the member has deleted the conversation, or leave watermark out, and read lethe.watermarks",
			quote(watermark), rel)
	case before.MatchString(name):
		k.warn("members.watermark: by its name, column %s of %s may hold the first position that the member still sees; Lethe writes the last one that they don't: the app must show what is above it (%s > %[1]s)",
			quote(watermark), rel, k.seqName())
	}
	if from := e.VisibleFrom.Column; from == "" {
		for _, c := range rel.columnNames() {
			if k.mayBePosition(rel.columns[c]) && starts.MatchString(bare(c)) && c != watermark && !e.names(c) {
				k.warn("members: by its name, column %s of %s is the first position that the member sees; if the app shows them nothing below it, add visible_from: %s; without it, what they never saw stays until they delete it",
					quote(c), rel, scalar(c))
			}
		}
	}
	said := func(c string) bool { // by another column, too: is_deleted beside deleted_at
		return slices.ContainsFunc(rel.columnNames(), func(o string) bool { return e.names(o) && left(rel.columns[o]) != "" && leftStem(o) == leftStem(c) })
	}
	for _, c := range rel.columnNames() {
		if value := left(rel.columns[c]); value != "" && !said(c) && c != watermark {
			or := ""
			if value == "null" && e.Watermark.Column == "" && k.mayBePosition(rel.columns[c]) {
				or = "; if they read on, and the app shows them only what was sent after it, add watermark: " + scalar(c)
			}
			k.warn("members: by its name, column %s of %s says whether a member has left, and no condition names it: whoever has left counts on, and what they haven't deleted is never erased; if they don't read any more, add to where: {%s: %s}%s",
				quote(c), rel, scalar(c), value, or)
		}
	}
}

// leftStem is what a column says of a member, without how: deleted for is_deleted and deleted_at.
func leftStem(name string) string {
	return lefts.ReplaceAllString(bare(name), "$2")
}

// left is the value that the column has while a member is one, if its name says so: "" if it doesn't.
func left(c column) string {
	switch name := bare(c.name); {
	case isTime(c) && !c.notNull && lefts.MatchString(name):
		return "null"
	case c.typ == pgtype.BoolOID && lefts.MatchString(name):
		return "false"
	case c.typ == pgtype.BoolOID && stays.MatchString(name):
		return "true"
	}
	return ""
}

// mayBePosition reports whether the column may hold positions of the messages.
func (k *checker) mayBePosition(c column) bool {
	seq := k.messages
	if k.pointed.rel != nil {
		seq = k.pointed
	}
	of := seq.rel.columnNamed(seq.seq)
	return isInteger(of) && isInteger(c) || isTime(of) && c.typ == of.typ
}

// seqName is the column of the messages' position, quoted.
func (k *checker) seqName() string {
	if k.pointed.rel != nil {
		return quote(k.pointed.seq)
	}
	return quote(k.messages.seq)
}

// keysWithout are the member's columns with the command's ids, but for the one of this name.
func (k *checker) keysWithout(m member, name string) []string {
	var out []string
	for i, c := range m.keys {
		if k.plan.binds([]Pair{{c, Value{Name, strings.TrimPrefix(m.ids[i], "$")}}}, name) == notAtAll {
			out = append(out, c)
		}
	}
	return out
}

// noteFloor says which index keeps the floor cheap in groups of very many members.
func (k *checker) noteFloor() {
	m := k.memb
	if m.rel == nil || k.plan.Members.Watermark.Column == "" {
		return
	}
	watermark, _ := parseColumn(k.plan.Members.Watermark.Column) // validated
	by := k.keysWithout(m, "user")
	if !m.rel.indexed(by, m.constants, watermark) && !slices.ContainsFunc(k.active, func(i index) bool { return i.leads(by, m.constants, watermark) }) {
		k.notes = append(k.notes, fmt.Sprintf("members: no index of %s leads with %s and goes on with %s: whether all members have deleted a conversation is found by reading each of them; if it may have more than some thousands, run: %s",
			m.rel, list(by), quote(watermark), createIndex("create index", m.rel, slices.Concat(by, m.constants, []string{watermark}))))
	}
}
