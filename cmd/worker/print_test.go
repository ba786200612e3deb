package main

import (
	"context"
	"io"
	"strings"
	"testing"
)

func TestConfirmTakesYesAlone(t *testing.T) {
	t.Parallel()
	ask := func(ctx context.Context, in io.Reader) (string, error) {
		var said strings.Builder
		err := terminal{in: in, err: &said}.confirm(ctx, "Really?")
		return said.String(), err
	}
	for answer, want := range map[string]bool{"y\n": true, "YES\r\n": true, "yes": true, "n\n": false, "\n": false, "": false, "yesterday\n": false} {
		if said, err := ask(t.Context(), strings.NewReader(answer)); (err == nil) != want || said != "Really? [y/N] " {
			t.Errorf("answer %q: %v, after %q; want yes: %t", answer, err, said, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in, out := io.Pipe()
	defer out.Close()
	if _, err := ask(ctx, in); err == nil {
		t.Error("interrupted: nil; want an error")
	}
}

func TestATableHasADashForWhatIsEmpty(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := (terminal{out: &out}).printTable([][]string{{"", "A", "B"}, {"x", "", "z"}, {"", "y", ""}}); err != nil {
		t.Fatal(err)
	}
	if want := "   A  B\nx  -  z\n-  y  -\n"; out.String() != want {
		t.Errorf("printed %q; want %q", out.String(), want)
	}
}

func TestPrintableEscapesWhatWouldMoveTheTerminal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"c2c_bob": "c2c_bob", "a b": "a b", "héllo 👩‍👩‍👧": "héllo 👩‍👩‍👧", "\x1b[31mred": `\x1b[31mred`, "a\r\n\tb": `a\r\n\tb`,
		"\u202eevil": `\u202eevil`, "x\u2028y": `x\u2028y`, "\xffz": `\xffz`, "\u009b1m": `\u009b1m`, "\ufeff": `\ufeff`, "\ufffd": "\ufffd",
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q; want %q", in, got, want)
		}
	}
}
