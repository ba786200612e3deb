package main

import (
	"io"
	"log/slog"
)

// logger returns the log that the settings ask for. They have been checked.
func (c *logConfig) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // one of the four words
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: forPeople}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// forPeople writes durations as people do, 1.5s, also in JSON, and leaves out what
// there isn't: an error that is nil says nothing.
func forPeople(_ []string, a slog.Attr) slog.Attr {
	switch {
	case a.Value.Kind() == slog.KindDuration:
		a.Value = slog.StringValue(a.Value.Duration().String())
	case a.Value.Kind() == slog.KindAny && a.Value.Any() == nil:
		return slog.Attr{}
	}
	return a
}
