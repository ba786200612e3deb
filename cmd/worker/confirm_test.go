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
