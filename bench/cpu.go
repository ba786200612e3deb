package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ticks is Linux's unit of CPU time in /proc, 1/100 s on all its platforms.
const ticks = 100

// cpuOf returns the CPU seconds of a process and of its children that have
// ended; false where /proc can't tell.
func cpuOf(pid int) (float64, bool) {
	stat, ok := readStat(pid)
	return stat.cpu, ok
}

// cpuOfTree returns the CPU seconds of a server and its children: of Postgres,
// where each connection is a child.
func cpuOfTree(parent int) (float64, bool) {
	sum, ok := cpuOf(parent)
	all, err := filepath.Glob("/proc/[0-9]*")
	if !ok || err != nil {
		return 0, false
	}
	for _, path := range all {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		if stat, ok := readStat(pid); ok && stat.parent == parent {
			sum += stat.cpu
		}
	}
	return sum, true
}

// peakOf returns the maximum resident memory of a live process in MiB; false
// where /proc can't tell. What the kernel tells at a process's end is no use: it
// counts the moment before exec, when the process was a copy of its parent.
func peakOf(pid int) (float64, bool) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, false
	}
	return parsePeak(string(data))
}

// parsePeak reads VmHWM, in kB, of /proc/<pid>/status.
func parsePeak(status string) (float64, bool) {
	_, rest, ok := strings.Cut(status, "\nVmHWM:")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 2 || fields[1] != "kB" {
		return 0, false
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	return float64(n) / (1 << 10), err == nil
}

// procStat is what we want of /proc/<pid>/stat.
type procStat struct {
	parent int
	cpu    float64 // seconds
}

func readStat(pid int) (procStat, bool) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return procStat{}, false // it has ended, or this isn't Linux
	}
	return parseStat(string(data))
}

// parseStat reads a line of /proc/<pid>/stat. The name, in parentheses, may hold
// anything; after it come state, parent and, 10 fields on, utime, stime, cutime
// and cstime.
func parseStat(line string) (procStat, bool) {
	_, rest, ok := cutLast(line, ")")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 15 {
		return procStat{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return procStat{}, false
	}
	s := procStat{parent: parent}
	for _, field := range fields[11:15] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return procStat{}, false
		}
		s.cpu += float64(n) / ticks
	}
	return s, true
}

// cutLast cuts s around the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
