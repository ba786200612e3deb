package token

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var (
	key    = Key(strings.Repeat("k", MinKey))
	now    = time.Unix(1_800_000_000, 0)
	claims = Claims{App: "demo", User: "alice.*", Device: "phone", Exp: now.Unix() + 60}
)

func TestATokenSaysWhatWasSigned(t *testing.T) {
	t.Parallel()
	got, err := key.Verify(key.Sign(claims), now)
	if err != nil || got != claims {
		t.Errorf("Verify = %+v, %v; want %+v", got, err, claims)
	}
}

func TestATokenEndsInTime(t *testing.T) {
	t.Parallel()
	tok := key.Sign(claims)
	if _, err := key.Verify(tok, claims.Expires().Add(-time.Nanosecond)); err != nil {
		t.Errorf("just before its end: %v", err)
	}
	if _, err := key.Verify(tok, claims.Expires()); !errors.Is(err, ErrExpired) {
		t.Errorf("at its end: %v; want ErrExpired", err)
	}
}

func TestWhatThisKeyDidNotSignIsRefused(t *testing.T) {
	t.Parallel()
	tok := key.Sign(claims)
	signed, sum, _ := strings.Cut(tok, ".")
	other := claims
	other.User = "bob"
	othersClaims, _, _ := strings.Cut(key.Sign(other), ".")
	for name, bad := range map[string]string{
		"empty": "", "no sum": signed, "empty sum": signed + ".", "other claims": othersClaims + "." + sum, "more": tok + ".x", "cut": tok[:len(tok)-1],
		"another key": Key(strings.Repeat("x", MinKey)).Sign(claims), "nobody": key.Sign(Claims{Exp: claims.Exp}), "padded": tok + "=",
	} {
		if got, err := key.Verify(bad, now); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %+v, %v; want ErrInvalid", name, got, err)
		}
	}
	short := Key("short")
	if _, err := short.Verify(short.Sign(claims), now); !errors.Is(err, ErrInvalid) {
		t.Errorf("a short key: %v; want ErrInvalid", err)
	}
}
