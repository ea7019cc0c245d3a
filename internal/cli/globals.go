package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"kvexpress/internal/command"
	"kvexpress/internal/install"
	"kvexpress/internal/record"
	"kvexpress/internal/wait"
)

// globals are the flags that every command accepts, as in 1.x. The help of a command shows those that it uses.
type globals struct {
	config     string
	server     string
	token      string
	tokenFile  string
	datacenter string
	hub        string
	prefix     string
	retryFor   time.Duration

	exec        string
	execTimeout time.Duration
	length      int
	chmod       modeValue
	owner       string
	group       string
	compress    bool

	dogstatsd     bool
	dogstatsdAddr string
	apiKey        string
	appKey        string

	verbose bool
	json    bool
	key     string // -k of commands with needsKey
	version bool   // see printVersion
}

const (
	defaultPrefix      = "kvexpress"
	defaultLength      = 10
	defaultExecTimeout = 5 * time.Minute
	defaultRetryFor    = 15 * time.Second
)

func (g *globals) register(f *pflag.FlagSet) {
	f.StringVarP(&g.config, "config", "C", "", "configuration `file` (YAML)")
	f.StringVarP(&g.server, "server", "s", "", "`address` of Consul (default CONSUL_HTTP_ADDR, else localhost:8500)")
	f.StringVarP(&g.token, "token", "t", "",
		"Consul ACL `token`; other users can see it: CONSUL_HTTP_TOKEN and --token-file are safer")
	f.StringVar(&g.tokenFile, "token-file", "", "`file` with the Consul ACL token")
	f.StringVar(&g.datacenter, "datacenter", "", "Consul `datacenter` (default: the agent's own)")
	f.StringVar(&g.hub, "hub", "", "`addresses` of hubs, which know the receipts first (default KVEXPRESS_HUB, else none)")
	f.StringVarP(&g.prefix, "prefix", "p", defaultPrefix, "`prefix` of all keys in the store")
	durationVar(f, &g.retryFor, "retry-for", defaultRetryFor, "keep retrying this long if Consul is unreachable")

	f.StringVarP(&g.exec, "exec", "e", "", "`command` to run afterwards, without a shell")
	durationVar(f, &g.execTimeout, "exec-timeout", defaultExecTimeout, "time limit of the exec and of the check")
	f.IntVarP(&g.length, "length", "l", defaultLength, "minimum number of `lines`")
	f.VarP(&g.chmod, "chmod", "c", "`mode` of the file, octal (default: kept; 0640 for a new file)")
	f.StringVarP(&g.owner, "owner", "o", "",
		"`user` or user:group of the file (default: kept); a user alone sets the user's main group, too")
	f.StringVar(&g.group, "group", "", "`group` of the file (default: kept, or the group of --owner)")
	f.BoolVarP(&g.compress, "compress", "z", false, "compress in the store with brotli")

	f.BoolVarP(&g.dogstatsd, "dogstatsd", "d", false, "send metrics to dogstatsd")
	f.StringVarP(&g.dogstatsdAddr, "dogstatsd-address", "D", "", "`address` of dogstatsd (default localhost:8125)")
	f.StringVarP(&g.apiKey, "datadog-api-key", "a", "", "Datadog API `key` for events")
	f.StringVarP(&g.appKey, "datadog-app-key", "A", "", "Datadog app `key` for events")

	f.BoolVar(&g.verbose, "verbose", false, "print the log to standard output")
	f.BoolVarP(&g.version, "version", "v", false, "print the version")
	f.BoolVar(&g.json, "json", false, "print the result as JSON")
}

// durationValue is a duration flag that also takes days and weeks.
type durationValue time.Duration

func (v *durationValue) Type() string { return "duration" }

func (v *durationValue) String() string {
	if *v == 0 {
		return "0" // pflag shows no such default
	}
	text := time.Duration(*v).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

func (v *durationValue) Set(s string) error {
	d, err := wait.ParseDuration(s)
	*v = durationValue(d)
	return err
}

func durationVar(fl *pflag.FlagSet, d *time.Duration, name string, otherwise time.Duration, usage string) {
	*d = otherwise
	fl.Var((*durationValue)(d), name, usage)
}

// Groups of global flags, for uses.
const (
	flagsStore   = "config server token token-file datacenter prefix retry-for"
	flagsFile    = "chmod owner group"
	flagsExec    = "exec exec-timeout"
	flagsReport  = "json verbose dogstatsd dogstatsd-address datadog-api-key datadog-app-key"
	needsKey     = "key" // not a global flag: the command fails without a valid -k, see session.parse
	globalsLabel = "globals"
)

// split returns the words of a command line. It warns of shell syntax, which is passed on as in 1.x.
func (s *session) split(flag, line string) ([]string, error) {
	if line == "" {
		return nil, nil
	}
	argv, err := command.Split(line)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	if word := command.ShellSyntax(line); word != "" {
		s.warn(fmt.Sprintf("%s: there is no shell, so %s gets %s as an argument; to use a shell: %s \"sh -c '…'\"", flag, argv[0], word,
			flag))
	}
	return argv, nil
}

// fileOf sets the target's fields that -c, -o, --group, -l and --exec-timeout give.
func (s *session) fileOf(t *install.Target) error {
	g := s.g
	if w := g.chmod.warning; w != "" {
		s.warn(w)
	}
	t.Mode, t.MinLines, t.ExecTimeout, t.CheckTimeout = g.chmod.mode, g.length, g.execTimeout, g.execTimeout
	if g.owner != "" {
		uid, gid, err := install.Owner(g.owner)
		if err != nil {
			return err
		}
		t.UID = &uid
		if gid >= 0 {
			t.GID = &gid
		}
	}
	if g.group != "" {
		if strings.Contains(g.owner, ":") {
			return errors.New("the group is given twice; remove --group, or the group in -o")
		}
		gid, err := install.Group(g.group)
		if err != nil {
			return err
		}
		t.GID = &gid
	}
	return nil
}

// encodingOf is the encoding in the store: --encoding, else -z, else plain.
func (g *globals) encodingOf(name string) (record.Encoding, error) {
	switch {
	case name != "":
		return record.ParseEncoding(name)
	case g.compress:
		return record.Brotli, nil
	}
	return record.Plain, nil
}

// modeValue is the flag -c; see install.ParseMode.
type modeValue struct {
	text    string
	mode    *fs.FileMode
	warning string
}

func (v *modeValue) String() string { return v.text }
func (v *modeValue) Type() string   { return "mode" }

func (v *modeValue) Set(s string) error {
	mode, decimal, err := install.ParseMode(s)
	if err != nil {
		return err
	}
	v.text, v.mode, v.warning = s, &mode, ""
	if decimal {
		v.warning = fmt.Sprintf("-c %s is read as decimal, as in 1.x: %04o in octal; write -c %04[2]o", s, mode.Perm())
	}
	return nil
}
