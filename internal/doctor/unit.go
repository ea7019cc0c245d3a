package doctor

import (
	"cmp"
	"context"
	"strings"

	"kvexpress/internal/command"
)

// OfUnit checks a unit of systemd: that it runs, that it starts at boot, and that its sandbox lets it write to the folders.
func OfUnit(name string, dirs []string) Check {
	return Check{Name: "unit", About: name, Run: func(ctx context.Context) []Finding {
		show := []string{"systemctl", "show", name}
		r, err := command.Run(ctx, command.Command{Argv: append(show, "--property="+properties), Shown: show})
		if err != nil {
			return []Finding{found(NotChecked, "systemd does not run here, or does not tell: %v", err)}
		}
		u := unit{}
		for line := range strings.Lines(r.Output) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			u[key] = value
		}
		return u.findings(name, dirs)
	}}
}

const properties = "LoadState,ActiveState,SubState,Result,UnitFileState,NeedDaemonReload,ProtectSystem,ProtectHome,PrivateTmp," +
	"ReadWritePaths,ReadOnlyPaths,InaccessiblePaths,StateDirectory,RuntimeDirectory"

// unit has the properties of a unit.
type unit map[string]string

func (u unit) findings(name string, dirs []string) (all []Finding) {
	if u["LoadState"] != "loaded" {
		return []Finding{found(Warning, "systemd has no such unit (%s), so nothing starts it at boot; copy %s to /etc/systemd/system, "+
			"then `systemctl enable --now %[2]s`", cmp.Or(u["LoadState"], "unknown"), name)}
	}
	if active := u["ActiveState"]; active != "active" && active != "reloading" {
		all = append(all, found(Failure, "it is %s (%s, %s); `systemctl start %s`, and `journalctl -u %[4]s` says why it ended",
			active, u["SubState"], u["Result"], name))
	}
	if u["UnitFileState"] == "disabled" {
		all = append(all, found(Warning, "it does not start at boot; `systemctl enable %s`", name))
	}
	if u["NeedDaemonReload"] == "yes" {
		all = append(all, found(Warning, "its file was changed after systemd read it; "+
			"`systemctl daemon-reload && systemctl restart %s`", name))
	}
	for _, dir := range dirs {
		if why := u.closes(dir); why != "" {
			all = append(all, found(Failure, "its sandbox does not let it write to %s: %s, and `systemctl restart %s`", dir, why, name))
		}
	}
	if all == nil {
		all = append(all, found(OK, "it runs, starts at boot, and may write to the %d folders that it needs", len(dirs)))
	}
	return all
}

// closes says why a service of the unit cannot write to a folder, and what to do; "" if it can.
func (u unit) closes(dir string) string {
	home, tmp := []string{"/home", "/root", "/run/user"}, []string{"/tmp", "/var/tmp"}
	system := map[string][]string{"strict": {"/"}, "full": {"/usr", "/boot", "/efi", "/etc"}, "yes": {"/usr", "/boot", "/efi"}}
	closed := append(strings.Fields(u["ReadOnlyPaths"]), system[u["ProtectSystem"]]...)
	open := append(strings.Fields(u["ReadWritePaths"]), "/dev", "/proc", "/sys")
	for property, root := range map[string]string{"StateDirectory": "/var/lib/", "RuntimeDirectory": "/run/"} {
		for _, name := range strings.Fields(u[property]) {
			open = append(open, root+name)
		}
	}
	switch protect := u["ProtectHome"]; {
	case longest(dir, strings.Fields(u["InaccessiblePaths"])) > 0:
		return "InaccessiblePaths hides it; remove it there"
	case longest(dir, home) > 0 && (protect == "yes" || protect == "tmpfs"):
		return "ProtectHome=" + protect + " hides it; set ProtectHome=read-only and ReadWritePaths=" + dir + " in `systemctl edit`"
	case longest(dir, tmp) > 0 && u["PrivateTmp"] == "yes":
		return "PrivateTmp=yes gives it a /tmp of its own; choose another folder"
	case protect == "read-only":
		closed = append(closed, home...)
	}
	if n := longest(dir, closed); n > 0 && n > longest(dir, open) {
		return "it is read-only there; add ReadWritePaths=" + dir + " in `systemctl edit`"
	}
	return ""
}

// longest is the length of the longest of some paths that is dir or above it; 0: none is.
func longest(dir string, paths []string) (n int) {
	for _, path := range paths {
		path = strings.TrimRight(strings.TrimLeft(path, "-+"), "/")
		if dir == path || strings.HasPrefix(dir, path+"/") {
			n = max(n, len(path)+1)
		}
	}
	return n
}
