package e2e

import (
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/pages"
)

// operatorPages are the pages whose commands people call in need.
var operatorPages = []string{"../../deploy/runbook.md", "../../docs/operations.md", "../../docs/restore.md", "../../docs/throttling.md"}

// placeholders are what stands on the pages for what only the reader knows.
var placeholders = strings.NewReplacer(
	"COMMAND_ID", "large-1", "--since TIME", "--since 2026-11-23T08:55:00Z", "SEQ", "1", `[--lane all\|long]`, "--lane all",
	"<the command's id>", "large-1", "--app A --user U --conversation C", "--app demo --user alice --conversation c2c_bob",
)

// mention is a command that a sentence only speaks of.
var mention = regexp.MustCompile(`^worker( (run|status|replay|replay --since|settings|dead-letters|setup --events-max-bytes|setup --check|…))?$`)

// Each command of the worker's program on the pages for operators works with the
// user and the role that the runbook says, on servers with the shipped
// configuration. (That compose has these for the same commands: package deploy.)
func TestThePagesCommandsWorkForThoseWhoAreToldToCallThem(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	r.start(t)
	for range 3 {
		r.publish(t, conversation.CommandSubject("demo"), []byte("no command"))
	}
	for _, id := range []string{"large-1", "refused-2"} {
		cmd := chat{"demo", "alice", "c2c_bob"}.ask()
		cmd.CommandID = id
		r.send(t, cmd)
		r.deleted(t, id, "c2c_bob")
	}
	eventually(t, timeout, "three dead letters", func() bool { return len(r.letters(t)) == 3 })
	plan, err := filepath.Abs("../plan/plan.yaml")
	must(t, err)
	ran := map[string]bool{}
	for _, page := range operatorPages {
		commands, err := pages.Commands(page)
		must(t, err)
		for _, c := range commands {
			text, _, _ := strings.Cut(placeholders.Replace(c.Text), " | ")
			text, _, _ = strings.Cut(text, " > ")
			text = strings.Replace(text, "plan.yaml", plan, 1)
			if !strings.HasPrefix(text, "worker") || ran[text] || mention.MatchString(text) {
				continue
			}
			ran[text] = true
			words := strings.Fields(text)[1:]
			res := r.call(t, append(r.asToldFor(t, words[0]), words...)...)
			ok := res.code == 0
			switch words[0] {
			case "replay": // the time on the page is older than the stream
				ok = res.code == 3
			case "erase": // the bundled plan's messages are copies
				ok = strings.Contains(res.err, "no shared log")
			}
			if !ok {
				t.Errorf("%s: %s: exit status %d\n%s%s", c.Where, text, res.code, res.out, res.err)
			}
			if words[0] == "pause" { // what comes next needs workers
				r.must(t, append(r.asToldFor(t, "resume"), "resume")...)
			}
		}
	}
	if len(ran) < 20 {
		t.Errorf("%d commands ran: %v; the pages have more", len(ran), ran)
	}
}

// asToldFor is who calls a command of the worker's program, as the runbook's table says.
func (r *rig) asToldFor(t *testing.T, command string) []string {
	t.Helper()
	switch command {
	case "setup":
		return r.as(t, setupUser, "lethe_setup")
	case "replay", "erase", "plan":
		return r.as(t, operatorUser, "lethe_worker")
	}
	return r.as(t, operatorUser, "lethe_operator")
}

// Each statement on those pages runs. What it would change is rolled back.
func TestThePagesSQLRuns(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	r.exec(t, `select pg_create_physical_replication_slot('old_standby')`)
	ran := 0
	for _, page := range operatorPages {
		statements, err := pages.SQL(page)
		must(t, err)
		for _, s := range statements {
			sql := s.Text
			if r.version(t) < 160000 {
				sql = strings.Replace(sql, " with inherit true", "", 1)
			}
			if err := r.tryAndRollBack(t, sql); err != nil {
				t.Errorf("%s: %s: %v", s.Where, sql, err)
			}
			ran++
		}
	}
	if ran < 10 {
		t.Errorf("%d statements ran; the pages have more", ran)
	}
}

// version is the server's, such as 150004.
func (r *rig) version(t testing.TB) int {
	t.Helper()
	return one[int](t, r, `select current_setting('server_version_num')::int`)
}

// tryAndRollBack runs SQL as the superuser.
func (r *rig) tryAndRollBack(t testing.TB, sql string) error {
	t.Helper()
	tx, err := r.db.Begin(t.Context())
	must(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	_, err = tx.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "55000" && strings.Contains(sql, "pg_wal_replay") { // for a standby
		return nil
	}
	return err
}

// A refusal names the operator's credentials before any grant, so that nobody widens
// a worker's rights for what a person does.
func TestARefusalNamesTheOperatorsCredentialsFirst(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	r.start(t)
	r.letter(t, r.publish(t, conversation.CommandSubject("demo"), []byte("no command")))
	for _, words := range [][]string{
		{"settings", "set", "--app", "demo", "--multi-client-sync=true"},
		{"pause"},
		{"pause", "--lane", "long"},
		{"send", "--app", "demo", "--user", "alice", "--conversation", "c2c_bob"},
		{"send", "--app", "demo", "--user", "alice", "--conversation", "c2c_bob", "--wait"},
		{"dead-letters", "list"},
		{"dead-letters", "show", "1"},
		{"dead-letters", "retry", "1"},
		{"dead-letters", "drop", "1"},
		{"replay", "--dry-run", "--since", time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)},
	} {
		res := r.call(t, words...) // as the worker
		at := strings.Index(res.err, "operator")
		if grant := slices.Max([]int{strings.Index(res.err, "grant "), strings.Index(res.err, "allow it")}); res.code == 0 || at < 0 || grant >= 0 && grant < at {
			t.Errorf("worker %v as the worker: exit status %d, %q; want a failure that names the operator's credentials before anything else that mends it", words, res.code, res.err)
		}
	}
	for _, words := range [][]string{{"replay", "--dry-run", "--since", time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)}} {
		res := r.call(t, append(r.as(t, operatorUser, "lethe_operator"), words...)...)
		if res.code == 0 || !strings.Contains(res.err, "lethe_worker") {
			t.Errorf("worker %v as the operator: exit status %d, %q; want it to name the role that it takes", words, res.code, res.err)
		}
	}
}
