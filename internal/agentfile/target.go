package agentfile

import (
	"path/filepath"
	"strings"
	"time"

	"kvexpress/internal/deliver"
	"kvexpress/internal/kv"
)

// Defaults and limits of targets.
const (
	maxTargets     = 4096
	maxPath        = 4095 // bytes: what Linux takes
	defaultLines   = 1
	maxLines       = 1_000_000_000
	defaultTimeout = 5 * time.Minute
	minTimeout     = 100 * time.Millisecond
)

// draft is a target that is being read.
type draft struct {
	Target
	key, file value
	gid       *int // of the key group, which wins over the owner's
}

func targetFields() []field[draft] {
	return []field[draft]{
		{"key", func(d *draft, v value) { d.key = v }},
		{"file", func(d *draft, v value) { d.file = v }},
		{"mode", (*draft).setMode},
		{"owner", (*draft).setOwner},
		{"group", (*draft).setGroup},
		{"min_lines", func(d *draft, v value) { set(&d.MinLines)(v.count(maxLines)) }},
		{"check", (*draft).setCheck},
		{"exec", func(d *draft, v value) { set(&d.Exec)(v.argv()) }},
		{"check_timeout", func(d *draft, v value) { set(&d.CheckTimeout)(v.duration(minTimeout)) }},
		{"exec_timeout", func(d *draft, v value) { set(&d.ExecTimeout)(v.duration(minTimeout)) }},
		{"in_place", func(d *draft, v value) { set(&d.InPlace)(v.flag()) }},
		{"restore_on_failure", func(d *draft, v value) { set(&d.RestoreOnFailure)(v.flag()) }},
		{"refuse_older", func(d *draft, v value) { set(&d.RefuseOlder)(v.flag()) }},
		{"spread", func(d *draft, v value) { set(&d.Spread)(v.duration(0)) }},
	}
}

// set puts a value where it belongs, if it is good.
func set[T any](to *T) func(T, bool) {
	return func(value T, ok bool) {
		if ok {
			*to = value
		}
	}
}

func (d *draft) setMode(v value) {
	s, ok := v.text(`octal digits such as "0644"`)
	if !ok {
		return
	}
	mode, err := parseMode(s)
	if err != nil {
		v.bad("%w", err)
		return
	}
	d.Mode = mode
}

func (d *draft) setOwner(v value) {
	s, ok := v.text("a user's name or number")
	if !ok {
		return
	}
	uid, gid, err := deliver.Owner(s)
	if err != nil {
		v.bad("%w", err)
		return
	}
	d.UID = &uid
	if gid >= 0 {
		d.GID = &gid
	}
}

func (d *draft) setGroup(v value) {
	s, ok := v.text("a group's name or number")
	if !ok {
		return
	}
	gid, err := deliver.Group(s)
	if err != nil {
		v.bad("%w", err)
		return
	}
	d.gid = &gid
}

func (d *draft) setCheck(v value) {
	argv, ok := v.argv()
	if !ok {
		return
	}
	if err := deliver.ParseCheck(argv); err != nil {
		v.bad("%w", err)
		return
	}
	d.Check = argv
}

// readTarget reads one of the list targets, and keeps it if it is good.
func (l *loader) readTarget(v value) {
	if l.targetsRead++; l.targetsRead > maxTargets {
		if l.targetsRead == maxTargets+1 {
			v.problems.add(v.at, "there are more than %d targets, which no agent takes; remove some", maxTargets)
		}
		return
	}
	var d draft
	d.MinLines, d.CheckTimeout, d.ExecTimeout = defaultLines, defaultTimeout, defaultTimeout
	d.At = v.at.String()
	given, ok := read(v, "a map with key and file", l.targetFields, &d, nil)
	if !ok {
		return
	}
	if d.gid != nil {
		d.GID = d.gid
	}
	for _, name := range []string{"key", "file"} {
		if _, ok := given[name]; !ok {
			v.problems.add(v.at, "the target has no %s; add one", name)
		}
	}
	if d.key.name != "" {
		l.setKey(&d)
	}
	if d.file.name != "" {
		l.setFile(&d)
	}
	l.config.Targets = append(l.config.Targets, d.Target)
}

func (l *loader) setKey(d *draft) {
	s, ok := d.key.text("a name such as hosts")
	if !ok {
		return
	}
	if s, ok = l.marks.fill(d.key, s); !ok {
		return
	}
	key, err := kv.ParseKey(s)
	if err != nil {
		d.key.problems.add(d.key.at, "%w", err)
		return
	}
	d.Key = key
}

func (l *loader) setFile(d *draft) {
	v := d.file
	s, ok := v.text("an absolute path")
	if !ok {
		return
	}
	if s, ok = l.marks.fill(v, s); !ok {
		return
	}
	switch {
	case !filepath.IsAbs(s):
		v.bad("%s is not absolute; begin it with /", kv.Quote(s))
		return
	case strings.HasSuffix(s, "/"):
		v.bad("%s names a folder; give a file", kv.Quote(s))
		return
	case len(s) > maxPath:
		v.bad("%s is too long, at most %d bytes are allowed", kv.Quote(s), maxPath)
		return
	}
	file, err := deliver.ParseFile(s)
	if err != nil {
		v.bad("%w", err)
		return
	}
	if file == "/" {
		v.bad("%s names a folder; give a file", kv.Quote(s))
		return
	}
	if other, taken := l.files[file]; taken {
		v.bad("%s is the file of the target at %s too; give each target its own", kv.Quote(file), other)
		return
	}
	l.files[file] = d.At
	d.File = file
}
