package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// The people of S5 are a process of their own: so many transactions a second at
// fixed times, whether or not the ones before are done. A latency counts from
// the time at which a transaction was meant to start, so that who stalls isn't
// asked less. Half are messages sent, half are pages of history read.
const (
	talkers, talksEach, talkMessages = 200, 5, 100
	// chatConns is how many connections the people share; those who find none
	// wait, and their latency tells.
	chatConns = 16
	// chatSeed makes all contestants meet the same people.
	chatSeed = 5
	pageSize = 50

	rateVariable = "LETHE_BENCH_RATE"
	fileVariable = "LETHE_BENCH_FILE"
)

const (
	// chatSend takes a seq, stores the message and brings the conversation's row up
	// to date.
	chatSend = `
with c as (
  insert into chat.counters as c (app_id, user_id, last_seq) values ('` + benchApp + `', $1, 1)
  on conflict (app_id, user_id) do update set last_seq = c.last_seq + 1 returning last_seq
),
m as (
  insert into chat.messages (app_id, user_id, conversation_id, seq, sender_id, body)
  select '` + benchApp + `', $1, $2, c.last_seq, 'peer', jsonb_build_object('text', $3::text) from c
)
insert into chat.conversations as v (app_id, user_id, conversation_id, last_seq, unread_count)
select '` + benchApp + `', $1, $2, c.last_seq, 1 from c
on conflict (app_id, user_id, conversation_id) do update
set last_seq = greatest(v.last_seq, excluded.last_seq), unread_count = v.unread_count + 1, updated_at = now()`

	chatPage = `
select seq, sender_id, sent_at, body from chat.messages
where app_id = '` + benchApp + `' and user_id = $1 and conversation_id = $2 and seq < $3 order by seq desc limit $4`
)

// loadTalks fills the conversations in which people chat.
func (w *world) loadTalks(ctx context.Context) error {
	const users = `select 'talker-' || lpad((c / $2::int)::text, 4, '0') as u, 'c2c_talk-' || lpad(c::text, 5, '0') as v, c % $2::int as nth
from generate_series(0, $1::int * $2::int - 1) c`
	for _, sql := range []string{
		`insert into chat.messages (app_id, user_id, conversation_id, seq, sender_id, sent_at, body)
select '` + benchApp + `', u, v, nth * $3::int + i, 'peer', now() - interval '1 day', ` + body + ` from (` + users + `) x, generate_series(1, $3::int) i`,
		`insert into chat.conversations (app_id, user_id, conversation_id, last_seq)
select '` + benchApp + `', u, v, (nth + 1) * $3::int from (` + users + `) x`,
		`insert into chat.counters (app_id, user_id, last_seq) select '` + benchApp + `', u, max(nth + 1) * $3::int from (` + users + `) x group by u`,
	} {
		if err := w.exec(ctx, sql, talkers, talksEach, talkMessages); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	return nil
}

// spoken is one transaction: when it was meant to start, and how long after that
// it was done.
type spoken struct {
	meant time.Time
	took  time.Duration
}

// people is the process of those who chat.
type people struct {
	db *pgxpool.Pool

	mu   sync.Mutex // guards what follows
	all  []spoken
	sent int
	err  error
}

// runChat chats until ctx ends, waits for what is under way and writes down what
// it took.
func runChat(ctx context.Context, stdout io.Writer) error {
	rate, err := strconv.Atoi(os.Getenv(rateVariable))
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	config.MaxConns, config.MinConns = chatConns, chatConns
	db, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := fmt.Fprintln(stdout, readyWord); err != nil {
		return err
	}
	p := &people{db: db}
	p.chat(ctx, time.Second/time.Duration(rate))
	return errors.Join(p.err, p.save(os.Getenv(fileVariable)))
}

// chat starts a transaction every so often until ctx ends.
func (p *people) chat(ctx context.Context, every time.Duration) {
	random := rand.New(rand.NewPCG(chatSeed, chatSeed)) //nolint:gosec // nothing secret
	var underway sync.WaitGroup
	defer underway.Wait()
	meant := time.Now()
	for n := 0; ; n++ {
		meant = meant.Add(every)
		if pauseFor(ctx, time.Until(meant)) != nil {
			return
		}
		talker, talk := random.IntN(talkers), random.IntN(talksEach)
		at, send := meant, n%2 == 0
		underway.Go(func() {
			err := p.speak(context.WithoutCancel(ctx), talker, talk, send)
			p.note(spoken{at, time.Since(at)}, send, err)
		})
	}
}

// speak is one transaction.
func (p *people) speak(ctx context.Context, talker, talk int, send bool) error {
	user := fmt.Sprintf("talker-%04d", talker)
	chat := fmt.Sprintf("c2c_talk-%05d", talker*talksEach+talk)
	if send {
		_, err := p.db.Exec(ctx, chatSend, user, chat, "see you at the usual place then, and bring the others along if they feel like it")
		return err
	}
	rows, err := p.db.Query(ctx, chatPage, user, chat, (talk+1)*talkMessages, pageSize)
	if err != nil {
		return err
	}
	for rows.Next() {
		if _, err := rows.Values(); err != nil {
			rows.Close()
			return err
		}
	}
	return rows.Err()
}

func (p *people) note(s spoken, send bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, s)
	if send && err == nil {
		p.sent++
	}
	p.err = errors.Join(p.err, err)
}

// save writes how many messages were sent, and then a pair for each transaction.
func (p *people) save(path string) error {
	data := binary.LittleEndian.AppendUint64(nil, uint64(p.sent)) //nolint:gosec // a count
	for _, s := range p.all {
		data = binary.LittleEndian.AppendUint64(data, uint64(s.meant.UnixNano())) //nolint:gosec // read back the same way
		data = binary.LittleEndian.AppendUint64(data, uint64(s.took))             //nolint:gosec // read back the same way
	}
	return os.WriteFile(path, data, 0o600)
}

// readSpoken reads what save has written.
func readSpoken(path string) (sent int, all []spoken, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, nil, err
	}
	number := func() int64 {
		n := int64(binary.LittleEndian.Uint64(data)) //nolint:gosec // written the same way
		data = data[8:]
		return n
	}
	sent = int(number())
	for len(data) > 0 {
		meant := time.Unix(0, number())
		all = append(all, spoken{meant, time.Duration(number())})
	}
	return sent, all, nil
}
