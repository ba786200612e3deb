package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

func TestTheSameCommandAgainIsTheSameDeletion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before, during := chat{"demo", "before", "g"}, chat{"demo", "during", "g"}
	r.fill(t, before, 40)
	r.fill(t, during, 40)

	first := before.ask()
	r.send(t, first)
	r.again(t, first)
	r.again(t, first)
	release := r.hold(t, `select from chat.messages where user_id = 'during' and seq = 20 for update`)
	second := during.ask()
	r.send(t, second)
	w := r.start(t)
	r.start(t)
	eventually(t, timeout, "the deletion is under way", func() bool { return r.state(t, second.CommandID, "g")["through_seq"] == "40" })
	r.again(t, second)
	r.awaitHeard(t, 3, of(first.CommandID))
	release()
	r.awaitHeard(t, 2, of(second.CommandID))
	r.settled(t)
	w.term(t)

	for _, cmd := range []conversation.Command{first, second} {
		c := chat{cmd.AppID, cmd.UserID, "g"}
		r.wantLeft(t, c, nothing)
		r.sayN(t, c, 3)
		r.react(t, c, 42)
		r.again(t, cmd)
		r.settled(t)
		_, heard, _ := r.seen(of(cmd.CommandID))
		if len(heard) < 3 {
			t.Errorf("told %d times; want the event again for each duplicate", len(heard))
		}
		wantFields(t, heard[len(heard)-1], "through_seq", 40, "messages_deleted", 40, "conversation_removed", true)
		r.onlyDeleted(t, cmd.CommandID, "g")
		r.wantLeft(t, c, left{Messages: 3, Reactions: 1, Attachments: 1, First: 41, Last: 43, Row: true, Unread: 3})
	}
}

// The forms below all say the same.
func TestWhatDoesNotMatterInACommand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	const first = `{"command_id":"ID","app_id":"demo","user_id":"alice","device_id":"phone","conversations":[{"id":"a","through_seq":5},{"id":"ü 😀"}],"requested_at":"2026-11-23T09:00:00Z"}`
	same := map[string]string{
		"order":        `{"requested_at":"2026-11-23T09:00:00Z","conversations":[{"id":"ü 😀"},{"through_seq":5,"id":"a"}],"device_id":"phone","user_id":"alice","app_id":"demo","command_id":"ID"}`,
		"white_space":  " \n\t{\r\n \"command_id\" : \"ID\" , \"app_id\":\"demo\",\"user_id\":\"alice\",\"device_id\":\"phone\",\"conversations\":[ {\"id\":\"a\",\"through_seq\": 5 } , {\"id\":\"ü 😀\"}]} \n",
		"unknown":      `{"command_id":"ID","app_id":"demo","user_id":"alice","device_id":"phone","conversations":[{"id":"a","through_seq":5,"why":["x",{"id":1}]},{"id":"ü 😀","ID":3}],"User_ID":"mallory","keep_History":true,"new":{"command_id":null},"new":2}`,
		"requested_at": `{"command_id":"ID","app_id":"demo","user_id":"alice","device_id":"phone","conversations":[{"id":"a","through_seq":5},{"id":"ü 😀"}],"requested_at":"1999-12-31T23:59:59.5+01:00"}`,
		"null":         `{"command_id":"ID","app_id":"demo","user_id":"alice","device_id":"phone","conversations":[{"id":"a","through_seq":5},{"id":"ü 😀","through_seq":null}],"keep_history":null,"requested_at":null}`,
		"false":        `{"command_id":"ID","app_id":"demo","user_id":"alice","device_id":"phone","conversations":[{"id":"a","through_seq":5},{"id":"ü 😀"}],"keep_history":false}`,
		"escapes":      `{"\u0063ommand_id":"ID","app_id":"\u0064emo","user_id":"al\u0069ce","device_id":"phone","conversations":[{"id":"\u0061","through_seq":5},{"id":"\u00fc \ud83d\ude00"}]}`,
	}
	for name, text := range same {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := conversation.NewCommandID()
			r.publish(t, "conversation.delete.demo", []byte(strings.ReplaceAll(first, "ID\"", id+"\"")))
			r.onlyDeleted(t, id, "a", "ü 😀")
			r.publish(t, "conversation.delete.demo", []byte(strings.Replace(text, `:"ID"`, `:"`+id+`"`, 1)+""))
			if name == "white_space" {
				r.publish(t, "conversation.delete.demo", []byte(strings.Replace(text, `: "ID"`, `: "`+id+`"`, 1)))
			}
			r.awaitHeard(t, 4, of(id))
			r.onlyDeleted(t, id, "a", "ü 😀")
			wantFields(t, r.deleted(t, id, "a"), "requested_at", "2026-11-23T09:00:00Z")
		})
	}
}

func TestTheSameIDWithOtherContentIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	five, six := int64(5), int64(6)
	base := func(user string) conversation.Command {
		return conversation.Command{
			CommandID: conversation.NewCommandID(), AppID: "demo", UserID: user, DeviceID: "phone",
			Conversations: []conversation.Target{{ID: "a", ThroughSeq: &five}, {ID: "b"}},
		}
	}
	for name, change := range map[string]func(*conversation.Command){
		"user":                 func(c *conversation.Command) { c.UserID += "2" },
		"device":               func(c *conversation.Command) { c.DeviceID = "laptop" },
		"no_device":            func(c *conversation.Command) { c.DeviceID = "" },
		"keep_history":         func(c *conversation.Command) { c.KeepHistory = true },
		"a_conversation_more":  func(c *conversation.Command) { c.Conversations = append(c.Conversations, conversation.Target{ID: "c"}) },
		"a_conversation_less":  func(c *conversation.Command) { c.Conversations = c.Conversations[:1] },
		"another_conversation": func(c *conversation.Command) { c.Conversations = []conversation.Target{{ID: "c"}, {ID: "d"}} },
		"another_seq":          func(c *conversation.Command) { c.Conversations[0].ThroughSeq = &six },
		"no_seq":               func(c *conversation.Command) { c.Conversations[0].ThroughSeq = nil },
		"a_seq":                func(c *conversation.Command) { c.Conversations[1].ThroughSeq = new(int64) },
		"swapped_seqs": func(c *conversation.Command) {
			c.Conversations[0].ThroughSeq, c.Conversations[1].ThroughSeq = c.Conversations[1].ThroughSeq, c.Conversations[0].ThroughSeq
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := base(name), base(name)
			second.CommandID = first.CommandID
			change(&second)
			r.send(t, first)
			r.onlyDeleted(t, first.CommandID, "a", "b")
			for _, target := range second.Conversations {
				r.fill(t, chat{"demo", second.UserID, target.ID}, 10)
			}
			seq := r.again(t, second)
			e := r.failed(t, first.CommandID, "")
			wantFields(t, e, "reason", "command_id_reused", "user_id", second.UserID, "conversation_id", nil)
			if e.subject != conversation.DeleteFailedSubject("demo", second.UserID) {
				t.Errorf("told on %s; want the second's user", e.subject)
			}
			letter := r.letter(t, seq)
			if got := letter.header.Get("Lethe-Reason"); got != "command_id_reused" {
				t.Errorf("Lethe-Reason = %q; want command_id_reused", got)
			}
			for _, target := range second.Conversations {
				if got := r.left(t, chat{"demo", second.UserID, target.ID}); got.Messages != 10 || !got.Row {
					t.Errorf("a refused command has changed %s: %+v", target.ID, got)
				}
			}
			r.again(t, first)
			r.awaitHeard(t, 4, of(first.CommandID, "a", "b"))
		})
	}
	t.Run("but_another_app_may_use_it", func(t *testing.T) {
		t.Parallel()
		first, second := base("twice"), base("twice")
		second.CommandID, second.AppID, second.KeepHistory = first.CommandID, "demo2", true
		r.send(t, first)
		r.send(t, second)
		es := r.awaitStored(t, 4, of(first.CommandID))
		for _, e := range es {
			if e.kind() != conversation.TypeDeleted {
				t.Errorf("event %s; want %s", e, conversation.TypeDeleted)
			}
		}
	})
}

func TestOneOfTwoContentsWinsOneID(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const pairs = 40
	var names []string
	for i := range pairs {
		id := fmt.Sprintf("race-%d", i)
		names = append(names, id)
		for _, side := range []string{"left", "right"} {
			for _, conv := range []string{"both", side} {
				r.fill(t, chat{"demo", id + side, conv}, 3)
			}
			cmd := chat{"demo", id + side, "both"}.ask(side)
			cmd.CommandID = id
			r.again(t, cmd)
		}
	}
	workers := []*worker{r.launch(t), r.launch(t)}
	for _, w := range workers {
		w.awaitReady(t, timeout)
	}
	for _, id := range names {
		r.awaitStored(t, 3, of(id)) // two deletions and a refusal
	}
	r.settled(t)
	for _, id := range names {
		stored, _, _ := r.seen(of(id))
		winner, loser := "", ""
		for _, e := range stored {
			switch {
			case e.kind() == conversation.TypeDeleted && (winner == "" || winner == e.text("user_id")):
				winner = e.text("user_id")
			case e.kind() == conversation.TypeDeleteFailed && loser == "" && e.text("reason") == "command_id_reused":
				loser = e.text("user_id")
			default:
				t.Errorf("%s: too many events: %s", id, e)
			}
		}
		if winner == "" || loser == "" || winner == loser {
			t.Errorf("%s: winner %q, loser %q", id, winner, loser)
			continue
		}
		for user, want := range map[string]int{winner: 0, loser: 6} {
			if got := one[int](t, r, `select count(*)::int from chat.messages where user_id = $1`, user); got != want {
				t.Errorf("%s: %s has %d messages; want %d", id, user, got, want)
			}
		}
	}
	if got := len(r.letters(t)); got != pairs {
		t.Errorf("%d dead letters; want %d", got, pairs)
	}
}

// Commands that meet at the same conversations share their messages: each is
// deleted once, by one of them, and nobody waits for another in a circle.
func TestCommandsForTheSameConversationsShareTheirMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t, "--express-rows=15")
	r.start(t, "--express-rows=15")
	cmd, chats := r.bulk(t, "demo", "alice", 8, 50)
	var commands []string
	for i := range 12 {
		cmd.CommandID = fmt.Sprintf("meet-%d", i)
		slices.Reverse(cmd.Conversations)
		r.again(t, cmd)
		commands = append(commands, cmd.CommandID)
	}
	sums := map[string]int{}
	for _, id := range commands {
		for _, c := range chats {
			e := r.deleted(t, id, c.id)
			n, err := strconv.Atoi(e.text("messages_deleted"))
			if err != nil {
				t.Fatal(err)
			}
			sums[c.id] += n
			wantFields(t, e, "conversation_removed", true)
		}
	}
	for _, c := range chats {
		if sums[c.id] != 50 {
			t.Errorf("%s: the commands have deleted %d messages together; want 50", c.id, sums[c.id])
		}
		r.wantLeft(t, c, nothing)
	}
	r.settled(t)
	if n := len(r.letters(t)); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}
