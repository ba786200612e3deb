package main

import (
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// mappers read the values of our types. They note what is malformed instead of
// stopping at the first, so that all of it is reported at once.
func (p *parser) mappers() []kong.Option {
	return []kong.Option{
		kong.TypeMapper(reflect.TypeFor[time.Duration](), valueMapper[time.Duration]{
			p, time.ParseDuration, "a duration",
			"a number with a unit, such as 50ms, 30s or 720h",
		}),
		kong.TypeMapper(reflect.TypeFor[time.Time](), valueMapper[time.Time]{p, parseMoment, "a time", "RFC 3339, such as 2026-11-23T09:00:00Z or 2026-11-23T10:00:00+01:00"}),
		kong.TypeMapper(reflect.TypeFor[int](), valueMapper[int]{p, strconv.Atoi, "a whole number", "digits, such as 10"}),
		kong.TypeMapper(reflect.TypeFor[int64](), valueMapper[int64]{p, parseInt64, "a whole number", "digits, such as 1200"}),
		kong.TypeMapper(reflect.TypeFor[float64](), valueMapper[float64]{p, parseFactor, "a number", "digits, such as 4 or 0.5"}),
		kong.TypeMapper(reflect.TypeFor[byteSize](), valueMapper[byteSize]{
			p, parseSize, "a size",
			"bytes, or a number with a unit, such as 64MiB or 10GB",
		}),
		kong.TypeMapper(reflect.TypeFor[bool](), switchMapper{valueMapper[bool]{p, parseSwitch, "a switch", "true or false"}}),
	}
}

// valueMapper reads one value of type T.
type valueMapper[T any] struct {
	parser      *parser
	read        func(string) (T, error)
	what, wants string
}

// Decode implements kong.Mapper.
func (m valueMapper[T]) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto(m.what, &text); err != nil {
		return err
	}
	if v, ok := m.parse(ctx.Value.Name, text); ok {
		target.Set(reflect.ValueOf(v))
	}
	return nil
}

// parse reads text, or notes that it is malformed.
func (m valueMapper[T]) parse(flag, text string) (v T, ok bool) {
	v, err := m.read(text)
	if err == nil {
		return v, true
	}
	m.parser.problems.add(flag, "%q is not %s: expected %s", text, m.what, m.wants)
	m.parser.malformed = append(m.parser.malformed, flag)
	return v, false
}

// switchMapper is a valueMapper whose value may be left out.
type switchMapper struct{ valueMapper[bool] }

// IsBool implements kong.BoolMapper.
func (switchMapper) IsBool() bool { return true }

// Decode implements kong.Mapper.
func (m switchMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetBool(true)
		return nil
	}
	return m.valueMapper.Decode(ctx, target)
}

func parseSwitch(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}
	return false, strconv.ErrSyntax
}

func parseInt64(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }

func parseFactor(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

func parseMoment(s string) (time.Time, error) { return time.Parse(time.RFC3339, s) }

// byteSize is a number of bytes.
type byteSize int64

// String returns the size with a binary unit, if that is a whole number of them.
func (s byteSize) String() string {
	for _, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if n := byteSize(sizeUnits[strings.ToLower(unit)]); s != 0 && s%n == 0 {
			return strconv.FormatInt(int64(s/n), 10) + unit
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

var sizeUnits = map[string]int64{
	"": 1, "b": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}

func parseSize(s string) (byteSize, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil {
		return 0, err
	}
	unit, ok := sizeUnits[strings.ToLower(strings.TrimSpace(s[digits:]))]
	if !ok || n > math.MaxInt64/unit {
		return 0, strconv.ErrSyntax
	}
	return byteSize(n * unit), nil
}

// inboxPrefix reports whether s may begin a NATS subject.
func inboxPrefix(s string) bool {
	for token := range strings.SplitSeq(s, ".") {
		if token == "" || strings.ContainsAny(token, "*> \t\r\n") {
			return false
		}
	}
	return true
}
