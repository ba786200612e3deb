package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

// hostileIDs are ids that the contract allows and that somebody will stumble
// over. Each is at most 64 bytes long.
var hostileIDs = []string{
	"*", ">", ".", "..", "a.b", ".a", "a.", "a.*.>", "$SYS.>", "$JS.API.>", "_INBOX.x", " ", "  ", " lead", "trail ", "a b", "%", "%%", "%2E", "%2e", "a%20b", "_", "__", "-", "--", "-1", "+", "a+b",
	"/", "../../etc/passwd", `\`, `\\`, `\x00`, `"`, `'`, "`", `\"`, "''", "'; drop table chat.messages; --", `"; drop schema lethe cascade; --`, "$1", "$$", ":1", "?", "1=1", "{}", "{1,2}", "[]", "(1,2)", "NULL", "null", `\N`, "default", "true", "0", "00", "1e3",
	"<script>alert(1)</script>", "&amp;", "{{.}}", "${x}", "#", ";", ",", "=", "|", "~", "@", "!", "^",
	"😀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "مرحبا", "שלום", "\u202eevil", "\u200f", "\u2066x\u2069", "\u200b", "\u200d", "\ufeff", "\u2028", "\u2029", "\u00a0", "\u3000", "\u00ad", "é", "e\u0301", "ß", "SS", "İ", "ı", "ſ", "K", "ﬀ", "Ａ",
	"\ufffd", "\uffff", "\ufdd0", "\U0010ffff", "\U000e0001", "日本語", "Zalgo\u0300\u0301\u0302\u0303", strings.Repeat("😀", 16), strings.Repeat("x", 64), strings.Repeat("%", 64), strings.Repeat(".", 64),
	"demo", "alice", "conversation.delete", "con", "é.*>%\"'\\😀",
}

// Each hostile id is tried as user and conversation (with a neighbour whose id
// differs a little), app and command, and device.
func TestHostileIDsAreDeletedCorrectly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var commands []conversation.Command
	var chats []chat
	add := func(c chat, change func(*conversation.Command)) {
		cmd := c.ask()
		change(&cmd)
		commands, chats = append(commands, cmd), append(chats, c)
	}
	for i, id := range hostileIDs {
		add(chat{"demo", id, id}, func(c *conversation.Command) { c.DeviceID = id })
		add(chat{id, fmt.Sprintf("user%d", i), "g"}, func(c *conversation.Command) { c.CommandID = id })
	}
	add(chat{strings.Repeat("a", 64), strings.Repeat("ü", 64), strings.Repeat("€", 85) + "x"}, func(c *conversation.Command) {
		c.CommandID, c.DeviceID = strings.Repeat("%", 128), strings.Repeat("\U0001f600", 32)
	})
	r.fillMany(t, chats, 3)
	bystander := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, bystander, 7)
	for _, cmd := range commands {
		r.send(t, cmd)
	}
	t.Logf("%d commands", len(commands))
	r.start(t)
	r.settled(t)
	for i, cmd := range commands {
		c := chats[i]
		es := r.awaitStored(t, 1, of(cmd.CommandID), func(e event) bool { return e.text("app_id") == c.app && e.text("user_id") == c.user })
		e := es[0]
		if len(es) != 1 || e.kind() != conversation.TypeDeleted || e.subject != "conversation.deleted."+token(c.app)+"."+token(c.user) {
			t.Errorf("%+v: %d events: %s", c, len(es), e)
		}
		wantFields(t, e, "conversation_id", c.id, "messages_deleted", 3, "through_seq", 3, "conversation_removed", true)
		wantEnvelope(t, e, "conversation.deleted", "lethe/"+token(c.app), c.id)
		if cmd.DeviceID != "" {
			wantFields(t, e, "origin_device_id", cmd.DeviceID)
		}
	}
	if n := one[int](t, r, `select count(*)::int from chat.messages`); n != 7 {
		t.Errorf("%d messages are left; want the bystander's 7", n)
	}
	if n := one[int](t, r, `select count(*)::int from chat.conversations`); n != 1 {
		t.Errorf("%d conversations are left; want the bystander's", n)
	}
	if letters := r.letters(t); len(letters) > 0 {
		t.Errorf("%d dead letters, the first: %.500q", len(letters), letters[0].header)
	}
}

// token escapes an id as the contract says, written anew here.
func token(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// fillMany is fill for many chats of n messages each, without children. All
// users must be new.
func (r *rig) fillMany(t testing.TB, chats []chat, n int) {
	t.Helper()
	var apps, users, ids []string
	for _, c := range chats {
		apps, users, ids = append(apps, c.app), append(users, c.user), append(ids, c.id)
	}
	from := ` from unnest($1::text[], $2::text[], $3::text[]) as q (app, usr, id)`
	r.exec(t, `insert into chat.counters (app_id, user_id, last_seq) select distinct app, usr, $4::bigint`+from+` on conflict do nothing`, apps, users, ids, n)
	r.exec(t, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) select app, usr, id, s, now() - interval '1 hour'`+from+`, generate_series(1, $4::bigint) s`, apps, users, ids, n)
	r.exec(t, `insert into chat.conversations (app_id, user_id, conversation_id, last_seq, unread_count) select app, usr, id, $4::bigint, $4::bigint`+from, apps, users, ids, n)
}
