package plan

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5/pgtype"
)

// What names of tables and columns usually mean, in lower case and without separators: the earlier a word,
// the surer.
var (
	messageWords = []string{"message", "msg", "post", "archive", "chatline"}
	// besideWords are in names of tables that go with messages and hold none.
	besideWords = []string{
		"reaction", "attachment", "mention", "receipt", "revision", "participant", "member", "reference", "upload", "submessage", "flag",
		"draft", "archived", "seen", "star", "pin", "like", "bookmark", "embed", "vote", "notification", "deliver", "delivery", "recipient", "setting",
		"preference", "folder", "label", "link", "edit", "report", "spool", "queue", "scheduled", "template", "poll", "file", "read", "unread",
	}
	bodyWords         = []string{"body", "content", "text", "message", "xml", "txt", "payload", "data", "value", "cooked", "html", "msg", "stanza"}
	conversationWords = []string{
		"conversation", "remotebarejid", "barepeer", "channel", "room", "chat", "dialog", "dialogue", "thread", "discussion", "barejid", "remotejid",
		"with", "peer", "recipient", "group", "topic", "ticket", "conv", "rid", "buddy",
	}
	ownerWords    = []string{"owner", "mailbox", "holder", "username", "luser", "userprofile", "user", "uid", "profile", "member", "subscriber"}
	senderWords   = []string{"sender", "author", "from", "fromjid", "fromuser", "creator", "createdby", "postedby", "poster", "sentby", "writer", "senderuser", "fromaccount", "senderaccount", "authoraccount"}
	appWords      = []string{"app", "application", "tenant", "serverhost", "lserver", "host", "server", "vhost", "domain", "realm", "organization", "organisation", "org", "workspace", "company", "account", "site"}
	positionWords = []string{"seq", "position", "sequence", "sortid", "id", "messageid", "msgid", "pos", "no", "number", "idx"}
	memberWords   = []string{"member", "participant", "subscription", "subscriber"}
	pointerWords  = []string{"usermessage", "messageuser", "recipient", "deliver", "delivery", "inbox", "mailbox", "copy"}
	fileWords     = []string{"file", "attachment", "upload", "media", "blob", "asset", "image", "document"}
	loginWords    = []string{"username", "login", "jid", "handle", "nickname", "name", "email", "externalid"}
	countWords    = []string{"messagescount", "messagecount", "nummessages", "totalmessages", "totalmsgcount"}
	lastWords     = []string{"lastmessageid", "lastmsgid", "lastpostid", "newestmessageid", "lastmessage"}
	lastTimeWords = []string{"lastmessageat", "lastmessagetime", "lastmsgat", "lastpostat", "lastmessagesentat"}
	timeWords     = []string{"sent", "sentat", "datesent", "created", "createdat", "createat", "creationtime", "inserted", "insertedat", "timestamp", "when", "time", "date", "ts", "at"}
	// rareTimeWords are times as well, less sure than any of those.
	rareTimeWords = []string{
		"serverts", "servertime", "servertimestamp", "originserverts", "sentts", "senton", "sendtime", "senttime", "sentdate", "createdts", "createdtime", "createdon", "createtime",
		"createdate", "createddate", "creationdate", "datecreated", "posted", "postedat", "posttime", "storedat", "messagets", "messagetime", "msgts", "msgtime",
	}
	// keepWords are in names of tables that may keep a shared message.
	keepWords     = []string{"bookmark", "star", "saved", "pin", "template", "onboarding"}
	unitSuffix    = regexp.MustCompile(`(?i)_?(ms|millis|us|micros|ns|nanos|secs?|seconds)$`)
	unitOfSuffix  = map[string]string{"ms": "ms", "millis": "ms", "us": "us", "micros": "us", "ns": "ns", "nanos": "ns", "sec": "s", "secs": "s", "seconds": "s"}
	distinguishes = []string{"store", "kind", "category", "box", "realm", "namespace", "type"}
)

// bare is a name in lower case without what separates words.
func bare(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

// stem is a column's bare name without what says that it refers to a row.
func stem(name string) string {
	b := bare(name)
	for _, end := range []string{"uuid", "guid", "id", "fk"} {
		if rest := strings.TrimSuffix(b, end); rest != b && rest != "" && b != "uid" && b != "rid" && !strings.HasSuffix(b, "jid") {
			return rest
		}
	}
	return b
}

// rank is how sure a word is: its place from the end of the list; 0 for none.
func rank(words []string, word string) int {
	if i := slices.Index(words, word); i >= 0 {
		return len(words) - i
	}
	return 0
}

// rankEnd is rank for a name that ends with one of the words.
func rankEnd(words []string, name string) int {
	for i, w := range words {
		if strings.HasSuffix(name, w) && (len(w) > 4 || len(name) == len(w) || w == "room" || w == "chat") {
			return len(words) - i
		}
	}
	return 0
}

// singular is a table's bare name without its plural.
func singular(name string) string {
	b := bare(name)
	switch {
	case strings.HasSuffix(b, "ies"):
		return strings.TrimSuffix(b, "ies") + "y"
	case strings.HasSuffix(b, "ss") || strings.HasSuffix(b, "info"):
		return b
	}
	return strings.TrimSuffix(b, "s")
}

// class is what Rails calls the rows of a table: ActiveStorageAttachment.
func class(table string) string {
	var b strings.Builder
	all := words(table)
	for i, w := range all {
		if i == len(all)-1 {
			w = singular(w)
		}
		if w != "" {
			b.WriteString(strings.ToUpper(w[:1]) + w[1:])
		}
	}
	return b.String()
}

func isText(c column) bool { return slices.Contains(textTypes, c.typ) }

func isID(c column) bool {
	return isText(c) && c.deterministic || isInteger(c) || c.typ == pgtype.UUIDOID
}

func isTime(c column) bool { return c.typ == pgtype.TimestamptzOID || c.typ == pgtype.TimestampOID }
