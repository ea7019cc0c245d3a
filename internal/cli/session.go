package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/config"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hub"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/observe"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/store/retry"
	"kvexpress/internal/wire"
)

// session is one run of a command: its store, and where its log, metrics and events go.
type session struct {
	*App
	g        *globals
	cmd      *cobra.Command
	args     []string
	argv     []string // of -e; nil: none
	host     string
	layout   kv.Layout
	store    kv.Store
	plain    kv.Store      // the same without retries
	hub      fleet.Hub     // has the receipts; nil: the store has them
	hubs     []wire.Client // the same, for rollouts
	streamed bool          // lines of JSON were printed before the result
	log      *slog.Logger
	metrics  *observe.Metrics
	events   *observe.Events
	started  time.Time
	k        kv.Key         // the key of the command; "" if it has none, or many
	role     string         // the role of `kvexpress acl` that it needs; "": the default of the command
	about    string         // the key or file in the metrics
	place    string         // where the command ended, in the words of 1.x
	closers  []func() error // run last in, first out
}

// report is the result of a command.
type report interface {
	// lines is the report for people.
	lines() []string
}

// with makes a command that runs with a session. It uses some general flags, see uses.
func (a *App) with(g *globals, name, general string, run func(context.Context, *session) (report, error)) *cobra.Command {
	cmd := described(name, general)
	cmd.Args = noArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.do(cmd, g, args, run) }
	return cmd
}

// without makes a command that has no store of its own, or its own log.
func (a *App) without(g *globals, name, general string, run func(*cobra.Command) (report, error)) *cobra.Command {
	cmd := described(name, general)
	cmd.Args = noArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := run(cmd)
		s := &session{App: a, g: g}
		return s.end(r, err, false)
	}
	return cmd
}

// do opens a session, runs a command in it, reports the result or the error once, and closes
// the session. It returns a *reportedError, or nil.
func (a *App) do(cmd *cobra.Command, g *globals, args []string, run func(context.Context, *session) (report, error)) error {
	s, err := a.open(cmd, g)
	var result report
	if s.args = args; err == nil {
		err = s.parse()
	}
	if err == nil {
		result, err = s.guarded(cmd.Context(), run)
	}
	return s.end(result, err, writes(cmd))
}

// parse reads the flags that many commands have: -k, if the command needs a key, and -e.
func (s *session) parse() error {
	general := strings.Fields(s.cmd.Annotations[globalsLabel])
	if slices.Contains(general, needsKey) {
		if _, err := s.key(s.g.key); err != nil {
			return err
		}
	}
	if !slices.Contains(general, "exec") {
		return nil
	}
	if strings.Contains(s.g.exec, install.FileMark) && !slices.Contains(general, "chmod") {
		s.warn("-e: " + install.FileMark + " is not replaced: this command installs no file")
	}
	if s.g.execTimeout <= 0 {
		return errors.New("--exec-timeout must be above 0")
	}
	var err error
	s.argv, err = s.split("-e", s.g.exec)
	return err
}

// end prints a result or an error. If the result cannot be printed, the command fails, unless it has changed something.
func (s *session) end(result report, err error, changed bool) error {
	code := exitCode(err)
	if lost := s.printResult(result, err, code); lost != nil && err == nil && !changed {
		err, code = lost, exitOther
	}
	s.close(err, code)
	if err == nil {
		return nil
	}
	return &reportedError{error: err, code: code}
}

// writes reports whether a command changes something: then it has succeeded even if its output
// cannot be written. The output of all others is all that they do.
func writes(cmd *cobra.Command) bool {
	switch cmd.Name() {
	case "in", "out", "raw", "copy", "clean", "rollback", "stop", "resume", "lock", "unlock", "forget", "retire", "import",
		"set", "rm", "pause", "promote", "abort":
		return true
	}
	return false
}

// guarded turns a panic into an error: it is reported as any error, and counted as in 1.x.
func (s *session) guarded(ctx context.Context, run func(context.Context, *session) (report, error)) (r report, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.metrics.Count("panic", s.about, "panic")
			err = fmt.Errorf("this is a bug in kvexpress: %v", p)
		}
	}()
	return run(ctx, s)
}

// interruptible returns a context that a signal ends, for work that must finish cleanly: a
// publish, which reports its outcome, and a user's command, which must end too.
func (a *App) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.Interruptible == nil {
		return ctx, func() {}
	}
	return a.Interruptible(ctx)
}

// open sets up a session. It sends no request. With an error, the session can still report it.
func (a *App) open(cmd *cobra.Command, g *globals) (*session, error) {
	s := &session{App: a, g: g, cmd: cmd, started: time.Now(), place: observe.LocationComplete}
	s.openLog(cmd.Name())
	conf, err := config.LoadFlagFile(g.config)
	if err != nil {
		return s, err
	}
	if s.host, err = os.Hostname(); err != nil {
		return s, fmt.Errorf("find out this machine's host name: %w", err)
	}
	if s.layout, err = kv.NewLayout(g.prefix); err != nil {
		return s, err
	}
	if err := s.openObservers(conf); err != nil {
		return s, err
	}
	return s, s.openStore(conf)
}

func (s *session) openLog(direction string) {
	logTo := s.Stdout
	if s.g.json || direction == commandShow || direction == commandExport {
		logTo = s.Stderr // standard output is one JSON object, or content
	}
	var closeLog func() error
	s.log, closeLog = observe.NewLogger(observe.LogOptions{
		Direction: direction, Debug: s.Getenv("KVEXPRESS_DEBUG") != "",
		Verbose: s.g.verbose, Stdout: logTo, Syslog: s.Getenv("KVEXPRESS_SYSLOG"),
	})
	s.closers = append(s.closers, closeLog)
}

func (s *session) openObservers(conf config.FlagFile) (err error) {
	g, direction := s.g, s.cmd.Name()
	enabled := g.dogstatsd
	if !s.cmd.Flags().Changed("dogstatsd") {
		enabled = conf.Dogstatsd || s.datadogAgent()
	}
	s.metrics, err = observe.NewMetrics(observe.MetricsOptions{
		Enabled: enabled,
		Addr:    cmp.Or(g.dogstatsdAddr, conf.DogstatsdAddress),
		Host:    s.host, Direction: direction,
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.metrics.Close)
	s.events, err = observe.NewEvents(observe.EventOptions{
		APIKey: cmp.Or(g.apiKey, conf.DatadogAPIKey), AppKey: cmp.Or(g.appKey, conf.DatadogAppKey),
		DatadogHost: cmp.Or(s.Getenv("DATADOG_HOST"), conf.DatadogHost),
		Host:        s.host, Direction: direction,
	})
	return err
}

// datadogAgent reports whether a Datadog agent is set up here: then metrics are
// on, as in 1.x. KVEXPRESS_DATADOG_CONF is another path to check.
func (s *session) datadogAgent() bool {
	path := cmp.Or(s.Getenv("KVEXPRESS_DATADOG_CONF"), "/etc/dd-agent/datadog.conf")
	_, err := os.Stat(path)
	return err == nil
}

// openStore follows the order flag, environment, configuration file, default.
func (s *session) openStore(conf config.FlagFile) error {
	g := s.g
	o := consul.Options{Addr: g.server, Token: g.token, TokenFile: g.tokenFile, Datacenter: g.datacenter}
	if o.Token == "anonymous" {
		o.Token = "" // what 1.x called "no token"
	}
	if o.Addr == "" && s.Getenv("CONSUL_HTTP_ADDR") == "" {
		o.Addr = conf.ConsulServer
	}
	if o.Token == "" && o.TokenFile == "" && s.Getenv("CONSUL_HTTP_TOKEN") == "" && s.Getenv("CONSUL_HTTP_TOKEN_FILE") == "" {
		o.Token = conf.Token
	}
	if s.inside != nil {
		o = consul.Options{Addr: s.inside.addr, Bare: true}
	}
	store, err := consul.New(o)
	if err != nil {
		return err
	}
	s.plain = store
	s.store = retry.New(store, retry.Policy{For: g.retryFor, OnRetry: s.onRetry})
	return s.openHub(conf, o)
}

// openHub follows the same order. A hub gets the token of the store.
func (s *session) openHub(conf config.FlagFile, o consul.Options) error {
	addrs := cmp.Or(s.g.hub, s.Getenv("KVEXPRESS_HUB"), conf.Hub)
	if s.inside != nil {
		addrs = s.inside.addr
	}
	if addrs == "" {
		return nil
	}
	hubs, err := hubClients(config.Hubs{
		Addrs:      strings.Split(addrs, ","),
		CAFile:     cmp.Or(s.Getenv("KVEXPRESS_HUB_CACERT"), conf.HubCA),
		ServerName: cmp.Or(s.Getenv("KVEXPRESS_HUB_SERVER_NAME"), conf.HubServerName),
		ClientCert: cmp.Or(s.Getenv("KVEXPRESS_HUB_CLIENT_CERT"), conf.HubClientCert),
		ClientKey:  cmp.Or(s.Getenv("KVEXPRESS_HUB_CLIENT_KEY"), conf.HubClientKey),
	}, o)
	s.hub, s.hubs = &hub.Pages{Hubs: hubs}, hubs
	return err
}

// reader reads receipts, and keys in a store.
func (s *session) reader(store kv.Store) fleet.Reader {
	return fleet.Reader{Store: store, Layout: s.layout, Hub: s.hub}
}

func (s *session) onRetry(attempt int, err error) {
	s.metrics.ConsulReconnect()
	s.log.Warn("the store is unreachable; retrying", "attempt", attempt, "error", err)
	if attempt == 2 { // the first comes back within a moment
		fmt.Fprintf(s.Stderr, "kvexpress: %s; retrying for %s\n", render.Error(err), s.g.retryFor)
	}
}

// warn writes a warning to stderr and to the log.
func (s *session) warn(text string) {
	text = s.guide().Typed(text)
	s.log.Warn(text)
	fmt.Fprintf(s.Stderr, "kvexpress: %s\n", render.Line(text))
}

func (s *session) close(err error, code int) {
	// As in 1.x, a command that was refused before it began has no time metric.
	begun := code != exitOther || s.place != observe.LocationComplete
	if s.about != "" && begun {
		s.metrics.Gauge("time", s.about, s.place, time.Since(s.started).Milliseconds())
	}
	if err != nil && s.log != nil {
		s.log.Error(render.Error(err), "exit", code)
	}
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i](); err != nil {
			fmt.Fprintf(s.Stderr, "kvexpress: %s\n", render.Error(err))
		}
	}
}

// event logs that a Datadog event was not posted: that never fails a command.
func (s *session) event(err error) {
	if err != nil {
		s.log.Warn("the Datadog event was not posted", "error", err)
	}
}

// author is who publishes, for the manifest: user@host.
func (s *session) author() string {
	name := s.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if sudo := s.Getenv("SUDO_USER"); sudo != "" && sudo != name {
		name = sudo + " as " + name
	}
	return name + "@" + s.host
}

// key parses -k, and puts it into the metrics.
func (s *session) key(name string) (kv.Key, error) {
	if name == "" {
		return "", errors.New("no key is given; name it with -k KEY")
	}
	k, err := kv.ParseKey(name)
	s.about, s.k = string(k), k
	return k, err
}
