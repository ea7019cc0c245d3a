package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"kvexpress/internal/agent"
	"kvexpress/internal/cli/render"
	"kvexpress/internal/command"
	"kvexpress/internal/observe"
	"kvexpress/internal/outcome"
)

// statusEvery is the interval of status messages to systemd.
const statusEvery = 2 * time.Second

// daemon is a program that stays.
type daemon struct {
	log     *slog.Logger
	status  func() string // how it is, in one line, for systemd
	healthy func() error  // an error if the daemon is stuck
	reload  func()        // at each hang-up; nil: there is nothing to read again
}

// daemonLog returns the log of a daemon. If the reader of the log ends, a write fails, but SIGPIPE no longer kills the
// daemon. Commands that it starts do not inherit that.
func (a *App) daemonLog(direction string) (*slog.Logger, func() error) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return observe.NewLogger(observe.LogOptions{Direction: direction, Verbose: true, Stdout: a.Stderr, Syslog: observe.SyslogOff})
}

// daemon runs the parts until ctx or one of them ends, and waits for all. It listens for
// hang-ups before it starts the first part.
func (a *App) daemon(ctx context.Context, d daemon, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var hangups <-chan os.Signal
	if a.Hangups != nil && d.reload != nil {
		var stop func()
		hangups, stop = a.Hangups()
		defer stop()
	}
	var all sync.WaitGroup
	errs := make([]error, len(parts))
	for i, part := range parts {
		all.Go(func() {
			defer cancel()
			errs[i] = part(ctx)
		})
	}
	all.Go(func() { notify(ctx, d) })
	all.Go(func() { command.ReapOrphans(ctx) })
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-hangups:
			reloading(d.log, d.reload)
		}
	}
	all.Wait()
	d.log.Info("ended")
	return errors.Join(errs...)
}

// notify sends systemd a status line until ctx ends, and, with a systemd watchdog, keep-alives
// while nothing is stuck. Without systemd it does nothing.
func notify(ctx context.Context, d daemon) {
	// Ready is not the same as delivered: a boot must not wait for the store.
	if sent, err := systemd.SdNotify(false, systemd.SdNotifyReady); !sent {
		if err != nil {
			d.log.Warn("systemd was not told that we are ready", "error", err)
		}
		return
	}
	every := statusEvery
	watchdog, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		d.log.Warn("the watchdog of systemd cannot be used", "error", err)
	}
	if watchdog > 0 {
		every = min(every, watchdog/3)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for told := ""; ; {
		if now := d.status(); now != told {
			say(d.log, "STATUS="+now)
			told = now
		}
		if stuck := d.healthy(); stuck != nil {
			d.log.Error("stuck", "error", render.Error(stuck)) // systemd restarts us
		} else if watchdog > 0 {
			say(d.log, systemd.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			say(d.log, systemd.SdNotifyStopping)
			return
		case <-ticker.C:
		}
	}
}

// say sends one message to systemd. One that does not arrive is no reason to fail.
func say(log *slog.Logger, message string) {
	if _, err := systemd.SdNotify(false, message); err != nil {
		log.Warn("systemd was not told", "message", message, "error", err)
	}
}

// reloading brackets a reload for systemd (Type=notify-reload).
func reloading(log *slog.Logger, reload func()) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
		say(log, fmt.Sprintf("%s\nMONOTONIC_USEC=%d", systemd.SdNotifyReloading, now.Nano()/1000))
	}
	reload()
	say(log, systemd.SdNotifyReady)
}

// summary is a status in one line: "3 targets: 2 converged, 1 stopped; store up".
func summary(s agent.Status) string {
	count := map[outcome.Outcome]int{}
	for _, t := range s.Targets {
		count[t.Outcome]++
	}
	var parts []string
	for _, state := range outcome.Reported() {
		if n := count[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	text := render.Plural(len(s.Targets), "target")
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	if s.Config.Error != "" {
		text += "; the last reload was refused"
	}
	switch {
	case s.Store.Up:
		text += "; store up"
	case s.Store.Since != nil:
		text += "; store unreachable since " + s.Store.Since.UTC().Format(time.RFC3339)
	}
	return text
}
