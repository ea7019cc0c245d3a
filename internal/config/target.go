package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
)

// Limits of targets.
const (
	maxTargets = 4096
	maxPath    = 4095 // bytes, of Linux
	maxLines   = 1_000_000_000
	minTimeout = 100 * time.Millisecond
)

func (l *loader) targetSetters(t *Target) map[string]func(value) {
	groups := 0 // how many keys name the group
	group := func(name string) (*int, error) {
		if groups++; groups > 1 {
			return nil, errors.New("the group is given twice; remove group, or the group in owner")
		}
		gid, err := install.Group(name)
		return &gid, err
	}
	return map[string]func(value){
		"key": one(&t.Key, func(s string) (kv.Key, error) {
			s, err := l.fill(s)
			if err != nil {
				return "", err
			}
			return kv.ParseKey(s)
		}),
		"file": one(&t.File, func(s string) (string, error) { return l.parseFile(s, t.At) }),
		"mode": one(&t.Mode, parseMode),
		"owner": one(&t.UID, func(s string) (uid *int, err error) {
			user, name, named := strings.Cut(s, ":")
			if named && name != "" {
				if t.GID, err = group(name); err != nil {
					return nil, err
				}
			}
			return parseOwner(user, &t.GID)
		}),
		"group":              one(&t.GID, group),
		"min_lines":          one(&t.MinLines, parseNumber("lines", maxLines)),
		"check":              argv(&t.Check, install.ParseCheck),
		"exec":               argv(&t.Exec, func([]string) error { return nil }),
		"probe":              argv(&t.Probe, func([]string) error { return nil }),
		"check_timeout":      one(&t.CheckTimeout, parseDuration(minTimeout)),
		"exec_timeout":       one(&t.ExecTimeout, parseDuration(minTimeout)),
		"probe_timeout":      one(&t.ProbeTimeout, parseDuration(minTimeout)),
		"in_place":           one(&t.InPlace, parseSwitch),
		"restore_on_failure": one(&t.RestoreOnFailure, parseSwitch),
		"refuse_older":       one(&t.RefuseOlder, parseSwitch),
		"spread":             one(&t.Spread, parseDuration(0)),
		"exec_every":         one(&t.ExecEvery, parseDuration(time.Second)),
	}
}

// parseOwner also sets the user's main group, unless the key group sets one, before or after it.
func parseOwner(s string, group **int) (*int, error) {
	uid, gid, err := install.Owner(s)
	if err == nil && gid >= 0 && *group == nil {
		*group = &gid
	}
	return &uid, err
}

func (l *loader) readTargets(v value) {
	for _, item := range v.items() {
		if len(l.config.Targets) == maxTargets {
			item.bad("more than %d targets; remove some", maxTargets)
			return
		}
		t := Target{At: l.at(item.line)}
		t.MinLines, t.CheckTimeout, t.ExecTimeout, t.ProbeTimeout = 1, 5*time.Minute, 5*time.Minute, 30*time.Second
		lines := item.read(l.targetSetters(&t))
		for _, key := range []string{"key", "file"} {
			if lines != nil && lines[key] == 0 {
				item.add(item.line, "the target has no %s; add one", key)
			}
		}
		t.Exec, t.Probe = install.FillFile(t.Exec, t.File), install.FillFile(t.Probe, t.File)
		l.checkEvery(item, t)
		l.config.Targets = append(l.config.Targets, t)
	}
}

// checkEvery checks exec_every against the other keys, and against the targets with the same exec.
func (l *loader) checkEvery(item value, t Target) {
	switch {
	case t.ExecEvery > 0 && len(t.Exec) == 0:
		item.add(item.line, "exec_every has no effect without exec; add exec, or remove it")
	case t.ExecEvery > 0 && t.RestoreOnFailure:
		item.add(item.line, "exec_every delays the exec, and restore_on_failure needs it at once; remove one of the two")
	}
	group := t.ExecGroup()
	first, found := l.execs[group]
	if !found {
		l.execs[group] = t
	} else if group != "" && first.ExecEvery != t.ExecEvery {
		item.add(item.line, "exec_every is %s here and %s at %s, for the same exec; give both the same", t.ExecEvery, first.ExecEvery,
			first.At)
	}
}

func (l *loader) parseFile(s, at string) (string, error) {
	s, err := l.fill(s)
	if err != nil {
		return "", err
	}
	file := filepath.Clean(s)
	switch {
	case !filepath.IsAbs(s):
		return "", fmt.Errorf("%s is not absolute; begin it with /", kv.Quote(s))
	case strings.HasSuffix(s, "/") || file == "/":
		return "", fmt.Errorf("%s is a folder; give a file", kv.Quote(s))
	case l.files[file] != "":
		return "", fmt.Errorf("%s is the file of the target at %s too; give each target its own", kv.Quote(file), l.files[file])
	}
	l.files[file] = at
	if real, err := install.Resolve(file); err == nil && real != file { // else the install reports it
		if l.files[real] != "" {
			return "", fmt.Errorf("%s resolves to %s, the file of the target at %s; remove one of the two", kv.Quote(file), kv.Quote(real),
				l.files[real])
		}
		l.files[real] = at
	}
	return file, nil
}

const (
	wordNode, wordDatacenter = "node", "datacenter" // defined without vars
	wordLetters              = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
)

// readVars reads vars, a map of {word} to its text.
func (l *loader) readVars(v value) {
	v.each(func(e value) {
		name := e.name
		e.name = "vars: " + kv.Quote(name)
		switch {
		case name == wordNode || name == wordDatacenter || "{"+name+"}" == install.FileMark:
			e.bad("the word is already defined; choose another")
		case strings.Trim(name, wordLetters) != "" || name == "":
			e.bad("not a word; use letters, digits, _ and -")
		default:
			l.words[name] = name // a refused value is reported once, not at each use
			one(new(string), func(s string) (string, error) { l.words[name] = s; return s, nil })(e)
		}
	})
}

// fill replaces each {word} of a key or a file name.
func (l *loader) fill(s string) (string, error) {
	var b strings.Builder
	for {
		before, rest, open := strings.Cut(s, "{")
		b.WriteString(before)
		word, after, closed := strings.Cut(rest, "}")
		text, known := l.words[word]
		switch {
		case strings.Contains(before, "}") || open && (!closed || strings.Contains(word, "{")):
			return "", fmt.Errorf("a { or } stands alone; write {%s} for the node's name", wordNode)
		case b.Len() > maxPath:
			return "", fmt.Errorf("the value has more than %d bytes; shorten it", maxPath)
		case !open:
			return b.String(), nil
		case !known:
			return "", l.unknownWord(word)
		}
		b.WriteString(text)
		s = after
	}
}

func (l *loader) unknownWord(word string) error {
	remedy := "add it to vars in " + l.main
	if word == wordDatacenter {
		remedy = "set datacenter in " + l.main
	} else if near := Nearest(word, slices.Sorted(maps.Keys(l.words))); near != "" {
		remedy = "did you mean {" + near + "}?"
	}
	return fmt.Errorf("%s is not known; %s", kv.Quote("{"+word+"}"), remedy)
}
