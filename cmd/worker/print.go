package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// terminal is where a command prints: results to out, logs and questions to err.
type terminal struct {
	in       io.Reader // for the answer to a question
	out, err io.Writer
	getenv   func(string) string
}

// confirm asks, and returns an error unless the answer is yes.
func (t terminal) confirm(ctx context.Context, question string) error {
	if _, err := fmt.Fprintf(t.err, "%s [y/N] ", question); err != nil {
		return err
	}
	answered := make(chan string, 1)
	go func() { // ends with the program, if nobody answers
		line, _ := bufio.NewReader(t.in).ReadString('\n') // the end of input is a no as well
		answered <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case answer := <-answered:
		if answer == "y" || answer == "yes" {
			return nil
		}
		return errors.New("nothing was done, because the answer was not yes: answer y, or add --yes")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// live reports whether out is a terminal on which a line can be overwritten.
func (t terminal) live() bool {
	f, ok := t.out.(*os.File)
	if !ok || t.getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// printJSON writes v as one line of JSON.
func (t terminal) printJSON(v any) error {
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printf writes for people. Texts from outside go through printable or quoted.
func (t terminal) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(t.out, format, args...)
	return err
}

// printTable writes rows in aligned columns; the first row is the heading. Every
// cell is made printable, and an empty one below the heading is a dash.
func (t terminal) printTable(rows [][]string) error {
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	for i, row := range rows {
		cells := make([]string, len(row))
		for j, cell := range row {
			cells[j] = printable(cell)
			if i > 0 {
				cells[j] = orDash(cells[j])
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// orDash is what stands in a table's cell for s.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// field is one line of a description.
type field struct{ name, value string }

// printFields writes name and value in two columns and leaves out what is empty.
func (t terminal) printFields(fields []field) error {
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		if f.value != "" {
			fmt.Fprintf(w, "%s\t%s\n", f.name, printable(f.value))
		}
	}
	return w.Flush()
}

// printable returns s with everything escaped that could move a terminal's
// cursor, change its colours or turn its direction: control and format
// characters, line separators and what isn't UTF-8.
func printable(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case shown(r):
			b.WriteString(s[i : i+size])
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		i += size
	}
	return b.String()
}

func plain(s string) bool {
	for _, r := range s {
		if !shown(r) || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// shown reports whether a terminal shows r as a character and does nothing else. The
// zero-width joiner only joins emoji.
func shown(r rune) bool { return r == '\u200d' || unicode.IsPrint(r) }

// stamp writes a time for people; "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}
