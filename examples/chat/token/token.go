// Package token signs who a device is. The gateway and the presence service
// check it with the same key; whoever logs users in makes it. Where you have
// tokens already, JWTs of an identity provider for one, check those instead.
package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// MinKey is the least length of a Key, in bytes: that of the hash.
const MinKey = sha256.Size

// Key signs and verifies. It is MinKey bytes or more, random, and secret.
type Key []byte

// Claims are what a token says of its bearer.
type Claims struct {
	App    string `json:"app"`
	User   string `json:"user"`
	Device string `json:"device,omitempty"`
	// Admin may change the app's settings.
	Admin bool `json:"admin,omitempty"`
	// Exp is when the token ends, in seconds since 1970. Zero has ended.
	Exp int64 `json:"exp"`
}

// Expires is Exp as a time.
func (c Claims) Expires() time.Time { return time.Unix(c.Exp, 0) }

// Errors of Verify. They don't say which part of a token is wrong.
var (
	// ErrInvalid: not one of ours.
	ErrInvalid = errors.New("the token is missing or not valid")
	// ErrExpired: one of ours, whose time is over.
	ErrExpired = errors.New("the token has expired")
)

var encoding = base64.RawURLEncoding.Strict()

// Sign returns the token: the claims as JSON, a dot, and the HMAC-SHA256 of what
// stands before the dot, both parts in base64url.
func (k Key) Sign(c Claims) string {
	text, err := json.Marshal(c)
	if err != nil {
		panic("BUG: claims are plain strings and numbers: " + err.Error())
	}
	signed := encoding.EncodeToString(text)
	return signed + "." + encoding.EncodeToString(k.sum(signed))
}

// Verify returns the claims of a token that this key has signed and that has not
// expired at now. The error is ErrInvalid or ErrExpired.
func (k Key) Verify(tok string, now time.Time) (Claims, error) {
	signed, sum, _ := strings.Cut(tok, ".")
	got, err := encoding.DecodeString(sum)
	if err != nil || len(k) < MinKey || !hmac.Equal(got, k.sum(signed)) {
		return Claims{}, ErrInvalid
	}
	text, err := encoding.DecodeString(signed)
	if err != nil {
		return Claims{}, ErrInvalid
	}
	var c Claims
	if json.Unmarshal(text, &c) != nil || c.App == "" || c.User == "" {
		return Claims{}, ErrInvalid
	}
	if !now.Before(c.Expires()) {
		return Claims{}, ErrExpired
	}
	return c, nil
}

func (k Key) sum(signed string) []byte {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}
