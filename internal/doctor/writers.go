package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kvexpress/internal/safetext"
)

const proc = "/proc"

// OfWriters checks that no other process writes to the files, whose paths have no symbolic links. It sees processes that have one
// open for writing, and programs that write files and name one on their command line. It does not see programs that open it
// later, and those that have its name in a configuration. agent is the process of the node's agent; 0: none.
func OfWriters(files []string, agent int) Check {
	return Check{Name: "writers", Run: func(context.Context) []Finding {
		entries, err := os.ReadDir(proc)
		if err != nil {
			return []Finding{found(NotChecked, "who else writes to the files: this system has no %s", proc)}
		}
		var all []Finding
		hidden := 0 // processes
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil || pid == os.Getpid() || pid == agent {
				continue
			}
			p := process(pid)
			open, err := p.writes(files)
			if errors.Is(err, fs.ErrPermission) {
				hidden++
			}
			for file, how := range p.names(files) {
				open[file] = how // it says more
			}
			for _, file := range slices.Sorted(maps.Keys(open)) {
				all = append(all, Finding{About: file, Result: Warning, Says: fmt.Sprintf(
					"process %d (%s) %s; two writers undo each other's work: end one of them", pid, p.comm(), open[file])})
			}
		}
		switch {
		case hidden > 0:
			all = append(all, found(NotChecked, "%d processes of other users may have a file open for writing; run doctor as root",
				hidden))
		case all == nil:
			all = append(all, found(OK, "no other process has one of the %d files open for writing, or names it", len(files)))
		}
		return all
	}}
}

type process int

func (p process) path(name string) string { return filepath.Join(proc, strconv.Itoa(int(p)), name) }

func (p process) comm() string {
	b, _ := os.ReadFile(p.path("comm")) // it may have ended
	return safetext.Line(strings.TrimSpace(string(b)), 32)
}

// writes returns the files that the process has open for writing.
func (p process) writes(files []string) (open map[string]string, err error) {
	open = map[string]string{}
	fds, err := os.ReadDir(p.path("fd"))
	for _, fd := range fds {
		to, err := os.Readlink(p.path("fd/" + fd.Name()))
		if err != nil || !slices.Contains(files, to) {
			continue
		}
		info, _ := os.ReadFile(p.path("fdinfo/" + fd.Name()))
		_, flags, _ := strings.Cut(string(info), "flags:")
		flags, _, _ = strings.Cut(strings.TrimSpace(flags), "\n")
		if mode, err := strconv.ParseUint(flags, 8, 64); err == nil && mode&uint64(os.O_WRONLY|os.O_RDWR) != 0 {
			open[to] = "has it open for writing"
		}
	}
	return open, err
}

// names returns the files that are on the command line of a program that writes files.
func (p process) names(files []string) map[string]string {
	b, _ := os.ReadFile(p.path("cmdline")) // it may have ended
	program, rest, _ := bytes.Cut(b, []byte{0})
	switch filepath.Base(string(program)) {
	case "consul-template", "confd", "envconsul", "consul", "kvexpress":
	default:
		return nil
	}
	named := map[string]string{}
	for _, file := range files {
		for _, word := range strings.FieldsFunc(string(rest), func(r rune) bool { return strings.ContainsRune("\x00 :=\"'", r) }) {
			if word == file {
				named[file] = "names it on its command line"
			}
		}
	}
	return named
}

// Environment are the variables of a process, as NAME=VALUE; ok is false if they cannot be read.
func Environment(pid int) (all []string, ok bool) {
	b, err := os.ReadFile(process(pid).path("environ"))
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), err == nil && len(b) > 0
}
