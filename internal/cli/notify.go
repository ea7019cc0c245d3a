package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"kvexpress/internal/agent"
)

// statusEvery is how often systemd is told how things are.
const statusEvery = 2 * time.Second

// notify keeps systemd informed until ctx ends: how the targets are, and, if it
// watches over us, that no target is stuck.
func (r *agentRun) notify(ctx context.Context) {
	notify(ctx, r.log, func() string { return summary(r.agent.Status()) }, r.agent.Healthy)
}

// notify keeps systemd informed until ctx ends: how things are, in one line, and, if it
// watches over us, that nothing is stuck. Without systemd it does nothing.
func notify(ctx context.Context, log *slog.Logger, status func() string, healthy func() error) {
	// Ready is not the same as delivered: a boot must not wait for the store.
	if sent, err := daemon.SdNotify(false, daemon.SdNotifyReady); !sent {
		if err != nil {
			log.Warn("systemd was not told that we are ready", "error", err)
		}
		return
	}
	every := statusEvery
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog of systemd cannot be used", "error", err)
	}
	if watchdog > 0 {
		every = min(every, watchdog/3)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for told := ""; ; {
		if now := status(); now != told {
			say(log, "STATUS="+now)
			told = now
		}
		if stuck := healthy(); stuck != nil {
			log.Error("stuck", "error", oneLine(stuck)) // systemd restarts us
		} else if watchdog > 0 {
			say(log, daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			say(log, daemon.SdNotifyStopping)
			return
		case <-ticker.C:
		}
	}
}

// say sends one message to systemd. One that does not arrive is no reason to fail.
func say(log *slog.Logger, message string) {
	if _, err := daemon.SdNotify(false, message); err != nil {
		log.Warn("systemd was not told", "message", message, "error", err)
	}
}

// reloading brackets a reload for systemd (Type=notify-reload).
func reloading(log *slog.Logger, reload func()) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
		say(log, fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
	}
	reload()
	say(log, daemon.SdNotifyReady)
}

// summary is a status in one line: "3 targets: 2 current, 1 stopped; store up".
func summary(s agent.Status) string {
	count := map[agent.State]int{}
	for _, t := range s.Targets {
		count[t.State]++
	}
	var parts []string
	for _, state := range agent.States() {
		if n := count[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	text := plural(len(s.Targets), "target")
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
		text += "; store away since " + s.Store.Since.UTC().Format(time.RFC3339)
	}
	return text
}
