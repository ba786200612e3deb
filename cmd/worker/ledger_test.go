package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// A staging worker with the address of production's NATS would find nothing in its own database, and report as deleted what
// production still has.
func TestNoCommandGoesToAnotherDatabasesWorker(t *testing.T) {
	t.Parallel()
	production := newReadyStack(t)
	staging := stack{nats: production.nats, database: localtest.Database(t)}
	worker := production.startWorking(t)
	staging.command("setup", "--sample-schema").mustFail(t, exitError, "stream CONVERSATION_COMMANDS is ", "it was set up for another database, with the ledger ",
		"set --subject-prefix for this installation, or stop the workers that pull from it, and run `worker setup` again to take the streams over")
	if o := staging.command("setup", "--check").mustFail(t, exitError, "1 property is not right"); !strings.Contains(o.stdout, "WRONG") || strings.Count(o.stdout, "lethe_ledger") != 2 {
		t.Errorf("setup --check printed %s", o.stdout)
	}
	production.command("setup", "--check").mustSucceed(t)
	wrong, setsUp := staging.start(t), staging.start(t, "--setup")
	wrong.wantReady(t, http.StatusServiceUnavailable, "was set up for another database")
	setsUp.wantReady(t, http.StatusServiceUnavailable, "was set up for another database")
	deleteAll := func(s stack, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			id := fmt.Sprintf("c%d", i)
			s.addConversation(t, id, 3)
			if o := s.command("send", "--app=demo", "--user=alice", "--conversation="+id, "--wait").mustSucceed(t); !strings.Contains(o.stdout, "3 messages") {
				t.Errorf("send printed %s; want the messages deleted", o.stdout)
			}
		}
	}
	deleteAll(production, 0, 20)

	worker.stop(t)
	if o := staging.command("setup").mustSucceed(t); !strings.Contains(o.stdout, "updated; metadata: lethe_ledger ") {
		t.Errorf("setup printed %s; want the stream taken over", o.stdout)
	}
	wrong.wantReady(t, http.StatusOK, "ready")
	setsUp.wantReady(t, http.StatusOK, "ready")
	back := production.start(t)
	back.wantReady(t, http.StatusServiceUnavailable, "was set up for another database")
	deleteAll(staging, 20, 40)
	if a, b := production.messagesIn(t, "lethe.commands"), staging.messagesIn(t, "lethe.commands"); a != 20 || b != 20 {
		t.Errorf("the databases' workers took %d and %d commands; want 20 each", a, b)
	}
}

// Of an older setup, as in a backup of before.
func TestAWorkerGoesOnWithALedgerWithoutAnID(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.exec(t, `drop table lethe.ledger_id`)
	s.exec(t, `delete from lethe.schema_version where version_id > 10`)
	w := s.startWorking(t)
	s.addConversation(t, "c", 3)
	s.send("--conversation=c", "--wait").mustSucceed(t)
	if n := s.messages(t, "c"); n != 0 {
		t.Errorf("%d messages are left; want none", n)
	}
	// A setup that comes after the worker; of another database's stream, as it happens.
	s.exec(t, `create table lethe.ledger_id (id uuid primary key default gen_random_uuid())`)
	s.exec(t, `insert into lethe.ledger_id default values`)
	w.wantReady(t, http.StatusServiceUnavailable, "was set up for another database")
	w.stop(t)
	s.exec(t, `drop table lethe.ledger_id`)
	s.command("setup").mustSucceed(t) // another id
}

// A copy of a database, as for staging, has its id until it is given its own. Workers that run notice that.
func TestAWorkerNoticesThatItsLedgerIsAnotherOne(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	w := s.startWorking(t)
	s.exec(t, `update lethe.ledger_id set id = gen_random_uuid()`)
	w.wantReady(t, http.StatusServiceUnavailable, "was set up for another database")
	s.awaitNoPull(t)
	s.addConversation(t, "c", 3)
	s.send("--conversation=c").mustSucceed(t)
	if n := s.messages(t, "c"); n != 3 {
		t.Errorf("%d messages are left; want the command in the stream", n)
	}
	s.command("setup").mustSucceed(t)
	w.wantReady(t, http.StatusOK, "ready")
	s.send("--conversation=c", "--wait").mustSucceed(t)
	if n := s.messages(t, "c"); n != 0 {
		t.Errorf("%d messages are left; want none", n)
	}
}

// awaitNoPull waits until the server has no request for commands any more.
func (s stack) awaitNoPull(t *testing.T) {
	t.Helper()
	consumer, err := s.jetstream(t).Consumer(t.Context(), conversation.CommandsStream, "deletion-worker")
	if err != nil {
		t.Fatal(err)
	}
	tick, over := time.NewTicker(20*time.Millisecond), time.After(timeout)
	defer tick.Stop()
	for {
		info, err := consumer.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.NumWaiting == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-over:
			t.Fatalf("%d requests for commands are still there", info.NumWaiting)
		}
	}
}
