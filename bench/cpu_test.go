package main

import "testing"

func TestParsePeak(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]float64{
		"Name:\tworker\nVmPeak:\t  9999 kB\nVmHWM:\t   20480 kB\nVmRSS:\t 1024 kB\n": 20,
		"Name:\tVmHWM:\nVmRSS:\t 1024 kB\n":                                          -1,
		"Name:\tworker\nVmHWM:\t 7 pages\n":                                          -1,
		"":                                                                           -1,
	} {
		got, ok := parsePeak(status)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("parsePeak(%q) = %v; want %v", status, got, want)
		}
	}
}
