package broker

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
)

const maxPayload = 1 << 20

func compose(t *testing.T, l *bus.Letter) *nats.Msg {
	t.Helper()
	m, err := letterMsg(conversation.Names{}, l, maxPayload)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLetterHasTheHeadersOfTheContract(t *testing.T) {
	t.Parallel()
	m := compose(t, letter(42))
	want := map[string]string{
		"Lethe-Reason":          "invalid_command",
		"Lethe-Error":           "command: is not valid JSON",
		"Lethe-Subject":         "conversation.delete.demo",
		"Lethe-Stream-Sequence": "42",
		"Lethe-Stored-At":       "2026-11-23T09:00:00.000012Z",
		"Lethe-Deliveries":      "3",
		"Lethe-Failed-At":       "2026-11-23T09:00:01.000012Z",
		"X-Own":                 "kept",
	}
	for name, value := range want {
		if got := m.Header[name]; len(got) != 1 || got[0] != value {
			t.Errorf("%s = %q; want %q", name, got, value)
		}
	}
	if len(m.Header) != len(want)+1 || m.Header.Get(nats.MsgIdHdr) == "" {
		t.Errorf("headers = %v; want those and an id", m.Header)
	}
	if m.Subject != "conversation.dead_letter.demo" {
		t.Errorf("subject = %s", m.Subject)
	}
}

func TestLettersOfDifferentCommandsHaveDifferentIDs(t *testing.T) {
	t.Parallel()
	id := func(change func(*bus.Letter)) string {
		l := letter(1)
		change(l)
		return compose(t, l).Header.Get(nats.MsgIdHdr)
	}
	same := id(func(*bus.Letter) {})
	if again := id(func(l *bus.Letter) { l.Delivery.Deliveries, l.FailedAt, l.Error = 99, time.Now(), "another" }); again != same {
		t.Errorf("the same command's id = %s; want %s", again, same)
	}
	if other := id(func(l *bus.Letter) { l.Delivery.Sequence = 2 }); other == same {
		t.Error("another command's id is the same")
	}
	if other := id(func(l *bus.Letter) { l.Delivery.StoredAt = completed.Add(1) }); other == same {
		t.Error("the same number in a stream that was made again has the same id")
	}
}

func TestLetterLeavesOutWhatIsNotTheProducers(t *testing.T) {
	t.Parallel()
	l := letter(1)
	l.Delivery.Header = map[string][]string{
		"Nats-Msg-Id": {"x"}, "nats-rollup": {"all"}, "NATS-TTL": {"1s"},
		"Lethe-Stored-At": {"1999-01-01T00:00:00Z"}, "lethe-stored-at": {"y"}, "LETHE-REASON": {"z"}, "Lethe-Error": {"a", "b"},
		"Lethe-Retry": {"7"}, "Own": {"one", "two"}, "own": {"three"}, "Empty": {}, "Status": {"503"},
	}
	m := compose(t, l)
	own := nats.Header{"Own": {"one", "two"}, "own": {"three"}, "Lethe-Retry": {"7"}, "Status": {"503"}}
	for name, values := range own {
		if !slices.Equal(m.Header[name], values) {
			t.Errorf("%s = %q; want %q", name, m.Header[name], values)
		}
	}
	if len(m.Header) != len(own)+8 {
		t.Errorf("headers = %v; want the letter's and %v", m.Header, own)
	}
	if m.Header[conversation.HeaderStoredAt][0] != "2026-11-23T09:00:00.000012Z" {
		t.Errorf("stored at %v; want the letter's own", m.Header[conversation.HeaderStoredAt])
	}
}

func TestLetterNamesHeadersThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	l := letter(1)
	l.Delivery.Header = map[string][]string{"with space": {"x"}, "a(b)": {"y"}, "\xff": {"z"}, "Good": {"kept"}}
	m := compose(t, l)
	if m.Header.Get("Good") != "kept" || m.Size() == 0 {
		t.Errorf("headers = %v", m.Header)
	}
	if got := m.Header.Get(conversation.HeaderError); !strings.HasPrefix(got, l.Error) || !strings.Contains(got, "3 headers left out") ||
		!strings.Contains(got, `"with space"`) {
		t.Errorf("error = %q; want the text and the names", got)
	}
}

func TestLetterDropsTheLargestHeadersWhenThereIsNoRoom(t *testing.T) {
	t.Parallel()
	l := letter(1)
	l.Error = strings.Repeat("é", 2000)
	l.Delivery.Data = bytes.Repeat([]byte{0xff}, maxPayload-4000)
	l.Delivery.Header = map[string][]string{
		"Small": {"s"}, "Large": {strings.Repeat("x", 1500)}, "Larger": {strings.Repeat("x", 1000), strings.Repeat("y", 1000)},
	}
	m := compose(t, l)
	if m.Header.Get("Small") != "s" || m.Header.Get("Large") == "" || m.Header.Get("Larger") != "" {
		t.Errorf("kept Small %t, Large %t, Larger %t; want the largest dropped alone",
			m.Header.Get("Small") != "", m.Header.Get("Large") != "", m.Header.Get("Larger") != "")
	}
	text := m.Header.Get(conversation.HeaderError)
	if len(text) > 1024 || !strings.Contains(text, `"Larger"`) || !utf8.ValidString(text) {
		t.Errorf("error of %d bytes: …%s; want at most 1024 with the name", len(text), text[max(0, len(text)-80):])
	}
	if !bytes.Equal(m.Data, l.Delivery.Data) {
		t.Error("the body is another")
	}
	if size := m.Size() - len(m.Subject); size > maxPayload {
		t.Errorf("%d bytes; want at most %d", size, maxPayload)
	}
}

func TestLetterSizeIsCountedAsTheClientDoes(t *testing.T) {
	t.Parallel()
	h := nats.Header{"A": {"1", "22"}, "Bcd": {""}}
	m := nats.Msg{Header: h}
	if got := headerFrame + headersSize(h); got != m.Size() {
		t.Errorf("size = %d; want %d", got, m.Size())
	}
}

func TestLetterOfAnEndlessAppGoesToNobodys(t *testing.T) {
	t.Parallel()
	l := letter(1)
	l.App = strings.Repeat("~", 2000) // the subject's token, as the producer wrote it
	if m := compose(t, l); m.Subject != "conversation.dead_letter._" {
		t.Errorf("subject = %.60s…; want conversation.dead_letter._", m.Subject)
	}
	l.App = "~*>."
	if m := compose(t, l); m.Subject != "conversation.dead_letter.%7E%2A%3E%2E" {
		t.Errorf("subject = %s", m.Subject)
	}
}

func TestHeaderText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		most int
		want string
	}{
		{"plain", 10, "plain"},
		{"", 10, ""},
		{"a\r\nNats-Rollup: all", 100, "a  Nats-Rollup: all"},
		{"nul\x00esc\x1bdel\x7f", 100, "nul esc del "},
		{"bad\xff\xfeutf", 100, "bad\uFFFDutf"},
		{"éé", 3, "é"},
		{"éé", 4, "éé"},
		{"\u2028\u0085x", 100, "  x"},
	} {
		if got := headerText(tt.in, tt.most); got != tt.want {
			t.Errorf("headerText(%q, %d) = %q; want %q", tt.in, tt.most, got, tt.want)
		}
	}
}

func FuzzHeaderText(f *testing.F) {
	f.Add("a\r\nb", 10)
	f.Add(strings.Repeat("é", 600), 1024)
	f.Add("\xff\xc3", 1)
	f.Fuzz(func(t *testing.T, in string, most int) {
		most = max(0, most%2000)
		got := headerText(in, most)
		if len(got) > most || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("headerText(%q, %d) = %q", in, most, got)
		}
	})
}

// fail turns the next delivery into a dead letter, as the worker does.
func fail(t *testing.T, b *Broker, d delivered) {
	t.Helper()
	app, _ := conversation.SubjectApp(d.Subject)
	l := &bus.Letter{
		Delivery: d.Delivery, App: app, Reason: conversation.ReasonInvalidCommand, Error: "hostile\r\n\xff",
		StoredAt: d.StoredAt, FailedAt: time.Now(),
	}
	if err := b.Publish(t.Context(), []bus.Announcement{{Letter: l, Sequence: d.Sequence}}); err != nil {
		t.Fatalf("Publish of the letter for %.80q: %v", d.Subject, err)
	}
	d.Settle(bus.Outcome{Verdict: bus.Reject, Reason: l.Reason})
}

func hostileBodies() [][]byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return [][]byte{
		nil,
		{0},
		all, []byte("\r\n\r\nNATS/1.0 503\r\n\r\n"), []byte("{\"a\":\"\xff\"}"), []byte("';drop table chat.messages;--"),
		bytes.Repeat([]byte("\xf0\x9f\x92\xa9"), 225_000), []byte("+ACK"), []byte("\u202E\u0000"),
	}
}

func TestLettersKeepHostileCommandsByteForByte(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	w := start(t, b)
	subjects := []string{
		"conversation.delete", "conversation.delete.demo", "conversation.delete.*", "conversation.delete.>", "conversation.delete.%2A",
		"conversation.delete.%zz", "conversation.delete.ünïcode💩", "conversation.delete.\xff\xfe", "conversation.delete.a%2Eb",
		"conversation.delete.'\"\\{}", "conversation.delete.\x00\x01\x7f", "conversation.delete." + strings.Repeat("~", 1800),
		"conversation.delete_everyone.demo", "conversation.delete_everyone.%zz",
	}
	sent := map[uint64]*nats.Msg{}
	publish := func(m *nats.Msg) {
		t.Helper()
		m.Header = nats.Header{
			"Status": {"503"}, "Description": {"No Responders"}, "X-Hostile": {"a\xffb", "c: d", "%00", "", "💩"}, "Nats-Msg-Id": {fmt.Sprint(len(sent))},
		}
		ack, err := js.PublishMsg(t.Context(), m)
		if err != nil {
			t.Fatalf("publish on %q: %v", m.Subject, err)
		}
		sent[ack.Sequence] = m
	}
	for _, s := range subjects {
		publish(&nats.Msg{Subject: s, Data: []byte("body of " + s)})
	}
	for _, body := range hostileBodies() {
		publish(&nats.Msg{Subject: "conversation.delete.demo", Data: body})
	}
	for range sent {
		fail(t, b, w.next())
	}
	got := 0
	for l, err := range b.Letters(t.Context(), LetterFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got++
		m := sent[l.CommandSequence]
		if m == nil {
			t.Fatalf("letter %d of command %d, which was never sent", l.Sequence, l.CommandSequence)
		}
		if l.Subject != m.Subject || l.Size != len(m.Data) {
			t.Errorf("letter %d: subject %.80q, %d bytes; want %.80q, %d bytes", l.Sequence, l.Subject, l.Size, m.Subject, len(m.Data))
		}
		if !slices.Equal(l.Header["X-Hostile"], m.Header["X-Hostile"]) || !slices.Equal(l.Header["Status"], m.Header["Status"]) {
			t.Errorf("letter %d: headers %q; want %q", l.Sequence, l.Header, m.Header)
		}
		if l.Reason != "invalid_command" || l.Error != "hostile  \uFFFD" || l.Deliveries != 1 || l.StoredAt.IsZero() || l.FailedAt.Before(l.StoredAt) {
			t.Errorf("letter %d = %+v", l.Sequence, l)
		}
		again, err := b.Letter(t.Context(), l.Sequence)
		if err != nil || !bytes.Equal(again.Data, m.Data) || again.Size != l.Size || again.Subject != l.Subject {
			t.Errorf("Letter(%d) = %.80q, %d bytes, %v; want the same", l.Sequence, again.Subject, again.Size, err)
		}
	}
	if got != len(sent) {
		t.Errorf("%d letters; want %d", got, len(sent))
	}
	if !b.nc.IsConnected() || b.nc.Stats().Reconnects != 0 {
		t.Error("the connection was lost on the way")
	}
	// And all of them come again, byte for byte, on a retry.
	for l, err := range b.Letters(t.Context(), LetterFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if err := b.RetryLetter(t.Context(), l.Sequence); err != nil {
			t.Fatalf("RetryLetter(%d) of %.80q = %v", l.Sequence, l.Subject, err)
		}
		d := w.next()
		if d.Subject != l.Subject || !bytes.Equal(d.Data, sent[l.CommandSequence].Data) || d.Header["Lethe-Retry"][0] != fmt.Sprint(l.Sequence) {
			t.Errorf("retried %d: %.80q, %d bytes, %q", l.Sequence, d.Subject, len(d.Data), d.Header)
		}
		d.Settle(done())
	}
	if left := count(t, js, conversation.DeadLettersStream); left != 0 {
		t.Errorf("%d letters left; want 0", left)
	}
}

func TestRetryLetter(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	l := letter(1)
	l.Delivery.Header = map[string][]string{
		"X-Own": {"a", "b"}, "traceparent": {"t"}, "lethe-retry": {"spoofed"}, "Lethe-Retry": {"99"},
	}
	if err := b.Publish(t.Context(), []bus.Announcement{{Letter: l}, {Letter: letter(2)}}); err != nil {
		t.Fatal(err)
	}
	if err := b.RetryLetter(t.Context(), 1); err != nil {
		t.Fatalf("RetryLetter = %v; want nil", err)
	}
	d := start(t, b).next()
	want := map[string][]string{
		"X-Own": {"a", "b"}, "traceparent": {"t"}, "Lethe-Retry": {"1"}, "Lethe-Stored-At": {"2026-11-23T09:00:00.000012Z"},
	}
	if len(d.Header) != len(want) || !slices.Equal(d.Header["X-Own"], want["X-Own"]) || !slices.Equal(d.Header["Lethe-Retry"], want["Lethe-Retry"]) ||
		!slices.Equal(d.Header["Lethe-Stored-At"], want["Lethe-Stored-At"]) || !slices.Equal(d.Header["traceparent"], want["traceparent"]) {
		t.Errorf("headers = %v; want %v", d.Header, want)
	}
	if d.Subject != l.Delivery.Subject || !bytes.Equal(d.Data, l.Delivery.Data) {
		t.Errorf("retried %s %q; want %s %q", d.Subject, d.Data, l.Delivery.Subject, l.Delivery.Data)
	}
	if left := count(t, js, conversation.DeadLettersStream); left != 1 {
		t.Errorf("%d letters left; want the other one", left)
	}
	for _, err := range []error{b.RetryLetter(t.Context(), 1), b.RetryLetter(t.Context(), 77), b.DropLetter(t.Context(), 1)} {
		if !isNoLetter(err) {
			t.Errorf("a letter that isn't there: %v; want ErrNoLetter", err)
		}
	}
	if _, err := b.Letter(t.Context(), 1); !isNoLetter(err) {
		t.Errorf("Letter = %v; want ErrNoLetter", err)
	}
	if _, err := b.Letter(t.Context(), 0); err == nil {
		t.Error("Letter(0) = nil; want an error")
	}
}

func isNoLetter(err error) bool {
	return err != nil && strings.Contains(err.Error(), ErrNoLetter.Error())
}

func TestRetryOfALetterFromARetryKeepsTheFirstTime(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	if err := b.Publish(t.Context(), letters(1)); err != nil {
		t.Fatal(err)
	}
	w := start(t, b)
	for seq := uint64(1); seq <= 3; seq++ {
		if err := b.RetryLetter(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
		d := w.next()
		if got := d.Header["Lethe-Retry"]; len(got) != 1 || got[0] != fmt.Sprint(seq) {
			t.Errorf("retry %d: Lethe-Retry = %q", seq, got)
		}
		if got := d.Header["Lethe-Stored-At"]; len(got) != 1 || got[0] != "2026-11-23T09:00:00.000012Z" {
			t.Errorf("retry %d: Lethe-Stored-At = %q", seq, got)
		}
		l := letter(d.Sequence)
		l.Delivery = d.Delivery // with the retry's headers
		if err := b.Publish(t.Context(), []bus.Announcement{{Letter: l}}); err != nil {
			t.Fatal(err)
		}
		d.Settle(done())
	}
	if left := count(t, js, conversation.DeadLettersStream); left != 1 {
		t.Errorf("%d letters; want 1", left)
	}
}

func TestALetterStaysWhereTheCommandIsRefused(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	if err := b.Publish(t.Context(), letters(1)); err != nil {
		t.Fatal(err)
	}
	setup(t, b, SetupOptions{CommandsMaxBytes: 1})
	err := b.RetryLetter(t.Context(), 1)
	if err == nil || !strings.Contains(err.Error(), "dead letter 1 stays") || !strings.Contains(err.Error(), "is full") {
		t.Errorf("RetryLetter with a full stream = %v; want it to say so", err)
	}
	if err := js.DeleteStream(t.Context(), conversation.CommandsStream); err != nil {
		t.Fatal(err)
	}
	if err := b.RetryLetter(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "worker setup") {
		t.Errorf("RetryLetter without a stream = %v; want it to say so", err)
	}
	if left := count(t, js, conversation.DeadLettersStream); left != 1 {
		t.Errorf("%d letters; want it kept", left)
	}
}

// A crash between publishing and removing shows as a letter whose command is
// published already; the second retry publishes it again with the same number.
func TestASecondRetryOfALetterHasTheSameNumber(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	if err := b.Publish(t.Context(), letters(1)); err != nil {
		t.Fatal(err)
	}
	update(t, js, conversation.DeadLettersStream, func(c *jetstream.StreamConfig) { c.DenyDelete = true })
	for range 2 {
		if err := b.RetryLetter(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "published again") {
			t.Errorf("RetryLetter that can't remove = %v; want it to say what happened", err)
		}
	}
	w := start(t, b)
	for _, d := range w.take(2) {
		if d.Header["Lethe-Retry"][0] != "1" {
			t.Errorf("Lethe-Retry = %q; want 1", d.Header["Lethe-Retry"])
		}
		d.Settle(done())
	}
}

func TestLettersAreChosenByReasonAndEndAtTheBeginning(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	for _, err := range b.Letters(t.Context(), LetterFilter{}) {
		t.Errorf("an empty stream yields %v", err)
	}
	as := letters(1, 2, 3, 4)
	as[1].Letter.Reason = conversation.ReasonAppMismatch
	as[3].Letter.App = ""
	if err := b.Publish(t.Context(), as); err != nil {
		t.Fatal(err)
	}
	if err := b.DropLetter(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	list := func(f LetterFilter) (seqs []uint64) {
		for l, err := range b.Letters(t.Context(), f) {
			if err != nil {
				t.Fatal(err)
			}
			if app := l.App; (app == "") != (l.Sequence == 4) {
				t.Errorf("letter %d is of app %q", l.Sequence, app)
			}
			seqs = append(seqs, l.Sequence)
			// What is added meanwhile is for the next time.
			if err := b.Publish(t.Context(), letters(100+l.Sequence+uint64(time.Now().UnixNano()))); err != nil {
				t.Fatal(err)
			}
		}
		return seqs
	}
	if got := list(LetterFilter{}); !slices.Equal(got, []uint64{2, 3, 4}) {
		t.Errorf("all = %v; want 2, 3, 4", got)
	}
	if got := list(LetterFilter{Reason: "app_mismatch"}); !slices.Equal(got, []uint64{2}) {
		t.Errorf("app_mismatch = %v; want 2", got)
	}
	for _, err := range b.Letters(t.Context(), LetterFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		break // one may stop in the middle
	}
	if err := admin(t, n).DeleteStream(t.Context(), conversation.DeadLettersStream); err != nil {
		t.Fatal(err)
	}
	for _, err := range b.Letters(t.Context(), LetterFilter{}) {
		if err == nil || !strings.Contains(err.Error(), "worker setup") {
			t.Errorf("without the stream: %v; want it to say so", err)
		}
	}
}

// Letters may be a megabyte each, and hundreds of thousands: a list reads them in
// pages, and makes no consumer, which would need a right that lists shouldn't have.
func TestTheListOfLettersIsReadInPages(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	const small, large = 2 * letterPage, 20
	as := make([]bus.Announcement, 0, small+large)
	for i := range small + large {
		l := letter(uint64(i + 1))
		if i >= small {
			l.Delivery.Data, l.App = make([]byte, 900_000), "other"
		}
		as = append(as, bus.Announcement{Letter: l})
	}
	if err := b.Publish(t.Context(), as); err != nil {
		t.Fatal(err)
	}
	count := func(f LetterFilter, each func(LetterInfo)) (found int) {
		for l, err := range b.Letters(t.Context(), f) {
			if err != nil {
				t.Fatal(err)
			}
			each(l)
			found++
		}
		return found
	}
	if got := count(LetterFilter{App: "other"}, func(l LetterInfo) {
		if l.App != "other" || l.Size != 900_000 || len(l.Data) != 0 {
			t.Errorf("letter = %+v; want one of other, of 900,000 bytes", l)
		}
	}); got != large {
		t.Errorf("%d letters of other; want %d", got, large)
	}
	if got := count(LetterFilter{}, func(LetterInfo) {}); got != small+large {
		t.Errorf("%d letters; want %d", got, small+large)
	}
	s, err := admin(t, n).Stream(t.Context(), conversation.DeadLettersStream)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().State.Consumers; got != 0 {
		t.Errorf("%d consumers on the dead letters; want none", got)
	}
}

func TestALetterThatSomebodyElseWroteIsShownAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	js := admin(t, n)
	if _, err := js.Publish(t.Context(), "conversation.dead_letter.%zz", []byte("x")); err != nil {
		t.Fatal(err)
	}
	msg := nats.NewMsg("conversation.dead_letter._")
	msg.Header = nats.Header{"Lethe-Stream-Sequence": {"many"}, "Lethe-Stored-At": {"once"}, "Status": {"404"}}
	if _, err := js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	all := 0
	for l, err := range b.Letters(t.Context(), LetterFilter{}) {
		if err != nil || l.App != "" || l.CommandSequence != 0 || !l.StoredAt.IsZero() {
			t.Errorf("letter = %+v, %v", l, err)
		}
		all++
	}
	if all != 2 {
		t.Errorf("%d letters; want 2", all)
	}
	if err := b.RetryLetter(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "Lethe-Subject") {
		t.Errorf("RetryLetter = %v; want it to miss the subject", err)
	}
	if err := b.DropLetter(t.Context(), 1); err != nil {
		t.Errorf("DropLetter = %v; want nil", err)
	}
}

// A producer that doesn't use a client library may write headers that nobody
// can read; the command is handed over without them.
func TestACommandWithUnreadableHeadersIsHandedOver(t *testing.T) {
	t.Parallel()
	b, n := ready(t, Config{})
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(n.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	blocks := []string{
		"NATS/1.0\r\nno colon\r\n\r\n", "NATS/1.0\r\n: no name\r\n\r\n", "NATS/1.0 503\r\n\r\n", "junk\r\n\r\n", "NATS/1.0\r\nKey: va\x00lue\xff\r\n\r\n",
		"NATS/1.0\r\nna me: x\r\n\r\n", "\r\n\r\n",
	}
	fmt.Fprintf(conn, "CONNECT {\"headers\":true,\"verbose\":false,\"lang\":\"raw\",\"version\":\"0\",\"protocol\":1}\r\n")
	for i, block := range blocks {
		body := fmt.Sprintf("body %d", i)
		fmt.Fprintf(conn, "HPUB conversation.delete.demo %d %d\r\n%s%s\r\n", len(block), len(block)+len(body), block, body)
	}
	fmt.Fprintf(conn, "PING\r\n")
	w := start(t, b)
	for i := range blocks {
		d := w.next()
		if want := fmt.Sprintf("body %d", i); string(d.Data) != want {
			t.Errorf("delivered %q; want %q", d.Data, want)
		}
		fail(t, b, d)
	}
	all := 0
	for l, err := range b.Letters(t.Context(), LetterFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		whole, err := b.Letter(t.Context(), l.Sequence)
		if want := fmt.Sprintf("body %d", all); err != nil || string(whole.Data) != want {
			t.Errorf("letter of %q, %v; want %q", whole.Data, err, want)
		}
		if err := b.RetryLetter(t.Context(), l.Sequence); err != nil {
			t.Errorf("RetryLetter = %v; want nil", err)
		}
		w.next().Settle(done())
		all++
	}
	if all != len(blocks) {
		t.Errorf("%d letters; want %d", all, len(blocks))
	}
}
